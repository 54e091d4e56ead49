"""Samplers, one per file: each has ``propose``."""
