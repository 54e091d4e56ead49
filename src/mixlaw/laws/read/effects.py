"""What each domain does to each target: helps, hurts, or nothing the runs can show."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone

from mixlaw.data.multiplicity import FALSE_CLAIMS, benjamini_hochberg
from mixlaw.errors import ConfigError, DataError, TooFewRunsError
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.base import Law
from mixlaw.laws.core.folds import fold_ids

__all__ = ["Effects", "effects", "effects_from_runs"]

COLUMNS = 100
"""Of the printed table: what a terminal shows without breaking lines."""


@dataclass(frozen=True)
class Effects:
    """Change of every target when a domain's share grows at the others' proportional expense.

    Arrays are (K, T), domains by targets. ``effect`` is in ``unit``, the targets', per ``share``; negative lowers the
    loss. They hold near the mixture ``reference``; ``method`` says where the standard errors come from, and
    ``higher_is_better`` that targets are scores. ``low``, ``high`` are ends of intervals at ``level`` for each effect
    by itself; ``p_value`` is two-sided; ``verdict`` says ``"helps"``, ``"hurts"`` or ``"unrelated"``, and among those
    called helps or hurts the expected fraction of false ones is at most ``false_discovery`` (Benjamini and Hochberg
    1995).

    Example:
        >>> from mixlaw.laws import M4
        >>> R = np.random.default_rng(0).dirichlet([1, 1, 1], 30)
        >>> Y = 3 - R[:, 0] + 0.01 * np.random.default_rng(1).standard_normal(30)
        >>> found = effects(M4().fit({"code": R[:, 0], "web": R[:, 1], "legal": R[:, 2]}, Y))
        >>> dict(zip(found.domains, found.verdict.ravel().tolist()))
        {'code': 'helps', 'web': 'hurts', 'legal': 'hurts'}
    """

    domains: list[str]
    targets: list[str]
    effect: Array
    low: Array
    high: Array
    p_value: Array
    verdict: np.ndarray
    reference: dict[str, float]
    share: float
    level: float
    false_discovery: float
    method: str
    higher_is_better: bool = False
    unit: str = "the targets' unit"

    @property
    def significant(self) -> np.ndarray:
        """(K, T) True where the domain was found to help or hurt."""
        return np.asarray(self.verdict != "unrelated")

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        arrays = {k: getattr(self, k).tolist() for k in ("effect", "low", "high", "p_value", "verdict")}
        plain = {
            k: getattr(self, k)
            for k in (
                "domains",
                "targets",
                "reference",
                "share",
                "level",
                "false_discovery",
                "method",
                "higher_is_better",
                "unit",
            )
        }
        return {**plain, **arrays, "significant": self.significant.tolist()}

    def __str__(self) -> str:
        found = self.significant
        head = (
            f"Change in {self.unit} when a domain gets {self.share:.1%} more of all tokens, the others in proportion "
            f"less. {int(found.sum())} of {found.size} effects shown, false discoveries <= "
            f"{self.false_discovery:.0%} ({self.method}); in brackets {self.level:.0%} intervals, "
            f"each by itself."
        )
        names = [_fitted(d, 56) for d in self.domains]
        width = max(map(len, names))
        digits = _digits(self.high - self.low)
        rows = textwrap.wrap(head, COLUMNS)
        for t, target in enumerate(self.targets):
            rows += ["", _fitted(target, COLUMNS)]
            for word in ("helps", "hurts"):
                here = np.flatnonzero(self.verdict[:, t] == word)
                for i in here[np.argsort(-np.abs(self.effect[here, t]), kind="stable")]:
                    ends = f"[{self.low[i, t]:+.{digits}f}, {self.high[i, t]:+.{digits}f}]"
                    rows.append(f"  {word}  {names[i]:{width}s}  {self.effect[i, t]:+.{digits}f}  {ends}")
            rest = [names[i] for i in np.flatnonzero(~found[:, t])]
            if rest:
                text = f"no effect shown: {', '.join(rest)}"
                rows += textwrap.wrap(
                    text, COLUMNS, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False
                )
        return "\n".join(rows)


def _fitted(name: str, most: int) -> str:
    """A name in at most so many columns: both ends, since names of domains differ at either."""
    return name if len(name) <= most else f"{name[: most // 2 - 1]}...{name[-(most - most // 2 - 2) :]}"


def _digits(widths: Array) -> int:
    """Decimals that show two digits of the typical interval's width."""
    typical = float(np.median(widths))
    return int(np.clip(1 - np.floor(np.log10(typical)), 2, 9)) if typical > 0 else 4


def effects_from_runs(law: Law, X: Any, y: Any, **options: Any) -> Effects:
    """:func:`effects` of a law around the mean mixture of the runs it was fitted to.

    A law that was read from a file may have lost the runs, from which standard errors are taken; a copy of it is then
    fitted to them again.

    Args:
        law: a fitted mixture law.
        X, y: the runs that it was fitted to.
        options: of :func:`effects`.

    Raises:
        ConfigError, TooFewRunsError: see :func:`effects`.

    Example:
        >>> from mixlaw.laws import M4
        >>> R = np.random.default_rng(0).dirichlet([1, 1, 1], 30)
        >>> X = {"code": R[:, 0], "web": R[:, 1], "legal": R[:, 2]}
        >>> Y = 3 - R[:, 0] + 0.01 * np.random.default_rng(1).standard_normal(30)
        >>> effects_from_runs(M4().fit(X, Y), X, Y).verdict[0].tolist()  # of code
        ['helps']
    """
    if law.known_runs is None:
        law = clone(law).fit(X, y)
    return effects(law, X, **options)


def effects(
    law: Law,
    X: Any = None,
    reference: Mapping[str, float] | None = None,
    *,
    share: float = 0.01,
    level: float = 0.9,
    false_discovery: float = FALSE_CLAIMS,
    higher_is_better: bool = False,
    groups: int = 10,
    unit: str = "the targets' unit",
) -> Effects:
    """Which domain helps, hurts or leaves alone which target, near one mixture.

    The standard error comes from the Gaussian process' posterior of the difference (for :class:`Auto`, together
    with the members' disagreement), and otherwise from refits that each leave out one of ``groups`` groups of runs
    (jackknife). The jackknife knows the noise of the runs but not a parametric law's own misfit: prefer Auto or
    GaussianProcess for claims.

    Args:
        law: a fitted mixture law.
        X: runs whose mean mixture is the point looked at (default: the training runs).
        reference: the mixture to look at, ``{domain: weight}``, instead of a mean.
        share: how much of all tokens moves to the domain (0.01 is one percentage point).
        level: of the intervals.
        false_discovery: largest expected fraction of false "helps" and "hurts".
        higher_is_better: targets are scores, not losses.
        groups: of the jackknife.
        unit: of the targets, in words, such as ``"nats per token"``; only printed.

    Raises:
        DataError: the law was read from a file and holds no training runs, and neither X nor reference is given.
        TooFewRunsError: runs of fewer than four different mixtures.
        ConfigError: share, level or false_discovery out of range, or the reference names unknown domains.

    Example:
        >>> from mixlaw.laws import M4
        >>> R = np.random.default_rng(0).dirichlet([1, 1, 1], 30)
        >>> Y = 3 - R[:, 0] + 0.01 * np.random.default_rng(1).standard_normal(30)
        >>> found = effects(M4().fit({"code": R[:, 0], "web": R[:, 1], "legal": R[:, 2]}, Y))
        >>> found.effect[0].round(3).tolist()  # of one more percent of code, in nats
        [-0.01]

    Source: Benjamini & Hochberg 1995 (false discoveries); Efron & Stein 1981 (jackknife).
    """
    from scipy.stats import norm
    from scipy.stats import t as student

    for label, value in (("share", share), ("level", level), ("false_discovery", false_discovery)):
        if not 0 < value < 1:
            raise ConfigError(f"{label}={value!r} must lie between 0 and 1.")
    law._check_fitted()
    domains = [str(n) for n in law.feature_names_in_]
    point = _reference(law, X, reference, domains)
    base, moved = _moves(point, share)
    table = {d: np.append(moved[:, j], base[j]) for j, d in enumerate(domains)}
    values = np.asarray(law.predict(table), dtype=float).reshape(len(domains) + 1, -1)
    effect = values[:-1] - values[-1]
    sd = law.difference_sd(moved, base)
    if sd is not None:
        spread: Any = norm()
        method = "posterior of the difference"
    else:
        sd, used = _jackknife_sd(law, table, groups)
        spread = student(used - 1)
        method = f"jackknife over {used} groups of runs"
    quantile = float(spread.ppf(0.5 + level / 2))
    sd = np.maximum(sd, 1e-12 * np.maximum(np.abs(values[-1]), 1e-12))
    p_value = 2 * np.asarray(spread.sf(np.abs(effect) / sd))
    found = benjamini_hochberg(p_value) <= false_discovery
    better = effect > 0 if higher_is_better else effect < 0
    verdict = np.where(found, np.where(better, "helps", "hurts"), "unrelated")
    return Effects(
        domains,
        list(law.target_names_),
        effect,
        effect - quantile * sd,
        effect + quantile * sd,
        p_value,
        verdict,
        dict(zip(domains, base.tolist(), strict=True)),
        share,
        level,
        false_discovery,
        method,
        higher_is_better,
        unit,
    )


def _training(law: Law) -> tuple[Array, Array]:
    rows = law.known_runs
    if rows is None:
        raise DataError(
            f"This {type(law).__name__} does not carry the runs it was fitted on (it was read from a file). "
            f"Fit it again, or use Auto or GaussianProcess, which keep them."
        )
    return np.asarray(rows[0]), np.asarray(rows[1])


def _reference(law: Law, X: Any, reference: Mapping[str, float] | None, domains: list[str]) -> Array:
    if reference is not None:
        unknown = [d for d in reference if d not in domains]
        if unknown:
            raise ConfigError(f"reference= names {unknown}, not among the law's domains {domains}.")
        return np.array([float(reference.get(d, 0.0)) for d in domains])
    if X is not None:
        return np.asarray(law._align(X).mean(axis=0))
    return np.asarray(_training(law)[0].mean(axis=0))


def _moves(point: Array, share: float) -> tuple[Array, Array]:
    """The mixture and, for every domain, the same with ``share`` more of it: (K,) and (K, K)."""
    total = point.sum()
    if not total > 0 or (point < 0).any():
        raise ConfigError(f"The reference mixture must be non-negative and not all zero, got {point.tolist()}.")
    base = point / total
    room = 1 - base
    if (room < share).any():
        raise ConfigError(
            f"A domain already has {base.max():.1%} of the reference mixture; it cannot gain {share:.1%}."
        )
    moved = base[None] * (1 - share / room[:, None])
    moved[np.diag_indices(len(base))] = base + share
    return base, moved


def _jackknife_sd(law: Law, table: dict[str, Array], groups: int) -> tuple[Array, int]:
    """(K, T) standard errors of the differences, from refits without one group of runs each."""
    X, Y = _training(law)
    domains = list(table)
    ids = fold_ids(X, Y, groups, 0)
    used = int(ids.max()) + 1
    if used < 4:
        raise TooFewRunsError(f"Effects need runs of at least 4 different mixtures, got {used}.")
    rounds = []
    for group in range(used):
        keep = ids != group
        settings = law.get_params(deep=False)
        if settings.get("ridge") == "cv" and law.ridge_ is not None:
            settings["ridge"] = float(np.median(law.ridge_))  # chosen once: choosing it anew costs ten fits
        model = type(law)(**settings)
        model.fit(
            {d: X[keep, j] for j, d in enumerate(domains)},
            {str(n): Y[keep, t] for t, n in enumerate(law.target_names_)},
        )
        values = np.asarray(model.predict(table), dtype=float).reshape(len(domains) + 1, -1)
        rounds.append(values[:-1] - values[-1])
    stack = np.array(rounds)
    return np.asarray(np.sqrt((used - 1) * stack.var(axis=0))), used
