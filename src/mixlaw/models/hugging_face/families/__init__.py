"""Families of published models; each file is one, named as its config.json names it in ``model_type``."""
