"""What learned sizes are compared with, at equal cost and equal training."""
