"""Data sets and DataModules. Nothing here knows about learned widths."""
