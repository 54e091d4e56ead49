"""Documents: reading them from files."""
