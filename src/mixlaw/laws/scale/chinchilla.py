"""Chinchilla's parametric law: an irreducible loss, a size term and a data term.

    L(N, D) = E + A / N^alpha + B / D^beta

Legend: N non-embedding parameters, D training tokens, E irreducible loss (nats per token), A/alpha what a finite
model costs, B/beta what finite data costs, C = 6 N D training FLOPs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.errors import DataError, NotIdentifiableError
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.base import Law
from mixlaw.laws.core.parameters import Free, Parameter, Positive
from mixlaw.laws.fit.scale_law import ScaleLaw

__all__ = ["Allocation", "Chinchilla", "optimal_allocation"]

_SAME_PLAN = 2.0  # optima within this factor of each other are one plan


class Allocation(dict[str, Any]):
    """``params``, ``tokens``, ``tokens_per_param``, ``loss`` of a compute-optimal run; arrays like the budget.

    Example:
        >>> plan = optimal_allocation(5.76e23, E=1.69, A=406.4, B=410.7, alpha=0.34, beta=0.28)
        >>> sorted(plan)
        ['loss', 'params', 'tokens', 'tokens_per_param']
    """


def optimal_allocation(
    C: npt.ArrayLike, E: float, A: float, B: float, alpha: float, beta: float, flops_per_param_token: float = 6.0
) -> Allocation:
    """Size and tokens that lose least for C training FLOPs, in closed form.

    ``N* = G (C/6)^(beta/(alpha+beta))``, ``D* = (C/6) / N*``, ``G = (alpha A / (beta B))^(1/(alpha+beta))``
    (arXiv:2203.15556, equation 4).

    Raises:
        DataError: a budget, a term's size or an exponent that is not positive: then no finite optimum exists.

    Args:
        C: training FLOPs, of any shape, which is that of the results.
        E: irreducible loss, nats.
        A, B: loss that size and tokens take away, nats at one parameter and one token.
        alpha, beta: exponents of parameters and tokens.
        flops_per_param_token: FLOPs per parameter and token; 6 is forward and backward of a dense model.

    Example:
        >>> plan = optimal_allocation(6e20, E=1.7, A=400.0, B=400.0, alpha=0.3, beta=0.3)
        >>> f"{plan['params']:.3g} parameters, {plan['tokens']:.3g} tokens"  # equal terms: as many of each
        '1e+10 parameters, 1e+10 tokens'
    """
    flops = np.asarray(C, dtype=float)
    if not np.isfinite(flops).all() or (flops <= 0).any():
        raise DataError(f"The compute budget must be positive FLOPs, got {C!r}.")
    if not all(np.isfinite(v) and v > 0 for v in (A, B, alpha, beta)):
        raise DataError(
            f"No finite optimum exists with A={A:.4g}, B={B:.4g}, alpha={alpha:.4g}, beta={beta:.4g}: all four must be "
            f"positive. Fit runs that span more sizes and token counts, independently of each other."
        )
    product = flops / flops_per_param_token
    G = (alpha * A / (beta * B)) ** (1 / (alpha + beta))
    N = G * product ** (beta / (alpha + beta))
    D = product / N
    value = {"params": N, "tokens": D, "tokens_per_param": D / N, "loss": E + A / N**alpha + B / D**beta}
    return Allocation({k: v if v.ndim else float(v) for k, v in value.items()})


_PARAMETERS: dict[str, Parameter] = {
    "E": Positive(1.8, "irreducible loss, nats"),
    "A": Positive(480.0, "size term, nats at one parameter"),
    "B": Positive(2100.0, "data term, nats at one token"),
    "alpha": Free(0.35, "size exponent"),
    "beta": Free(0.37, "data exponent"),
}


class Chinchilla(ScaleLaw):
    """``L(N, D) = E + A / N^alpha + B / D^beta``, fitted as its authors do, and to the optimum.

    Args:
        tied: one exponent for size and data (``alpha = beta``), as for over-training (arXiv:2403.08540).
        seed: of the bootstrap.
        loss: ``"huber"`` (with ``delta``, on log losses, summed) or ``"squared"``.
        delta: Huber's threshold in log loss.
        bootstrap: number of resamples of the runs for ``intervals_`` (0: none; 4000 takes about a second).
        level: of those intervals.

    X: array (n, 2) [N, D] or columns ``params`` (non-embedding), ``tokens``; y: losses (n,) or (n, T) in nats per
    token. Fitted: ``parameters_`` E, A, B, alpha, beta; ``objective_`` (sum of Huber terms); ``intervals_``.

    Not for: repeated data (:class:`RepeatedData`), checkpoints inside one decaying schedule
    (:class:`LearningRateAnnealing`, :class:`Joint`), total instead of non-embedding parameters at small sizes.

    Raises:
        DataError: rows that the law cannot use, such as losses that are not positive.
        NotIdentifiableError: too few different values of a column. Runs that fix a part of the law only, such as all of
            one number of tokens per parameter, are fitted: ``notes`` name what is not known and the run that would
            tell, intervals are wide there, and :meth:`optimal_allocation` refuses.
        TooFewRunsError: fewer runs than parameters.
        ConfigError: an option that is not allowed.

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
    irreducible = "E"
    source = "Hoffmann et al. 2022, arXiv:2203.15556; Besiroglu et al. 2024, arXiv:2404.10102"
    formula = "L = E + A / N^alpha + B / D^beta"
    columns = ("params", "tokens")

    def __init__(
        self,
        tied: bool = False,
        seed: int = 0,
        loss: str = "huber",
        delta: float = 1e-3,
        bootstrap: int = 0,
        level: float = 0.9,
    ) -> None:
        super().__init__(seed, loss, delta, bootstrap, level)
        self.tied = tied

    @classmethod
    def examples(cls) -> list[Law]:
        """Both forms."""
        return [cls(), cls(tied=True)]

    @property
    def parameters(self) -> dict[str, Parameter]:  # type: ignore[override]
        """Five, or four with one exponent."""
        return {name: declared for name, declared in _PARAMETERS.items() if not (self.tied and name == "beta")}

    def loss(self, p: Any, params: Array, tokens: Array) -> Array:
        """(B, n) losses in nats at columns (n,)."""
        beta = p.alpha if self.tied else p.beta
        return np.asarray(p.E + p.A * np.exp(-p.alpha * np.log(params)) + p.B * np.exp(-beta * np.log(tokens)))

    def loss_and_slopes(  # type: ignore[override]
        self, p: Any, params: Array, tokens: Array
    ) -> tuple[Array, dict[str, Any]]:
        """Losses (B, n) and their slopes at columns (n,). The two powers cost most of a fit, so they are worked out
        once.
        """
        lnN, lnD = np.log(params), np.log(tokens)
        size = np.exp(-p.alpha * lnN)
        data = np.exp(-(p.alpha if self.tied else p.beta) * lnD)
        by_alpha, by_beta = p.A * size, p.B * data
        value = p.E + by_alpha + by_beta
        by_alpha, by_beta = -lnN * by_alpha, -lnD * by_beta
        slopes = {"E": 1.0, "A": size, "B": data, "alpha": by_alpha, "beta": by_beta}
        if self.tied:
            slopes["alpha"] = by_alpha + slopes.pop("beta")
        return value, slopes

    def slopes(self, p: Any, params: Array, tokens: Array) -> dict[str, Any]:  # type: ignore[override]
        """d loss / d parameter."""
        return self.loss_and_slopes(p, params, tokens)[1]

    def report(self, values: dict[str, Array]) -> dict[str, Array]:
        """Both exponents, also where they are one."""
        return {**values, "beta": values["alpha"]} if self.tied else values

    def optimal_allocation(self, C: npt.ArrayLike, target: int = 0) -> Allocation:
        """``params``, ``tokens``, ``tokens_per_param``, ``loss`` for C training FLOPs (a number or an array).

        Args:
            C: training FLOPs, of any shape, which is that of the results.
            target: number of the target, where several were fitted.

        Raises:
            DataError: C is not positive.
            NotIdentifiableError: an exponent is not positive, or parameters that fit these runs as well put the optimum
                elsewhere by more than a factor of two: the message names the direction and the run that would tell.
        """
        self._check_fitted()
        sets = self.equally_good(target)
        said = " ".join(self.notes)
        alpha, beta = float(sets["alpha"][0]), float(sets["beta"][0])
        if alpha <= 0 or beta <= 0:
            raise NotIdentifiableError(
                f"The fitted exponents (alpha {alpha:.3g}, beta {beta:.3g}) are not both positive, so no finite "
                f"optimum exists. Fit runs that span more sizes and token counts, independently of each other. {said}"
            )
        names = ("E", "A", "B", "alpha", "beta")
        plan = optimal_allocation(C, **{k: float(sets[k][0]) for k in names})
        ratios = []
        for r in range(1, len(sets["alpha"])):
            rival = {k: float(sets[k][r]) for k in names}
            if min(rival["alpha"], rival["beta"]) <= 0:
                ratios.append(np.array(np.inf))
                continue
            with np.errstate(all="ignore"):
                ratios.append(np.asarray(optimal_allocation(C, **rival)["params"]) / np.asarray(plan["params"]))
        apart = max((float(np.max(np.abs(np.log(np.maximum(q, 1e-300))))) for q in ratios), default=0.0)
        if not apart <= np.log(_SAME_PLAN):
            raise NotIdentifiableError(
                f"These runs do not fix the compute-optimal size: parameters that fit them as well put it elsewhere "
                f"by a factor of {np.exp(min(apart, 50.0)):.3g} and more. {said}"
            )
        return plan
