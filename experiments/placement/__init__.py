"""Which layers should be dynamic."""
