"""A curve shared by all runs, plus what is each run's own: the linear mixed model under Joint.

    y[m, i] = phi(theta)[i] . beta  +  phi(theta)[i, :R] . u[m]  +  Z[i] . d  +  noise

``m`` is a run group (a mixture), ``i`` a *cell* (one size at one step). ``phi`` (C, p) is a design whose few shape
parameters ``theta`` are searched; given them everything else is linear and is solved by block elimination:

* ``beta`` (p,) is shared by all mixtures;
* ``u[m]`` (R,) is the mixture's own deviation on the first R columns, drawn from a covariance that is estimated
  from the data (EM), so a mixture seen at few cells is shrunk toward the others;
* ``d`` (q,) belongs to cells, not to mixtures: what all runs share at one step, because they saw the same batches
  in the same order. Without it hundreds of rows would pass for hundreds of independent looks at a dozen steps.

theta minimises the marginal likelihood (beta by generalised least squares). Mixtures observed at the same cells
share every matrix, so the cost hardly depends on how many there are. Deterministic; NumPy only.

Sources: Laird & Ware 1982 (random-effects models by EM); Harville 1977 (marginal likelihood, elimination).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from mixlaw.kit.arrays import Array

__all__ = ["MixedFit", "MixedModel"]

_SETTLED = 0.1
"""Of minus twice the log likelihood: a last step that gained less moved theta by a small part of its standard error."""
Design = Callable[[Array], Array]
"""theta (B, k) -> columns (B, C, p)."""


@dataclass
class MixedFit:
    """What was estimated. ``covariance`` and ``crossed_ratio`` are in units of the noise variance ``noise``.

    Args:
        theta: (P,) nonlinear parameters of the curve.
        beta: (p,) mean coefficients.
        effects: (M, R) how far each mixture's first R coefficients lie from them.
        crossed: (q,) effects of the cells.
        covariance: (R, R) of ``effects``.
        objective: minus twice the log likelihood, up to a constant.

    Example:
        >>> rng = np.random.default_rng(1)
        >>> Y = 2 + 0.5 * rng.standard_normal((30, 1)) + 0.1 * rng.standard_normal((30, 6))  # 30 mixtures, 6 cells
        >>> model = MixedModel(Y, np.ones((30, 6)), np.zeros((6, 0)), num_random=1)
        >>> fit = model.fit(lambda theta: np.ones((len(theta), 6, 1)), np.zeros((1, 1)), [0.0], [0.0])
        >>> isinstance(fit, MixedFit), fit.beta.round(1).tolist(), round(fit.noise**0.5, 1)
        (True, [2.0], 0.1)
    """

    theta: Array
    beta: Array
    effects: Array
    crossed: Array
    covariance: Array
    crossed_ratio: float
    noise: float
    spread: Array
    """(M, R, R) posterior covariance of ``effects``, in squared units of y."""
    objective: float
    settled: bool = True
    """Whether the last step gained next to nothing."""


@dataclass
class MixedModel:
    """Data of one fit.

    Args:
        Y: (M, C) values; where ``weight`` is 0 they are ignored.
        weight: (M, C) non-negative.
        crossed: (C, q) columns of the cell effects (q may be 0), unit prior covariance times ``crossed_ratio``.
        num_random: R, how many of the first columns vary by mixture.
        last_prior: (mean, sd) of a normal prior on the last coefficient of ``beta``, or None.
        max_ratio: largest variance of the cell effects, in units of the noise variance. Above it they would
            compete with the curve itself.

    Example:
        >>> rng = np.random.default_rng(1)
        >>> Y = 2 + 0.5 * rng.standard_normal((30, 1)) + 0.1 * rng.standard_normal((30, 6))  # 30 mixtures, 6 cells
        >>> model = MixedModel(Y, np.ones((30, 6)), np.zeros((6, 0)), num_random=1)
        >>> fit = model.fit(lambda theta: np.ones((len(theta), 6, 1)), np.zeros((1, 1)), [0.0], [0.0])
        >>> fit.beta.round(1).tolist(), (fit.covariance * fit.noise).round(1).tolist()  # mean, variance of mixtures
        ([2.0], [[0.2]])
    """

    Y: Array
    weight: Array
    crossed: Array
    num_random: int
    last_prior: tuple[float, float] | None = None
    max_ratio: float = 1.0
    _noise: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.Y = np.where(self.weight > 0, self.Y, 0.0)
        self._patterns, inverse = np.unique(self.weight, axis=0, return_inverse=True)
        self._pattern = np.ravel(inverse)
        self._count = np.bincount(self._pattern).astype(float)
        self._members = (np.arange(len(self._patterns))[:, None] == self._pattern).astype(float)
        self._weighted = self.Y * self.weight
        self._total = float((self._weighted * self.Y).sum())
        self._num = float((self.weight > 0).sum())
        self._noise = 1e-3 * self._total / max(self._num, 1.0)  # to begin with, in the unit of Y

    # ---- linear algebra ----------------------------------------------------------------------------
    def _grams(self, phi: Array) -> tuple[Array, Array, int]:
        full = np.concatenate([phi, np.broadcast_to(self.crossed, (len(phi), *self.crossed.shape))], axis=2)
        gram = np.swapaxes(full, 1, 2)[:, None] @ (self._patterns[None, :, :, None] * full[:, None])
        return gram, self._weighted @ full, phi.shape[2]

    def _solve(
        self, grams: tuple[Array, Array, int], covariance: Array, ratio: float, effects_too: bool = False
    ) -> tuple[Array, Array, Array, Array, Array, Array]:
        """objective (B,), coefficients (B, p + q), effects (B, M, R), their inverse information (B, P, R, R),
        noise (B,), information of the coefficients (B, p + q, p + q)."""
        gram, right, p = grams
        R, t = self.num_random, gram.shape[-1]
        prior = np.linalg.inv(covariance)
        inside = gram[:, :, :R, :R] + prior
        # rows without noise tell a mixture's coefficients exactly where they tell them, and not at all elsewhere
        k = np.arange(R)
        inside[..., k, k] += 1e-13 * np.trace(inside, axis1=-2, axis2=-1)[..., None]
        V = np.linalg.inv(inside)
        border = gram[:, :, :, :R]
        A = (self._count[:, None, None] * (gram - border @ V @ np.swapaxes(border, -1, -2))).sum(axis=1)
        # sums over the mixtures of a pattern: the mixtures themselves are needed for their effects only
        mine = right[..., :R]
        summed = (self._members @ mine)[..., None]
        b = right.sum(axis=1) - (border @ (V @ summed))[..., 0].sum(axis=1)
        outer = (self._members @ (mine[..., :, None] * mine[..., None, :]).reshape(*mine.shape[:2], R * R)).reshape(
            V.shape
        )
        determinant = np.zeros(len(gram))
        if t > p:
            determinant = np.linalg.slogdet(A[:, p:, p:] * ratio + np.eye(t - p))[1]
        k, q = np.arange(p), np.arange(p, t)
        A[:, k, k] *= 1 + 1e-12
        A[:, q, q] += 1 / ratio
        total = self._total
        if self.last_prior is not None:
            mean, sd = self.last_prior
            tau = self._noise / sd**2
            A[:, p - 1, p - 1] += tau
            b[:, p - 1] += tau * mean
            total += tau * mean**2
        coef = np.linalg.solve(A, b[..., None])[..., 0]
        quad = total - (outer * V).sum(axis=(1, 2, 3)) - (coef * b).sum(axis=1)
        noise = np.maximum(quad, 1e-14 * self._total + 1e-300) / self._num
        determinant = determinant + (self._count * np.linalg.slogdet(inside)[1]).sum(axis=1)
        determinant -= len(self._pattern) * np.linalg.slogdet(prior)[1]
        objective = self._num * np.log(noise) + determinant
        if not effects_too:
            return objective, coef, coef, V, noise, A
        left = (np.swapaxes(border, -1, -2) @ coef[:, None, :, None])[..., 0][:, self._pattern]
        effects = (V[:, self._pattern] @ (mine - left)[..., None])[..., 0]
        return objective, coef, effects, V, noise, A

    def _em(self, grams: tuple[Array, Array, int], covariance: Array, ratio: float, rounds: int) -> tuple[Array, float]:
        p, M = grams[2], len(self._pattern)
        for _ in range(rounds):
            _, coef, effects, V, noise, A = self._solve(grams, covariance, ratio, True)
            self._noise = float(noise[0])
            second = effects[0].T @ effects[0] / noise[0] + (self._count[:, None, None] * V[0]).sum(axis=0)
            before, old = covariance, ratio
            covariance = second / M
            covariance = covariance + (1e-9 * np.trace(covariance) + 1e-9) * np.eye(self.num_random)
            if self.crossed.shape[1]:
                inverse = np.linalg.inv(A[0])[p:, p:]
                ratio = float((coef[0, p:] ** 2 / noise[0] + np.diag(inverse)).mean())
                ratio = min(max(ratio, 1e-6), self.max_ratio)
            settled = np.abs(covariance - before).max() <= 1e-3 * np.abs(covariance).max()
            if settled and abs(ratio - old) <= 1e-3 * ratio:
                break
        return covariance, ratio

    def _objective(self, design: Design, theta: Array, covariance: Array, ratio: float) -> Array:
        """(B,) minus twice the log likelihood at theta (B, k)."""
        return self._solve(self._grams(design(theta)), covariance, ratio)[0]

    def at(self, design: Design, theta: Array, fit: MixedFit, last: float | None = None) -> MixedFit:
        """The linear part at another theta (k,), or with another last coefficient; variances as in ``fit``."""
        grams = self._grams(design(theta[None]))
        self._noise = fit.noise
        prior = self.last_prior
        if last is not None:
            self.last_prior = (last, 1e-6 * abs(last) + 1e-12)
        objective, coef, effects, _, noise, _ = self._solve(grams, fit.covariance, fit.crossed_ratio, True)
        self.last_prior = prior
        p = grams[2]
        return replace(
            fit, theta=theta, beta=coef[0, :p], crossed=coef[0, p:], effects=effects[0], noise=float(noise[0]),
            objective=float(objective[0]),
        )  # fmt: skip

    # ---- search --------------------------------------------------------------------------------------
    def fit(
        self,
        design: Design,
        starts: Array,
        lower: Array,
        upper: Array,
        warm: MixedFit | None = None,
        rounds: int = 4,
        em_rounds: int = 25,
        tolerance: float = 1e-4,
    ) -> MixedFit:
        """Search theta from the best of ``starts`` (S, k) inside the box; ``warm`` starts from another fit.

        With ``lower == upper`` the shape is given and only the linear part is fitted.
        """
        lower, upper = np.asarray(lower, dtype=float), np.asarray(upper, dtype=float)
        width = upper - lower
        free = bool((width > 0).any())
        covariance = np.eye(self.num_random) * 10.0 if warm is None else warm.covariance.copy()
        ratio = 0.2 if warm is None else warm.crossed_ratio
        if warm is not None:
            self._noise, theta = warm.noise, np.clip(warm.theta, lower, upper)
        else:
            scores = self._objective(design, starts, covariance, ratio)
            theta = starts[int(np.argmin(scores))]
        settled = not free
        for turn in range(3 * rounds if free else 1):
            covariance, ratio = self._em(self._grams(design(theta[None])), covariance, ratio, em_rounds)
            if not free:
                break
            before = theta
            theta = self._newton(design, theta, lower, upper, covariance, ratio, tolerance)
            worse, better = self._objective(design, np.stack([before, theta]), covariance, ratio)
            settled = bool(worse - better <= _SETTLED)
            if turn and (np.abs(theta - before) <= tolerance * width).all():
                settled = True
            if (turn + 1 >= rounds and settled) or (rounds == 1):
                break
        grams = self._grams(design(theta[None]))
        covariance, ratio = self._em(grams, covariance, ratio, em_rounds)
        objective, coef, effects, V, noise, _ = self._solve(grams, covariance, ratio, True)
        p = grams[2]
        return MixedFit(
            theta=theta,
            beta=coef[0, :p],
            effects=effects[0],
            crossed=coef[0, p:],
            covariance=covariance,
            crossed_ratio=ratio,
            noise=float(noise[0]),
            spread=V[0][self._pattern] * noise[0],
            objective=float(objective[0]),
            settled=settled,
        )

    def _newton(
        self,
        design: Design,
        theta: Array,
        lower: Array,
        upper: Array,
        covariance: Array,
        ratio: float,
        tolerance: float,
    ) -> Array:
        """Damped Newton steps on theta at fixed variances; stencil and step lengths are evaluated as batches."""
        width, k = upper - lower, len(theta)
        stencil, pairs = _stencil(width, 1e-3)
        damping = np.array([0.0, 1e-2, 1e-1, 1.0, 10.0, 100.0])[:, None]
        for _ in range(12):
            f = self._objective(design, theta + stencil, covariance, ratio)
            slope, H = _curvature(f, pairs, k)
            value, vector = np.linalg.eigh(H)
            value = np.maximum(np.abs(value), 1e-3 * np.abs(value).max() + 1e-12)
            step = -((vector.T @ slope) / (value + damping * value.max())) @ vector.T * width
            points = np.clip(theta + np.clip(step, -0.25 * width, 0.25 * width), lower, upper)
            scores = self._objective(design, points, covariance, ratio)
            best = int(np.argmin(scores))
            if not scores[best] < f[0] - 1e-6:
                break
            moved = np.abs(points[best] - theta)
            theta = points[best]
            if (moved <= tolerance * width).all():
                break
        return theta

    def last_error(self, design: Design, fit: MixedFit, temper: float) -> float:
        """Standard error of the last coefficient at this theta, if ``temper`` rows are worth one."""
        grams = self._grams(design(fit.theta[None]))
        self._noise = fit.noise
        A = self._solve(grams, fit.covariance, fit.crossed_ratio)[5][0]
        return float(np.sqrt(fit.noise * temper * np.linalg.inv(A)[grams[2] - 1, grams[2] - 1]))

    def theta_axes(self, design: Design, fit: MixedFit, lower: Array, upper: Array, temper: float) -> Array:
        """(k, k) principal axes of what the rows leave open in theta, each as long as its standard error.

        The curvature of the objective at the optimum, of which ``temper`` rows are worth one. No axis is longer than a
        quarter of the box, beyond which a curvature says nothing.
        """
        width = upper - lower
        free = width > 0
        stencil, pairs = _stencil(np.where(free, width, 0.0), 1e-2)
        self._noise = fit.noise
        f = self._objective(design, fit.theta + stencil, fit.covariance, fit.crossed_ratio)
        H = _curvature(f, pairs, len(width), 1e-2)[1][np.ix_(free, free)] / (2.0 * temper)
        value, vector = np.linalg.eigh(H)
        out = np.zeros((len(width), len(width)))
        out[np.ix_(free, free)] = (vector * np.minimum(1.0 / np.sqrt(np.maximum(value, 1e-300)), 0.25)).T
        return out * width


def _stencil(width: Array, share: float) -> tuple[Array, list[tuple[int, int]]]:
    """Points (1 + 2 k + pairs, k) around 0 for second differences, ``share`` of the box's width apart."""
    k = len(width)
    pairs = [(i, j) for i in range(k) for j in range(i)]
    E = np.diag(share * width)
    around = [np.zeros((1, k)), np.stack([E, -E], axis=1).reshape(-1, k)] + [(E[i] + E[j])[None] for i, j in pairs]
    return np.concatenate(around), pairs


def _curvature(f: Array, pairs: list[tuple[int, int]], k: int, share: float = 1e-3) -> tuple[Array, Array]:
    """Slope (k,) and second derivatives (k, k) per width of the box, from the values at a stencil."""
    up, down = f[1 : 1 + 2 * k : 2], f[2 : 2 + 2 * k : 2]
    H = np.diag((up + down - 2 * f[0]) / share**2)
    for n, (i, j) in enumerate(pairs):
        H[i, j] = H[j, i] = (f[1 + 2 * k + n] - up[i] - up[j] + f[0]) / share**2
    return (up - down) / (2 * share), H
