"""What is kept of a run while it goes on: its folder and its checkpoints."""
