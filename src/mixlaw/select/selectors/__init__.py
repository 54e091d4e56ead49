"""Selectors, one per file; a file here is its registry entry."""
