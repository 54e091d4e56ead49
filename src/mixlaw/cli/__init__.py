"""The command line: it parses, calls a step, and prints."""
