"""Laws that could have been: the same family refitted to resampled runs."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.errors import ConvergenceError, DataError, MixlawWarning, TooFewRunsError
from mixlaw.optimize.view import LawView

__all__ = ["bootstrap_laws"]

Array = npt.NDArray[np.float64]


def bootstrap_laws(view: LawView, runs: tuple[Any, Any], num: int, seed: int = 0) -> list[LawView]:
    """``num`` refits of the law, each to a bootstrap resample of the runs (as sample weights; law options kept,
    a ridge chosen by cross-validation is kept at what was chosen).

    Raises:
        DataError: fewer than half of the refits succeeded.
    """
    from sklearn.base import clone

    from mixlaw.laws.parametric import ParametricLaw

    _, losses, matrix = view.rows(runs)
    X = view.named(matrix)
    y = dict(zip(view.targets, losses.T))
    if isinstance(view.law, ParametricLaw):
        return [view.with_law(law) for law in _batched(view.law, X, y, num, seed)]
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(matrix), np.full(len(matrix), 1.0 / len(matrix)), size=num).astype(float)
    options = _frozen_options(view.law)
    views: list[LawView] = []
    for weight in counts:
        law = clone(view.law).set_params(**options)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", MixlawWarning)  # each resample repeats what the fit itself said
                views.append(view.with_law(law.fit(X, y, sample_weight=weight)))
        except (ConvergenceError, TooFewRunsError):
            continue  # a resample can leave too few different mixtures
    if len(views) < num / 2:
        raise DataError(
            f"Only {len(views)} of {num} bootstrap refits of {type(view.law).__name__} succeeded; {len(matrix)} runs "
            f"are too few to resample. Add runs, or leave out the bootstrap (num_bootstrap=0)."
        )
    return views


def _batched(law: Any, X: dict[str, Array], y: dict[str, Array], num: int, seed: int) -> list[Any]:
    """Refits of a parametric law in one batch of the fit engine: copies of the law with resampled coefficients."""
    from sklearn.base import clone

    if "_variance" not in vars(law):  # read back from JSON: fit once more to have what the engine needs
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MixlawWarning)
            law = clone(law).set_params(**_frozen_options(law)).fit(X, y)
    probe = copy.copy(law)
    # a family describes its draws under the field's names; here the coefficients themselves are wanted
    probe._describe = lambda theta, linear: {"theta": theta, "linear": linear}
    draws = probe.bootstrap(num, seed)
    ok = np.isfinite(draws["theta"]).all(axis=(1, 2)) & np.isfinite(draws["linear"]).all(axis=(1, 2))
    if ok.sum() < num / 2:
        raise DataError(f"Only {int(ok.sum())} of {num} bootstrap refits of {type(law).__name__} succeeded; add runs.")
    worlds = []
    for b in np.flatnonzero(ok):
        world = copy.copy(law)
        for name in ("parameters_", "intervals_", "identifiability_", "conformal_"):
            vars(world).pop(name, None)  # those of the fit itself
        world.theta_, world.linear_ = draws["theta"][b], draws["linear"][b]
        worlds.append(world)
    return worlds


def _frozen_options(law: Any) -> dict[str, Any]:
    """Options that a refit need not choose again."""
    if hasattr(law, "refit_options"):
        return dict(law.refit_options())
    chosen: Sequence[float] | None = getattr(law, "ridge_", None)
    if chosen is not None and getattr(law, "ridge", None) == "cv":
        return {"ridge": float(np.exp(np.mean(np.log(np.maximum(np.asarray(chosen, dtype=float), 1e-12)))))}
    return {}
