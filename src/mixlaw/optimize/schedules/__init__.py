"""The best schedule of several phases."""
