"""What a network costs, layer by layer: counted, audited, and measured on this machine."""
