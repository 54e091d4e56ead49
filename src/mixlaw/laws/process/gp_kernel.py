"""The kernel of :mod:`mixlaw.laws.mixture.gaussian_process` and its exact gradient, in NumPy.

Legend: n runs, m domains, T targets; ``r`` (n, m) mixture; ``own`` (T, m) is 1 where a
domain is the target's own; ``eps`` (T, m) the weight at which a domain starts to count; ``f`` (T, n, m) the
features; ``v`` (T, m) slopes of the linear part; ``ell`` (T, m) length scales and ``s`` (T,) size of the
Matern-5/2 part; ``noise`` (T,) standard deviation; ``z`` (T, n) the warped targets; ``u`` the flat vector of
all hyperparameters, each in units of its prior's standard deviation, so that the prior is ``u ~ N(0, 1)``.

Everything is shared across targets and then allowed to differ a little: that is what makes 16 runs enough.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg.lapack import dpotrf, dpotri

from mixlaw.errors import ConvergenceError
from mixlaw.kit.arrays import Array
from mixlaw.laws.process.gp_hyper import MEMBERS, Hyper, Layout, Member, Pairs

__all__ = ["MEMBERS", "Hyper", "Layout", "Member", "features", "kernel", "objective", "posterior"]

BIAS = 4.0  # prior variance of a target's level, in units of its own variance
JITTER = 1e-6
_LARGEST = 1e100  # what a term of the covariance may be: its square, times a noise of MISSING, is still a number
MISSING = 1e6  # noise variance of a target that was not measured in a run: it says nothing


def features(r: Array, hyper: Hyper, kind: str) -> Array:
    """Feature maps (T, n, m) of mixtures (n, m): concave, so that the first tokens of a domain count most.

    Example:
        >>> layout = Layout(MEMBERS["log/log"], num_targets=1, num_domains=2)
        >>> hyper = Hyper.of(np.zeros(layout.size), layout, own=np.zeros((1, 2)))
        >>> features(np.array([[0.5, 0.5]]), hyper, "log").tolist()  # 0 at equal shares
        [[[0.0, 0.0]]]
    """
    m = r.shape[1]
    eps = hyper.eps[:, None, :]
    if kind == "log":
        return np.log(r + eps) - np.log(1 / m + eps)
    if kind == "pow":
        return 4 * np.sqrt(np.sqrt(r + eps))
    lam = hyper.lam[:, None, :]
    return (np.exp(lam * np.log(r + eps)) - np.exp(lam * math.log(1 / m))) / lam


def _features_backward(r: Array, hyper: Hyper, kind: str, f: Array, df: Array) -> tuple[Array, Array]:
    """d/d log eps and d/d log lam (T, m), given d/d f (T, n, m)."""
    m = r.shape[1]
    eps = hyper.eps[:, None, :]
    zero = np.zeros(hyper.eps.shape)
    if kind == "log":
        return np.einsum("tnm,tnm->tm", df, eps / (r + eps) - eps / (1 / m + eps)), zero
    if kind == "pow":
        return np.einsum("tnm,tnm->tm", df, f * (0.25 * eps / (r + eps))), zero
    lam = hyper.lam[:, None, :]
    base = np.exp(lam * math.log(1 / m))
    power = lam * f + base  # (r + eps) ** lam
    to_eps = np.einsum("tnm,tnm->tm", df, power * eps / (r + eps))
    to_lam = np.einsum("tnm,tnm->tm", df, power * np.log(r + eps) - base * math.log(1 / m) - f)
    return to_eps, to_lam


def _square_distance(a: Array, b: Array) -> Array:
    """|a_i - b_j|^2 for batches (c, n, m), (c, k, m)."""
    d = a @ (-2.0 * b.transpose(0, 2, 1))
    d += np.einsum("cnm,cnm->cn", a, a)[:, :, None]
    d += np.einsum("cnm,cnm->cn", b, b)[:, None, :]
    return np.maximum(d, 0.0, out=d)


def kernel(ra: Array, rb: Array, hyper: Hyper, kind: str, known: Array | None = None) -> Array:
    """Covariance (T, n, k) of the noise-free targets between two sets of mixtures (n, m) and (k, m).

    Args:
        known: :func:`features` of ``rb``, where they were worked out before.

    Example:
        >>> layout = Layout(MEMBERS["log/log"], num_targets=1, num_domains=2)
        >>> hyper = Hyper.of(np.zeros(layout.size), layout, own=np.zeros((1, 2)))
        >>> R = np.array([[0.5, 0.5], [0.6, 0.4], [0.9, 0.1]])
        >>> same, near, far = kernel(R[:1], R, hyper, "log")[0, 0]
        >>> bool(same > near > far)
        True
    """
    fa, fb = features(ra, hyper, kind), features(rb, hyper, kind) if known is None else known
    ell, v2 = hyper.ell[:, None, :], (hyper.v**2)[:, None, :]
    q = np.sqrt(5 * _square_distance(fa / ell, fb / ell))
    out: Array = (hyper.s**2)[:, None, None] * (1 + q + q * q / 3) * np.exp(-q)
    out += (fa * v2) @ fb.transpose(0, 2, 1)
    out += BIAS
    return out


def _inverse(K: Array) -> tuple[Array, Array]:
    """Inverses (in place) and log determinants of a batch of covariance matrices (c, n, n)."""
    log_det = np.empty(len(K))
    for i in range(len(K)):
        boost = 0.0
        while True:
            factor, info = dpotrf(K[i] + boost * np.eye(K.shape[1]) if boost else K[i], lower=1, clean=1)
            if info == 0:
                break
            boost = max(boost * 10, 1e-9 * float(np.trace(K[i])) / K.shape[1])
            if not np.isfinite(boost) or boost > 1e3:
                raise ConvergenceError(
                    "The Gaussian process' covariance matrix is not positive definite at these hyperparameters. "
                    "Check X for extreme values and y for targets on wildly different scales."
                )
        log_det[i] = 2 * np.log(factor.diagonal()).sum()
        inverse, _ = dpotri(factor, lower=1, overwrite_c=1)
        half = inverse + inverse.T
        half.ravel()[:: len(half) + 1] *= 0.5  # the diagonal was counted twice
        K[i] = half
    return K, log_det


def warp(y: Array, hyper: Hyper, member: Member, scale: dict[str, Array]) -> tuple[Array, Array]:
    """Warped targets z (T, n) and the log Jacobian's part that depends on hyperparameters (T, n)."""
    if member.warp == "log":
        return (np.log(y) - scale["log_mean"][:, None]) / scale["log_sd"][:, None], np.zeros(y.shape)
    if member.warp == "none":
        return (y - scale["mean"][:, None]) / scale["sd"][:, None], np.zeros(y.shape)
    z = np.log((y - scale["min"][:, None]) / scale["sd"][:, None] + hyper.shift[:, None])
    return z, z


def unwarp(z: Array, hyper: Hyper, member: Member, scale: dict[str, Array]) -> Array:
    """Back from z (T, n) to the target's own units."""
    if member.warp == "log":
        return np.exp(np.clip(z * scale["log_sd"][:, None] + scale["log_mean"][:, None], -700, 700))
    if member.warp == "none":
        return z * scale["sd"][:, None] + scale["mean"][:, None]
    return (np.exp(np.clip(z, -700, 60)) - hyper.shift[:, None]) * scale["sd"][:, None] + scale["min"][:, None]


@dataclass
class Data:
    """What one fit sees. ``noise_scale`` (T, n) multiplies the noise variance of single measurements."""

    r: Array  # (n, m)
    y: Array  # (T, n); where not seen, any value inside the target's range
    seen: Array  # (T, n) 1 or 0
    own: Array  # (T, m)
    scale: dict[str, Array]
    noise_scale: Array  # (T, n)

    def take(self, rows: npt.NDArray[np.int64]) -> Data:
        """The same with a subset of runs (the targets' scale stays)."""
        return Data(self.r[rows], self.y[:, rows], self.seen[:, rows], self.own, self.scale, self.noise_scale[:, rows])


def standardize(y: Array, seen: Array) -> dict[str, Array]:
    """Centre, spread and minimum of each target (T, n), from what was measured; a constant one has spread 1."""
    masked = np.ma.masked_array(y, seen == 0)
    positive = np.ma.log(np.ma.masked_less_equal(masked, 0))

    def spread(values: np.ma.MaskedArray) -> Array:
        sd = np.ma.filled(values.std(axis=1), 0.0)
        size = np.abs(np.ma.filled(values.mean(axis=1), 0.0))
        return np.where(sd > 1e-12 * size, sd, 1.0)

    return {
        "mean": np.ma.filled(masked.mean(axis=1), 0.0),
        "sd": spread(masked),
        "min": np.ma.filled(masked.min(axis=1), 0.0),
        "log_mean": np.ma.filled(positive.mean(axis=1), 0.0),
        "log_sd": spread(positive),
    }


def _chunk(n: int) -> int:
    """How many targets to treat at once: enough to hide Python's overhead, few enough to stay in cache."""
    return max(1, 40_000 // (n * n))


def objective(u: Array, data: Data, layout: Layout) -> tuple[float, Array]:
    """Sum of T negative log marginal likelihoods plus |u|^2 / 2, and its gradient.

    Args:
        u: (layout.size,) all hyperparameters, in units of their priors.

    Raises:
        ConvergenceError: a covariance matrix that is not positive definite.

    Example:
        >>> layout = Layout(MEMBERS["log/log"], num_targets=1, num_domains=2)
        >>> R, y, ones = np.array([[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]]), np.array([[3.0, 2.6, 2.5]]), np.ones((1, 3))
        >>> data = Data(R, y, ones, np.zeros((1, 2)), standardize(y, ones), ones)
        >>> u = np.zeros(layout.size)
        >>> value, gradient = objective(u, data, layout)
        >>> objective(u - 1e-3 * gradient, data, layout)[0] < value
        True
    """
    T, m = layout.num_targets, layout.num_domains
    n = len(data.r)
    kind = layout.member.feature
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # refused in the next line
        hyper = Hyper.of(u, layout, data.own)
        f = features(data.r, hyper, kind)
    _refuse_extremes(hyper, f)
    z, jacobian = warp(data.y, hyper, layout.member, data.scale)
    z = z * data.seen
    value = float((jacobian * data.seen).sum())
    df = np.empty_like(f)
    to_ell, to_v = np.empty((T, m)), np.empty((T, m))
    to_s, to_noise, to_shift = np.empty(T), np.empty(T), np.zeros(T)
    diagonal = np.arange(n)
    for start in range(0, T, _chunk(n)):
        part = slice(start, min(start + _chunk(n), T))
        fc, ell, v2 = f[part], hyper.ell[part, None, :], (hyper.v[part] ** 2)[:, None, :]
        s2 = (hyper.s[part] ** 2)[:, None, None]
        a = fc / ell
        q = _square_distance(a, a)
        q *= 5.0
        matern = q / 3  # q^2 / 3, for now
        np.sqrt(q, out=q)
        decay = np.exp(-q)
        decay *= s2
        q += 1.0
        matern += q
        matern *= decay  # s^2 (1 + q + q^2/3) e^-q
        q *= decay
        q *= -5.0 / 6.0  # d matern / d d^2
        K = (fc * v2) @ fc.transpose(0, 2, 1)
        K += matern
        K += BIAS
        own_noise = (hyper.noise[part] ** 2)[:, None] * data.noise_scale[part]
        K[:, diagonal, diagonal] += own_noise + JITTER + MISSING * (1 - data.seen[part])
        inverse, log_det = _inverse(K)
        zc = z[part]
        alpha = (inverse @ zc[:, :, None])[:, :, 0]
        value += 0.5 * float(np.einsum("cn,cn->", zc, alpha)) + 0.5 * float(log_det.sum())
        G = inverse
        G -= alpha[:, :, None] * alpha[:, None, :]
        G *= 0.5
        to_noise[part] = 2 * np.einsum("cn,cn->c", G[:, diagonal, diagonal], own_noise)
        to_s[part] = 2 * np.einsum("cij,cij->c", G, matern)
        Gf = G @ fc
        to_v[part] = 2 * np.einsum("cnm,cnm->cm", fc, Gf) * hyper.v[part] ** 2
        q *= G
        da = q.sum(axis=2)[:, :, None] * a
        da -= q @ a
        da *= 4.0
        to_ell[part] = -np.einsum("cnm,cnm->cm", a, da)
        df[part] = da / ell + 2 * v2 * Gf
        if layout.member.warp == "logc":
            to_shift[part] = hyper.shift[part] * np.einsum(
                "cn,cn->c", (alpha + 1) * data.seen[part], np.exp(-jacobian[part])
            )
    to_eps, to_lam = _features_backward(data.r, hyper, kind, f, df)
    per_domain = {"eps": to_eps, "lam": to_lam, "ell": to_ell, "v": to_v}
    per_target = {"s": to_s, "noise": to_noise, "c": to_shift}
    value += 0.5 * float(u @ u)
    return value, u + _of_hyperparameters(per_domain, per_target, data, layout)


def _refuse_extremes(hyper: Hyper, f: Array) -> None:
    """Refuse hyperparameters at which the covariance of features (T, n, m) overflows: a step of the search reached so
    far that not even its terms are numbers.

    Raises:
        ConvergenceError: a term that is not finite, or whose square would not be; an offset ``eps`` of 0, at which a
            feature has no slope at a share of 0.
    """
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        reach = np.abs(f).max(axis=1)
        terms = np.concatenate([reach / hyper.ell, reach * hyper.v, hyper.s[:, None], hyper.noise[:, None]], axis=1)
        fine = (terms < _LARGEST).all() and (hyper.shift < _LARGEST).all() and (hyper.eps > 0).all()
    if not fine:
        raise ConvergenceError(
            f"The Gaussian process' covariance overflows at these hyperparameters (a term of {np.max(terms):.3g}). "
            f"Check X for extreme values and y for targets on wildly different scales."
        )


def _of_hyperparameters(
    per_domain: Mapping[str, Array], per_target: Mapping[str, Array], data: Data, layout: Layout
) -> Array:
    """(layout.size,) gradient in the hyperparameters, from that in what targets have of each.

    Args:
        per_domain: (T, m) slopes in logarithms of the numbers that a target has for each domain.
        per_target: (T,) in those it has one of.
    """
    gradient = np.zeros(layout.size)
    pairs = Pairs.of(data.own)
    for name, d in per_domain.items():
        if name in layout.slices:
            layout.scatter(gradient, name, d.sum())
            layout.scatter(gradient, f"{name}_own", (d * data.own).sum())
        if f"{name}_domain" in layout.slices:
            layout.scatter(gradient, f"{name}_domain", d.sum(axis=0))
        if f"{name}_each" in layout.slices:
            layout.scatter(gradient, f"{name}_each", pairs.share * d)
            layout.scatter(gradient, f"{name}_pair", pairs.gather(d))
    for name, d in per_target.items():
        if name in layout.slices:
            layout.scatter(gradient, name, d.sum())
            layout.scatter(gradient, f"{name}_each", d)
    return gradient


def minimize_objective(u: Array, data: Data, layout: Layout, iterations: int) -> Array:
    """L-BFGS from ``u``; a point where the covariance breaks down counts as a wall."""
    from scipy.optimize import minimize

    def guarded(point: Array) -> tuple[float, Array]:
        try:
            return objective(point, data, layout)
        except ConvergenceError:
            return 1e12, point

    found = minimize(
        guarded, u, jac=True, method="L-BFGS-B", options={"maxiter": iterations, "maxcor": 20, "maxfun": 3 * iterations}
    )
    return np.asarray(found.x, dtype=float)


@dataclass
class Posterior:
    """Everything prediction needs at fixed hyperparameters."""

    alpha: Array  # (T, n)
    precision_diagonal: Array  # (T, n), of the covariance with noise
    z: Array  # (T, n)


def posterior(u: Array, data: Data, layout: Layout) -> Posterior:
    """Solve K alpha = z for every target.

    Args:
        u: (layout.size,) all hyperparameters, in units of their priors.

    Raises:
        ConvergenceError: a covariance matrix that is not positive definite.

    Example:
        >>> layout = Layout(MEMBERS["log/log"], num_targets=1, num_domains=2)
        >>> R, y, ones = np.array([[0.2, 0.8], [0.5, 0.5], [0.9, 0.1]]), np.array([[3.0, 2.6, 2.5]]), np.ones((1, 3))
        >>> data = Data(R, y, ones, np.zeros((1, 2)), standardize(y, ones), ones)
        >>> posterior(np.zeros(layout.size), data, layout).alpha.shape  # one weight per target and run
        (1, 3)
    """
    hyper = Hyper.of(u, layout, data.own)
    z, _ = warp(data.y, hyper, layout.member, data.scale)
    z = z * data.seen
    alpha, diagonal = np.empty_like(z), np.empty_like(z)
    for t in range(layout.num_targets):
        inverse = covariance(t, hyper, data, layout.member)
        _inverse(inverse[None])
        alpha[t], diagonal[t] = inverse @ z[t], inverse.diagonal()
    return Posterior(alpha, diagonal, z)


def covariance(t: int, hyper: Hyper, data: Data, member: Member) -> Array:
    """Covariance (n, n) of one target's measurements, noise included."""
    K: Array = kernel(data.r, data.r, hyper.only(t), member.feature)[0]
    K.ravel()[:: len(K) + 1] += noise_variance(hyper, data)[t]
    return K


def factor(t: int, hyper: Hyper, data: Data, member: Member) -> tuple[Array, bool]:
    """The lower Cholesky factor of :func:`covariance`, as :func:`scipy.linalg.cho_solve` takes it. Of hyperparameters
    under which rounding alone makes it indefinite, with the diagonal lifted by as little as helps."""
    K = covariance(t, hyper, data, member)
    level = float(np.trace(K)) / len(K)
    for lift in (0.0, 1e-12, 1e-10):
        try:
            return np.asarray(np.linalg.cholesky(K + lift * level * np.eye(len(K)))), True
        except np.linalg.LinAlgError:
            continue
    return root(K), True


def noise_variance(hyper: Hyper, data: Data) -> Array:
    """Noise variance (T, n) of every measurement."""
    return (hyper.noise**2)[:, None] * data.noise_scale + JITTER + MISSING * (1 - data.seen)


def root(covariance: Array) -> Array:
    """A square root, triangular where possible: near-equal mixtures make it singular, so the diagonal is lifted."""
    level = max(float(np.trace(covariance)) / len(covariance), 1e-12)
    for lift in (1e-8, 1e-6, 1e-4, 1e-2):
        try:
            return np.asarray(np.linalg.cholesky(covariance + lift * level * np.eye(len(covariance))))
        except np.linalg.LinAlgError:
            continue
    values, vectors = np.linalg.eigh(covariance)
    half: Array = vectors * np.sqrt(np.maximum(values, 0.0))
    return half


def reweight(u: Array, data: Data, layout: Layout, nu: float = 2.0, kappa: float = 4.0) -> Array:
    """Student-t weights as noise multipliers (T, n): runs whose leave-one-out error is large say less.

    A run that is off in every target (a bad seed) loses weight in all of them: ``kappa`` pools the evidence.
    """
    state = posterior(u, data, layout)
    error2 = state.alpha**2 / state.precision_diagonal
    pooled = (error2 * data.seen).sum(axis=0) / np.maximum(data.seen.sum(axis=0), 1)
    return np.where(data.seen > 0, (nu + error2 + kappa * pooled) / (nu + 1 + kappa), 1.0)


def slopes(r: Array, hyper: Hyper, kind: str) -> Array:
    """Derivative (T, n, m) of the features with respect to the weights."""
    eps = hyper.eps[:, None, :]
    if kind == "log":
        return 1 / (r + eps)
    if kind == "pow":
        return (r + eps) ** -0.75
    return np.exp((hyper.lam[:, None, :] - 1) * np.log(r + eps))


def kernel_slopes(r: Array, g: Array, alpha: Array, hyper: Hyper, member: Member) -> Array:
    """Gradients (T, n, m) of the targets' posterior means, before unwarping, with respect to the weights r (n, m).

    Args:
        g: (T, k, m) :func:`features` of the runs, alpha (T, k) their coefficients.
    """
    f = features(r, hyper, member.feature)
    ell = hyper.ell[:, None, :]
    a, b = f / ell, g / ell
    q = np.sqrt(5 * _square_distance(a, b))
    pull = -(5.0 / 3.0) * (hyper.s**2)[:, None, None] * (1 + q) * np.exp(-q) * alpha[:, None, :]  # 2 dk / dd^2 alpha
    df = (pull.sum(axis=2)[:, :, None] * a - pull @ b) / ell
    df += (hyper.v**2)[:, None, :] * (alpha[:, None, :] @ g)
    return np.asarray(df * slopes(r, hyper, member.feature))
