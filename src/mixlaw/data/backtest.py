"""Backtests: hide a part of what was measured, to be predicted from the rest. One function serves every law.

A rule says what is hidden: the largest sizes, the later steps, some of the mixtures, or a corpus.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mixlaw.data.mixture import rounded
from mixlaw.data.observations import Observations
from mixlaw.errors import ConfigError, DataError
from mixlaw.kit.hashing import content_hash

__all__ = ["Corpora", "Fold", "Mixtures", "Rule", "Sizes", "Steps", "hide"]

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Fold:
    """One backtest: ``hidden`` is to be predicted from ``shown``.

    Args:
        name: what is hidden, such as ``"params 4.1e+08"``.
        shown, hidden: they share no value.

    Example:
        >>> corpora = {"a": "books", "b": "books", "c": "news"}  # by run; content hashes in earnest
        >>> runs = [{"run": run, "schedule": None, "corpus_hash": corpus} for run, corpus in corpora.items()]
        >>> values = [{"run": run, "step": 10, "target": "web", "value": 3.0} for run in corpora]
        >>> fold = hide(Observations.from_records(runs, values), Corpora())[0]
        >>> fold.name, len(fold.shown), len(fold.hidden)
        ('corpus books', 1, 2)
    """

    name: str
    shown: Observations
    hidden: Observations


class Rule(Protocol):
    """Says what is hidden.

    Example:
        >>> class Target:  # a rule of one's own
        ...     def parts(self, observations):
        ...         hidden = np.array([target == "code" for target in observations.values["target"].to_pylist()])
        ...         yield "code", ~hidden, hidden
        >>> values = [{"run": "a", "step": 10, "target": target, "value": 3.0} for target in ("web", "code")]
        >>> len(hide(Observations.from_records([{"run": "a", "schedule": None}], values), Target()))
        1
    """

    def parts(self, observations: Observations) -> Iterator[tuple[str, Mask, Mask]]:
        """For each fold its name and two masks over the rows of ``observations.values``: shown, hidden."""


def hide(observations: Observations, rule: Rule) -> list[Fold]:
    """Hide parts of the observations.

    A value that was derived from a hidden one is shown to nobody, and single items' results go with the values of
    their run and step.

    Args:
        observations: what was measured.
        rule: :class:`Sizes`, :class:`Steps`, :class:`Mixtures` or :class:`Corpora`.

    Raises:
        ConfigError: ``rule`` is no rule.
        DataError: these are no observations, or the rule leaves nothing to hide, or nothing to show.

    Example:
        >>> runs = [{"run": f"r{i}", "schedule": None, "params": n} for i, n in enumerate([1e6, 1e7, 1e8])]
        >>> values = [{"run": f"r{i}", "step": 10, "target": "web", "value": 4.0 - i} for i in range(3)]
        >>> [fold] = hide(Observations.from_records(runs, values), Sizes(1))
        >>> fold.name, len(fold.shown), len(fold.hidden)
        ('params 1e+08', 2, 1)
    """
    if not isinstance(observations, Observations):
        raise DataError(f"hide(observations, rule) takes Observations, got {type(observations).__name__}.")
    if not callable(getattr(rule, "parts", None)):
        raise ConfigError(f"hide(observations, rule) takes a rule such as Sizes() or Mixtures(), got {rule!r}.")
    folds = []
    for name, shown, hidden in rule.parts(observations):
        shown = shown & ~hidden & ~_derived_from(observations, hidden)
        if not shown.any() or not hidden.any():
            missing = "hide" if not hidden.any() else "show"
            raise DataError(f"The backtest {name!r} of {rule} leaves no values to {missing}.")
        folds.append(Fold(name, _only(observations, shown), _only(observations, hidden)))
    if not folds:
        raise DataError(f"{rule} makes no backtest of these {len(observations)} runs.")
    return folds


@dataclass(frozen=True)
class Sizes:
    """Hide a size (non-embedding parameters), and show the smaller ones: one fold for each of the ``num`` largest.

    Args:
        num: folds; runs of larger sizes than the hidden one are in neither part.

    Raises:
        ConfigError: ``num`` is not positive.

    Example:
        >>> runs = [{"run": f"r{n}", "schedule": None, "params": n} for n in (1e6, 1e7, 1e8)]
        >>> values = [{"run": f"r{n}", "step": 10, "target": "web", "value": 3.0} for n in (1e6, 1e7, 1e8)]
        >>> [fold.name for fold in hide(Observations.from_records(runs, values), Sizes(2))]
        ['params 1e+08', 'params 1e+07']
    """

    num: int = 1

    def __post_init__(self) -> None:
        _at_least(self, "num", self.num, 1)

    def parts(self, observations: Observations) -> Iterator[tuple[str, Mask, Mask]]:
        """See :class:`Rule`.

        Raises:
            DataError: there are not more than ``num`` sizes, or the size of some run is not known.
        """
        params = _known(observations, "params", self).astype(float)
        sizes = np.unique(params)
        if len(sizes) <= self.num:
            raise DataError(f"{self} needs runs of at least {self.num + 1} sizes; there are {len(sizes)}: {sizes}.")
        for size in sizes[::-1][: self.num]:
            yield f"params {size:.3g}", params < size, params == size


@dataclass(frozen=True)
class Steps:
    """Hide the later part of every run.

    Args:
        after: fraction of a run's last measured step, in (0, 1); later values are hidden. A run that was measured
            only then is not shown.

    Raises:
        ConfigError: ``after`` is not between 0 and 1.

    Example:
        >>> shares = {"a": 0.2, "b": 0.5, "c": 0.8}  # of web in three runs
        >>> runs = [{"run": run, "schedule": {"web": s, "code": 1 - s}} for run, s in shares.items()]
        >>> values = [{"run": run, "step": t, "target": "web", "value": 3.0} for run in shares for t in (10, 20)]
        >>> [fold] = hide(Observations.from_records(runs, values), Steps(after=0.5))
        >>> fold.name, sorted(set(fold.hidden.values["step"].to_pylist()))
        ('steps after 0.5 of a run', [20])
    """

    after: float = 0.5

    def __post_init__(self) -> None:
        if not isinstance(self.after, int | float) or not 0 < self.after < 1:
            raise ConfigError(f"Steps after must be a fraction between 0 and 1, got {self.after!r}.")

    def parts(self, observations: Observations) -> Iterator[tuple[str, Mask, Mask]]:
        """See :class:`Rule`."""
        steps = observations.values["step"].to_numpy(zero_copy_only=False).astype(float)
        _, run = np.unique(observations.values["run"].to_numpy(zero_copy_only=False), return_inverse=True)
        last = np.zeros(run.max(initial=-1) + 1)
        np.maximum.at(last, run, steps)
        late = steps > self.after * last[run]
        yield f"steps after {self.after:g} of a run", ~late, late


@dataclass(frozen=True)
class Mixtures:
    """Hide mixtures: each is hidden in exactly one fold, together with its replicates and its other sizes.

    The folds depend on the mixtures and the seed, not on the order of runs or of domains.

    Args:
        folds: at most as many as there are mixtures.
        seed: of the random assignment.

    Raises:
        ConfigError: fewer than two folds.

    Example:
        >>> shares = {"a": 0.2, "b": 0.5, "c": 0.8}  # of web in three runs
        >>> runs = [{"run": run, "schedule": {"web": s, "code": 1 - s}} for run, s in shares.items()]
        >>> values = [{"run": run, "step": t, "target": "web", "value": 3.0} for run in shares for t in (10, 20)]
        >>> folds = hide(Observations.from_records(runs, values), Mixtures(folds=3))
        >>> [sorted(set(fold.hidden.values["run"].to_pylist())) for fold in folds]
        [['b'], ['c'], ['a']]
    """

    folds: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        _at_least(self, "folds", self.folds, 2)
        _at_least(self, "seed", self.seed, 0)

    def parts(self, observations: Observations) -> Iterator[tuple[str, Mask, Mask]]:
        """See :class:`Rule`.

        Raises:
            DataError: all runs have the same mixture, or that of some run is not known.
        """
        _known(observations, "schedule", self)
        keys = {run: _mixture_key(schedule, self.seed) for run, schedule in observations.schedules().items()}
        order = {key: i for i, key in enumerate(sorted(set(keys.values())))}
        if len(order) < 2:
            raise DataError(f"{self} needs runs of at least two mixtures; all {len(keys)} runs have the same one.")
        num = min(self.folds, len(order))
        fold = np.array([order[keys[run]] % num for run in observations.values["run"].to_pylist()])
        for i in range(num):
            yield f"mixtures {i + 1} of {num}", fold != i, fold == i


@dataclass(frozen=True)
class Corpora:
    """Hide a corpus: one fold for each, by its content hash.

    Example:
        >>> corpora = {"a": "books", "b": "books", "c": "news"}  # by run; content hashes in earnest
        >>> runs = [{"run": run, "schedule": None, "corpus_hash": corpus} for run, corpus in corpora.items()]
        >>> values = [{"run": run, "step": 10, "target": "web", "value": 3.0} for run in corpora]
        >>> [fold.name for fold in hide(Observations.from_records(runs, values), Corpora())]
        ['corpus books', 'corpus news']
    """

    def parts(self, observations: Observations) -> Iterator[tuple[str, Mask, Mask]]:
        """See :class:`Rule`.

        Raises:
            DataError: all runs are on the same corpus, or that of some run is not known.
        """
        corpus = _known(observations, "corpus_hash", self).astype(str)
        names = np.unique(corpus)
        if len(names) < 2:
            raise DataError(f"{self} needs runs on at least two corpora; all runs are on {names.tolist()}.")
        for name in names:
            yield f"corpus {name}", corpus != name, corpus == name


def _at_least(rule: Any, name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{rule}: {name}={value!r} must be a whole number of at least {least}.")


def _known(observations: Observations, column: str, rule: Any) -> npt.NDArray[Any]:
    """(rows of values,) a column of the run that each value belongs to.

    Raises:
        DataError: it is not known for some of the runs.
    """
    of = dict(zip(observations.runs["run"].to_pylist(), observations.runs[column].to_pylist()))
    unknown = [run for run, value in of.items() if value is None or value == ""]
    if unknown:
        raise DataError(f"{rule} needs {column} of every run; {len(unknown)} have none, for example {unknown[:3]}.")
    out = np.empty(observations.values.num_rows, object)
    out[:] = [of[run] for run in observations.values["run"].to_pylist()]
    return out


def _mixture_key(schedule: Any, seed: int) -> str:
    phases = [
        [round(p.fraction, 9), {d: float(rounded(w)) for d, w in sorted(p.mixture.to_dict().items()) if w}]
        for p in schedule.phases
    ]
    return content_hash({"seed": seed, "phases": phases})


def _derived_from(observations: Observations, hidden: Mask) -> Mask:
    """Values that were computed from a hidden one, or from a value that was."""
    names = ("run", "step", "target", "metric")
    rows = observations.values.select(list(names)).to_pylist()
    keys = [tuple(row[n] for n in names) for row in rows]
    secret = {key for key, is_hidden in zip(keys, hidden) if is_hidden}
    origins = observations.values["derived_from"].to_pylist()
    derived = np.zeros(len(keys), bool)
    while True:  # a value may be derived from derived ones
        found = [any(tuple(s[n] for n in names) in secret for s in origin or ()) for origin in origins]
        if np.array_equal(found, derived):
            return derived
        derived = np.array(found, bool)
        secret |= {key for key, is_derived in zip(keys, found) if is_derived}


def _only(observations: Observations, keep: Mask) -> Observations:
    """The values of ``keep``, their runs, and the items measured with them."""
    values = observations.values.filter(pa.array(keep))
    points = set(zip(values["run"].to_pylist(), values["step"].to_pylist()))
    runs = {run for run, _ in points}
    items = observations.items
    at = zip(items["run"].to_pylist(), items["step"].to_pylist())
    return Observations(
        observations.runs.filter(pa.array([run in runs for run in observations.runs["run"].to_pylist()], pa.bool_())),
        values,
        items.filter(pa.array([point in points for point in at], pa.bool_())),
    )
