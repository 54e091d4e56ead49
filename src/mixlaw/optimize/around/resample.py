"""Laws that could have been: the same family refitted to runs that were drawn or weighed anew.

*Drawn* runs (with replacement) leave a third of them out of every refit, so their spread holds what a law with few runs
per parameter gets wrong on rows it has not seen: intervals of the gain use them. *Weighed* runs (a Bayesian bootstrap,
Rubin 1981; independent exponential weights) are all there in every refit, so no refit is wilder than the runs: robust
optima use them, which otherwise chase the wildest law. Their spread alone is too narrow for an interval.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mixlaw.errors import ConvergenceError, DataError, MixlawWarning, TooFewRunsError
from mixlaw.kit.arrays import Array
from mixlaw.optimize.pose.view import LawView

__all__ = ["bootstrap_laws", "drawn", "weighed"]


Weights = Callable[[int, int, int], Array]
"""``weights(n, num, seed)``: (num, n) weights of n runs, each row summing to n; the same for the same seed."""


def drawn(n: int, num: int, seed: int = 0) -> Array:
    """How often each run is drawn in n draws with replacement."""
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1.0 / n), size=num).astype(float)


def weighed(n: int, num: int, seed: int = 0) -> Array:
    """Positive weights of all runs, as noisy in the mean as drawing."""
    draws = np.random.default_rng(seed).exponential(size=(num, n))
    return np.asarray(draws / draws.mean(axis=1, keepdims=True))


def bootstrap_laws(
    view: LawView, runs: tuple[Any, Any], num: int, seed: int = 0, weights: Weights = drawn
) -> list[LawView]:
    """``num`` refits of the law under :func:`drawn` or :func:`weighed` runs (law options kept; a ridge chosen by
    cross-validation is kept at what was chosen).

    Raises:
        DataError: fewer than half of the refits succeeded.
    """
    from sklearn.base import clone

    from mixlaw.laws.fit.mixture_law import MixtureLaw

    _, losses, matrix = view.rows(runs)
    X = view.named(matrix)
    y = dict(zip(view.targets, losses.T))
    rows = weights(len(matrix), num, seed)
    options = _frozen_options(view.law)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixlawWarning)  # each refit repeats what the fit itself said
        if isinstance(view.law, MixtureLaw):
            law = view.law
            if "_variance" not in vars(law):  # read back from JSON: fit once more to have what the engine needs
                law = clone(law).set_params(**options).fit(X, y)
            views = [view.with_law(one) for one in law.reweighted(rows) if one is not None]
        else:
            views = []
            for weight in rows:
                try:
                    views.append(view.with_law(clone(view.law).set_params(**options).fit(X, y, sample_weight=weight)))
                except (ConvergenceError, TooFewRunsError):
                    continue  # a draw can leave too few different mixtures
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
