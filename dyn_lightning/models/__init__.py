"""Plain backbones: torch.nn, and not one word about learned widths."""
