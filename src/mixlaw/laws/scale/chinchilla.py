"""Chinchilla's parametric law: an irreducible loss, a size term and a data term.

    L(N, D) = E + A / N^alpha + B / D^beta

Legend: N non-embedding parameters, D training tokens, E irreducible loss (nats per token), A/alpha what a finite
model costs, B/beta what finite data costs, C = 6 N D training FLOPs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.errors import DataError
from mixlaw.kit.arrays import Array
from mixlaw.laws.fit.scale_law import ScaleLaw

__all__ = ["Allocation", "Chinchilla", "best_power_starts", "optimal_allocation"]


class Allocation(dict[str, Any]):
    """``params``, ``tokens``, ``tokens_per_param``, ``loss`` of a compute-optimal run; arrays like the budget."""


def optimal_allocation(
    C: npt.ArrayLike, E: float, A: float, B: float, alpha: float, beta: float, flops_per_param_token: float = 6.0
) -> Allocation:
    """Size and tokens that lose least for C training FLOPs, in closed form.

    ``N* = G (C/6)^(beta/(alpha+beta))``, ``D* = (C/6) / N*``, ``G = (alpha A / (beta B))^(1/(alpha+beta))``
    (arXiv:2203.15556, equation 4).

    Raises:
        DataError: a budget that is not positive.
    """
    flops = np.asarray(C, dtype=float)
    if not np.isfinite(flops).all() or (flops <= 0).any():
        raise DataError(f"The compute budget must be positive FLOPs, got {C!r}.")
    product = flops / flops_per_param_token
    G = (alpha * A / (beta * B)) ** (1 / (alpha + beta))
    N = G * product ** (beta / (alpha + beta))
    D = product / N
    value = {"params": N, "tokens": D, "tokens_per_param": D / N, "loss": E + A / N**alpha + B / D**beta}
    return Allocation({k: v if v.ndim else float(v) for k, v in value.items()})


def best_power_starts(logs: Array, y: Array, w: Array, exponents: Array, keep: int = 3) -> Array:
    """The ``keep`` best of a grid of exponents (G, m), with the terms' sizes solved by least squares.

    ``logs`` (n, m) centred logarithms. Returns (keep, 1 + 2 m): ln E, ln of each term at the centre, exponents.
    Negative coefficients are replaced by small positive ones: the solver moves them.
    """
    m = logs.shape[1]
    phi = np.concatenate([np.ones((len(exponents), len(y), 1)), np.exp(-exponents[:, None, :] * logs[None])], axis=2)
    root = np.sqrt(w)[None, :, None] / y[None, :, None]  # relative errors, as the fit's
    gram = np.swapaxes(phi * root, 1, 2) @ (phi * root)
    right = np.swapaxes(phi * root, 1, 2) @ (np.sqrt(w))[None, :, None]
    gram += 1e-10 * np.trace(gram, axis1=1, axis2=2)[:, None, None] * np.eye(m + 1)
    coef = np.linalg.solve(gram, right)[:, :, 0]
    floor = 1e-3 * y.min()
    coef[:, 0] = np.clip(coef[:, 0], 0.05 * y.min(), 0.999 * y.min())
    coef[:, 1:] = np.maximum(coef[:, 1:], floor)
    error = np.log((phi @ coef[:, :, None])[:, :, 0]) - np.log(y)
    order = np.argsort((w * np.abs(error)).sum(axis=1), kind="stable")[:keep]
    return np.concatenate([np.log(coef[order]), exponents[order]], axis=1)


class Chinchilla(ScaleLaw):
    """``L(N, D) = E + A / N^alpha + B / D^beta``, fitted as its authors do, and to the optimum.

    Args:
        tied: one exponent for size and data (``alpha = beta``), as for over-training (arXiv:2403.08540).
        seed: of the bootstrap.
        loss: ``"huber"`` (with ``delta``, on log losses, summed) or ``"squared"``.
        delta: Huber's threshold in log loss.
        bootstrap: number of resamples of the runs for ``intervals_`` (0: none; 4000 takes about a second).
        level: of those intervals.

    X: array [N, D] or columns ``params``, ``tokens``; y: losses in nats.
    Fitted: ``parameters_`` E, A, B, alpha, beta; ``objective_`` (sum of Huber terms); ``intervals_``.

    Not for: repeated data (:class:`RepeatedData`), checkpoints inside one decaying schedule
    (:class:`LearningRateAnnealing`, :class:`Joint`), total instead of non-embedding parameters at small sizes.

    Raises:
        DataError, NotIdentifiableError, TooFewRunsError: see the message.

    Sources: Hoffmann et al. 2022, arXiv:2203.15556; Besiroglu et al. 2024, arXiv:2404.10102 (sum, not mean).

    Example:
        >>> N, D = np.meshgrid([1e8, 3e8, 1e9, 3e9], [2e9, 6e9, 2e10, 6e10])
        >>> loss = 1.8 + 480 / N.ravel() ** .35 + 2100 / D.ravel() ** .37
        >>> law = Chinchilla(seed=0).fit(np.c_[N.ravel(), D.ravel()], loss)
        >>> round(law.parameters_["E"], 6)
        1.8
        >>> round(law.optimal_allocation(1e21)["tokens_per_param"])
        19
    """

    name = "chinchilla"
    source = "Hoffmann et al. 2022, arXiv:2203.15556; Besiroglu et al. 2024, arXiv:2404.10102"

    def __init__(
        self,
        tied: bool = False,
        seed: int = 0,
        loss: str = "huber",
        delta: float = 1e-3,
        bootstrap: int = 0,
        level: float = 0.9,
    ) -> None:
        self.tied = tied
        self.seed = seed
        self.loss = loss
        self.delta = delta
        self.bootstrap = bootstrap
        self.level = level

    @property
    def num_free(self) -> int:  # type: ignore[override]
        """5, or 4 with one exponent."""
        return 4 if self.tied else 5

    def _starts(self, Z: Array, y: Array, w: Array) -> Array:
        logs = np.log(Z) - self.centre_
        grid = np.array([0.1, 0.25, 0.4, 0.6, 0.9])
        if self.tied:
            found = best_power_starts(logs, y, w, np.repeat(grid[:, None], 2, axis=1))
            return found[:, :4]
        pairs = np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1).reshape(-1, 2)
        return best_power_starts(logs, y, w, pairs)

    def _evaluate(self, theta: Array, Z: Array) -> tuple[Array, Array]:
        lnN, lnD = np.log(Z).T - self.centre_[:, None]
        alpha, beta = theta[:, 3:4], theta[:, -1:]
        E = np.exp(theta[:, :1])
        size = np.exp(theta[:, 1:2] - alpha * lnN)
        data = np.exp(theta[:, 2:3] - beta * lnD)
        J = np.empty((*size.shape, theta.shape[1]))
        J[..., 0], J[..., 1], J[..., 2] = E, size, data
        J[..., 3] = -lnN * size
        if self.tied:
            J[..., 3] -= lnD * data
        else:
            J[..., 4] = -lnD * data
        return E + size + data, J

    def _describe(self, theta: Array) -> dict[str, Array]:
        alpha, beta = theta[:, 3], theta[:, -1]
        with np.errstate(over="ignore"):
            return {
                "E": np.exp(theta[:, 0]),
                "A": np.exp(theta[:, 1] + alpha * self.centre_[0]),
                "B": np.exp(theta[:, 2] + beta * self.centre_[1]),
                "alpha": alpha,
                "beta": beta,
            }

    def optimal_allocation(self, C: npt.ArrayLike, target: int = 0) -> Allocation:
        """``params``, ``tokens``, ``tokens_per_param``, ``loss`` for C training FLOPs (a number or an array)."""
        self._check_fitted()
        p = {k: v if self.single_target_ else v[target] for k, v in self.parameters_.items()}
        if p["alpha"] <= 0 or p["beta"] <= 0:
            raise DataError(
                f"The fitted exponents (alpha {p['alpha']:.3g}, beta {p['beta']:.3g}) are not both positive, so no "
                f"finite optimum exists. Fit runs that span more sizes and token counts."
            )
        return optimal_allocation(C, **p)
