"""Choosing and averaging laws by held-out error."""
