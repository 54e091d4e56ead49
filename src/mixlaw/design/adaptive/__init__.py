"""Designs that build on runs already trained."""
