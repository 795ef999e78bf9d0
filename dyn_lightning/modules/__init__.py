"""Plain modules that consolidated networks may hold where torch.nn has none of unequal inner sizes."""
