"""The league table: which law predicts rows it has not seen, on identical splits for all."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
from sklearn.base import clone

from mixlaw.data.seams import LAWS
from mixlaw.errors import ConfigError, DataError, FitError, MixlawWarning, TooFewRunsError, did_you_mean
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.base import Law
from mixlaw.laws.core.folds import Ints, count_different, held_out_folds
from mixlaw.laws.core.heldout import Predict, heldout_predictions
from mixlaw.laws.core.table import as_matrix, as_targets

__all__ = ["League", "LeagueRow", "compare"]


@dataclass(frozen=True)
class LeagueRow:
    """One law's held-out scores. ``mae`` and ``spearman`` are means over targets; ``error`` says why a law has none.

    Args:
        name: of the law.
        mae, rmse: held-out errors in the targets' unit.
        spearman: rank correlation of held-out predictions with the measurements, in [-1, 1].
        coverage: share of held-out measurements inside the law's intervals; ``width`` their mean width.
        seconds: how long the fits took.
        error: why the law has no scores; empty where it has.
        by_target: the same scores of each target.
        law: the law fitted to all runs, where ``refit`` was asked for.

    Example:
        >>> R = np.random.default_rng(0).dirichlet([1, 1], 12)
        >>> row = compare(["m4"], R, 2 + np.exp(-2 * R[:, 0]), cv=3).best
        >>> row.name, row.mae < 1e-3
        ('m4', True)
    """

    name: str
    mae: float
    rmse: float
    spearman: float
    coverage: float
    width: float
    seconds: float
    error: str = ""
    by_target: dict[str, dict[str, float]] = field(default_factory=dict)
    law: Any = None


def _plain(value: Any) -> Any:
    """For JSON, which has no NaN: the scores of a law that could not be fitted are None there."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return None if isinstance(value, float) and not np.isfinite(value) else value


@dataclass(frozen=True)
class League:
    """Rows sorted by held-out mean absolute error; ``print(league)`` shows the table.

    ``runs`` were scored in ``folds`` folds, as ``splits`` says in words; coverage is that of intervals at ``level``.

    Example:
        >>> R = np.random.default_rng(0).dirichlet([1, 1], 12)
        >>> league = compare(["m4", "log_linear"], R, 2 + np.exp(-2 * R[:, 0]), cv=3)
        >>> [row.name for row in league.rows], league.folds
        (['m4', 'log_linear'], 3)
    """

    rows: list[LeagueRow]
    runs: int
    folds: int
    level: float
    splits: str

    @property
    def best(self) -> LeagueRow:
        """The row with the lowest held-out error.

        Raises:
            FitError: no law could be fitted.
        """
        for row in self.rows:
            if not row.error:
                return row
        raise FitError("No law could be fitted: " + "; ".join(f"{r.name}: {r.error}" for r in self.rows))

    def __getitem__(self, name: str) -> LeagueRow:
        """The row of a law, by its label or an alias of its registry name (``"gp"``).

        Raises:
            ConfigError: no such row, with the nearest name.
        """
        for row in self.rows:
            if row.name == name or (name in LAWS and row.name == LAWS.canonical(name)):
                return row
        names = [row.name for row in self.rows]
        near = did_you_mean(name, names) if isinstance(name, str) else f" Rows are found by name: {', '.join(names)}."
        raise ConfigError(f"The league has no row {name!r}.{near}")

    def to_dict(self) -> dict[str, Any]:
        """Plain data: how it was measured, and the rows without their laws."""
        keys = ("name", "mae", "rmse", "spearman", "coverage", "width", "seconds", "error", "by_target")
        return {
            "runs": self.runs,
            "folds": self.folds,
            "level": self.level,
            "splits": self.splits,
            "rows": [{k: _plain(getattr(row, k)) for k in keys} for row in self.rows],
        }

    @property
    def _caption(self) -> str:
        """What the columns are, with their units."""
        return (
            f"Held-out scores, {self.runs} runs, {self.splits}; MAE, RMSE and width (of {self.level:.0%} intervals) "
            f"are in the unit of the losses, s/fit is seconds"
        )

    def _repr_html_(self) -> str:
        """The table, as notebooks show it."""
        inside = f"in {self.level:.0%}"
        heads = ("law", "MAE", "RMSE", "Spearman", inside, "width", "s/fit")
        body = []
        for r in self.rows:
            if r.error:
                cells = f'<td colspan="{len(heads) - 1}">{escape(r.error)}</td>'
            else:
                shown = (
                    f"{r.mae:.4g}", f"{r.rmse:.4g}", f"{r.spearman:.4f}", f"{r.coverage:.1%}", f"{r.width:.3g}",
                    f"{r.seconds:.3f}",
                )  # fmt: skip
                cells = "".join(f'<td style="text-align: right">{text}</td>' for text in shown)
            body.append(f'<tr><th style="text-align: left">{escape(r.name)}</th>{cells}</tr>')
        head = "".join(f"<th>{escape(text)}</th>" for text in heads)
        return f"<table><caption>{escape(self._caption)}</caption><tr>{head}</tr>{''.join(body)}</table>"

    def __str__(self) -> str:
        width = max([len(r.name) for r in self.rows] + [3])
        inside = f"in {self.level:.0%}"
        head = (
            f"{'law':{width}s}  {'MAE':>9s}  {'RMSE':>9s}  {'Spearman':>8s}  {inside:>7s}  {'width':>8s}  {'s/fit':>7s}"
        )
        lines = [self._caption, head]
        for r in self.rows:
            if r.error:
                lines.append(f"{r.name:{width}s}  {r.error}")
            else:
                lines.append(
                    f"{r.name:{width}s}  {r.mae:9.4g}  {r.rmse:9.4g}  {r.spearman:8.4f}  {r.coverage:7.1%}  "
                    f"{r.width:8.3g}  {r.seconds:7.3f}"
                )
        return "\n".join(lines)


def compare(
    laws: Iterable[Any] | Mapping[str, Any] | None,
    X: Any,
    y: Any,
    *,
    cv: int | str = "auto",
    level: float = 0.9,
    sample_weight: Any = None,
    refit: bool = False,
    seed: int = 0,
) -> League:
    """Fit every law on the same folds and score the rows left out.

    Args:
        laws: laws, classes or registry names (``"m4"``), or a mapping of label to these; None: the mixture
            families that suit any swarm.
        X, y: as for :meth:`mixlaw.laws.core.base.Law.fit`.
        cv: number of folds; ``"auto"`` is leave-one-out up to 24 different mixtures, else 5. Replicates of a
            mixture share a fold.
        level: of the intervals whose coverage is reported.
        sample_weight: (n,) weights of the runs, >= 0 (None: all alike).
        seed: of the folds.
        refit: also fit each law on all rows; it is then in ``row.law``.

    Returns:
        :class:`League`. A law that cannot be fitted has its reason in place of scores; it does not stop the rest.

    Raises:
        ConfigError: ``cv`` is neither ``"auto"`` nor a whole number from 2, or an unknown law.
        DataError: X and y of different lengths, or a table that cannot be read.
        TooFewRunsError: fewer than three different mixtures.

    Example:
        >>> R = np.random.default_rng(0).dirichlet([1, 1], 12)
        >>> print(compare(["m4", "loglinear"], R, 2 + np.exp(-2 * R[:, 0]), cv=3).best.name)
        m4
    """
    matrix, names = as_matrix(X)
    targets, target_names, _ = as_targets(y, allow_missing=True)
    if len(matrix) != len(targets):
        raise DataError(f"X has {len(matrix)} runs but y has {len(targets)}.")
    names = names or [f"x{j}" for j in range(matrix.shape[1])]
    target_names = target_names or [f"y{t}" for t in range(targets.shape[1])]
    weight = np.ones(len(matrix)) if sample_weight is None else np.asarray(sample_weight, dtype=float)
    distinct = count_different(matrix)
    if cv == "auto":
        folds = None
    elif isinstance(cv, int) and cv >= 2:
        folds = min(cv, distinct)
    else:
        raise ConfigError(f"cv={cv!r} must be 'auto' or a whole number of folds, 2 or more.")
    if distinct < 3:
        raise TooFewRunsError(f"Comparing laws needs at least 3 different mixtures; there are {distinct}.")
    runs = _Runs(matrix, targets, weight, names, target_names)
    num = int(held_out_folds(matrix, targets, folds, seed).max()) + 1
    rows = [_row(label, law, runs, num, seed, level, refit) for label, law in _resolve(laws)]
    rows.sort(key=lambda r: (bool(r.error), r.mae, r.name))
    text = "leave-one-out" if num == distinct else f"{num} folds"
    return League(rows, len(matrix), num, level, f"{text}, the same for every law")


def _resolve(laws: Any) -> list[tuple[str, Law]]:
    if laws is None:
        laws = ["m1", "m4", "loglinear", "effective_tokens", "bimix", "autoscale", "gp", "trees"]
    items = laws.items() if isinstance(laws, Mapping) else [(None, law) for law in laws]
    out: list[tuple[str, Law]] = []
    for label, law in items:
        made = LAWS[law]() if isinstance(law, str) else law() if isinstance(law, type) else law
        if not isinstance(made, Law):
            raise ConfigError(f"{law!r} is not a law. Give a registry name ({', '.join(LAWS.names())}) or a Law.")
        name = str(label or (law if isinstance(law, str) else made.name or type(made).__name__))
        taken = [n for n, _ in out]
        while name in taken:
            name += "'"
        out.append((name, made))
    return out


@dataclass(frozen=True)
class _Runs:
    """What all laws of a league are fitted to."""

    X: Array
    Y: Array
    weight: Array
    names: list[str]
    targets: list[str]

    def fit(self, law: Law, rows: Any) -> Law:
        """A clone of ``law`` fitted to some rows."""
        return clone(law).fit(_table(self.names, self.X[rows]), _table(self.targets, self.Y[rows]), self.weight[rows])


def _row(label: str, law: Law, runs: _Runs, folds: int, seed: int, level: float, refit: bool) -> LeagueRow:
    """One law's scores on rows that it had not seen."""
    X, Y, target_names = runs.X, runs.Y, runs.targets
    seconds: list[float] = []

    def one(rows: Ints, _: Array) -> Predict:
        began = time.perf_counter()
        model = runs.fit(law, rows)
        seconds.append(time.perf_counter() - began)

        def predict(held: Ints) -> Array:
            there = _table(runs.names, X[held])
            values = (model.predict(there), *model.predict_interval(there, level))
            return np.stack([np.asarray(v).reshape(len(held), Y.shape[1]) for v in values], axis=-1)

        return predict

    fitted = None
    try:
        found = heldout_predictions(one, X, Y, folds=folds, seed=seed, sample_weight=runs.weight, partial=False)
        predicted, low, high = np.moveaxis(found, -1, 0)
        if refit:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", MixlawWarning)  # the league shows what matters
                fitted = runs.fit(law, slice(None))
    except (FitError, DataError, ConfigError, ImportError) as error:
        nan = float("nan")
        return LeagueRow(label, float("inf"), nan, nan, nan, nan, nan, f"{type(error).__name__}: {error}")
    by_target = {}
    for t, name in enumerate(target_names):
        ok = np.isfinite(Y[:, t]) & np.isfinite(predicted[:, t])
        error_t = predicted[ok, t] - Y[ok, t]
        by_target[name] = {
            "mae": float(np.abs(error_t).mean()),
            "rmse": float(np.sqrt((error_t**2).mean())),
            "spearman": spearman(predicted[ok, t], Y[ok, t]),
            "coverage": float(((Y[ok, t] >= low[ok, t]) & (Y[ok, t] <= high[ok, t])).mean()),
            "width": float((high[ok, t] - low[ok, t]).mean()),
        }

    def mean(key: str) -> float:
        values = np.array([v[key] for v in by_target.values()])
        values = values[np.isfinite(values)]
        return float(values.mean()) if len(values) else float("nan")

    return LeagueRow(
        label,
        mean("mae"),
        mean("rmse"),
        mean("spearman"),
        mean("coverage"),
        mean("width"),
        float(np.mean(seconds)),
        "",
        by_target,
        fitted,
    )


def _table(names: list[str], values: Array) -> dict[str, Array]:
    return {name: values[:, j] for j, name in enumerate(names)}


def spearman(a: Array, b: Array) -> float:
    """Rank correlation (ties share their mean rank); NaN where either is constant."""

    def ranks(v: Array) -> Array:
        _, inverse, counts = np.unique(v, return_inverse=True, return_counts=True)
        last = np.cumsum(counts)
        return (last - 0.5 * (counts - 1))[inverse.reshape(-1)]

    x, y = ranks(np.asarray(a)), ranks(np.asarray(b))
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x**2).sum() * (y**2).sum()))
    return float((x * y).sum() / scale) if scale > 0 else float("nan")
