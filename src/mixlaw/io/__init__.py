"""Formats in and out, one per file: runs become :class:`~mixlaw.observations.Observations`, recipes become configs."""
