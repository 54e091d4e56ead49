"""Laws of size and data, one per file."""
