"""Laws of mixture, size and data together, one per file."""
