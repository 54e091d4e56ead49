"""Losses of larger runs than any that were made, by whichever way of fitting predicted the larger runs of the record.

Which rows are fitted, which count of parameters, which law, tied or free exponents: each choice fits the runs at hand
and moves the loss of a run ten times as large by percents. So each way is tried inside the record: everything from a
scale on is hidden and predicted from what is smaller, then everything from the scale below on, and so on (rolling
origins). The answer is a mixture over all ways, each with the error it made and weighted by it: the way with the least
error to be expected at the asked run is the chosen one and counts most, and ways that did as well and say something
else make the interval wider.

    error of a way at distance u      sd(u)^2 = sd_0^2 + (growth u)^2
    distance u of a run               how far it lies beyond the fitted rows in params, tokens or compute, in shares of
                                      their range (logarithms); the largest of the three
    weight of a way                   (1 / sd(u_asked))^dof, its likelihood where sd is not known but estimated; then
                                      sd is raised to what it is on average over the ways, since the least is too low
    its prediction                    Student's t with dof degrees of freedom, in log loss

Where a count of parameters and the tokens move together in all rows, no backtest leaves their line, so nothing was
tested there: off it each way's interval reaches as far as any loss may lie that falls with both
(:mod:`mixlaw.laws.fit.off_line`).

Legend: n rows, m asked runs, F folds (origins), W ways.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.data.seams import LAWS
from mixlaw.errors import DataError, FitError, MixlawWarning, TooFewRunsError
from mixlaw.kit.arrays import Array
from mixlaw.laws.choose.asked import asked_at, check_falling
from mixlaw.laws.choose.growth import likeliest_growth
from mixlaw.laws.core.base import Law
from mixlaw.laws.core.columns import check_counts
from mixlaw.laws.core.intervals import check_level
from mixlaw.laws.core.table import as_matrix, as_targets
from mixlaw.laws.fit.off_line import allowed, strip

__all__ = ["Extrapolation", "Way", "extrapolate"]

Mask = npt.NDArray[np.bool_]

_ORIGINS = 4  # folds along one column at most
_NEAR = 10.0  # tokens per parameter within this factor of the asked ones: an order of magnitude
_SHOWN = 0.5  # of the rows at least: fits to few of them say little about the fit to all
_MIN_SIZES = 3  # fewer different sizes do not tell an exponent


@dataclass(frozen=True)
class Way:
    """One way of fitting the record and what it did in the backtests.

    Args:
        law: its name with the options that tell it from its siblings, such as ``"chinchilla, tied"``.
        count: column that it takes as the number of parameters.
        rows: which rows it is fitted to, in words; ``num_rows`` how many.
        error: mean absolute relative error (log loss) in the backtests, every fold alike.
        base: relative error that its fit leaves in its own rows.
        growth: what is added to it for one range beyond the rows, in quadrature.
        predicted: (m,) losses of the asked runs.
        sd: (m,) relative error to be expected there; not less than that of the ways on average.
        weight: (m,) in the interval of each asked run.
        below, above: (m,) how much less (<= 0) and more (>= 0) the log loss may be off the line on which parameters and
            tokens move together; 0 on it, and where they vary alone.
        failed: why it could not be fitted; empty where it was.
        fitted: the law, fitted to all its rows.

    Example:
        >>> N, D = np.meshgrid(np.geomspace(1e7, 1e9, 6), np.geomspace(1e9, 3e10, 5))
        >>> loss = 1.8 + 480 / N.ravel() ** 0.35 + 2100 / D.ravel() ** 0.37
        >>> found = extrapolate({"params": N.ravel(), "tokens": D.ravel()}, loss, {"params": 1e10, "tokens": 2e11})
        >>> found.chosen.law, found.chosen.rows, found.chosen.error < 1e-3
        ('chinchilla', 'all', True)
    """

    law: str
    count: str
    rows: str
    num_rows: int
    error: float = float("nan")
    base: float = float("nan")
    growth: float = float("nan")
    predicted: Array = field(default_factory=lambda: np.zeros(0))
    sd: Array = field(default_factory=lambda: np.zeros(0))
    weight: Array = field(default_factory=lambda: np.zeros(0))
    below: Array = field(default_factory=lambda: np.zeros(0))
    above: Array = field(default_factory=lambda: np.zeros(0))
    failed: str = ""
    fitted: Any = None

    @property
    def label(self) -> str:
        """All that tells it from other ways."""
        return f"{self.law}; {self.count}; {self.rows}"


@dataclass(frozen=True)
class Extrapolation:
    """Predicted losses of asked runs of one target, and how they were found; ``print`` shows both.

    Args:
        ways: by rising error to be expected at the asked runs, those that failed last.
        at: the asked runs, column to (m,).
        distance: (m,) how far beyond the rows they lie, in ranges of the rows.
        folds: what was hidden in each backtest, in words.
        tested: how far the farthest backtest reached, in the same unit.
        dof: how many scales were predicted from smaller ones: degrees of freedom of the intervals.
        level: of ``low`` and ``high``.
        target: name of y.

    Example:
        >>> N, D = np.meshgrid(np.geomspace(1e7, 1e9, 6), np.geomspace(1e9, 3e10, 5))
        >>> loss = 1.8 + 480 / N.ravel() ** 0.35 + 2100 / D.ravel() ** 0.37
        >>> found = extrapolate({"params": N.ravel(), "tokens": D.ravel()}, loss, {"params": 1e10, "tokens": 2e11})
        >>> bool(found.low[0] < 1.8 + 480 / 1e10**0.35 + 2100 / 2e11**0.37 < found.high[0])
        True
    """

    ways: list[Way]
    at: dict[str, Array]
    distance: Array
    folds: list[str]
    tested: float
    dof: int
    level: float = 0.9
    target: str = "y"

    @property
    def chosen(self) -> Way:
        """The way with the least error to be expected, and so with the most weight."""
        return self.ways[0]

    @property
    def predicted(self) -> Array:
        """(m,) losses in the unit of y: the median of the mixture whose other quantiles are the interval."""
        return self._quantile(0.5)

    @property
    def low(self) -> Array:
        """(m,) lower ends at ``level``."""
        return self.interval(self.level)[0]

    @property
    def high(self) -> Array:
        """(m,) upper ends at ``level``."""
        return self.interval(self.level)[1]

    @property
    def judged(self) -> list[Way]:
        """The ways that were fitted and backtested."""
        return [way for way in self.ways if not way.failed]

    @property
    def apart(self) -> Array:
        """(m,) how far the predictions of ways with a say in the interval lie apart, as a share of the chosen one's: of
        those whose weight is at least a tenth of the largest, which is as likely as not to be ruled out by the record.
        """
        values = np.where(self._with_a_say, np.stack([w.predicted for w in self.judged]), np.nan)
        return np.asarray((np.nanmax(values, axis=0) - np.nanmin(values, axis=0)) / self.chosen.predicted)

    @property
    def _with_a_say(self) -> npt.NDArray[np.bool_]:
        """(W, m) which judged ways count for how far they lie apart."""
        weight = np.stack([w.weight for w in self.judged])
        return np.asarray(weight >= 0.1 * weight.max(axis=0))

    def interval(self, level: float) -> tuple[Array, Array]:
        """Ends (m,) of an interval for a run at each asked point: quantiles of the mixture of all ways.

        Raises:
            ConfigError: level outside (0, 1).
        """
        check_level(level)
        below, above = (np.stack(room) for room in zip(*((w.below, w.above) for w in self.judged)))
        return self._quantile((1 - level) / 2, below), self._quantile((1 + level) / 2, above)

    def _quantile(self, p: float, moved: Array | float = 0.0) -> Array:
        """(m,) losses below which the mixture of all ways has a share p, their log losses ``moved`` (W, m)."""
        from scipy.special import stdtr, stdtrit

        ways = self.judged
        centre = np.log(np.stack([w.predicted for w in ways])) + moved  # (W, m)
        sd, weight = np.stack([w.sd for w in ways]), np.stack([w.weight for w in ways])
        far = centre + stdtrit(self.dof, p) * sd
        below, above = far.min(axis=0), far.max(axis=0)
        for _ in range(60):  # the mixture's quantile lies between those of its parts
            middle = (below + above) / 2
            mass = (weight * stdtr(self.dof, (middle - centre) / sd)).sum(axis=0)
            below, above = np.where(mass < p, middle, below), np.where(mass < p, above, middle)
        return np.asarray(np.exp((below + above) / 2))

    def __str__(self) -> str:
        low, high = self.interval(self.level)
        lines, say = [], self._with_a_say.sum(axis=0)
        for i, value in enumerate(self.predicted):
            place = ", ".join(f"{name} {values[i]:.4g}" for name, values in self.at.items())
            lines.append(
                f"{self.target} at {place}: {value:.4g}, {self.level:.0%} interval {low[i]:.4g} to {high[i]:.4g} "
                f"({self.distance[i]:.2g} of the record's range beyond it; "
                + (
                    f"ways that did as well differ by {self.apart[i]:.1%})"
                    if say[i] > 1
                    else "no other way did as well)"
                )
            )
        lines.append(f"Chosen in backtests, with the most weight: {self.chosen.label}. Hidden and predicted: ")
        lines[-1] += "; ".join(self.folds) + "."
        if any((way.above > 1e-9).any() or (way.below < -1e-9).any() for way in self.judged):
            lines.append(
                "In these runs parameters and tokens move together, so no backtest leaves their line: off it the "
                "prediction is the law's form, and the interval holds all that a loss allows which falls with both. "
                "Runs of equal size with other tokens would tell."
            )
        if self.distance.max() > max(self.tested, 1e-9):
            lines.append(
                f"No backtest reached as far: {self.tested:.2g} of the shown range at most. The growth of the errors "
                f"is extended beyond that."
            )
        head = ("law", "parameters", "rows", "runs", "backtest error", "asked", "weight")
        table = [head] + [
            (
                *(w.law, w.count, w.rows, str(w.num_rows), f"{w.error:.2%}"),
                *(" ".join(f"{v:.4g}" for v in w.predicted[:3]), f"{w.weight.mean():.0%}"),
            )
            for w in self.judged
        ]
        wide = [max(len(row[k]) for row in table) for k in range(len(head))]
        lines += ["  " + "  ".join(f"{cell:{w}s}" for cell, w in zip(row, wide)).rstrip() for row in table]
        lines += [f"  Not judged: {way.label}: {way.failed}" for way in self.ways if way.failed]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain data: the answer, and all ways without their laws."""
        low, high = self.interval(self.level)
        keys = ("law", "count", "rows", "num_rows", "error", "base", "growth", "predicted", "sd", "weight", "failed")
        said = (*keys, "below", "above")
        return {
            "target": self.target,
            "at": {name: values.tolist() for name, values in self.at.items()},
            "predicted": self.predicted.tolist(),
            "level": self.level,
            "low": low.tolist(),
            "high": high.tolist(),
            "apart": self.apart.tolist(),
            "distance": self.distance.tolist(),
            "tested": self.tested,
            "folds": self.folds,
            "dof": self.dof,
            "ways": [{k: _plain(getattr(way, k)) for k in said} for way in self.ways],
        }


def _plain(value: Any) -> Any:
    """For JSON, which has no NaN and no arrays."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    return None if isinstance(value, float) and not np.isfinite(value) else value


def extrapolate(X: Any, y: Any, at: Any, level: float = 0.9) -> Extrapolation:
    """The loss of runs larger than those of a record, by the way of fitting that the record's own larger runs prefer.

    Tried are all combinations of: each registered law of size whose columns are there and hold both a number of
    parameters and tokens (with each of its forms), each count of parameters, and all rows, those of the larger sizes,
    or those whose tokens per parameter are within a factor of ten of the asked runs'.

    Args:
        X: columns ``tokens``, ``params`` and any further count of parameters (a column with ``params`` in its name,
            such as ``non_embedding_params``), and what other laws of size take (``unique_tokens``); (n,) plain counts.
        y: (n,) positive losses, in any unit; NaN rows are left out.
        at: the asked runs, the same columns, (m,) or numbers; a count of parameters that is missing is not tried.
        level: of the intervals.

    Returns:
        :class:`Extrapolation`.

    Raises:
        DataError: a column that is missing, values that are no counts or no losses, or losses that rise with compute.
        TooFewRunsError: no scale can be hidden and predicted from at least three smaller ones.
        FitError: no law could be fitted.

    Source: over-training records (Gadre et al. 2024, arXiv:2403.08540), where these choices move the answer by
    several percent; the rules are this project's own.

    Example:
        >>> N, D = np.meshgrid(np.geomspace(1e7, 1e9, 6), np.geomspace(1e9, 3e10, 5))
        >>> loss = 1.8 + 480 / N.ravel() ** 0.35 + 2100 / D.ravel() ** 0.37
        >>> found = extrapolate({"params": N.ravel(), "tokens": D.ravel()}, loss, {"params": 1e10, "tokens": 2e11})
        >>> print(str(found).splitlines()[0])  # doctest: +ELLIPSIS
        y at params 1e+10, tokens 2e+11: 2.09, 90% interval 2.09 to 2.09 (...)
    """
    check_level(level)
    record = _Record.read(X, y, at)
    places = _Places(record)
    check_falling(record.y, places.rows["compute"], record.target)
    folds = places.folds()
    if not folds:
        sizes = len(np.unique(record.columns[record.counts[0]]))
        budget = " and one compute budget" if sizes > 1 and np.ptp(places.rows["compute"]) < 0.1 else ""
        raise TooFewRunsError(
            f"{len(record.y)} runs of {sizes} sizes{budget}: no scale can be hidden and predicted from {_MIN_SIZES} "
            f"sizes or more below it. Add runs of other {'budgets' if budget else 'sizes'}."
        )
    distance = places.beyond(np.ones(len(record.y), dtype=bool), places.asked)
    dof = max(sum(fold.column == column for fold in folds) for column in places.rows)
    ways = _judged(_tries(record), folds, distance, dof)
    tested = max(float(fold.distance.max()) for fold in folds)
    texts = [fold.text for fold in folds]
    return Extrapolation(ways, record.at, distance, texts, tested, dof, level, record.target)


@dataclass(frozen=True)
class _Record:
    """Columns (n,) and losses (n,) of the runs, and columns (m,) of the asked ones."""

    columns: dict[str, Array]
    y: Array
    at: dict[str, Array]
    counts: list[str]
    target: str

    @classmethod
    def read(cls, X: Any, y: Any, at: Any) -> _Record:
        matrix, names = as_matrix(X)
        if not names:
            raise DataError("X must have named columns: params (or another count of parameters) and tokens.")
        Y, targets, _ = as_targets(y, allow_missing=True)
        if Y.shape[1] != 1:
            raise DataError(f"y must be one target, got {Y.shape[1]}. Ask for them one after another.")
        if len(matrix) != len(Y):
            raise DataError(f"X has {len(matrix)} runs but y has {len(Y)}.")
        asked_columns = asked_at(at)
        columns = dict(zip(names, matrix.T))
        every = [name for name in names if "params" in name.lower()]
        counts = [name for name in every if name in asked_columns]
        for what, where in (("tokens", columns), ("tokens", asked_columns)):
            if what not in where:
                raise DataError(f"{'X' if where is columns else 'at'} has no column tokens; it has {list(where)}.")
        if not counts:
            raise DataError(
                f"X and at share no count of parameters: X has {every or 'none'}, at has "
                f"{[n for n in asked_columns if n != 'tokens'] or 'none'}. A column of them has params in its name."
            )
        for name in (*counts, "tokens"):
            check_counts(columns[name], name)
            check_counts(asked_columns[name], name)
        seen = np.isfinite(Y[:, 0])
        if (Y[seen, 0] <= 0).any():
            raise DataError("Losses must be positive: these laws are fitted to log losses. Subtract nothing first.")
        return cls({n: c[seen] for n, c in columns.items()}, Y[seen, 0], asked_columns, counts, (targets or ["y"])[0])

    def has(self, law: Law, count: str) -> bool:
        """Whether all that the law reads is known of the rows and of the asked runs."""
        return all(name in self.at and name in self.columns for name in _named(law, count).values())

    def table(self, law: Law, count: str, rows: Mask | None) -> dict[str, Array]:
        """The law's columns, its params being ``count``, of some rows, or with None of the asked runs."""
        of = self.at if rows is None else {name: values[rows] for name, values in self.columns.items()}
        return {name: of[column] for name, column in _named(law, count).items()}

    def like_asked(self, count: str) -> Mask:
        """The rows whose tokens per parameter are near those of the asked runs."""
        ratio, asked = (c["tokens"] / c[count] for c in (self.columns, self.at))
        return (ratio >= asked.min() / _NEAR) & (ratio <= asked.max() * _NEAR)


def _named(law: Law, count: str) -> dict[str, str]:
    """Column of the law to column of the record."""
    wanted: Sequence[str] = law.columns  # type: ignore[attr-defined]
    return {name: count if name == "params" else name for name in wanted}


@dataclass(frozen=True)
class _Fold:
    """What one origin hides: ``distance`` (hidden rows,) beyond the shown ones."""

    text: str
    column: str
    shown: Mask
    hidden: Mask
    distance: Array


@dataclass(frozen=True)
class _Try:
    """A law, a count of parameters and a rule of rows, before anything is fitted."""

    record: _Record
    law: Law
    name: str
    count: str
    rule: str

    def rows(self, shown: Mask) -> Mask:
        """The shown rows (n,) that the rule keeps."""
        if self.rule == "all":
            return shown
        if self.rule == "ratio":
            return shown & self.record.like_asked(self.count)
        params = self.record.columns[self.count]
        sizes = np.unique(params[shown])
        kept = max((len(sizes) + 1) // 2, _MIN_SIZES)
        return shown & (params >= sizes[-min(kept, len(sizes))])

    @property
    def words(self) -> str:
        """The rule, for people."""
        said = {"all": "all", "sizes": "larger half of sizes", "ratio": "tokens per parameter near the asked"}
        return said[self.rule]

    def fit(self, rows: Mask) -> Law:
        """Raises FitError or DataError where these rows are too few."""
        table = self.record.table(self.law, self.count, rows)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MixlawWarning)  # what rows do not tell shows in the backtests
            return self.law.copy_to_refit().fit(table, self.record.y[rows])

    def off_line(self, law: Law) -> tuple[Array, Array]:
        """How much less and more (m,) the log loss of the asked runs may be where this count and the tokens move
        together in the record, whatever the law's form says there."""
        columns, at = self.record.columns, self.record.at
        line = strip(self.count, np.log(columns[self.count]), "tokens", np.log(columns["tokens"]))
        if line is None:
            return np.zeros(len(at["tokens"])), np.zeros(len(at["tokens"]))
        table, size = self.record.table(self.law, self.count, None), len(at["tokens"])

        def losses(params: Array, tokens: Array) -> Array:
            return np.asarray(law.predict({**table, "params": params, "tokens": tokens}), dtype=float).reshape(size)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MixlawWarning)
            here = losses(at[self.count], at["tokens"])
            down, up = allowed(line, losses, at[self.count], at["tokens"])
        return np.log(np.maximum(here + down, 1e-3 * here) / here), np.log((here + up) / here)

    def predict(self, law: Law, rows: Mask | None) -> Array:
        """Logarithms of the law's losses at rows, or at the asked runs.

        Raises:
            FitError: a loss that is not positive and finite.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MixlawWarning)
            guess = np.asarray(law.predict(self.record.table(self.law, self.count, rows)), dtype=float)
        if not (np.isfinite(guess) & (guess > 0)).all():
            raise FitError("predicts losses that are not positive and finite")
        return np.log(guess)


def _tries(record: _Record) -> list[_Try]:
    """Every registered law of size that reads a number of parameters and tokens, in each of its forms. One without an
    irreducible loss promises zero to runs that are large enough, however well it does on the next scale: not tried."""
    out = []
    for name in LAWS.names():
        if getattr(LAWS[name], "kind", None) != "scale" or not LAWS[name].irreducible:
            continue
        for law in LAWS[name].examples():
            if {"params", "tokens"} <= set(law.columns) and not law.get_params().get("base"):  # type: ignore[attr-defined]
                told = ", ".join(_told(law))
                for count in record.counts:
                    if record.has(law, count):
                        label = f"{name}, {told}" if told else name
                        out += [_Try(record, law, label, count, rule) for rule in ("all", "sizes", "ratio")]
    return out


def _told(law: Law) -> list[str]:
    """Options in which a law is not as its class is by default."""
    usual = type(law)().get_params(deep=False)
    changed = {k: v for k, v in law.get_params(deep=False).items() if v != usual[k]}
    return [k if v is True else f"{k} {v}" for k, v in changed.items()]


class _Places:
    """Where rows and asked runs lie: logarithms of a count, of tokens and of compute."""

    def __init__(self, record: _Record) -> None:
        self.record = record
        self.rows, self.asked = (self._of(columns) for columns in (record.columns, record.at))

    def _of(self, columns: Mapping[str, Array]) -> dict[str, Array]:
        params, tokens = np.log(columns[self.record.counts[0]]), np.log(columns["tokens"])
        return {self.record.counts[0]: params, "tokens": tokens, "compute": params + tokens}

    def beyond(self, shown: Mask, places: Mapping[str, Array]) -> Array:
        """How far places lie outside the shown rows, in ranges of these; 0 inside."""
        far = np.zeros(len(next(iter(places.values()))))
        for name, values in self.rows.items():
            low, high = values[shown].min(), values[shown].max()
            if high - low > 1e-9:
                outside = np.maximum(places[name] - high, low - places[name])
                far = np.maximum(far, outside / (high - low))
        return far

    def folds(self) -> list[_Fold]:
        """Origins along each column that the asked runs exceed, and along compute."""
        params, out = self.rows[self.record.counts[0]], []
        like = self.record.like_asked(self.record.counts[0])
        for name, values in self.rows.items():
            if name != "compute" and not (self.asked[name] > values.max() + 1e-6).any():
                continue
            levels = np.unique(values.round(6))
            if len(levels) > 2 * _ORIGINS:
                share = np.linspace(0, 1, 2 * _ORIGINS + 1)
                levels = np.unique(np.quantile(values, share, method="nearest").round(6))
            for cut in levels[:0:-1][:_ORIGINS]:
                shown = values < cut - 1e-5
                if len(np.unique(params[shown].round(6))) < _MIN_SIZES or shown.mean() < _SHOWN:
                    break
                hidden = ~shown & like if (~shown & like).any() else ~shown
                what = "params x tokens" if name == "compute" else name
                places = {c: v[hidden] for c, v in self.rows.items()}
                out.append(_Fold(f"{what} from {np.exp(cut):.3g}", name, shown, hidden, self.beyond(shown, places)))
        return out


def _judged(tries: Sequence[_Try], folds: Sequence[_Fold], distance: Array, dof: int) -> list[Way]:
    """All ways, fitted to all their rows and at every origin."""
    ways: list[Way] = []
    errors: list[list[Array | None]] = []
    for one in tries:
        everything = np.ones(len(one.record.y), dtype=bool)
        rows = one.rows(everything)
        way = Way(one.name, one.count, one.words, int(rows.sum()))
        if one.rule != "all" and rows.all():
            continue
        try:
            law = one.fit(rows)
            left = one.predict(law, rows) - np.log(one.record.y[rows])
            predicted = np.exp(one.predict(law, None))
            below, above = one.off_line(law)
        except (FitError, DataError) as error:
            ways.append(replace(way, failed=f"{type(error).__name__}: {error}"))
            errors.append([])
            continue
        free = int(getattr(law, "num_free", 0))
        # noise and misfit where the asked runs are, if rows are there; by mean absolute errors, since the fit too
        # gives little weight to runs that lie far off
        like = one.record.like_asked(one.count)[rows]
        own = np.abs(left[like] if like.sum() > 2 else left).mean()
        base = float(own * np.sqrt(np.pi / 2 * len(left) / max(len(left) - free, 1)))
        ways.append(replace(way, base=base, predicted=predicted, below=below, above=above, fitted=law))
        errors.append([_errors(one, fold) for fold in folds])
    return _weighted(ways, errors, folds, distance, dof)


def _errors(one: _Try, fold: _Fold) -> Array | None:
    """Log errors of the hidden rows; None where the shown ones could not be fitted."""
    try:
        law = one.fit(one.rows(fold.shown))
        return one.predict(law, fold.hidden) - np.log(one.record.y[fold.hidden])
    except (FitError, DataError):
        return None


def _weighted(
    ways: list[Way], errors: list[list[Array | None]], folds: Sequence[_Fold], distance: Array, dof: int
) -> list[Way]:
    """The ways with their errors, by rising error to be expected; compared on origins that most could be fitted at."""
    fitted = [i for i, way in enumerate(ways) if not way.failed]
    if not fitted:
        raise FitError("No law of size could be fitted: " + " ".join(dict.fromkeys(way.failed for way in ways)))
    common = [f for f in range(len(folds)) if sum(errors[i][f] is not None for i in fitted) > len(fitted) / 2]
    out = []
    for way, errs in zip(ways, errors):
        if way.failed:
            out.append(way)
            continue
        mine = [e for f in common if (e := errs[f]) is not None]
        if len(mine) < len(common):
            out.append(
                replace(way, failed=f"could not be fitted at {len(common) - len(mine)} of {len(common)} origins")
            )
            continue
        growth = likeliest_growth(way.base, [folds[f].distance for f in common], mine)
        sd = np.sqrt(way.base**2 + (growth * distance) ** 2)
        error = float(np.mean([np.abs(e).mean() for e in mine]))
        out.append(replace(way, error=error, growth=growth, sd=np.maximum(sd, 1e-12)))
    good = [w for w in out if not w.failed]
    likelihood = -dof * np.log(np.stack([w.sd for w in good]))
    weight = np.exp(likelihood - likelihood.max(axis=0))
    weight /= weight.sum(axis=0)
    order = np.argsort([float(np.log(w.sd).mean()) for w in good], kind="stable")
    # the least of several estimated errors is too small: no way is trusted more than the ways are on average
    average = np.sqrt((weight * np.stack([w.sd for w in good]) ** 2).sum(axis=0))
    good = [replace(good[i], weight=weight[i], sd=np.maximum(good[i].sd, average)) for i in order]
    return good + [w for w in out if w.failed]
