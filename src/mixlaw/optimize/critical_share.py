"""Continual pretraining: the share of old data below which old skills get worse.

The loss on the old data after continuing, as a function of its share r, falls as ``c + a exp(-k r)`` (Data Mixing
Laws, arXiv:2403.16952, section 5; close to ``c + a r^-g`` where the runs are). The critical proportion solves
``L(r) = loss before continuing``, or that plus a tolerance.

The interval is a parametric bootstrap over both forms: noise is read off what the forms leave unexplained, pooled over
all validation sets, because a handful of runs leaves too few degrees of freedom in any one of them.
"""

from __future__ import annotations

import warnings as _warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.data.observations import Observations
from mixlaw.errors import ConfigError, DataError, MixlawWarning, TooFewRunsError, did_you_mean
from mixlaw.kit.arrays import Array

__all__ = ["Critical", "critical", "critical_from_observations"]


@dataclass(frozen=True)
class Critical:
    """The critical proportion.

    Args:
        proportion: share of old data at which its loss is what it was before; NaN where no share in (0, 1) does it.
        low, high: interval at ``level``.
        forms: the same by each form.
        noise: sd of the mean loss that the interval assumes, in nats.
        c, a, k: the exponential ``c + a exp(-k r)`` fitted to the weighted mean loss; c and a in nats.
        before: the loss to keep, in nats per token; the tolerance is part of it.

    Example:
        >>> found = Critical(0.3, 0.25, 0.36, 0.9, {"exponential": 0.3}, 0.002, 2.8, 0.24, 4.0, 2.872)
        >>> round(float(found.predict(0.3)), 3)
        2.872
    """

    proportion: float
    low: float
    high: float
    level: float
    forms: Mapping[str, float]
    noise: float
    c: float
    a: float
    k: float
    before: float

    @property
    def new(self) -> float:
        """Largest share of new data that keeps the loss on the old: ``1 - proportion``."""
        return 1.0 - self.proportion

    def predict(self, proportion: npt.ArrayLike) -> Array:
        """Loss on the old data (nats) after continuing with this share of it; any shape."""
        return np.asarray(self.c + self.a * np.exp(-self.k * np.asarray(proportion, dtype=float)))

    def __str__(self) -> str:
        if not np.isfinite(self.proportion):
            least, all_old = self.predict([1e-3, 1.0]).tolist()
            side = "above" if all_old > self.before else "below"
            return (
                f"no critical proportion: with any share of the old data its loss ends {side} {self.before:.4f} "
                f"(fitted {least:.4f} with hardly any to {all_old:.4f} with nothing else)"
            )
        return (
            f"critical proportion {self.proportion:.4f} [{self.low:.4f}, {self.high:.4f}] ({self.level:.0%}): "
            f"with less of the old data its loss ends above {self.before:.4f}. By form: "
            + ", ".join(f"{name} {value:.4f}" for name, value in self.forms.items())
        )


def critical(
    proportions: npt.ArrayLike,
    losses: npt.ArrayLike,
    before: npt.ArrayLike,
    *,
    tolerance: float = 0.0,
    weights: npt.ArrayLike | None = None,
    noise: float | None = None,
    level: float = 0.9,
    num_bootstrap: int = 2000,
    seed: int = 0,
) -> Critical:
    """Critical proportion from a handful of continued runs.

    Args:
        proportions: (n,) share of old data in each run, n >= 4.
        losses: (n,) loss on the old data after each run, in nats per token, or (n, S) on its validation sets.
        before: loss before continuing, a number or (S,).
        tolerance: nats per token by which the mean loss may end above that.
        weights: (S,) weight of each set in the mean (default equal).
        level: of the interval.
        num_bootstrap: simulated repeats of the experiment that the interval comes from.
        noise: sd of the mean loss in nats, if known (from replicates); else estimated, see the module's head.

    Raises:
        TooFewRunsError: fewer than four different proportions.
        ConfigError: a negative weight, or none above zero; ``level`` outside (0, 1); a tolerance below 0.
        DataError: shapes that do not match, values not finite, or losses that do not fall with the old data's share.

    Example:
        >>> r = [0.125, 0.25, 0.375, 0.5]
        >>> found = critical(r, [2.926166, 2.880493, 2.857072, 2.838757], 2.873368)
        >>> 0.28 < found.proportion < 0.29
        True
    """
    x, Y, w, at = _checked(proportions, losses, weights, before)
    if not 0 < level < 1:
        raise ConfigError(f"level={level!r} must lie between 0 and 1, for example 0.9.")
    if not 0 <= tolerance < np.inf:
        raise ConfigError(f"tolerance={tolerance!r} must be nats per token of at least 0, for example 0.01.")
    mean, target = Y @ w, float(at @ w) + tolerance
    if np.polyfit(x, mean, 1)[0] >= 0:
        ends = [f"{mean[i]:.4f} at {x[i]:.3g}" for i in (x.argmin(), x.argmax())]
        raise DataError(
            f"The loss on the old data does not fall as its share grows (from {ends[0]} to {ends[1]}), so there is no "
            f"critical proportion. Check that the losses belong to the old data; if they do, noise is larger than what "
            f"the share does: train longer runs, or more of them."
        )
    fits = {name: _Form(basis, x) for name, basis in _FORMS.items()}
    exponential = fits["exponential"]
    freedom = 10_000
    if noise is None:
        noise, freedom = _noise(exponential, Y, w)
    rng = np.random.default_rng(seed)
    # Student's t for a noise level that is itself estimated
    scale = np.sqrt(freedom / rng.chisquare(freedom, size=(num_bootstrap, 1)))
    roots, estimates = [], {}
    for name, form in fits.items():
        curve = form.curve(mean)
        estimates[name] = form.root(mean[None], target)[0]
        draws = curve + noise * scale * rng.normal(size=(num_bootstrap, len(x)))
        roots.append(form.root(draws, target))
    draws = np.concatenate(roots)
    known = np.where(np.isnan(draws), np.inf, draws)
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2], method="nearest")
    best = float(estimates["exponential"])
    if np.isfinite(best) and not x.min() <= best <= x.max():
        _warnings.warn(
            f"The critical proportion {best:.3g} lies outside the shares that were tried ({x.min():g} to {x.max():g}): "
            f"an extrapolation. Add a run there.",
            MixlawWarning,
            stacklevel=2,
        )
    c, a, k = exponential.parameters(mean)
    return Critical(
        best,
        float(min(low, *estimates.values())) if np.isfinite(best) else float(low),
        float(max(high, *estimates.values())) if np.isfinite(best) else float(high),
        level,
        estimates,
        float(noise),
        c,
        a,
        k,
        target,
    )


def _checked(
    proportions: npt.ArrayLike, losses: npt.ArrayLike, weights: npt.ArrayLike | None, before: npt.ArrayLike
) -> tuple[Array, Array, Array, Array]:
    """Shares (n,), losses (n, S), weights (S,) that sum to one, and the loss before (S,).

    Raises:
        As :func:`critical`.
    """
    x = np.asarray(proportions, dtype=float).ravel()
    Y = np.asarray(losses, dtype=float)
    Y = Y[:, None] if Y.ndim == 1 else Y
    S = Y.shape[1]
    at = np.broadcast_to(np.asarray(before, dtype=float), (S,))
    w = np.full(S, 1.0 / S) if weights is None else np.asarray(weights, dtype=float)
    if Y.shape[0] != len(x) or w.shape != (S,):
        raise DataError(f"{len(x)} proportions, losses of shape {Y.shape} and weights of shape {w.shape} do not match.")
    if not (np.isfinite(x).all() and np.isfinite(Y).all() and np.isfinite(at).all() and np.isfinite(w).all()):
        raise DataError("Proportions, losses, weights and the loss before must be finite numbers.")
    if (x <= 0).any() or (x > 1).any():
        raise DataError(f"Proportions must lie in (0, 1], got {x.min():g} to {x.max():g}.")
    if len(np.unique(x)) < 4:
        raise TooFewRunsError(
            f"A critical proportion needs runs at four or more different shares of old data, got "
            f"{np.unique(x).tolist()}."
        )
    _check_weights(dict(enumerate(w.tolist())))
    return x, Y, w / w.sum(), np.asarray(at)


def _noise(form: _Form, Y: Array, w: Array) -> tuple[float, int]:
    """Standard deviation of the mean loss, and its degrees of freedom, from what the form leaves of losses Y (n, S)."""
    n, S = Y.shape
    dof = n - 3
    left = np.sqrt(form.residual(Y.T) / dof)  # (S,) sd of each set, dof each
    pooled = float(np.abs(w) @ np.sqrt(np.maximum(left**2, np.median(left) ** 2)))  # errors taken to go together
    own = float(np.sqrt(form.residual((Y @ w)[None])[0] / dof))
    return (max(pooled, own) if S > 1 else own), dof * S


def critical_from_observations(
    observations: Observations,
    domain: str,
    weights: Mapping[str, float],
    before: Mapping[str, float] | str,
    *,
    tolerance: float = 0.0,
    level: float = 0.9,
    seed: int = 0,
) -> Critical:
    """The same from observations: ``domain`` holds the old data, ``weights`` its validation sets.

    Args:
        tolerance, level, seed: as in :func:`critical`.
        before: loss (nats per token) of each set before continuing; the id of the run that measured them; or
            ``"start"``, where the runs continue a published model and measured it before their first step.

    Raises:
        DataError: a run, set or domain that the observations lack, or what :func:`critical` refuses.
        ConfigError: a negative weight, or none above zero; ``level`` outside (0, 1).
        TooFewRunsError: fewer than four different proportions.

    Example:
        >>> shares, losses = [0.125, 0.25, 0.375, 0.5], [2.926166, 2.880493, 2.857072, 2.838757]
        >>> runs = [{"run": f"r{i}", "schedule": {"old": s, "new": 1 - s}} for i, s in enumerate(shares)]
        >>> values = [{"run": f"r{i}", "target": "old_text", "value": loss} for i, loss in enumerate(losses)]
        >>> seen = Observations.from_records(runs, values)
        >>> found = critical_from_observations(seen, "old", {"old_text": 1.0}, {"old_text": 2.873368})
        >>> 0.28 < found.proportion < 0.29
        True
    """
    sets = list(weights)
    _check_weights(weights)
    if before == "start":
        loss_before = _at_the_start(observations, sets)
    elif isinstance(before, str):
        ids = observations.runs["run"].to_pylist()
        if before not in ids:
            raise DataError(f"No run {before!r} measured the model before continuing.{did_you_mean(before, ids)}")
        rows = observations.select([before]).values.to_pylist()
        known = {row["target"]: row["value"] for row in rows if row["metric"] == "loss"}
        missing = [s for s in sets if s not in known]
        if missing:
            raise DataError(f"Run {before!r} did not measure {missing[:5]}; it has {sorted(known)[:10]}.")
        loss_before = {s: float(known[s]) for s in sets}
        observations = observations.select([r for r in observations.runs["run"].to_pylist() if r != before])
    else:
        loss_before = {str(k): float(v) for k, v in before.items()}
    X, y = observations.table(sets)
    if domain not in X.column_names:
        raise DataError(f"No run trained on {domain!r}; the observations have {X.column_names}.")
    return critical(
        X.column(domain).to_numpy(),
        np.column_stack([y.column(s).to_numpy() for s in sets]),
        np.array([loss_before[s] for s in sets]),
        tolerance=tolerance,
        weights=np.array([float(weights[s]) for s in sets]),
        level=level,
        seed=seed,
    )


def _at_the_start(observations: Observations, sets: list[str]) -> dict[str, float]:
    """What all runs measured before their first step (``start_loss``)."""
    measured: dict[str, set[float]] = {}
    for row in observations.values.to_pylist():
        if row["metric"] == "start_loss":
            measured.setdefault(row["target"], set()).add(float(row["value"]))
    found = {name: measured.get(name, set()) for name in sets}
    for name, values in found.items():
        if len(values) != 1:
            what = (
                "start from models with different losses"
                if values
                else "did not measure a loss before their first step"
            )
            hint = did_you_mean(name, sorted(measured)) if measured and not values else ""
            raise DataError(
                f"before='start': the runs {what} on {name!r}.{hint} Give the losses before continuing, or the id of "
                f"the run that measured them."
            )
    return {name: values.pop() for name, values in found.items()}


def _check_weights(weights: Mapping[Any, float]) -> None:
    values = [float(v) for v in weights.values()]
    if not values or min(values) < 0 or not sum(values) > 0:
        raise ConfigError(
            f"The mean loss on the old data needs weights >= 0 with a positive sum, got {dict(weights)}. Give each of "
            f"its validation sets a positive weight."
        )


_RATES = np.exp(np.linspace(np.log(0.05), np.log(60.0), 500))
_FORMS = {
    "exponential": lambda x, rate: np.exp(-rate * x),
    "power": lambda x, rate: np.maximum(x, 1e-12) ** (-rate / 10.0),  # rates .005 to 6
}


class _Form:
    """``c + a basis(x, rate)``: linear but for one rate, which is searched on a grid that is the same for all data."""

    def __init__(self, basis: object, x: Array) -> None:
        self.basis, self.x = basis, x
        self.columns = np.stack([np.column_stack([np.ones_like(x), basis(x, rate)]) for rate in _RATES])  # type: ignore[operator]
        self.solver = np.linalg.pinv(self.columns)  # (R, 2, n)
        self.keep = np.eye(len(x)) - self.columns @ self.solver  # residual makers

    def _best(self, Y: Array) -> tuple[npt.NDArray[np.int64], Array]:
        left = np.einsum("bi,rij,bj->br", Y, self.keep, Y)
        coef = np.einsum("rkj,bj->brk", self.solver, Y)
        left = np.where(coef[:, :, 1] > 0, left, np.inf)  # falling with the share
        index = np.argmin(left, axis=1)
        return index, left[np.arange(len(Y)), index]

    def residual(self, Y: Array) -> Array:
        """Sum of squares left (b,)."""
        left = self._best(Y)[1]
        return np.where(np.isfinite(left), np.maximum(left, 0.0), ((Y - Y.mean(1, keepdims=True)) ** 2).sum(1))

    def curve(self, y: Array) -> Array:
        """Fitted values (n,)."""
        i = int(self._best(y[None])[0][0])
        return np.asarray(self.columns[i] @ (self.solver[i] @ y))

    def parameters(self, y: Array) -> tuple[float, float, float]:
        """(c, a, rate)."""
        i = int(self._best(y[None])[0][0])
        c, a = self.solver[i] @ y
        return float(c), float(a), float(_RATES[i])

    def root(self, Y: Array, target: float) -> Array:
        """Share (b,) in (0, 1) at which the fitted curve equals ``target``; NaN where none does."""
        index, left = self._best(Y)
        grid = np.linspace(1e-3, 1.0, 2000)
        out = np.full(len(Y), np.nan)
        for i in np.unique(index[np.isfinite(left)]):
            rows = np.flatnonzero(np.isfinite(left) & (index == i))
            shape = np.asarray(self.basis(grid, _RATES[i]))  # type: ignore[operator]  # falling
            c, a = self.solver[i] @ Y[rows].T
            wanted = (target - c) / a
            inside = (shape[-1] <= wanted) & (wanted <= shape[0])
            out[rows[inside]] = np.interp(-wanted[inside], -shape, grid)
        return out
