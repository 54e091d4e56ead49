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
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.errors import ConfigError, DataError, MixlawWarning, did_you_mean
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.base import Law
from mixlaw.laws.core.parameters import Free, Parameter, Positive
from mixlaw.laws.fit.declared_starts import grid, solved
from mixlaw.laws.fit.engine import BatchFit, Best, fit_batch, huber
from mixlaw.laws.fit.scale_law import ScaleLaw
from mixlaw.laws.fit.scale_rows import Rows

__all__ = ["RepeatedData", "effective_epochs"]

_BASE = ("E", "A", "B", "alpha", "beta")


def effective_epochs(epochs: npt.ArrayLike, R_D: float = 15.387756) -> Array:
    """Epochs of fresh data that ``epochs`` over the same data are worth.

    Args:
        epochs: of any shape, which is that of the result; at least 0.
        R_D: epochs after which repeats have lost most of their value; the default is the published one.

    Raises:
        DataError: negative epochs, or R_D that is not positive.

    Source: Muennighoff et al. 2023, arXiv:2305.16264.

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

    X: array (n, 3) [N, D, U] or columns ``params`` (non-embedding), ``tokens``, ``unique_tokens``; y: losses (n,) or
    (n, T) in nats per token.
    Fitted: ``parameters_`` (E, A, B, alpha, beta, R_D, R_N), ``objective_`` and ``identifiability_``: every
    optimum that the data cannot tell from the best, with its parameters, and ``flat_``: which of R_D, R_N could be
    four times larger or smaller without a worse fit. Either raises a MixlawWarning:
    on the authors' own records R_D = 15.4, R_N = 5.3 and R_D about 95, R_N about 1.7 fit alike, and they disagree
    about 40 epochs.

    Not for: repeating one domain of a mixture, runs that overfit (loss rising with more epochs): the law's loss
    never rises.

    Raises:
        DataError: rows that the law cannot use, such as losses that are not positive.
        NotIdentifiableError: too few different values of a column.
        TooFewRunsError: fewer runs than parameters.
        ConfigError: a ``base`` without exactly the five parameters of fresh data, or another option that is not
            allowed.

    Source: Muennighoff et al. 2023, arXiv:2305.16264.

    Example:
        >>> from mixlaw.laws import published
        >>> law = published("muennighoff2023")
        >>> round(float(law.predict([[6.34e9, 242e9, 25e9]])[0]), 6)
        2.225644
    """

    name = "repeated_data"
    irreducible = "E"
    source = "Muennighoff et al. 2023, arXiv:2305.16264"
    columns = ("params", "tokens", "unique_tokens")

    def __init__(
        self,
        base: Mapping[str, float] | None = None,
        seed: int = 0,
        loss: str = "huber",
        delta: float = 1e-3,
        bootstrap: int = 0,
        level: float = 0.9,
    ) -> None:
        super().__init__(seed, loss, delta, bootstrap, level)
        self.base = base

    @classmethod
    def examples(cls) -> list[Law]:
        """With fresh data's law known, and all seven fitted."""
        return [cls(base={"E": 1.87, "A": 520.0, "B": 1490.0, "alpha": 0.35, "beta": 0.35}), cls()]

    @property
    def parameters(self) -> dict[str, Parameter]:  # type: ignore[override]
        """Seven, or the last two where ``base`` is given."""
        repeats: dict[str, Parameter] = {
            "R_D": Positive(15.0, "epochs after which repeats have lost most of their value", low=0.02, high=1e4),
            "R_N": Positive(5.0, "the same for excess parameters", low=0.02, high=1e4),
        }
        if self.base is not None:
            return repeats
        fresh: dict[str, Parameter] = {
            "E": Positive(1.87, "irreducible loss, nats"),
            "A": Positive(520.0, "size term, nats at one parameter"),
            "B": Positive(1490.0, "data term, nats at one token"),
            "alpha": Free(0.35, "size exponent", low=0.01, high=3.0),
            "beta": Free(0.35, "data exponent", low=0.01, high=3.0),
        }
        return fresh | repeats

    @property
    def num_free(self) -> int:
        """7 runs."""
        return 7

    @property
    def needs(self) -> dict[str, int]:
        """With ``base`` only repeats must vary."""
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

    @property
    def unit_free(self) -> bool:
        """With ``base`` the units are those of its numbers."""
        return self.base is None

    def check_rows(self, params: Array, tokens: Array, unique_tokens: Array) -> None:  # type: ignore[override]
        """Counts, and no more unique tokens than tokens.

        Raises:
            DataError: columns (n,) that are no counts, or more unique tokens than tokens.
        """
        super().check_rows(params, tokens, unique_tokens)
        over = unique_tokens > tokens * (1 + 1e-6)
        if over.any():
            rows = np.flatnonzero(over)[:5].tolist()
            raise DataError(
                f"unique_tokens exceed tokens in rows {rows}: a run cannot see more unique tokens than tokens. "
                f"Give min(tokens, unique tokens available)."
            )

    def check_fit(self, params: Array, tokens: Array, unique_tokens: Array) -> None:  # type: ignore[override]
        """Some run must repeat data.

        Raises:
            DataError: no run does.
        """
        if (tokens <= unique_tokens * (1 + 1e-9)).all():
            raise DataError(
                "No run repeats data (tokens never exceed unique_tokens), so R_D cannot be learned. "
                "Fit laws.Chinchilla, or add runs of several epochs."
            )

    def example_rows(self, num: int, rng: np.random.Generator) -> dict[str, Array]:
        """Runs of 1 to 100 epochs."""
        rows = super().example_rows(num, rng)
        rows["tokens"] = rows["unique_tokens"] * 10 ** rng.uniform(0, 2, num)
        return rows

    # ---- formula -------------------------------------------------------------------------------------
    def starts(self, y: Array, w: Array, params: Array, tokens: Array, unique_tokens: Array) -> Array:  # type: ignore[override]
        """R_D and R_N at many sizes; the rest from the grid of Chinchilla's law on tokens at the authors' R_D."""
        repeats = grid({"R_D": np.array([1.5, 6.0, 25.0, 100.0, 400.0]), "R_N": np.array([0.3, 1.5, 6.0, 25.0])})
        if self.base is not None:
            return self.layout.join(repeats)
        worth = unique_tokens * effective_epochs(tokens / unique_tokens)

        def fresh(p: Any) -> tuple[Array, dict[str, Any]]:
            size, data = np.exp(-p.alpha * np.log(params)), np.exp(-p.beta * np.log(worth))
            return p.E + p.A * size + p.B * data, {"E": 1.0, "A": size, "B": data}

        exponents = np.array([0.2, 0.35, 0.6])
        points = grid({"alpha": exponents, "beta": exponents})
        values, error = solved(self.layout, fresh, points, ["E", "A", "B"], y, w)
        best = int(np.argmin(error))
        return self.layout.join({name: v[best] for name, v in values.items()} | repeats)

    def loss(self, p: Any, params: Array, tokens: Array, unique_tokens: Array) -> Array:
        """(B, n) losses in nats at columns (n,)."""
        return self.loss_and_slopes(p, params, tokens, unique_tokens)[0]

    def slopes(self, p: Any, params: Array, tokens: Array, unique_tokens: Array) -> dict[str, Array]:  # type: ignore[override]
        """d loss / d parameter."""
        return self.loss_and_slopes(p, params, tokens, unique_tokens)[1]

    def loss_and_slopes(  # type: ignore[override]
        self, p: Any, params: Array, tokens: Array, unique_tokens: Array
    ) -> tuple[Array, dict[str, Array]]:
        """Losses (B, n) and their slopes at columns (n,): the slopes are made of what the loss needs."""
        given = p if self.base is None else SimpleNamespace(**self.base)
        E, A, B, alpha, beta = (getattr(given, name) for name in _BASE)
        N, D, U = params, tokens, np.minimum(unique_tokens, tokens)
        # repeated tokens
        over = D / U - 1
        fade = np.exp(-over / p.R_D)
        worth = 1 + p.R_D * (1 - fade)  # D' / U
        by_rd = (1 - fade - over / p.R_D * fade) / worth  # d ln D' / d R_D
        # excess parameters
        total = alpha + beta
        lnG = (np.log(alpha) - np.log(beta) + np.log(A) - np.log(B)) / total
        ln_opt = (beta / alpha) * (np.log(U) + lnG) + lnG
        capped = ln_opt < np.log(N)
        M = np.where(capped, np.exp(np.minimum(ln_opt, np.log(N))), N)
        extra = N / M - 1
        fade_n = np.exp(-extra / p.R_N)
        worth_n = 1 + p.R_N * (1 - fade_n)  # N' / M
        by_rn = (1 - fade_n - extra / p.R_N * fade_n) / worth_n  # d ln N' / d R_N
        ln_size, ln_data = np.log(M * worth_n), np.log(U * worth)
        size, data = A * np.exp(-alpha * ln_size), B * np.exp(-beta * ln_data)
        value = E + size + data
        slopes = {"R_D": -beta * data * by_rd, "R_N": -alpha * size * by_rn}
        if self.base is not None:
            return value, slopes
        # how N' moves with the shape of N_opt(U): d ln N' / d ln M where M is the optimum, else 0
        share = np.where(capped, 1 - (N / M) * fade_n / worth_n, 0.0)
        ratio = beta / alpha + 1
        reach = np.log(U) + lnG
        pull = -alpha * size * share
        slopes["E"] = np.ones_like(value)
        slopes["A"] = (size + pull * ratio / total) / A
        slopes["B"] = (data - pull * ratio / total) / B
        slopes["alpha"] = -ln_size * size + pull * (-beta / alpha**2 * reach + ratio * (1 / alpha - lnG) / total)
        slopes["beta"] = -ln_data * data + pull * (reach / alpha + ratio * (-1 / beta - lnG) / total)
        return value, slopes

    def report(self, values: dict[str, Array]) -> dict[str, Array]:
        """All seven, those of ``base`` included."""
        if self.base is None:
            return values
        return {k: np.full_like(values["R_D"], float(self.base[k])) for k in _BASE} | values

    # ---- what the data cannot tell apart -----------------------------------------------------------
    def after_fit(self, rows: Rows, fit: BatchFit, best: Best) -> None:
        """Warns of other optima that fit as well, and of R_D or R_N that could be quite different."""
        found, said, flats = [], [], []
        for t, target in enumerate(self.target_names_):
            one = rows.of(t)
            optima = self._optima(one, fit.theta[t], fit.objective[t], fit.converged[t])
            found.append(optima)
            if len(optima) > 1:
                shown = "; ".join(
                    f"R_D = {o['R_D']:.4g}, R_N = {o['R_N']:.4g} (objective {o['objective']:.6g})" for o in optima
                )
                worth = [float(effective_epochs(40.0, o["R_D"])) for o in optima]
                said.append(
                    f"{target}: {len(optima)} optima the data cannot tell apart: {shown}. They value "
                    f"40 epochs at {min(worth):.3g} to {max(worth):.3g} epochs of fresh data"
                )
            flat = self._flat(one, best.theta[t])
            flats.append(flat)
            if flat:
                shown = ", ".join(f"{k} = {self._describe(best.theta[t : t + 1])[k][0]:.4g}" for k in flat)
                said.append(f"{target}: {shown} could be four times larger or smaller without a worse fit")
        self.identifiability_ = found[0] if self.single_target_ else found
        self.flat_ = flats[0] if self.single_target_ else flats
        if said:
            warnings.warn(
                "RepeatedData is not identified by these runs. " + ". ".join(said) + ". Do not plan on R_D alone: "
                "add runs of many epochs at small and at large models.",
                MixlawWarning,
                stacklevel=5,
            )

    def _terms(self, theta: Array, rows: Rows) -> Array:
        """Each measured run's term of one target's objective, at theta (P,)."""
        y, w = rows.Y[0], rows.measured[0]
        seen = w > 0
        residual = np.log(self.values_at(theta[None], rows.columns)[0, seen]) - np.log(y[seen])
        return w[seen] * (huber(residual, self.delta) if self.loss == "huber" else 0.5 * residual**2)

    def _flat(self, rows: Rows, theta: Array) -> list[str]:
        """Which of R_D, R_N can be four times larger or smaller within the objective's noise, the rest refitted.

        Censored values hold the refits, each with weight 1, but are no part of the noise.
        """
        limits = 0.0 if rows.side is None else (rows.side != 0).astype(float)
        now = self._terms(theta, rows)
        model, bounds = self._model(rows.columns), self._theta_bounds(rows.columns)
        flat = []
        for offset, name in ((-2, "R_D"), (-1, "R_N")):
            for factor in (0.25, 4.0):
                lower, upper = (np.array(b) for b in bounds)
                start = theta.copy()
                start[offset] += np.log(factor)
                lower[offset] = upper[offset] = start[offset]
                moved = fit_batch(
                    model, rows.Y, start, loss="huber" if self.loss == "huber" else "squared", delta=self.delta,
                    log=True, weights=rows.measured + limits, censored=rows.side, bounds=(lower, upper),
                ).theta[0, 0]  # fmt: skip
                gap = self._terms(moved, rows) - now
                if gap.sum() <= 2 * float(np.sqrt(len(gap)) * gap.std(ddof=1)) and name not in flat:
                    flat.append(name)
        return flat

    def _optima(self, rows: Rows, theta: Array, objective: Array, ok: npt.NDArray[np.bool_]) -> list[dict[str, float]]:
        """Distinct optima of the starts whose objective differs from the best's by less than twice its own noise.

        The noise of the difference is that of a sum over runs of the difference of their two losses.
        """
        kept: list[int] = []
        terms: list[Array] = []
        for s in np.argsort(objective, kind="stable"):
            if not ok[s] or any(np.abs(theta[s, -2:] - theta[k, -2:]).max() < 0.1 for k in kept):
                continue
            term = self._terms(theta[s], rows)
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
