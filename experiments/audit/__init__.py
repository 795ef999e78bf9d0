"""Public counters of FLOPs beside ours, layer by layer: what each of them misses, and what it counts otherwise."""
