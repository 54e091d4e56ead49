"""What plots accept, turned into arrays: mixtures, objectives and targets by name, and a law's predictions.

A plot of your own takes the same arguments as those of :mod:`mixlaw.report.plots` when it reads them with these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.data.mixture import Mixture
from mixlaw.errors import ConfigError, DataError, MixlawError, did_you_mean
from mixlaw.kit.arrays import Array

__all__ = [
    "mixture_array",
    "objective_array",
    "own_heldout",
    "predict_all",
    "spearman",
    "target_columns",
    "weights_mapping",
]


def mixture_array(mixture: Any, domains: Sequence[str]) -> Array:
    """Weights (K,) in the order of ``domains`` of a Mixture, a mapping or an array.

    Raises:
        ConfigError: the mixture names a domain that is not among them.
        DataError: an array of another length.

    Example:
        >>> mixture_array({"code": 0.3, "web": 0.7}, ["web", "code"]).tolist()
        [0.7, 0.3]
    """
    if isinstance(mixture, Mixture):
        return mixture.array(domains)
    if isinstance(mixture, Mapping):
        unknown = [name for name in mixture if name not in domains]
        if unknown:
            raise ConfigError(f"The mixture names {unknown[0]!r}.{did_you_mean(str(unknown[0]), domains)}")
        return np.array([float(mixture.get(d, 0.0)) for d in domains])
    array = np.asarray(mixture, dtype=float)
    if array.shape != (len(domains),):
        raise DataError(f"A mixture over {list(domains)} needs {len(domains)} weights, got shape {array.shape}.")
    return array


def weights_mapping(mixture: Any) -> dict[str, float]:
    """``{domain: weight}`` of a Mixture, a Schedule or a mapping.

    Example:
        >>> weights_mapping(Mixture({"web": 0.7, "code": 0.3}))
        {'web': 0.7, 'code': 0.3}
    """
    if hasattr(mixture, "phases"):
        mixture = mixture.mixture
    if hasattr(mixture, "to_dict"):
        mixture = mixture.to_dict()
    return {str(k): float(v) for k, v in dict(mixture).items()}


def predict_all(law: Any, X: Any) -> Array:
    """Predictions (n, T), whatever shape y had."""
    values = np.asarray(law.predict(X), dtype=float)
    return values[:, None] if values.ndim == 1 else values


def own_heldout(law: Any, num_runs: int) -> Array | None:
    """Held-out predictions (n, T) that a mixture law has of its own runs; None for laws of size, whose
    refits cost too much for a plot, and for most laws read from a file."""
    if law.kind != "mixture":
        return None
    try:
        values = law.heldout
    except MixlawError:  # no fold has runs enough
        return None
    if values is None:
        return None
    array = np.asarray(values, dtype=float).reshape(len(values), -1)
    enough = np.isfinite(array).sum(axis=0) >= max(3, num_runs // 2)
    return array if len(array) == num_runs and bool(enough.all()) else None


def target_columns(names: Sequence[str], wanted: Sequence[str] | None) -> list[int]:
    """Positions of the ``wanted`` targets among ``names``; of all where none are named.

    Raises:
        ConfigError: there is no such target.

    Example:
        >>> target_columns(["a", "b", "c"], ["c", "a"])
        [2, 0]
    """
    if wanted is None:
        return list(range(len(names)))
    for name in wanted:
        if name not in names:
            raise ConfigError(f"No target {name!r} in this law.{did_you_mean(name, names)}")
    return [list(names).index(name) for name in wanted]


def objective_array(objective: Mapping[str, float] | None, targets: Sequence[str]) -> Array | None:
    """Objective weights (T,) that sum to one; None where nothing says how several targets count.

    Raises:
        ConfigError: an unknown target, or weights that cannot be normalised.

    Example:
        >>> objective_array({"a": 3.0, "b": 1.0}, ["a", "b"]).tolist()
        [0.75, 0.25]
    """
    if objective is None:
        return np.ones(1) if len(targets) == 1 else None
    target_columns(targets, list(objective))
    weights = np.array([float(objective.get(t, 0.0)) for t in targets])
    if (weights < 0).any() or weights.sum() <= 0:
        raise ConfigError(f"An objective needs non-negative weights with a positive sum, got {dict(objective)}.")
    return np.asarray(weights / weights.sum())


def spearman(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Rank correlation; NaN where one side is constant or there are fewer than three points.

    Example:
        >>> round(spearman([1, 2, 3, 4], [10, 20, 40, 30]), 3)
        0.8
    """
    from scipy.stats import rankdata

    x, y = rankdata(np.asarray(a)), rankdata(np.asarray(b))
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])
