"""Laws of the mixture, one per file."""
