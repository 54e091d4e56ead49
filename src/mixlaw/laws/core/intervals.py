"""How sure: prediction intervals that cover, profile likelihoods, identifiability.

**Prediction intervals** (:func:`predict_interval`) are for a new observation. Errors ``e`` of rows a fit did not
see (K-fold, replicates together; leave-one-out up to 24 mixtures) are divided by a local scale
``s(x) = sd * noise(x) * sqrt(1 + h(x))``, where ``h`` is the leverage of x among the rows (of logarithms for
sizes and tokens): it grows outside the region that was tried. The ``(1 + 1/n) level`` quantile of ``|e| / s``
times ``s(x)`` is the half width. Whatever the law, such an interval covers at its level on rows exchangeable with the
training rows; below 40 rows the standardised errors of all targets are pooled. Weights of rows count in all of this,
on any scale; a row of weight 0 counts nowhere. It says nothing about another
regime (larger models, more tokens) than the rows came from. Method: split/cross conformal prediction,
Lei et al. 2016, arXiv:1604.04173 (with their locally weighted scores).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sklearn.base import clone

from mixlaw.errors import ConfigError, DataError, MixlawWarning, NotIdentifiableError, TooFewRunsError
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.base import Law
from mixlaw.laws.core.folds import fold_ids, replicate_groups
from mixlaw.laws.core.replicates import Noise, chi2_quantile, replicate_noise
from mixlaw.laws.fit.engine import BatchFit, Ints, Model, Prior, fit_batch

__all__ = [
    "Profile",
    "calibrate",
    "crossing",
    "describe_optima",
    "diagnose",
    "ensure_calibrated",
    "heldout_predictions",
    "predict_interval",
    "profile_likelihood",
    "relative_weights",
]

_LEVELS = np.concatenate([np.linspace(0.0, 0.9, 46), np.linspace(0.905, 1.0, 39)])
_SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")


# ---- prediction intervals ------------------------------------------------------------------------
def _features(law: Law, X: Array) -> Array:
    """What leverage is measured in: shares, or logarithms of sizes and tokens."""
    if law.kind == "mixture":
        return X
    return np.where((X > 1).any(axis=0), np.log(np.maximum(X, 1e-12)), X)


def _leverage(shape: dict[str, Any], F: Array) -> Array:
    away = F - np.asarray(shape["mean"])
    return np.einsum("ij,jk,ik->i", away, np.asarray(shape["inverse"]), away)


def calibrate(
    law: Law, X: Array, Y: Array, heldout: Array | None = None, sample_weight: npt.ArrayLike | None = None
) -> None:
    """Store in ``law.conformal_`` what :func:`predict_interval` needs (plain arrays, saved with the law).

    Args:
        law: fitted on X, Y.
        heldout: (n, T) predictions for rows by fits that had not seen them (NaN where none); without it
            the law is cloned and refitted on 5 folds (leave-one-out up to 24 different rows of X).
        sample_weight: (n,) weights of the rows, on any scale. Rows of weight 0 count nowhere; the errors of the
            others count in the quantiles, and their mixtures in the leverage, by their weights.
    """
    weight = relative_weights(len(X), sample_weight)
    if heldout is None:
        heldout = heldout_predictions(law, X, Y, sample_weight=weight)
    used = weight > 0
    X, Y, heldout, weight = X[used], Y[used], heldout[used], weight[used]
    F = _features(law, X)
    mean = np.average(F, axis=0, weights=weight)
    gram = (F - mean).T @ ((F - mean) * weight[:, None])
    spread = np.trace(gram) / max(1, len(gram))
    # with few rows per direction an untried direction is unusual, not infinitely so
    gram[np.diag_indices_from(gram)] += spread * max(1e-3, len(gram) / weight.sum()) + 1e-12
    shape = {"mean": mean, "inverse": np.linalg.inv(gram)}
    h = _leverage(shape, F)
    # a held-out row's leverage among the others, h / (1 - w h), from its own among all of them
    local = np.sqrt((1.0 + (1.0 - weight) * h) / (1.0 - np.clip(weight * h, 0.0, 0.95)))
    noise = replicate_noise(X, Y)
    if noise.varies.any():
        local = local[:, None] * noise.ratio(X)
    error = np.abs(heldout - Y)
    with np.errstate(invalid="ignore", divide="ignore"):
        scores = error / (local if local.ndim == 2 else local[:, None])
    T = Y.shape[1]
    known = [_in_order(scores[:, t], weight) for t in range(T)]
    unit = np.array([_robust_unit(*k) for k in known])
    count = [_effective(w) for _, w in known]
    table = np.empty((T, len(_LEVELS)))
    pooled = None
    if min(count) < 40:
        both = [np.concatenate(v) for v in zip(*((s / u, w) for (s, w), u in zip(known, unit)))]
        pooled = _in_order(both[0], both[1])
    for t in range(T):
        source, at = (pooled[0] * unit[t], pooled[1]) if pooled is not None else known[t]
        table[t] = _upper_quantiles(source, at, count[t])
    law.conformal_ = {
        "levels": _LEVELS,
        "scores": table,
        "shape": shape,
        "noise": noise.to_dict() if noise.varies.any() else None,
        "rows": int(min(count)),
    }


def _in_order(scores: Array, weight: Array) -> tuple[Array, Array]:
    """The finite scores in rising order, and their weights."""
    finite = np.flatnonzero(np.isfinite(scores))
    order = finite[np.argsort(scores[finite], kind="stable")]
    return scores[order], weight[order]


def _effective(weight: Array) -> float:
    """How many equal rows the weights are worth (Kish): their number where they are equal."""
    return float(weight.sum() ** 2 / (weight**2).sum()) if len(weight) else 0.0


def _robust_unit(scores: Array, weight: Array) -> float:
    if not len(scores):
        return 1.0
    total = np.cumsum(weight)
    lower, upper = (min(int(np.searchsorted(total, 0.5 * total[-1], s)), len(scores) - 1) for s in _SIDES)
    rms = float(np.sqrt(np.average(scores**2, weights=weight)))
    median = float(0.5 * (scores[lower] + scores[upper])) * 1.4826
    return max(min(rms, 3.0 * median) if median > 0 else rms, 1e-300)


def _upper_quantiles(scores: Array, weight: Array, n: float) -> Array:
    """Scores (rising) at ``_LEVELS``, each at the conformal rank ceil((n + 1) level) / n of the weight at hand."""
    if not len(scores):
        return np.zeros(len(_LEVELS))
    rank = np.ceil((n + 1) * _LEVELS) / max(n, 1)
    total = np.cumsum(weight)
    position = np.searchsorted(total, np.minimum(rank, 1.0) * total[-1], "left")
    out = scores[np.minimum(position, len(scores) - 1)]
    # beyond the largest score at hand the tail is continued as a Gaussian's, rather than called impossible
    beyond = rank > 1.0
    if beyond.any():
        top = n / (n + 1.0)
        z = NormalDist().inv_cdf
        base = z(0.5 + 0.5 * min(top, 1 - 1e-9))
        levels = np.minimum(_LEVELS[beyond], 0.9999)
        out[beyond] = scores[-1] * np.array([max(z(0.5 + 0.5 * q) / base, 1.0) for q in levels])
    return out


def ensure_calibrated(law: Law) -> None:
    """Calibrate a law's intervals on its training rows unless that has been done.

    Raises:
        DataError: the law was read back from a file without calibration.
    """
    if law.conformal_ is not None:
        return
    if law.training is None:
        raise DataError(
            f"This {type(law).__name__} has no calibration for intervals, and no longer has the rows it was fitted "
            f"on. Fit it again."
        )
    calibrate(law, law.training.X, law.training.Y, law.heldout, law.training.weight)


def heldout_predictions(
    law: Law, X: Array, Y: Array, folds: int = 5, seed: int = 0, sample_weight: npt.ArrayLike | None = None
) -> Array:
    """(n, T) predictions for every row by a clone of ``law`` fitted without it and its replicates.

    Refits carry ``sample_weight`` (n,). NaN for rows of weight 0, and for rows without which the law cannot be
    fitted (the only run of one of three sizes).

    Raises:
        NotIdentifiableError, TooFewRunsError: no fold could be fitted.
    """
    weight = relative_weights(len(X), sample_weight)
    out = np.full(Y.shape, np.nan)
    used = np.flatnonzero(weight > 0)
    X, Y, weight = X[used], Y[used], weight[used]
    distinct = len(np.unique(replicate_groups(X)))
    num = distinct if distinct <= 24 else folds
    ids = fold_ids(X, Y, num, seed)
    names = [str(n) for n in law.feature_names_in_]
    fitted, refused = 0, None
    for f in range(int(ids.max()) + 1):
        rest, held = ids != f, ids == f
        model = clone(law)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MixlawWarning)  # the fit to all rows has said it, with its row numbers
            try:
                given = {} if (weight == 1).all() else {"sample_weight": weight[rest]}
                model.fit(_named(names, X[rest]), _named(law.target_names_, Y[rest]), **given)
            except (NotIdentifiableError, TooFewRunsError) as error:
                refused = error
                continue
        fitted += 1
        out[used[held]] = np.asarray(model.predict(_named(names, X[held]))).reshape(int(held.sum()), -1)
    if not fitted and refused is not None:
        raise refused
    return out


def relative_weights(n: int, weight: npt.ArrayLike | None) -> Array:
    """(n,) weights on the one scale where they sum to the number of equal rows they are worth: equal ones are 1.

    Example:
        >>> relative_weights(3, [0, 5, 5]).tolist()
        [0.0, 1.0, 1.0]
    """
    if weight is None:
        return np.ones(n)
    w = np.asarray(weight, dtype=float)
    if not (w > 0).any():
        raise DataError("All sample weights are 0: no row is left to judge by. Give some rows a positive weight.")
    w = w / w.max()
    w = w * (w.sum() / (w**2).sum())
    return np.where(np.abs(w - 1.0) < 1e-12, 1.0, w)


def _named(names: Sequence[str], values: Array) -> dict[str, Array]:
    return {str(name): values[:, j] for j, name in enumerate(names)}


def predict_interval(law: Law, X: Any, level: float = 0.9) -> tuple[Array, Array]:
    """(low, high) of an interval that covers a new observation at X with probability ``level``.

    Raises:
        ConfigError: level outside (0, 1).
        DataError: the law was read back without calibration and no longer has its training rows.
    """
    if not 0.0 < level < 1.0:
        raise ConfigError(f"level={level!r} must lie between 0 and 1, for example 0.9.")
    law._check_fitted()
    ensure_calibrated(law)
    matrix = law._align(X)
    mean = np.asarray(law.predict(X), dtype=float)
    values = mean[:, None] if law.single_target_ else mean
    state = law.conformal_
    local = np.sqrt(1.0 + np.maximum(_leverage(state["shape"], _features(law, matrix)), 0.0))[:, None]
    if state.get("noise"):
        local = local * Noise.from_dict(state["noise"]).ratio(matrix)
    scores = np.asarray(state["scores"])
    at = np.array([np.interp(level, np.asarray(state["levels"]), row) for row in scores])
    half = local * at[None]
    low, high = values - half, values + half
    return (low[:, 0], high[:, 0]) if law.single_target_ else (low, high)


# ---- profile likelihood ------------------------------------------------------------------------------
@dataclass(frozen=True)
class Profile:
    """Objective minimised over all other parameters at each value of one: its interval, and whether it closes."""

    values: Array
    objective: Array
    low: float
    high: float
    level: float
    closed: bool
    """False where the objective stays within the noise to an end of the grid: the data leave it free there."""
    name: str = ""
    best: float = float("nan")
    """The value at the lowest objective."""
    limit: float = float("nan")
    """The objective up to which a fit is no worse than the noise; the interval is where the curve lies below."""
    below: bool = True
    above: bool = True
    """Whether the curve crosses ``limit`` below and above the best value."""
    given: bool = False
    """The values were the caller's: the curve was not followed beyond them."""

    @property
    def flat(self) -> bool:
        """Neither end is closed: over all ``values`` the fit gets no worse than the noise. Where they are ``given``,
        that says nothing of what lies beyond them."""
        return not (self.below or self.above)

    def __str__(self) -> str:
        where = f"{self.values[0]:.4g} to {self.values[-1]:.4g}"
        if self.flat and self.given:
            return (
                f"{self.name}: no worse a fit at any of the values given, {where}; beyond them nothing was tried "
                f"(leave values= out to follow the curve until it rises)"
            )
        if self.flat:
            return f"{self.name}: flat, the runs do not know it (no worse a fit anywhere from {where})"
        ends = f"{self.level:.0%} interval {self.low:.4g} to {self.high:.4g}"
        if self.closed:
            return f"{self.name} = {self.best:.4g}, {ends}"
        side = "from below" if self.below else "from above"
        return f"{self.name} = {self.best:.4g}, bounded only {side} ({ends}, tried {where})"


def profile_likelihood(
    model: Model,
    Y: Array,
    best: Array,
    index: int,
    *,
    values: Array,
    level: float = 0.9,
    noise_variance: float | None = None,
    loss: str = "squared",
    delta: float = 1e-3,
    log: bool = False,
    weights: Array | None = None,
    prior: Prior | None = None,
    starts: Array | None = None,
    bounds: Any = None,
) -> Profile:
    """Profile parameter ``index`` of a model function (theta, problem) -> (f, J), all grid values in one batch.

    Args:
        best: (P,) the optimum, used as a start (further ``starts`` (S, P) are tried at every value).
        values: (G,) grid; the interval is where the objective rises by less than the chi squared quantile of
            ``level`` times the noise variance (None: estimated from the optimum's residual).
    """
    best = np.asarray(best, dtype=float)
    P = len(best)
    grid = np.unique(np.append(np.asarray(values, dtype=float), best[index]))
    rest = [p for p in range(P) if p != index]
    y = np.asarray(Y, dtype=float).reshape(1, -1)

    def fixed(theta: Array, problem: Ints) -> tuple[Array, Array]:
        whole = np.empty((len(theta), P))
        whole[:, rest] = theta
        whole[:, index] = grid[problem]
        f, J = model(whole, problem)
        return f, J[:, :, rest]

    start = best[None] if starts is None else np.vstack([best[None], starts])
    limits = None
    if bounds is not None:
        lower, upper = (np.broadcast_to(np.asarray(b, dtype=float), (P,)) for b in bounds)
        limits = (lower[rest], upper[rest])
    ridge = None
    if prior is not None:
        centre, strength = prior.broadcast((1, P))
        ridge = Prior(centre[:, rest], strength[:, rest])
    fit = fit_batch(
        fixed,
        np.repeat(y, len(grid), axis=0),
        start[:, rest],
        loss=loss,  # type: ignore[arg-type]
        delta=delta,
        log=log,
        weights=weights,
        prior=ridge,
        bounds=limits,
    ).best()
    objective = fit.objective
    if prior is not None:
        objective = objective + 0.5 * strength[0, index] * (grid - centre[0, index]) ** 2
    lowest = float(objective.min())
    n = int(np.isfinite(y).sum())
    variance = 2 * lowest / max(n - P, 1) if noise_variance is None else noise_variance
    limit = lowest + 0.5 * variance * chi2_quantile(level, 1)
    inside = objective <= limit
    at = int(objective.argmin())
    left, right = at, at
    while left > 0 and inside[left - 1]:
        left -= 1
    while right < len(grid) - 1 and inside[right + 1]:
        right += 1
    low = grid[0] if left == 0 else crossing(grid, objective, left - 1, limit)
    high = grid[-1] if right == len(grid) - 1 else crossing(grid, objective, right, limit)
    below, above = left > 0, right < len(grid) - 1
    return Profile(
        grid, objective, float(low), float(high), level, below and above,
        name=f"theta {index}", best=float(grid[at]), limit=limit, below=below, above=above,
    )  # fmt: skip


def crossing(grid: Array, objective: Array, i: int, limit: float) -> float:
    """Where between grid points i and i + 1 the objective passes ``limit`` (linearly)."""
    a, b = objective[i], objective[i + 1]
    return float(grid[i] + (grid[i + 1] - grid[i]) * (limit - a) / (b - a)) if b != a else float(grid[i])


# ---- identifiability -----------------------------------------------------------------------------------
def describe_optima(
    fit: BatchFit,
    n: int,
    names: Sequence[str],
    *,
    problem: int = 0,
    present: Callable[[Array], Array] | None = None,
    curvature: Array | None = None,
    noise_variance: float | None = None,
    apart: float = 0.05,
    level: float = 0.95,
) -> dict[str, Any]:
    """Distinct optima a multi-start fit found within the objective's noise, and flat directions, in words.

    Args:
        fit: of one or several problems; ``problem`` says which.
        n: number of observations behind the objective.
        names: of the parameters, after ``present`` (a map of theta (P,) to what is shown; default: theta).
        curvature: (P, P) Gauss-Newton matrix at the optimum, for flat directions.
        noise_variance: of a residual (None: from the best objective, ``2 F / (n - P)``).
        apart: relative difference of a shown parameter that makes two optima distinct.

    Returns:
        ``text`` (empty when nothing is wrong), ``optima`` (list of {parameter values, objective, starts}),
        ``flat`` (list of lists of names), ``identified`` (bool).
    """
    F = fit.objective[problem]
    theta = fit.theta[problem]
    if fit.linear.shape[-1] and present is None and len(names) == theta.shape[1] + fit.linear.shape[-1]:
        theta = np.concatenate([theta, fit.linear[problem]], axis=1)
    finite = np.isfinite(F)
    best = float(F[finite].min())
    P = theta.shape[1]
    variance = 2 * best / max(n - P, 1) if noise_variance is None else noise_variance
    noise = 0.5 * variance * chi2_quantile(level, 1) + 1e-9 * abs(best)
    shown = np.array([present(t) for t in theta]) if present is not None else theta
    optima: list[dict[str, Any]] = []
    for s in np.argsort(F, kind="stable"):
        if not finite[s] or F[s] > best + noise or not fit.converged[problem, s]:
            continue
        same = [o for o in optima if _near(shown[s], o["_at"], apart)]
        if same:
            same[0]["starts"] += 1
        else:
            optima.append({"_at": shown[s], "objective": float(F[s]), "starts": 1})
    flat = _flat(curvature, names) if curvature is not None and len(names) == len(curvature) else []
    lines = []
    if len(optima) > 1:
        lines.append(
            f"The data do not tell {len(optima)} solutions apart (their objectives differ by less than the noise, "
            f"{noise:.3g}):"
        )
        for o in optima[:6]:
            values = ", ".join(f"{name} {value:.4g}" for name, value in zip(names, o["_at"]))
            lines.append(f"  objective {o['objective']:.7g} ({o['starts']} starts): {values}")
        lines.append("Do not read these parameters one by one; add runs where the solutions' predictions differ.")
    for group in flat:
        lines.append(f"Flat: {' and '.join(group)} can change together without changing the fit.")
    return {
        "text": "\n".join(lines),
        "optima": [
            {"parameters": dict(zip(names, map(float, o["_at"]))), "objective": o["objective"], "starts": o["starts"]}
            for o in optima
        ],
        "flat": flat,
        "identified": len(optima) <= 1 and not flat,
    }


def _near(a: Array, b: Array, apart: float) -> bool:
    return bool(np.all(np.abs(a - b) <= apart * np.maximum(np.maximum(np.abs(a), np.abs(b)), 1e-3)))


def _flat(H: Array, names: Sequence[str], relative: float = 1e-8) -> list[list[str]]:
    """Directions with next to no curvature, each as the names that carry it."""
    d = np.sqrt(np.maximum(np.diag(H), 1e-300))
    alone = [[names[i]] for i in range(len(d)) if d[i] <= 1e-10 * d.max()]
    keep = [i for i in range(len(d)) if d[i] > 1e-10 * d.max()]
    if len(keep) < 2:
        return alone
    values, vectors = np.linalg.eigh(H[np.ix_(keep, keep)] / d[keep][:, None] / d[keep][None])
    groups = []
    for value, vector in zip(values, vectors.T):
        if value <= relative * values[-1]:
            size = np.abs(vector)
            groups.append([names[keep[i]] for i in np.argsort(-size) if size[i] > 0.3 * size.max()][:6])
    return alone + groups


def diagnose(law: Any) -> dict[str, Any]:
    """:func:`describe_optima` for a parametric mixture law: distinct optima are told apart by their predictions
    on and between the training mixtures, since parameters alone may differ by a pure renaming."""
    rows = law._rows("identifiability_")
    X, W = law.training.X, rows.W
    mean = (W * rows.Y).sum(axis=1) / np.maximum(W.sum(axis=1), 1e-300)
    starts = law.starts(X, rows.Y.T, W)
    starts = np.concatenate([law.theta_[:, None], starts], axis=1)
    fit = law._fit_problems(rows, starts, law.ridge_, 300, 1e-9, law._centres)
    corners = np.vstack([X, 0.5 * X + 0.5 * np.eye(X.shape[1])[np.arange(len(X)) % X.shape[1]]])
    away = law.model(corners)
    lines, optima = [], {}
    for t, name in enumerate(law.target_names_):
        F = fit.objective[t]
        best = float(F.min())
        n = int((W[t] > 0).sum())
        variance = 2 * best / max(n - law.num_free(), 1)
        within = np.flatnonzero(fit.converged[t] & (best + 0.5 * variance * chi2_quantile(0.95, 1) + 1e-9 * best >= F))
        if len(within) < 2:
            continue
        values = law._values(away, fit.theta[t, within], fit.linear[t, within], np.full(len(within), t))
        values = np.clip(values, -1e6, 1e6)
        sd = math.sqrt(max(variance, 1e-300))
        kinds: list[int] = []
        for i in np.argsort(F[within], kind="stable"):
            if all(np.abs(values[i] - values[j]).max() > 3 * sd + 1e-6 * abs(mean[t]) for j in kinds):
                kinds.append(int(i))
        if len(kinds) > 1:
            at = within[kinds]
            optima[name] = [
                {"objective": float(F[s]), "theta": fit.theta[t, s].tolist(), "linear": fit.linear[t, s].tolist()}
                for s in at
            ]
            gap = max(np.abs(values[i] - values[kinds[0]]).max() for i in kinds[1:])
            lines.append(
                f"{name}: {len(kinds)} solutions fit equally well (objectives "
                f"{', '.join(f'{F[s]:.4g}' for s in at[:4])}) and differ by up to {gap:.3g} between the runs."
            )
    text = "\n".join(lines)
    return {"text": text, "optima": optima, "flat": [], "identified": not lines}
