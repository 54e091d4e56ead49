"""Solvers: convex with certificate, and search."""
