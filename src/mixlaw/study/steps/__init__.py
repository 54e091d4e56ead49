"""The steps of a study, one per file."""
