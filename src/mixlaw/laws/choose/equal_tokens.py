"""Experts against a swarm at equal training tokens: how well each predicts mixtures that it has not seen."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mixlaw.errors import DataError, FitError, MixlawWarning
from mixlaw.kit.arrays import Array
from mixlaw.kit.units import format_count
from mixlaw.laws.choose.league import spearman
from mixlaw.laws.core.base import Law
from mixlaw.laws.core.folds import replicate_groups
from mixlaw.laws.core.table import as_matrix, as_targets
from mixlaw.laws.mixture.gaussian_process import GaussianProcess
from mixlaw.laws.mixture.log_linear import LogLinear
from mixlaw.laws.mixture.mde import MDE
from mixlaw.laws.mixture.mixmin import MixMin

__all__ = ["EqualTokens", "Priced", "at_equal_tokens"]

_DRAWS = 4
_FEW = 4


@dataclass(frozen=True)
class Priced:
    """What one law predicts for its price.

    Args:
        law: in words.
        experts: whether the experts' tokens are part of its price.
        mixtures: trained mixtures that it was fitted to.
        tokens: training tokens in all.
        mae: mean absolute error on mixtures held out, in the unit of the losses, mean over targets and draws.
        spearman: rank correlation there, mean over targets and draws.
        draws: how many choices of mixtures it is a mean of.

    Example:
        >>> Priced("mixmin", True, 0, 8e6, 0.1, 0.9, 4).tokens
        8000000.0
    """

    law: str
    experts: bool
    mixtures: int
    tokens: float
    mae: float
    spearman: float
    draws: int


@dataclass(frozen=True)
class EqualTokens:
    """Rows by their tokens; ``str`` is the table. ``heldout`` mixtures were predicted in each draw.

    Example:
        >>> EqualTokens((Priced("mixmin", True, 0, 8e6, 0.1, 0.9, 4),), 8).to_dict()["rows"][0]["law"]
        'mixmin'
    """

    rows: tuple[Priced, ...]
    heldout: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"heldout": self.heldout, "rows": [asdict(row) for row in self.rows]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> EqualTokens:
        """Inverse of :meth:`to_dict`."""
        return cls(tuple(Priced(**row) for row in data["rows"]), int(data["heldout"]))

    def __str__(self) -> str:
        lines = [
            f"Experts and swarm at their price in training tokens: errors on {self.heldout} mixtures that neither saw, "
            f"in the unit of the losses.",
            f"{'law':34s}  {'tokens':>8s}  {'mixtures':>8s}  {'MAE':>8s}  {'Spearman':>8s}",
        ]
        for row in self.rows:
            name = f"{row.law}{' with experts' if row.experts else ''}"
            lines.append(
                f"{name:34s}  {format_count(row.tokens):>8s}  {row.mixtures:8d}  {row.mae:8.4g}  {row.spearman:8.3f}"
            )
        return "\n".join(lines)


def at_equal_tokens(
    X: Any,
    y: Any,
    experts: Mapping[str, Any],
    *,
    run_tokens: float,
    expert_tokens: float,
    own: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> EqualTokens:
    """Held-out errors of laws of experts, of experts and a few mixtures, and of as many mixtures as cost the same.

    A third of the mixtures (at least four) is held out; laws are fitted to some of the others: none (MixMin, whose
    level is then that of the experts), 4 and 8 beside the experts (MDE), as many as the experts' tokens would have
    bought, and those numbers together. Means are over four draws of all of that.

    Args:
        X, y: trained mixtures (n, K) and their losses (n, T); rows of a single domain are left out.
        experts: as of :class:`~mixlaw.laws.MixMin`.
        run_tokens: training tokens of one mixture.
        expert_tokens: those of trunk and experts together.
        own: which training domain each target is measured on.
        seed: of the draws.

    Raises:
        DataError: fewer than eight different mixtures.

    Example:
        >>> at_equal_tokens(np.eye(2), np.ones(2), {}, run_tokens=2e6, expert_tokens=8e6)
        Traceback (most recent call last):
            ...
        mixlaw.errors.DataError: 0 trained mixtures are too few to hold some out. Train 8 or more beside the experts.
        >>> print(at_equal_tokens(X, y, experts, run_tokens=2e6, expert_tokens=8e6))  # doctest: +SKIP
    """
    matrix, names = as_matrix(X)
    targets, target_names, _ = as_targets(y, allow_missing=True)
    names = names or [f"x{j}" for j in range(matrix.shape[1])]
    target_names = target_names or [f"y{t}" for t in range(targets.shape[1])]
    kept = ((matrix > 1e-6).sum(axis=1) > 1) & np.isfinite(targets).all(axis=1)
    matrix, targets = matrix[kept], targets[kept]
    groups = replicate_groups(matrix)
    firsts = np.unique(groups, return_index=True)[1]
    if len(firsts) < 2 * _FEW:
        raise DataError(
            f"{len(firsts)} trained mixtures are too few to hold some out. Train {2 * _FEW} or more beside the experts."
        )
    matrix, targets = matrix[firsts], targets[firsts]
    n = len(matrix)
    held = max(_FEW, n // 3)
    worth = int(expert_tokens // run_tokens)
    beside = [j for j in (_FEW, 2 * _FEW) if j <= n - held]
    alone = sorted({m for m in (worth, *(worth + j for j in beside), n - held) if _FEW <= m <= n - held})
    rng = np.random.default_rng(seed)
    found: dict[tuple[str, bool, int], list[tuple[float, float]]] = {}
    for _ in range(_DRAWS):
        order = rng.permutation(n)
        there, others = order[:held], order[held:]

        def score(label: str, with_experts: bool, law: Law, m: int, there: Any = there, others: Any = others) -> None:
            rows = others[:m] if m else others[:2]
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", MixlawWarning)
                    law.fit(dict(zip(names, matrix[rows].T)), dict(zip(target_names, targets[rows].T)))
                    guess = np.asarray(law.predict(dict(zip(names, matrix[there].T)))).reshape(held, -1)
            except FitError:
                return
            if isinstance(law, MixMin) and not m:  # what it says before any mixture was trained
                guess = guess - law.shift_
            found.setdefault((label, with_experts, m), []).append(_score(guess, targets[there]))

        score("mixmin", True, MixMin(experts), 0)
        for j in beside:
            score("mde", True, MDE(experts, own, draws=False), j)
        for m in alone:
            score("gaussian_process", False, GaussianProcess(own, draws=False), m)
            score("log_linear", False, LogLinear(), m)
    rows = [
        Priced(
            label,
            with_experts,
            m,
            float(with_experts * expert_tokens + m * run_tokens),
            float(np.mean([error for error, _ in scores])),
            float(np.mean([rank for _, rank in scores])),
            len(scores),
        )
        for (label, with_experts, m), scores in found.items()
    ]
    return EqualTokens(tuple(sorted(rows, key=lambda row: (row.tokens, row.mae))), held)


def _score(guess: Array, truth: Array) -> tuple[float, float]:
    ranks = [spearman(guess[:, t], truth[:, t]) for t in range(truth.shape[1])]
    return float(np.abs(guess - truth).mean()), float(np.nanmean(ranks))
