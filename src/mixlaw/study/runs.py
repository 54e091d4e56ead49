"""Which runs a law is fitted to: those of one size, as a table, and in words which were left out."""

from __future__ import annotations

import pyarrow as pa

from mixlaw.data.observations import Observations
from mixlaw.data.table import Table
from mixlaw.kit.units import format_count
from mixlaw.study.folder import StudyFolder
from mixlaw.verify.transfer import base_size

__all__ = ["fitted_to", "left_out_text", "of_one_size", "rows", "runs_of_one_size", "table"]


def of_one_size(observations: Observations, params: float | None = None) -> Observations:
    """The runs that a law of mixtures alone can explain: those of one size.

    Runs that do not say their size count as of the chosen one.

    Args:
        params: the size, in parameters; by default the one at which most mixtures were run (the larger of two alike).

    Example:
        >>> runs = [{"run": f"{w}-{n}", "schedule": {"a": w, "b": 1 - w}, "params": n, "tokens": 1e9}
        ...         for n, weights in ((1e7, (0.2, 0.5)), (3e7, (0.1, 0.4, 0.8))) for w in weights]
        >>> everything = Observations.from_records(runs, [])
        >>> chosen = of_one_size(everything)
        >>> sorted(set(chosen.runs["params"].to_pylist()))
        [30000000.0]
        >>> left_out_text(everything, chosen)
        'Fitted to 3 of 5 runs, those of 30.00M parameters. Left out: 2 of 10.00M.'
    """
    sizes = dict(zip(*(observations.runs[c].to_pylist() for c in ("run", "params"))))
    if len({size for size in sizes.values() if size is not None}) < 2:
        return observations
    chosen = base_size(observations) if params is None else params
    return observations.select([run for run, size in sizes.items() if size is None or size == chosen])


def left_out_text(everything: Observations, chosen: Observations) -> str:
    """Which runs of ``everything`` a law is fitted to and which not, in words; empty where it is all of them."""
    if len(chosen) == len(everything):
        return ""
    kept, left = set(chosen.runs["run"].to_pylist()), dict[str, int]()
    for run, params in zip(*(everything.runs[c].to_pylist() for c in ("run", "params"))):
        if run not in kept:
            size = format_count(params)
            left[size] = left.get(size, 0) + 1
    own = sorted({format_count(p) for p in chosen.runs["params"].to_pylist() if p is not None})
    return (
        f"Fitted to {len(chosen)} of {len(everything)} runs, those of {' and '.join(own)} parameters. Left out: "
        f"{', '.join(f'{n} of {size}' for size, n in left.items())}."
    )


def runs_of_one_size(study: StudyFolder) -> Observations:
    """What a law of mixtures alone is fitted to: the runs of the size that ``training`` describes, or, among imported
    ones, of the size at which most mixtures were run.

    Raises:
        DataError: no run is done yet.
    """
    observations, t = study.observations(), study.config.training
    params = dict(zip(*(observations.runs[c].to_pylist() for c in ("run", "params"))))
    # With a start every run has its model; without, runs of design.sizes have others.
    ours = [s for s in study.designed() if s.tokens == t.tokens and (t.start is not None or s.model == t.model)]
    designed = [s.id for s in ours]
    return of_one_size(observations, next((params[run] for run in designed if params.get(run) is not None), None))


def fitted_to(study: StudyFolder) -> str:
    """Which runs the study's law explains, in words; empty where it is all of them."""
    text = "" if study.has_joint_law() else left_out_text(study.observations(), runs_of_one_size(study))
    return f"{text} A law over sizes (law.name: joint) uses all." if text else ""


def table(study: StudyFolder) -> tuple[pa.Table, pa.Table]:
    """``(X, y)`` that the study's law is fitted to: a row per run, or per measurement for a law over sizes.

    Raises:
        DataError: no run is done yet.
    """
    X, y = rows(study)
    return X, y


def rows(study: StudyFolder) -> Table:
    """The same as :func:`table`, with the run of each row.

    Raises:
        DataError: no run is done yet.
    """
    targets = [v.name for v in study.corpus.validation] or None
    if not study.has_joint_law():
        return runs_of_one_size(study).table(targets)
    found = study.observations().table(targets, at="all", features="joint")
    return Table(found.X.drop_columns(["step"]), found.y, found.runs)
