"""Which families :class:`mixlaw.laws.Auto` fits, and with how much effort, by how much data there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mixlaw.data.seams import LAWS
from mixlaw.errors import ConfigError, did_you_mean
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.base import Law
from mixlaw.laws.core.folds import Ints
from mixlaw.laws.mixture.effective_tokens import EffectiveTokens
from mixlaw.laws.mixture.gaussian_process import GaussianProcess
from mixlaw.laws.mixture.log_linear import LogLinear
from mixlaw.laws.mixture.m2 import M2
from mixlaw.laws.mixture.m4 import M4
from mixlaw.laws.mixture.trees import Trees

__all__ = ["PROCESS", "TREES", "Size", "candidates", "canonical", "part_of_runs", "trusted_before"]

PROCESS = GaussianProcess.name
"""The family whose idea of how uncertain each place is shapes the intervals of the average."""
TREES = Trees.name
"""The family that is tried on one fold first."""
_FEW = 8  # different mixtures below which a ranking is a first guess
_SLOW = 2e8  # multiplications in one step of a parametric fit from which there is one start and one ridge
_MOST = 1.5e9  # and from which it is given a part of the runs only


class Size(NamedTuple):
    """How much data there is: ``distinct`` different mixtures of ``domains``, and ``targets`` losses of each.

    Example:
        >>> Size(distinct=64, domains=17, targets=13).step
        304317
    """

    distinct: int
    domains: int
    targets: int

    @property
    def step(self) -> int:
        """Multiplications in one step of a parametric fit."""
        return self.targets * self.domains**2 * (self.distinct + self.domains)

    @property
    def work(self) -> int:
        """Numbers that a family has to look at."""
        return self.distinct * self.domains * self.targets


def candidates(
    size: Size, seed: int = 0, own: Mapping[str, Any] | None = None, families: Sequence[str] | None = None
) -> tuple[dict[str, Law], list[str]]:
    """The families worth fitting to so much data, none of them fitted yet, and sentences on what was left out and why.

    Args:
        size: of the data.
        seed, own, families: as for :class:`mixlaw.laws.Auto`.

    Raises:
        ConfigError: an unknown family.

    Example:
        >>> laws, notes = candidates(Size(distinct=32, domains=12, targets=1))
        >>> list(laws), notes
        (['gaussian_process', 'effective_tokens', 'log_linear', 'm4'], [])
    """
    quick: dict[str, Any] = {"ridge": 3e-3, "num_starts": 1} if size.step > _SLOW else {}
    everything: dict[str, Law] = {
        PROCESS: GaussianProcess(own=own, seed=seed, **_process_effort(size)),
        "effective_tokens": EffectiveTokens(own=own, seed=seed, **quick),
        "effective_tokens_2": EffectiveTokens(terms=2, own=own, seed=seed),
        "log_linear": LogLinear(own=own, seed=seed, **quick),
        "m2": M2(own=own, seed=seed),
        "m4": M4(own=own, seed=seed),
        TREES: Trees(seed=seed),
    }
    if families is not None:
        wanted = [canonical(f) for f in families]
        unknown = [f for f in wanted if f not in everything]
        if unknown:
            raise ConfigError(f"Unknown families {unknown}.{did_you_mean(unknown[0], everything)}")
        return {k: everything[k] for k in wanted}, []
    chosen, notes = _worthwhile(size)
    return {k: everything[k] for k in chosen}, notes


def _worthwhile(size: Size) -> tuple[list[str], list[str]]:
    """The names of the families that so much data can bear, and sentences on the others."""
    notes: list[str] = []
    chosen = [PROCESS, "effective_tokens", "log_linear", "m4"]
    if size.distinct < _FEW:
        notes.append(
            f"Only {size.distinct} different mixtures: priors hold the families more than runs do, and the average "
            f"leans on the Gaussian process. Treat the ranking as a first guess; 16 runs make a large difference."
        )
        return chosen, notes
    if size.domains <= 10:  # with more domains its exponents cost much and never won
        chosen.append("m2")
    if size.distinct >= 100 and size.work <= 500_000:
        chosen.append("effective_tokens_2")
    if size.work > 2_000_000 or size.step > _SLOW:
        # what a certified optimum needs stays; its rivals of the same kind do not
        chosen = [PROCESS, "log_linear", "effective_tokens"]
    if size.step > _SLOW:
        notes.append("Many domains and targets: parametric laws from one start, with a fixed ridge.")
    if size.step > _MOST:
        chosen.remove("log_linear")
    if size.distinct >= 100 and size.work <= 5_000_000:
        chosen.append(TREES)
    elif size.distinct >= 100:
        notes.append("Boosted trees were left out: too slow at this many runs, domains and targets.")
    return chosen, notes


def trusted_before(families: Sequence[str]) -> Array | None:
    """(F,) weights believed in before any run: all on the Gaussian process, which held-out runs of published records
    preferred to every other family (``benchmarks/laws_average.py``). None without it: equal weights did not help
    the others there.

    Example:
        >>> trusted_before(["gaussian_process", "m4"]).tolist()
        [1.0, 0.0]
    """
    return np.array([float(name == PROCESS) for name in families]) if PROCESS in families else None


def part_of_runs(runs: int, domains: int, targets: int, seed: int = 0) -> Ints | None:
    """Indices of the runs that parametric families are fitted on where all of them would take minutes and gigabytes;
    None where all of them are affordable.

    Example:
        >>> part_of_runs(512, 17, 13) is None
        True
        >>> len(part_of_runs(20_000, 100, 100))
        1400
    """
    few = max(2 * domains, int(_MOST / (targets * domains * domains)) - domains)
    return np.sort(np.random.default_rng(seed).permutation(runs)[:few]) if few < runs else None


def canonical(family: str) -> str:
    """A family by its registry name, where it was given by an alias.

    Example:
        >>> canonical("gp"), canonical("effective_tokens_2")
        ('gaussian_process', 'effective_tokens_2')
    """
    return LAWS.canonical(family) if family in LAWS else family


def _process_effort(size: Size) -> dict[str, Any]:
    """How much of a Gaussian process is affordable: four members for the smallest swarms, a subset for huge ones."""
    if min(size.distinct, 1000) * size.domains * size.targets > 2_000_000:
        return {"members": ("bc/log",), "iterations": 12, "max_runs": 256}
    if size.distinct <= 24:
        return {"members": ("bc/log", "pow/logc", "log/log", "bc/logc")}
    return {}
