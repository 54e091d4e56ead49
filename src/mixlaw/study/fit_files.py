"""``mixlaw fit runs.csv``: laws from somebody's table, with no configuration and no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from mixlaw.data import formats
from mixlaw.data.observations import Observations, Table
from mixlaw.errors import ConfigError, DataError
from mixlaw.kit.store import Store
from mixlaw.study.equal_inputs import warn_unexplained
from mixlaw.study.larger_runs import asked_runs, larger_runs
from mixlaw.study.runs import left_out_text, of_one_size
from mixlaw.study.steps.fit import rivals
from mixlaw.verify.transfer import rank_evidence

__all__ = ["fit_files", "fitted_rows"]

Features = Literal["mixture", "scale", "repeated", "joint"]


def fit_files(
    source: Sequence[str | Path],
    folder: str | Path,
    *,
    targets: Sequence[str] | None = None,
    repair: bool = False,
    mixtures: str | Path | None = None,
    weights: Mapping[str, str] | Sequence[str] | None = None,
    values: Mapping[str, str] | Sequence[str] | None = None,
    ignore: Sequence[str] | None = None,
    format: str | None = None,
    law: str | None = None,
    seed: int = 0,
    dry_run: bool = False,
    at: Sequence[str] = (),
    progress: Callable[[str, float, float], None] | None = None,
    say: Callable[[str], None] = print,
) -> Any:
    """Read runs, fit a law, and write law, league table, observations and plots into ``folder``.

    Without ``law`` it follows from what varies between the runs: mixtures :class:`mixlaw.laws.Auto` (at one size;
    together with size and tokens from three sizes on), sizes and tokens alone ``Chinchilla``, or ``RepeatedData`` where
    unique tokens are known and repeated. Runs that each trained on one of several sets have a target per set.

    Args:
        source: files or folders :meth:`Observations.read` understands.
        targets: fit only these; default all losses.
        repair: rescale weights that do not sum to one.
        mixtures: for logs of trackers, a table of mixtures (columns ``run``, one per domain).
        weights: ``{domain: column}``, where the names do not tell which columns are weights.
        values: ``{column: what it holds}`` (see :data:`mixlaw.io.names.MEASURES`), or columns, where their names do
            not say so.
        ignore: columns to leave out.
        format: importer, where the files do not tell.
        law: registry name of the law, such as ``"m2"``, instead of the one that suits the runs.
        at: larger runs to predict, such as ``"params=7B,tokens=140B"``: see :func:`mixlaw.laws.extrapolate`. For runs
            of sizes and tokens without mixtures.
        dry_run: say what each column is taken as and what would be fitted; fit and write nothing.

    Returns:
        The fitted law; None of a dry run.

    Raises:
        DataError: files that cannot be read, or runs that have neither mixtures nor sizes and tokens.
        ConfigError: there is no such law, or it explains other columns than the runs have; ``at`` is of another form,
            or the runs have mixtures.
        FitError: too few runs for a law.

    Example:
        >>> law = fit_files(["runs.csv"], "runs-fit")  # doctest: +SKIP
    """
    from mixlaw import laws
    from mixlaw.io import importers
    from mixlaw.report import plots

    asked = asked_runs(at) if at else {}
    given = {"repair": repair, "mixtures": mixtures, "weights": weights, "values": values, "ignore": ignore}
    options: dict[str, Any] = {name: value for name, value in given.items() if value}
    everything = importers.read(list(source), format=format, **options)
    if text := everything.columns_text():
        say(text)
    features, steps = _rows_to_fit(everything, None if law is None else laws.LAWS[law])
    if asked and features not in ("scale", "repeated"):
        raise ConfigError(
            "--at predicts larger runs of one mixture. These runs have several mixtures: give `mixlaw optimize` the "
            "size with --params and --tokens instead."
        )
    observations = _explained(everything, features, say)
    X, y = _table(observations, features, steps, targets, say)
    if dry_run:
        return None
    tick = progress or (lambda what, done, total: None)
    tick("fit", 0, 2)
    fitted = laws.suitable(X) if law is None else laws.LAWS[law]()
    if "seed" in fitted.get_params():
        fitted.set_params(seed=seed)
    fitted.fit(X, y)
    found = []
    if asked:  # before anything is written: what cannot be answered leaves the folder as it was
        metric = _metric(observations)
        runs = observations.table(targets, metric=metric, at=steps, features=features, missing="keep").runs
        found = larger_runs(observations, X, y, runs, asked)
    store = Store(folder)
    store.write_bytes("law.json", fitted.to_json().encode())
    league = fitted.league_
    if (
        league is None and law is not None and fitted.kind == "mixture"
    ):  # a joint law is judged by its backtest, in its summary
        league = laws.compare([law, *rivals(law)], X, y)
        say(str(league))
    if league is not None:
        formats.write(store, "league.json", "league", league.to_dict())
    observations.save(Path(folder) / "observations")
    if features in ("mixture", "joint"):
        say(str(rank_evidence(everything)))
    for one in found:
        say(str(one))
    if found:
        formats.write(store, "extrapolation.json", "extrapolation", {"targets": [one.to_dict() for one in found]})
    tick("fit", 1, 2)
    plots.save_all(fitted, X, y, Path(folder) / "plots")
    tick("fit", 2, 2)
    return fitted


def fitted_rows(observations: Observations, law: Any) -> tuple[pa.Table, pa.Table]:
    """``(X, y)`` that a law was fitted to, from the observations that :func:`fit_files` wrote beside it.

    Example:
        ``fitted_rows(Observations.load("runs-fit/observations"), law)``
    """
    features, at = _rows_to_fit(observations, type(law))
    X, y = _table(observations, features, at, None, lambda text: None)
    return X, y.select(list(law.target_names_))


def _explained(everything: Observations, features: Features, say: Callable[[str], None]) -> Observations:
    """The runs that the law is fitted to: those with a mixture, and of one size where the law knows only mixtures."""
    if features not in ("mixture", "joint"):
        return everything
    mixed = everything.select(list(everything.schedules()))
    if features == "joint":
        return mixed
    chosen = of_one_size(mixed)
    if words := left_out_text(mixed, chosen):
        say(f"{words} Three sizes or more, with the tokens of each run, would be fitted together.")
    return chosen


def _table(
    observations: Observations,
    features: Features,
    at: Literal["final", "all"],
    targets: Sequence[str] | None,
    say: Callable[[str], None],
) -> tuple[pa.Table, pa.Table]:
    """``(X, y)`` of the metric that was measured, and its shape in words."""
    metric = _metric(observations)
    table = observations.table(targets, metric=metric, at=at, features=features, missing="keep")
    if "step" in table.X.column_names:  # every row has its tokens, and a budget states these
        table = Table(table.X.drop_columns(["step"]), table.y, table.runs)
    warn_unexplained(observations, table)
    X, y = table
    if features in ("scale", "repeated"):
        y = _per_training_set(observations, table)
    y, rule = _lower_is_better(observations, metric, y)
    rows = "runs" if at == "final" else "measurements"
    count = f"{y.num_columns} target{'' if y.num_columns == 1 else 's'}"
    say(f"{X.num_rows} {rows}, columns {', '.join(X.column_names)}; {count} in {metric}{rule}.")
    others = sorted(set(observations.values["metric"].to_pylist()) - {metric})
    if others:
        say(
            f"Not fitted: values in {', '.join(others)}; one law is of one metric. To fit those instead, leave "
            f"the columns of {metric} out (--ignore COLUMN)."
        )
    return X, y


def _lower_is_better(observations: Observations, metric: str, y: pa.Table) -> tuple[pa.Table, str]:
    """Targets as a law and an optimum of it may use them: less is better. What is better when higher is turned over,
    and its name says so."""
    units = {
        u
        for m, u in zip(observations.values["metric"].to_pylist(), observations.values["unit"].to_pylist())
        if m == metric
    }
    if metric == "accuracy" and units == {"fraction"}:
        return pa.table({f"{n} (1 - accuracy)": 1.0 - y.column(n).to_numpy() for n in y.column_names}), (
            ", fitted as 1 - accuracy so that less is better"
        )
    if "higher_is_better" in units:
        if len(units) > 1:
            raise DataError(
                "Some scores are better when higher and others when lower. Fit them one by one: --value ..."
            )
        return pa.table({f"minus {n}": -y.column(n).to_numpy() for n in y.column_names}), (
            ", fitted as minus the score so that less is better"
        )
    return y, ""


_Rows = tuple[Features, Literal["final", "all"]]


def _rows_to_fit(observations: Observations, law: Any = None) -> _Rows:
    """Columns and steps of the table that a law is fitted to: by what varies between the runs, and what the class of
    the law can explain (None: it is chosen by the runs)."""
    from mixlaw.laws import Auto

    features, _ = found = _by_what_varies(observations)
    kind = None if law is None else law.kind
    if kind == "mixture" and features == "joint" and law is not Auto:  # which takes sizes as well
        return "mixture", "final"
    if kind == "joint" and features == "mixture":
        return "joint", "all"
    explains = {"mixture": ("mixture", "joint"), "joint": ("joint",), "scale": ("scale", "repeated")}
    if kind is not None and features not in explains.get(kind, ()):
        have = "mixtures" if features in ("mixture", "joint") else "sizes and tokens, and no mixtures"
        raise ConfigError(
            f"The law {law.__name__} is of the kind {kind!r}, and these runs have {have}. Choose another."
        )
    return found


def _by_what_varies(observations: Observations) -> _Rows:
    runs = observations.runs.select(["params", "tokens", "epochs"]).to_pylist()
    mixtures = {tuple(s.mixture.to_dict().values()) for s in observations.schedules().values()}
    sizes = {r["params"] for r in runs if r["params"] is not None}
    one_set_each = all(max(weights) == 1.0 for weights in mixtures)
    if mixtures and not (one_set_each and len(sizes) > 1):
        long = all(r["tokens"] for r in runs)
        return ("joint", "all") if len(sizes) >= 3 and long else ("mixture", "final")
    if not sizes or not any(r["tokens"] for r in runs):
        raise DataError(
            "The runs have neither mixtures nor sizes and tokens, so no law can explain them. Name the columns of "
            "weights weight_<domain>, or say which they are: weights= (--weight DOMAIN=COLUMN for each); laws of size "
            "need the columns params and tokens."
        )
    epochs = [e for r in runs for _, e in r["epochs"] or []]
    if len(epochs) == len(runs) and max(epochs) > 1 and len(mixtures) <= 1:
        return "repeated", "final"
    return "scale", "final"


def _per_training_set(observations: Observations, table: Table) -> pa.Table:
    """Targets per training set, where runs were trained on one of several: a law of size alone holds for each."""
    y, schedules = table.y, observations.schedules()
    if len(observations.domains) < 2 or not schedules:
        return y
    trained = np.array([max(schedules[r].mixture.to_dict().items(), key=lambda item: item[1])[0] for r in table.runs])
    columns = {}
    for target in y.column_names:
        values = y.column(target).to_numpy()
        for name in observations.domains:
            columns[f"{target}, trained on {name}"] = np.where(trained == name, values, np.nan)
    return pa.table(columns)


def _metric(observations: Observations) -> str:
    found = list(dict.fromkeys(observations.values.column("metric").to_pylist()))
    if not found:
        raise DataError("The runs hold no measured values.")
    return next((m for m in ("loss", "bits_per_byte") if m in found), str(found[0]))
