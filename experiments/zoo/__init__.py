"""All backbones of the zoo at half width, ours beside Torch-Pruning's."""
