"""A law over phases: what the losses owe to the mixture of each phase of a training run.

Columns are ``domain@1``, ``domain@2``, ... (weights inside each phase, as ``Observations.table(features="phases")``
gives them). Four structures, each containing the ones before it, compete by held-out error:

``constant``   a mixture law of the average mixture: order does not matter.
``recency``    of ``sum_p alpha_p r_p``, ``alpha_p`` proportional to ``fraction_p * rho^p``: tokens of the next phase
               count rho times as much, for every target alike.
``targets``    the same with a rho of its own for each target.
``free``       of all (phase, domain) shares separately: a domain may matter early and not late.

A richer structure is taken only where its held-out squared error is lower by more than one standard error of the
paired difference: a handful of runs always prefers some order by chance. Every structure is a mixture law of a linear
map of the phases' weights, so a convex base law stays convex and the best schedule can be certified.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import clone

from mixlaw.errors import ConfigError, DataError, did_you_mean
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.atoms import Atoms
from mixlaw.laws.core.base import Law, TrainingRows

__all__ = ["STRUCTURES", "PhaseLaw", "split_columns"]

STRUCTURES = ("constant", "recency", "targets", "free")
_LOG_RHO = np.array([-2.0, -1.3, -0.8, -0.5, -0.25, 0.0, 0.25, 0.5, 0.8, 1.3, 2.0])
_LAST_PHASE_ONLY = 5.0  # e^5: a token of the next phase counts 150 times as much; more cannot be told apart


def split_columns(names: Sequence[str]) -> tuple[list[str], int]:
    """Domains and number of phases of columns ``domain@1, ...``, phase by phase with the same domains in each.

    Raises:
        DataError: other names, or phases with different domains.

    Example:
        >>> split_columns(["web@1", "code@1", "web@2", "code@2"])
        (['web', 'code'], 2)
    """
    parts = [str(n).rpartition("@") for n in names]
    if not parts or any(not d or not p.isdigit() for d, _, p in parts):
        raise DataError(
            f"Columns must be called domain@phase (web@1, web@2, ...), got {list(names)[:6]}. "
            f"Use Observations.table(features='phases')."
        )
    phases = sorted({int(p) for _, _, p in parts})
    groups = [[d for d, _, p in parts if int(p) == phase] for phase in phases]
    expected = [(d, str(p)) for p, group in zip(phases, groups) for d in group]
    if any(g != groups[0] for g in groups) or [(d, p) for d, _, p in parts] != expected:
        raise DataError(f"Every phase needs the same domains in the same order, phase after phase; got {list(names)}.")
    return groups[0], len(phases)


class PhaseLaw(Law):
    """Loss as a function of the mixtures of several phases.

    Args:
        base: registry name of the mixture law underneath (``"effective_tokens"``, ``"m4"``, ``"loglinear"``), or a law.
        fractions: share of the budget of each phase (default equal). All runs must share them.
        structure: ``"cv"``, or one of :data:`STRUCTURES`.
        log_rho: fixed log recency per target (or one number) instead of the grid; for refits.
        base_options: arguments of ``base`` where it is a name.
        seed: of the folds.

    X: columns ``<domain>@<phase>``, such as ``web@1``: weights in each phase; y: losses (n,) or (n, T) in nats per
    token. Fitted: ``structure_`` chosen, ``log_rho_`` (T,), ``scores_`` ``{structure: held-out mean squared error}``.

    Raises:
        ConfigError: an unknown structure, or ``fractions`` that are not one positive share for each phase.
        DataError, FitError: what the law underneath refuses.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> first, second = rng.dirichlet(np.ones(2), 24), rng.dirichlet(np.ones(2), 24)
        >>> X = {"web@1": first[:, 0], "code@1": first[:, 1], "web@2": second[:, 0], "code@2": second[:, 1]}
        >>> law = PhaseLaw(base="loglinear").fit(X, 2 - 0.3 * np.log(0.25 * first[:, 1] + 0.75 * second[:, 1] + 0.01))
        >>> law.structure_, law.alpha(law.log_rho_[0]).round(1).tolist()
        ('recency', [0.3, 0.7])

    Source: Ye et al. 2024 (arXiv:2403.16952) apply mixing laws stage by stage; the structures are this project's.
    """

    name = "phase_law"
    costly = True
    permutation_invariant = False
    over_phases = True

    def __init__(
        self,
        base: Any = "effective_tokens",
        fractions: Sequence[float] | None = None,
        structure: str = "cv",
        log_rho: float | Sequence[float] | None = None,
        base_options: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.base = base
        self.fractions = fractions
        self.structure = structure
        self.log_rho = log_rho
        self.base_options = base_options
        self.seed = seed

    def example_rows(self, num: int, rng: np.random.Generator) -> dict[str, Array]:
        """Two phases of four domains, drawn apart."""
        phases = [super(PhaseLaw, self).example_rows(num, rng) for _ in range(2)]
        return {f"{name}@{p}": v for p, rows in enumerate(phases, start=1) for name, v in rows.items()}

    def example_losses(self, X: Mapping[str, npt.ArrayLike]) -> Array:
        """One exponential of the phases' mean mixture, the second counting twice."""
        domains, _ = split_columns(list(X))
        rates = np.resize([-1.5, 1.0, -0.4], len(domains))
        first, second = (np.column_stack([np.asarray(X[f"{d}@{p}"], dtype=float) for d in domains]) for p in (1, 2))
        return np.asarray(1.5 + 0.8 * np.exp((first + 2 * second) / 3 @ rates))

    @classmethod
    def examples(cls) -> list[Law]:
        """Over the law of one exponential."""
        return [cls(base="m4")]

    # ---- fitting ---------------------------------------------------------------------------------------
    def _fit(self, X: Array, Y: Array, sample_weight: Array) -> None:
        if self.structure not in ("cv", *STRUCTURES):
            raise ConfigError(f"Unknown structure {self.structure!r}.{did_you_mean(self.structure, STRUCTURES)}")
        names = [str(n) for n in self.feature_names_in_]
        domains, phases = split_columns(names)
        self.domains_, self.num_phases_ = domains, phases
        fractions = np.full(phases, 1.0 / phases) if self.fractions is None else np.asarray(self.fractions, dtype=float)
        if fractions.shape != (phases,) or (fractions <= 0).any() or abs(fractions.sum() - 1) > 1e-6:
            raise ConfigError(f"fractions must be {phases} positive shares that sum to 1, got {self.fractions}.")
        self.fractions_ = fractions
        fixed = None if self.log_rho is None else np.broadcast_to(np.asarray(self.log_rho, dtype=float), (Y.shape[1],))
        search = _Search(self, X, Y, sample_weight, domains)
        candidates = self._candidates(search, STRUCTURES if self.structure == "cv" else (self.structure,), fixed)
        losses = {name: search.error(c.heldout) for name, c in candidates.items()}
        self.scores_ = {name: float(_mean(value, sample_weight)) for name, value in losses.items()}
        chosen = _plainest(losses, sample_weight)
        self._evidence = (losses, *search.evidence())
        self.structure_, self.log_rho_ = chosen, candidates[chosen].log_rho
        self.laws_, self.which_ = candidates[chosen].laws, candidates[chosen].which
        self.parameters_ = {"log_rho": self.log_rho_.tolist(), "laws": [law.parameters_ for law in self.laws_]}
        self.converged_ = all(law.converged_ is not False for law in self.laws_)
        self._training = TrainingRows(X, Y, sample_weight)
        self._heldout = candidates[chosen].heldout
        self._calibrate_to(self._heldout)

    def _candidates(self, search: _Search, wanted: Sequence[str], fixed: Array | None) -> dict[str, _Candidate]:
        """Each wanted structure, fitted at its best recency (or at the log recency ``fixed`` (T,))."""
        T = search.Y.shape[1]
        found: dict[str, _Candidate] = {}
        if "constant" in wanted:
            found["constant"] = search.candidate(np.zeros(T))
        if "recency" in wanted or "targets" in wanted:
            grid = search.grid() if fixed is None else np.unique(fixed)
            if "recency" in wanted:
                found["recency"] = search.candidate(np.full(T, search.best(grid) if fixed is None else grid[0]))
            if "targets" in wanted:
                own = search.best_of_each(grid) if fixed is None else np.asarray(fixed, dtype=float)
                found["targets"] = search.candidate(own)
        if "free" in wanted:
            shares = search.X.reshape(len(search.X), self.num_phases_, -1) * self.fractions_[None, :, None]
            names = [str(n) for n in self.feature_names_in_]
            law, heldout = self._one(shares.reshape(search.X.shape), names, search.Y, search.weight)
            found["free"] = _Candidate(np.zeros(T), heldout, [law], np.zeros(T, dtype=np.int64))
        return found

    def _one(
        self, X: Array, names: Sequence[str], Y: Array, sample_weight: Array, frozen: Mapping[str, Any] | None = None
    ) -> tuple[Law, Array]:
        from mixlaw.laws import LAWS

        law = clone(self.base) if isinstance(self.base, Law) else LAWS[self.base](**dict(self.base_options or {}))
        law.set_params(**dict(frozen or {}))
        columns = dict(zip(names, np.clip(X, 0.0, 1.0).T))
        targets = dict(zip(self.target_names_, Y.T))
        law.fit(columns, targets, sample_weight=sample_weight)
        known = law.heldout
        if known is None or known.shape != Y.shape:  # of fewer rows than it was given
            known = law.predict_heldout(columns, targets, seed=self.seed, sample_weight=sample_weight)
        return law, known

    def refit_options(self, sample_weight: Array | None = None) -> dict[str, Any]:
        """Options of a bootstrap refit: the ridge is not chosen again.

        With ``sample_weight`` (n,), structure and recency are: by the same rules, from the held-out errors of this
        fit under these weights. How much order matters is itself uncertain, more so than any other parameter. A law
        read from JSON has forgotten those errors and keeps its choice.
        """
        structure, log_rho = self.structure_, self.log_rho_
        evidence = vars(self).get("_evidence")
        if sample_weight is not None and evidence is not None:
            losses, grid, squares = evidence
            structure = _plainest(losses, sample_weight)
            if structure in ("recency", "targets") and len(grid):
                choose = _for_all if structure == "recency" else _for_each
                log_rho = np.broadcast_to(choose(grid, squares, sample_weight), (len(self.target_names_),))
            elif structure in ("constant", "free"):
                log_rho = np.zeros(len(self.target_names_))
        options: dict[str, Any] = {"structure": structure, "log_rho": log_rho.tolist()}
        if not isinstance(self.base, Law):
            options["base_options"] = {**dict(self.base_options or {}), **_frozen_ridge(self.laws_[0])}
        return options

    # ---- the linear maps ---------------------------------------------------------------------------------
    def alpha(self, log_rho: float) -> Array:
        """Share (P,) that each phase has in the mixture the law sees."""
        raw = self.fractions_ * np.exp(log_rho * np.arange(self.num_phases_))
        return np.asarray(raw / raw.sum())

    def _average(self, X: Array, log_rho: float) -> Array:
        return np.einsum("p,npk->nk", self.alpha(log_rho), X.reshape(len(X), self.num_phases_, -1))

    def _seen(self, X: Array, log_rho: float) -> Array:
        """What one of the laws is asked at."""
        if self.structure_ == "free":
            return np.asarray(
                (X.reshape(len(X), self.num_phases_, -1) * self.fractions_[None, :, None]).reshape(X.shape)
            )
        return self._average(X, log_rho)

    def _predict(self, X: Array) -> Array:
        out = np.empty((len(X), len(self.which_)))
        for i, law in enumerate(self.laws_):
            mine = np.flatnonzero(self.which_ == i)
            seen = np.clip(self._seen(X, float(self.log_rho_[mine[0]])), 0.0, 1.0)
            columns = dict(zip((str(n) for n in law.feature_names_in_), seen.T))
            values = np.asarray(law.predict(columns), dtype=float).reshape(len(X), -1)
            out[:, mine] = values[:, mine]
        return out

    def atoms(self) -> Atoms | None:
        """Over all ``domain@phase`` columns; None where the base law has none."""
        parts: list[Atoms] = []
        for i, law in enumerate(self.laws_):
            atoms = law.atoms()
            if atoms is None:
                return None
            mine = np.flatnonzero(self.which_ == i)
            keep = np.isin(atoms.target, mine)
            if self.structure_ == "free":
                weight = np.repeat(self.fractions_, len(self.domains_))
                linear = atoms.linear * weight
            else:
                alpha = self.alpha(float(self.log_rho_[mine[0]]))
                linear = np.concatenate([a * atoms.linear for a in alpha], axis=1)
            const = np.zeros(len(self.which_))
            const[mine] = atoms.const[mine]
            parts.append(
                Atoms(
                    const,
                    atoms.target[keep],
                    atoms.kind[keep],
                    atoms.scale[keep],
                    linear[keep],
                    atoms.offset[keep],
                    atoms.exponent[keep],
                )
            )
        return Atoms(
            np.sum([p.const for p in parts], axis=0),
            np.concatenate([p.target for p in parts]),
            np.concatenate([p.kind for p in parts]),
            np.concatenate([p.scale for p in parts]),
            np.concatenate([p.linear for p in parts]),
            np.concatenate([p.offset for p in parts]),
            np.concatenate([p.exponent for p in parts]),
        )


@dataclass(frozen=True)
class _Candidate:
    """One structure, fitted: log recency (T,), held-out predictions (n, T), and which law speaks for which target."""

    log_rho: Array
    heldout: Array
    laws: list[Law]
    which: npt.NDArray[np.int64]


class _Search:
    """Fits of the base law at values of the log recency, each made once."""

    def __init__(self, law: PhaseLaw, X: Array, Y: Array, weight: Array, domains: Sequence[str]) -> None:
        self.law, self.X, self.Y, self.weight, self.domains = law, X, Y, weight, domains
        self.scale = np.nanvar(Y, axis=0) + 1e-12
        self._fits: dict[float, tuple[Law, Array]] = {}
        self._squares: dict[float, Array] = {}

    def at(self, log_rho: float) -> tuple[Law, Array]:
        """The law of the average mixture at one log recency, and its held-out predictions (n, T)."""
        if log_rho not in self._fits:
            seen = self.law._average(self.X, log_rho)
            self._fits[log_rho] = self.law._one(seen, self.domains, self.Y, self.weight)
        return self._fits[log_rho]

    def squares(self, log_rho: float) -> Array:
        """(n, T) held-out squared errors, with the ridge that the constant law chose."""
        if log_rho not in self._squares:
            options = _frozen_ridge(self.at(0.0)[0])
            heldout = self.law._one(self.law._average(self.X, log_rho), self.domains, self.Y, self.weight, options)[1]
            self._squares[log_rho] = (heldout - self.Y) ** 2 / self.scale
        return self._squares[log_rho]

    def error(self, heldout: Array) -> Array:
        """(n,) squared errors of held-out predictions, in units of the targets' variances."""
        return np.asarray(((heldout - self.Y) ** 2 / self.scale).mean(axis=1))

    def best(self, grid: Array) -> float:
        """The log recency of the grid with the least held-out error over all targets."""
        return _for_all(grid, np.stack([self.squares(float(g)) for g in grid]), self.weight)

    def best_of_each(self, grid: Array) -> Array:
        """(T,) the same for each target."""
        return _for_each(grid, np.stack([self.squares(float(g)) for g in grid]), self.weight)

    def grid(self) -> Array:
        """Log recencies to choose from: wide enough that the error turns, and finer around the best."""
        grid = _LOG_RHO
        while abs(edge := self.best(grid)) < _LAST_PHASE_ONLY and edge in (grid[0], grid[-1]):
            grid = np.sort(np.append(grid, edge + np.sign(edge) * 0.5))
        for step in (0.25, 0.12):
            middle = self.best(grid)
            grid = np.unique(np.round([*grid, middle - step, middle + step], 6))
        return grid

    def candidate(self, log_rho: Array) -> _Candidate:
        """The structure with log recency ``log_rho`` (T,) of each target."""
        values = np.unique(log_rho)
        fits = [self.at(float(v)) for v in values]
        which = np.searchsorted(values, log_rho).astype(np.int64)
        heldout = np.stack([fits[which[t]][1][:, t] for t in range(len(which))], axis=1)
        return _Candidate(np.asarray(log_rho, dtype=float), heldout, [law for law, _ in fits], which)

    def evidence(self) -> tuple[Array, Array]:
        """The log recencies tried (G,) and their held-out squared errors (G, n, T)."""
        tried = np.array(sorted(self._squares))
        return tried, np.stack([self._squares[r] for r in tried]) if len(tried) else np.zeros((0, *self.Y.shape))


def _mean(values: Array, weight: Array) -> Array:
    """Weighted mean over rows (n, ...) that are known."""
    known = np.isfinite(values)
    w = np.where(known, weight.reshape(-1, *[1] * (values.ndim - 1)), 0.0)
    total = w.sum(axis=0)
    return np.asarray(np.where(known, values * w, 0.0).sum(axis=0) / np.where(total > 0, total, np.nan))


def _plainest(losses: Mapping[str, Array], weight: Array) -> str:
    """The structure of the rule above, from each one's held-out squared error (n,)."""
    chosen = next(name for name in STRUCTURES if name in losses)
    for name in STRUCTURES:
        if name not in losses or name == chosen:
            continue
        gain = losses[chosen] - losses[name]
        mean = float(_mean(gain, weight))
        some = np.isfinite(gain) & (weight > 0)
        w, rest = weight[some], (gain - mean)[some]
        error = np.sqrt((w**2 * rest**2).sum() * len(w) / max(len(w) - 1, 1)) / w.sum()
        if mean > error:
            chosen = name
    return chosen


def _for_all(grid: Array, squares: Array, weight: Array) -> float:
    """The log recency of ``grid`` (G,) with the least held-out ``squares`` (G, n, T), every target alike."""
    return float(grid[int(np.argmin(_table(squares, weight).mean(axis=1)))])


def _for_each(grid: Array, squares: Array, weight: Array) -> Array:
    """(T,) of each target: its own evidence with everyone's, for few runs cannot choose for one target alone."""
    table = _table(squares, weight)
    share = squares.shape[1] / (squares.shape[1] + 24.0)
    mixed = share * table + (1 - share) * table.mean(axis=1, keepdims=True)
    return np.asarray(grid[np.argmin(mixed, axis=0)], dtype=float)


def _table(squares: Array, weight: Array) -> Array:
    """(G, T) log held-out mean squared error."""
    return np.log(np.stack([_mean(one, weight) for one in squares]) + 1e-12)


def _frozen_ridge(law: Law) -> dict[str, float]:
    """The ridge a law chose by cross-validation, as an option that fixes it."""
    chosen = law.ridge_
    if chosen is None:
        return {}
    return {"ridge": float(np.exp(np.mean(np.log(np.maximum(np.asarray(chosen, dtype=float), 1e-12)))))}
