"""Which seeds the runs of a study have: those of the swarm and those of the verification never meet."""

from __future__ import annotations

__all__ = ["SEEDS", "VERIFY_SEED"]

SEEDS = 1000
"""Seeds per study: with ``design.seed`` s, the swarm has the seeds from ``1000 s`` on, one for each run, so that the
law's residuals hold the noise between seeds."""

VERIFY_SEED = 500
"""The verification of a study with ``design.seed`` s has the seeds from ``1000 s + 500`` on."""
