"""What a network costs, layer by layer: counted, and measured on this machine."""
