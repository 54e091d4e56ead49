"""Laws that could have been: the same family refitted under Bayesian bootstrap weights of the runs.

Every refit keeps all runs and weighs them by independent exponential numbers (Rubin 1981; posterior bootstrap of Newton
& Raftery 1994). A bootstrap that draws runs with replacement leaves out a third of them in every refit: with two
runs per domain its laws are wilder than the law's own uncertainty, and a worst-case optimum chases the wildest.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.errors import ConvergenceError, DataError, MixlawWarning, TooFewRunsError
from mixlaw.optimize.view import LawView

__all__ = ["bootstrap_laws", "bootstrap_weights"]

Array = npt.NDArray[np.float64]


def bootstrap_weights(n: int, num: int, seed: int = 0) -> Array:
    """(num, n) positive weights of n runs, each row summing to n; the same for the same seed."""
    draws = np.random.default_rng(seed).exponential(size=(num, n))
    return np.asarray(draws / draws.mean(axis=1, keepdims=True))


def bootstrap_laws(view: LawView, runs: tuple[Any, Any], num: int, seed: int = 0) -> list[LawView]:
    """``num`` refits of the law under :func:`bootstrap_weights` of the runs (law options kept; a ridge chosen by
    cross-validation is kept at what was chosen).

    Raises:
        DataError: fewer than half of the refits succeeded.
    """
    from sklearn.base import clone

    from mixlaw.laws.parametric import ParametricLaw

    _, losses, matrix = view.rows(runs)
    X = view.named(matrix)
    y = dict(zip(view.targets, losses.T))
    weights = bootstrap_weights(len(matrix), num, seed)
    options = _frozen_options(view.law)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixlawWarning)  # each refit repeats what the fit itself said
        if isinstance(view.law, ParametricLaw):
            law = view.law
            if "_variance" not in vars(law):  # read back from JSON: fit once more to have what the engine needs
                law = clone(law).set_params(**options).fit(X, y)
            views = [view.with_law(one) for one in law.reweighted(weights) if one is not None]
        else:
            views = []
            for weight in weights:
                try:
                    views.append(view.with_law(clone(view.law).set_params(**options).fit(X, y, sample_weight=weight)))
                except (ConvergenceError, TooFewRunsError):
                    continue
    if len(views) < num / 2:
        raise DataError(
            f"Only {len(views)} of {num} bootstrap refits of {type(view.law).__name__} succeeded; {len(matrix)} runs "
            f"are too few to resample. Add runs, or leave out the bootstrap (num_bootstrap=0)."
        )
    return views


def _frozen_options(law: Any) -> dict[str, Any]:
    """Options that a refit need not choose again."""
    if hasattr(law, "refit_options"):
        return dict(law.refit_options())
    chosen: Sequence[float] | None = getattr(law, "ridge_", None)
    if chosen is not None and getattr(law, "ridge", None) == "cv":
        return {"ridge": float(np.exp(np.mean(np.log(np.maximum(np.asarray(chosen, dtype=float), 1e-12)))))}
    return {}
