"""Mixtures of domains, and schedules of mixtures.

A *weight* is always a share of training **tokens**. A mixture that does not sum to one is an error, never
silently renormalised: published tables that sum to 1.02 hide a mistake, and the fix is the user's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.errors import ConfigError, did_you_mean

__all__ = ["Mixture", "Phase", "Schedule", "quotas"]

SUM_TOLERANCE = 1e-6
"""How far weights may be from summing to one; rounding to four decimals over 60 domains needs `normalized`."""


@dataclass(frozen=True, init=False)
class Mixture:
    """Token weights over named domains: non-negative, summing to one.

    Args:
        weights: ``{domain: weight}``, or pairs. Order is kept.

    Raises:
        ConfigError: a weight is negative or not finite, a name repeats, or the sum is not 1 within 1e-6.

    Example:
        >>> Mixture({"web": 0.75, "code": 0.25})["code"]
        0.25
        >>> Mixture.normalized({"web": 3, "code": 1})["web"]
        0.75
    """

    domains: tuple[str, ...]
    weights: tuple[float, ...]

    def __init__(self, weights: Mapping[str, float] | Sequence[tuple[str, float]]) -> None:
        try:
            pairs = list(weights.items()) if isinstance(weights, Mapping) else list(weights)
        except TypeError:  # one number, None
            pairs = [weights]  # type: ignore[list-item]
        if any(not isinstance(pair, tuple | list) or len(pair) != 2 for pair in pairs):
            raise ConfigError(
                f"A mixture is {{domain: weight}} or (domain, weight) pairs, got {str(weights)[:200]}. For an array of "
                f"weights in a known order there is Mixture.from_array(domains, array)."
            )
        names = tuple(str(name) for name, _ in pairs)
        try:
            values = tuple(float(value) for _, value in pairs)
        except (TypeError, ValueError, OverflowError):
            raise ConfigError(f"Mixture weights must be numbers, got {pairs!r}.") from None
        if not names:
            raise ConfigError("A mixture needs at least one domain, got none.")
        if len(set(names)) != len(names):
            repeated = sorted({n for n in names if names.count(n) > 1})
            raise ConfigError(f"Domain names in a mixture must be unique; repeated: {repeated}.")
        bad = {n: v for n, v in zip(names, values) if not math.isfinite(v) or v < 0}
        if bad:
            raise ConfigError(f"Mixture weights must be finite and non-negative, got {bad}.")
        total = math.fsum(values)
        if abs(total - 1.0) > SUM_TOLERANCE:
            raise ConfigError(
                f"Mixture weights sum to {total:.6f}, not 1: {dict(zip(names, values))}. "
                f"Correct them, or call Mixture.normalized(...) to rescale on purpose."
            )
        object.__setattr__(self, "domains", names)
        object.__setattr__(self, "weights", values)

    @classmethod
    def normalized(cls, weights: Mapping[str, float]) -> Mixture:
        """Rescale non-negative ``weights`` to sum to one, because the caller asked for it.

        Raises:
            ConfigError: a weight is negative or not finite, or all are 0.
        """
        try:
            values = {str(k): float(v) for k, v in weights.items()}
            bad = {n: v for n, v in values.items() if not math.isfinite(v) or v < 0}
            largest = max(values.values(), default=0.0)
        except (TypeError, ValueError, OverflowError, AttributeError):
            raise ConfigError(f"Cannot rescale {weights!r}: it must be {{domain: weight}} with numbers.") from None
        if bad or largest <= 0:
            raise ConfigError(f"Cannot rescale {values}: weights must be finite and non-negative with a positive sum.")
        try:
            total = math.fsum(values.values())
        except OverflowError:  # weights of any size; others are divided once, so that 1 of 10 is 0.1 to the last digit
            values = {k: v / largest for k, v in values.items()}
            total = math.fsum(values.values())
        return cls({k: v / total for k, v in values.items()})

    @classmethod
    def from_array(cls, domains: Sequence[str], weights: npt.ArrayLike) -> Mixture:
        """Mixture from an array (K,). Rounding errors (a sum within 1e-6 of 1, weights down to -1e-9) are removed.

        Raises:
            ConfigError: another number of weights than of domains, or weights that are not a mixture.
        """
        array = np.asarray(weights, dtype=float)
        if array.shape != (len(domains),):
            raise ConfigError(f"{len(domains)} domains {list(domains)} but weights of shape {array.shape}.")
        array = np.where((array < 0) & (array > -1e-9), 0.0, array)
        total = float(array.sum())
        if np.isfinite(total) and abs(total - 1) <= SUM_TOLERANCE:
            array = array / total
        return cls(dict(zip(domains, array.tolist())))

    @classmethod
    def uniform(cls, domains: Sequence[str]) -> Mixture:
        """Equal weight on each of ``domains``."""
        return cls({d: 1.0 / len(domains) for d in domains})

    def __getitem__(self, domain: str) -> float:
        try:
            return self.weights[self.domains.index(domain)]
        except ValueError:
            raise ConfigError(f"No domain {domain!r} in this mixture.{did_you_mean(domain, self.domains)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.domains)

    def __len__(self) -> int:
        return len(self.domains)

    def get(self, domain: str, default: float = 0.0) -> float:
        """Weight (share of the tokens) of ``domain``, or ``default`` where the mixture does not name it."""
        return self.weights[self.domains.index(domain)] if domain in self.domains else default

    def to_dict(self) -> dict[str, float]:
        """``{domain: weight}`` in order."""
        return dict(zip(self.domains, self.weights))

    def array(self, domains: Sequence[str] | None = None) -> npt.NDArray[np.float64]:
        """Weights (K,) in the order of ``domains``; a named domain this mixture lacks has weight 0.

        Raises:
            ConfigError: the mixture puts weight on a domain that ``domains`` does not list.
        """
        if domains is None:
            return np.array(self.weights)
        lost = [d for d, w in zip(self.domains, self.weights) if w > 0 and d not in domains]
        if lost:
            raise ConfigError(f"The mixture has weight on {lost}, which are not among {list(domains)}.")
        return np.array([self.get(d) for d in domains])

    def __str__(self) -> str:
        return ", ".join(f"{d} {w:.4g}" for d, w in zip(self.domains, self.weights))


SAME = 1e-7
"""Weights of domains that round to the same multiple of this are the same: mixtures that differ by less came from
different rounding (of files, of single precision, of solvers), and no run realises such a difference."""


def rounded(weights: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Weights (..., K), or other columns of runs, rounded by the one rule of what the same mixture is (:data:`SAME`).

    Example:
        >>> bool((rounded([0.3, 0.7]) == rounded([0.3 + 1e-9, 0.7 - 1e-9])).all())
        True
    """
    return np.round(np.asarray(weights, dtype=float), 7) + 0.0  # and no -0


@dataclass(frozen=True)
class Phase:
    """``fraction`` of the token budget trained on ``mixture``.

    Args:
        fraction: share of the run's tokens, in (0, 1].
        mixture: token weights during the phase.

    Example:
        >>> start, end = Mixture({"web": 0.9, "code": 0.1}), Mixture({"web": 0.5, "code": 0.5})
        >>> round(Schedule((Phase(0.75, start), Phase(0.25, end))).mixture["code"], 6)
        0.2
    """

    fraction: float
    mixture: Mixture


@dataclass(frozen=True)
class Schedule:
    """Phases of mixtures over fractions of the token budget; a constant mixture is a one-phase schedule.

    Args:
        phases: in order; fractions are positive and sum to one. All phases name the same domains.

    Raises:
        ConfigError: no phase, a fraction not in (0, 1], fractions not summing to 1, or differing domains.

    Example:
        >>> m = Mixture({"web": 1.0})
        >>> Schedule.constant(m).num_phases
        1
    """

    phases: tuple[Phase, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "phases", tuple(self.phases))
        fractions = [phase.fraction for phase in self.phases]
        if not self.phases or any(not 0 < f <= 1 for f in fractions):
            raise ConfigError(f"A schedule needs phases with fractions in (0, 1], got {fractions}.")
        if abs(math.fsum(fractions) - 1) > SUM_TOLERANCE:
            raise ConfigError(f"Phase fractions sum to {math.fsum(fractions):.6f}, not 1: {fractions}.")
        for phase in self.phases[1:]:
            if phase.mixture.domains != self.phases[0].mixture.domains:
                raise ConfigError(
                    f"All phases must name the same domains in the same order, got "
                    f"{self.phases[0].mixture.domains} and {phase.mixture.domains}. "
                    f"Give a domain weight 0 where a phase does not use it."
                )

    @classmethod
    def constant(cls, mixture: Mixture | Mapping[str, float]) -> Schedule:
        """One phase of ``mixture`` for the whole budget."""
        if not isinstance(mixture, Mixture):
            mixture = Mixture(mixture)
        return cls((Phase(1.0, mixture),))

    @property
    def domains(self) -> tuple[str, ...]:
        """Domain names, in the order every phase uses."""
        return self.phases[0].mixture.domains

    @property
    def num_phases(self) -> int:
        """Number of phases."""
        return len(self.phases)

    @property
    def mixture(self) -> Mixture:
        """Token-weighted average over the phases: the share of each domain in the whole budget."""
        if len(self.phases) == 1:
            return self.phases[0].mixture
        total = sum(p.fraction * p.mixture.array() for p in self.phases)
        return Mixture.from_array(self.domains, total / total.sum())  # type: ignore[union-attr,operator]

    def tokens(self, budget_tokens: float) -> dict[str, float]:
        """Tokens that a run of ``budget_tokens`` draws from each domain, over all phases."""
        return {d: w * budget_tokens for d, w in self.mixture.to_dict().items()}

    def epochs(self, budget_tokens: float, unique_tokens: Mapping[str, float]) -> dict[str, float]:
        """Epochs of each domain in a run of ``budget_tokens``: tokens drawn / its ``unique_tokens`` (infinite where
        drawn but there are none).
        """
        result = {}
        for domain, drawn in self.tokens(budget_tokens).items():
            unique = float(unique_tokens[domain])
            result[domain] = drawn / unique if unique > 0 else (math.inf if drawn > 0 else 0.0)
        return result

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"phases": [{"fraction": p.fraction, "weights": p.mixture.to_dict()} for p in self.phases]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Schedule:
        """Inverse of :meth:`to_dict`.

        Raises:
            ConfigError: data of another form, or what the constructor refuses.
        """
        try:
            parts = [(float(p["fraction"]), p["weights"]) for p in data["phases"]]
        except (TypeError, ValueError, KeyError, OverflowError):
            raise ConfigError(
                f"A schedule is {{phases: [{{fraction: 1.0, weights: {{web: 0.7, code: 0.3}}}}]}}, "
                f"got {str(data)[:200]}."
            ) from None
        return cls(tuple(Phase(fraction, Mixture(weights)) for fraction, weights in parts))


def quotas(weights: npt.ArrayLike, total: int) -> npt.NDArray[np.int64]:
    """Whole counts that sum to ``total`` and differ from ``weights * total`` by less than one each.

    Args:
        weights: (K,) shares that sum to 1.
        total: what is shared out, such as sequences.

    Returns:
        (K,) counts.

    Largest remainders; ties go to the earlier entry, so the result is deterministic.

    Example:
        >>> quotas([0.5, 0.3, 0.2], 7).tolist()
        [4, 2, 1]
    """
    exact = np.asarray(weights, dtype=float) * total
    counts = np.floor(exact + 1e-9).astype(np.int64)
    short = int(total - counts.sum())
    order = np.argsort(-(exact - counts), kind="stable")
    counts[order[:short]] += 1
    return counts
