"""Repeated data: what the second, tenth and hundredth epoch are worth, and when the data cannot say.

    L(N, D, U) = E + A / N'^alpha + B / D'^beta
    D' = U + U R_D (1 - exp(-(D/U - 1) / R_D))
    N' = M + M R_N (1 - exp(-(N/M - 1) / R_N)),     M = min(N, N_opt(U))

Legend: N parameters, D training tokens (repeats counted), U unique tokens, D' the fresh tokens that D are worth,
N' the parameters that N are worth, N_opt(U) the compute-optimal size for U fresh tokens, R_D and R_N (the authors'
R*) how fast repeats and excess parameters lose their value, E, A, B, alpha, beta as in Chinchilla's law.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.errors import ConfigError, DataError, MixlawWarning, did_you_mean
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.censoring import Sides
from mixlaw.laws.fit.engine import BatchFit, Best, fit_batch, huber
from mixlaw.laws.fit.scale_law import ScaleLaw
from mixlaw.laws.scale.chinchilla import best_power_starts

__all__ = ["RepeatedData", "effective_epochs"]

_BASE = ("E", "A", "B", "alpha", "beta")


def effective_epochs(epochs: npt.ArrayLike, R_D: float = 15.387756) -> Array:
    """Epochs of fresh data that ``epochs`` over the same data are worth.

    Example:
        >>> effective_epochs([1, 4, 16]).round(3).tolist()
        [1.0, 3.726, 10.582]
    """
    times = np.asarray(epochs, dtype=float)
    if (times < 0).any() or not R_D > 0:
        raise DataError(f"Epochs must be >= 0 and R_D positive, got {epochs!r} and {R_D!r}.")
    return np.minimum(times, 1) + R_D * (1 - np.exp(-np.maximum(times - 1, 0) / R_D))


class RepeatedData(ScaleLaw):
    """Loss of (N, D, U): Chinchilla's law with repeated tokens and excess parameters discounted.

    Args:
        base: ``{"E", "A", "B", "alpha", "beta"}`` of fresh data, held fixed while R_D and R_N are fitted, as the
            authors do; ``None`` fits all seven.
        loss, delta, bootstrap, level, seed: as in :class:`Chinchilla`.

    X: array [N, D, U] or columns ``params``, ``tokens``, ``unique_tokens``.
    Fitted: ``parameters_`` (E, A, B, alpha, beta, R_D, R_N), ``objective_`` and ``identifiability_``: every
    optimum that the data cannot tell from the best, with its parameters, and ``flat_``: which of R_D, R_N could be
    four times larger or smaller without a worse fit. Either raises a MixlawWarning:
    on the authors' own records R_D = 15.4, R_N = 5.3 and R_D about 95, R_N about 1.7 fit alike, and they disagree
    about 40 epochs.

    Not for: repeating one domain of a mixture, runs that overfit (loss rising with more epochs): the law's loss
    never rises.

    Source: Muennighoff et al. 2023, arXiv:2305.16264.

    Example:
        >>> from mixlaw.laws import published
        >>> law = published("muennighoff2023")
        >>> round(float(law.predict([[6.34e9, 242e9, 25e9]])[0]), 6)
        2.225644
    """

    name = "repeated_data"
    source = "Muennighoff et al. 2023, arXiv:2305.16264"
    columns = ("params", "tokens", "unique_tokens")
    num_free = 7

    def __init__(
        self,
        base: Mapping[str, float] | None = None,
        seed: int = 0,
        loss: str = "huber",
        delta: float = 1e-3,
        bootstrap: int = 0,
        level: float = 0.9,
    ) -> None:
        self.base = base
        self.seed = seed
        self.loss = loss
        self.delta = delta
        self.bootstrap = bootstrap
        self.level = level

    def _needs(self) -> dict[str, int]:
        return {"params": 1, "tokens": 2, "unique_tokens": 1} if self.base is not None else {"params": 3, "tokens": 3}

    def _check_inputs(self, X: Array, Y: Array, names: Any) -> None:
        if self.base is not None:
            odd = [k for k in self.base if k not in _BASE]
            if odd or len(self.base) != len(_BASE):
                raise ConfigError(
                    f"RepeatedData base needs exactly {list(_BASE)}, got {list(self.base)}."
                    + (did_you_mean(odd[0], _BASE) if odd else "")
                )
        super()._check_inputs(X, Y, names)
        Z = X[:, self._order(names, X.shape[1])]
        if (Z[:, 1] <= Z[:, 2] * (1 + 1e-9)).all():
            raise DataError(
                "No run repeats data (tokens never exceed unique_tokens), so R_D cannot be learned. "
                "Fit laws.Chinchilla, or add runs of several epochs."
            )

    def _check_columns(self, Z: Array) -> None:
        super()._check_columns(Z)
        over = Z[:, 2] > Z[:, 1] * (1 + 1e-6)
        if over.any():
            rows = np.flatnonzero(over)[:5].tolist()
            raise DataError(
                f"unique_tokens exceed tokens in rows {rows}: a run cannot see more unique tokens than tokens. "
                f"Give min(tokens, unique tokens available)."
            )

    # ---- formula -------------------------------------------------------------------------------------
    def _base_theta(self) -> Array | None:
        if self.base is None:
            return None
        b = {k: float(self.base[k]) for k in _BASE}
        return np.array([
            np.log(b["E"]), np.log(b["A"]) - b["alpha"] * self.centre_[0], np.log(b["B"]) - b["beta"] * self.centre_[1],
            b["alpha"], b["beta"],
        ])  # fmt: skip

    def _starts(self, Z: Array, y: Array, w: Array) -> Array:
        base = self._base_theta()
        repeats = np.log([1.5, 6.0, 25.0, 100.0, 400.0])
        excess = np.log([0.3, 1.5, 6.0, 25.0])
        pairs = np.array([(d, n) for d in repeats for n in excess])
        if base is not None:
            return pairs
        logs = np.log(Z[:, :2]) - self.centre_[:2]
        logs[:, 1] = np.log(Z[:, 2] * effective_epochs(Z[:, 1] / Z[:, 2])) - self.centre_[1]
        grid = np.array([0.2, 0.35, 0.6])
        found = best_power_starts(
            logs, y, w, np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1).reshape(-1, 2), keep=1
        )
        return np.concatenate([np.repeat(found, len(pairs), axis=0), pairs], axis=1)

    def _bounds(self) -> Any:
        low, high = np.full(7, -np.inf), np.full(7, np.inf)
        low[3:5], high[3:5] = 0.01, 3.0
        low[5:], high[5:] = np.log(0.02), np.log(1e4)
        return (low, high) if self.base is None else (low[5:], high[5:])

    def _evaluate(self, theta: Array, Z: Array) -> tuple[Array, Array]:
        base = self._base_theta()
        full = theta if base is None else np.concatenate([np.broadcast_to(base, (len(theta), 5)), theta], axis=1)
        e, a, b, alpha, beta, ln_rd, ln_rn = (full[:, i : i + 1] for i in range(7))
        N, D, U = Z.T
        cN, cD = self.centre_[:2]
        RD, RN = np.exp(ln_rd), np.exp(ln_rn)
        U = np.minimum(U, D)
        # repeated tokens
        over = D / U - 1
        fade = np.exp(-over / RD)
        worth = 1 + RD * (1 - fade)  # D' / U
        dD = (RD * (1 - fade) - over * fade) / worth  # d ln D' / d ln R_D
        # excess parameters
        lnG = (np.log(alpha) - np.log(beta) + a + alpha * cN - b - beta * cD) / (alpha + beta)
        ln_opt = (beta / alpha) * (np.log(U) + lnG) + lnG
        capped = ln_opt < np.log(N)
        M = np.where(capped, np.exp(np.minimum(ln_opt, np.log(N))), N)
        extra = N / M - 1
        fade_n = np.exp(-extra / RN)
        worth_n = 1 + RN * (1 - fade_n)  # N' / M
        dN = (RN * (1 - fade_n) - extra * fade_n) / worth_n
        size = np.exp(a - alpha * (np.log(M * worth_n) - cN))
        data = np.exp(b - beta * (np.log(U * worth) - cD))
        E = np.exp(e)
        d_rd, d_rn = -beta * data * dD, -alpha * size * dN
        if base is not None:
            return E + size + data, np.stack([d_rd, d_rn], axis=2)
        # how N' moves with the shape of N_opt(U): d ln N' / d ln M where M is the optimum, else 0
        share = np.where(capped, 1 - (N / M) * fade_n / worth_n, 0.0)
        ratio, total = beta / alpha + 1, alpha + beta
        G_alpha = ((1 / alpha + cN) - lnG) / total
        G_beta = ((-1 / beta - cD) - lnG) / total
        reach = np.log(U) + lnG
        J = np.empty((*size.shape, 7))
        pull = -alpha * size * share
        J[..., 0] = E
        J[..., 1] = size + pull * ratio / total
        J[..., 2] = data - pull * ratio / total
        J[..., 3] = -(np.log(M * worth_n) - cN) * size + pull * (-beta / alpha**2 * reach + ratio * G_alpha)
        J[..., 4] = -(np.log(U * worth) - cD) * data + pull * (reach / alpha + ratio * G_beta)
        J[..., 5], J[..., 6] = d_rd, d_rn
        return E + size + data, J

    def _describe(self, theta: Array) -> dict[str, Array]:
        if self.base is not None:
            fixed = {k: np.full(len(theta), float(self.base[k])) for k in _BASE}
            return fixed | {"R_D": np.exp(theta[:, 0]), "R_N": np.exp(theta[:, 1])}
        with np.errstate(over="ignore"):
            return {
                "E": np.exp(theta[:, 0]),
                "A": np.exp(theta[:, 1] + theta[:, 3] * self.centre_[0]),
                "B": np.exp(theta[:, 2] + theta[:, 4] * self.centre_[1]),
                "alpha": theta[:, 3],
                "beta": theta[:, 4],
                "R_D": np.exp(theta[:, 5]),
                "R_N": np.exp(theta[:, 6]),
            }

    # ---- what the data cannot tell apart -----------------------------------------------------------
    def _after_fit(self, Z: Array, Y: Array, W: Array, fit: BatchFit, best: Best) -> None:
        found, said, flats = [], [], []
        for t in range(len(Y)):
            optima = self._optima(Z, Y[t], W[t], fit.theta[t], fit.objective[t], fit.converged[t])
            found.append(optima)
            if len(optima) > 1:
                shown = "; ".join(
                    f"R_D = {o['R_D']:.4g}, R_N = {o['R_N']:.4g} (objective {o['objective']:.6g})" for o in optima
                )
                worth = [float(effective_epochs(40.0, o["R_D"])) for o in optima]
                said.append(
                    f"{self.target_names_[t]}: {len(optima)} optima the data cannot tell apart: {shown}. They value "
                    f"40 epochs at {min(worth):.3g} to {max(worth):.3g} epochs of fresh data"
                )
            side = None if self._limits is None else self._limits[0][t]
            flat = self._flat(Z, Y[t], W[t], best.theta[t], side)
            flats.append(flat)
            if flat:
                shown = ", ".join(f"{k} = {self._describe(best.theta[t : t + 1])[k][0]:.4g}" for k in flat)
                said.append(
                    f"{self.target_names_[t]}: {shown} could be four times larger or smaller without a worse fit"
                )
        self.identifiability_ = found[0] if self.single_target_ else found
        self.flat_ = flats[0] if self.single_target_ else flats
        if said:
            warnings.warn(
                "RepeatedData is not identified by these runs. " + ". ".join(said) + ". Do not plan on R_D alone: "
                "add runs of many epochs at small and at large models.",
                MixlawWarning,
                stacklevel=5,
            )

    def _terms(self, theta: Array, Z: Array, y: Array, w: Array) -> Array:
        """Each run's term of the objective."""
        residual = np.log(self._evaluate(theta[None], Z)[0][0]) - np.log(y)
        return w * (huber(residual, self.delta) if self.loss == "huber" else 0.5 * residual**2)

    def _flat(self, Z: Array, y: Array, w: Array, theta: Array, side: Sides | None) -> list[str]:
        """Which of R_D, R_N can be four times larger or smaller within the objective's noise, the rest refitted.

        ``w`` weighs measurements; censored values (``side``) hold the refits but are no part of the noise.
        """
        rows = w > 0
        limits = 0.0 if side is None else (side != 0).astype(float)
        now = self._terms(theta, Z[rows], y[rows], w[rows])
        flat = []
        for offset, name in ((-2, "R_D"), (-1, "R_N")):
            for factor in (0.25, 4.0):
                lower, upper = (np.array(b, dtype=float) for b in self._bounds())
                start = theta.copy()
                start[offset] += np.log(factor)
                lower[offset] = upper[offset] = start[offset]
                moved = fit_batch(
                    self._problem(Z), y, start, loss="huber" if self.loss == "huber" else "squared", delta=self.delta,
                    log=True, weights=w + limits, censored=side, bounds=(lower, upper),
                ).theta[0, 0]  # fmt: skip
                gap = self._terms(moved, Z[rows], y[rows], w[rows]) - now
                if gap.sum() <= 2 * float(np.sqrt(len(gap)) * gap.std(ddof=1)) and name not in flat:
                    flat.append(name)
        return flat

    def _optima(
        self, Z: Array, y: Array, w: Array, theta: Array, objective: Array, ok: npt.NDArray[np.bool_]
    ) -> list[dict[str, float]]:
        """Distinct certified optima whose objective differs from the best's by less than twice its own noise.

        The noise of the difference is that of a sum over runs of the difference of their two losses.
        """
        order = np.argsort(objective, kind="stable")
        rows = w > 0
        kept: list[int] = []
        terms: list[Array] = []
        for s in order:
            if not ok[s] or any(np.abs(theta[s, -2:] - theta[k, -2:]).max() < 0.1 for k in kept):
                continue
            term = self._terms(theta[s], Z[rows], y[rows], w[rows])
            if kept:
                gap = term - terms[0]
                noise = float(np.sqrt(len(gap)) * gap.std(ddof=1))
                if gap.sum() > 2 * noise:
                    continue
            kept.append(int(s))
            terms.append(term)
        described = self._describe(theta[kept]) if kept else {}
        return [
            {**{k: float(v[i]) for k, v in described.items()}, "objective": float(objective[s])}
            for i, s in enumerate(kept)
        ]
