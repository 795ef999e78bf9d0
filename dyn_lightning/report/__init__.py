"""The page that is made of finished runs."""
