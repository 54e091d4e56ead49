"""One file per step from a format to the next: ``<kind>_<number>.py`` holds ``migrate(content) -> content``.

Only what changed needs a file. A migration never changes: it knows how the files of its day looked.
"""
