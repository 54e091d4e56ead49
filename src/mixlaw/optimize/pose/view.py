"""A law seen from a corpus: columns in the corpus' order, sizes filled in, targets found by name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.data.budget import Budget
from mixlaw.data.corpus import Corpus
from mixlaw.errors import ConfigError, DataError, did_you_mean
from mixlaw.io.names import measured
from mixlaw.kit.arrays import Array, alike
from mixlaw.laws.core.atoms import Atoms, align
from mixlaw.laws.core.base import Law
from mixlaw.laws.core.restricted import Restricted
from mixlaw.optimize.pose.forms import Repetition, monotone

__all__ = ["LawView", "check_weights", "hull_distance", "law_hash"]


class LawView:
    """A fitted law as a function of weights over ``corpus.names``.

    A joint law's ``params`` and ``tokens`` columns are held at the budget's target, former domains of a
    :class:`~mixlaw.laws.core.restricted.Restricted` law at zero. With ``repetition`` the law is
    asked at the effective shares of repeated data (laws of atoms only).

    Raises:
        ConfigError: the law was fitted on other domains, or needs a size the budget does not give.
        DataError: the law is not fitted, or is a law of size and tokens only.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> from mixlaw.laws import EffectiveTokens
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> losses = {"qa": 2 + (web + 0.1) ** -0.3, "bugs": 2 + (1.1 - web) ** -0.3}
        >>> law = EffectiveTokens().fit({"web": web, "code": 1 - web}, losses)
        >>> corpus = Corpus.declared({"web": 9_000, "code": 1_000}, source="example")
        >>> LawView(law, corpus, Budget(tokens=1_000)).predict([[0.5, 0.5]]).shape
        (1, 2)
    """

    def __init__(self, law: Any, corpus: Corpus, budget: Budget, repetition: Repetition | None = None) -> None:
        if not (isinstance(law, Law) and law.fitted):
            what = (
                "has not been fitted yet. Call fit(X, y) first" if isinstance(law, Law) else "is no law of mixlaw.laws"
            )
            raise DataError(f"This {type(law).__name__} {what}.")
        former: tuple[str, ...] = ()
        if isinstance(law, Restricted):  # its rows and refits are those of the law inside
            former, law = law.former, law.law
        if law.kind == "scale":
            raise DataError(
                f"{type(law).__name__} is a law of model size and tokens: it says nothing about mixtures. "
                f"Use a mixture law (M4, EffectiveTokens, ...) or a joint one."
            )
        self.law, self.corpus, self.budget, self.domains, self._former = law, corpus, budget, corpus.names, former
        features = [str(n) for n in law.feature_names_in_]
        sizes = {**budget.sizes(corpus), **dict.fromkeys(former, 0.0)}
        is_domain = [n for n in features if n not in sizes or n in corpus.names]
        unnamed = all(n.startswith("x") and n[1:].isdigit() for n in is_domain)
        if unnamed and len(is_domain) == len(corpus.names):
            is_domain = list(corpus.names)  # fitted on a plain array: columns are taken in the corpus' order
            named = [*is_domain, *[n for n in features if n in sizes]]
        else:
            named = features
            for name in is_domain:
                if name not in corpus.names:
                    raise ConfigError(
                        f"The law was fitted on domain {name!r}, which is not in the corpus."
                        f"{did_you_mean(name, corpus.names)}"
                    )
            for name in corpus.names:
                if name not in is_domain:
                    raise ConfigError(
                        f"The corpus has domain {name!r}, which the law was not fitted on."
                        f"{did_you_mean(name, is_domain)} After a change of domains see mixlaw.reuse.old_runs."
                    )
        self._names = features
        self._source = [corpus.names.index(n) if n in is_domain else -1 for n in named]
        self._fixed: dict[int, float] = {}
        for column, (name, source) in enumerate(zip(named, self._source)):
            if source < 0:
                value = sizes[name]
                if value is None:
                    raise ConfigError(
                        f"The law depends on {name!r}; give the target's: Budget({name}=...)."
                        if name == "params"
                        else f"The law depends on {name!r}, which a budget does not state. Fit it without that column."
                    )
                self._fixed[column] = float(value)
        self.targets: list[str] = [str(t) for t in law.target_names_]
        self.repetition = repetition
        if repetition is not None and self.atoms() is None:
            raise ConfigError(
                f"Repetition inside the law needs a law of linear forms (M4, EffectiveTokens, LogLinear, ...); "
                f"{type(law).__name__} is none. Use max_epochs in the budget instead."
            )

    def index(self, names: Iterable[str], where: str) -> list[int]:
        """Positions of targets by name.

        Raises:
            ConfigError: the law does not predict a target of that name, or it is better when higher; ``where`` is what
                the message blames.
        """
        out = []
        for name in names:
            if name not in self.targets:
                raise ConfigError(
                    f"{where} names {name!r}, which the law does not predict.{did_you_mean(name, self.targets)}"
                )
            self._falls(name, where)
            out.append(self.targets.index(name))
        return out

    def _falls(self, name: str, where: str) -> None:
        """Refuse a target that is better when higher: as its table said, or by its name."""
        named = measured(name)
        accuracy = named is not None and named.metric == "accuracy" and not name.startswith("minus ")
        if name in self.law.rising_targets_ or accuracy:
            raise ConfigError(
                f"{where} names {name!r}, an accuracy or score that is better when higher; what is optimised is made "
                f"as small as possible. Fit what is better when lower, {{'{name} (1 - accuracy)': 1 - y}}, or keep "
                f"the law of the loss and give task={{...}} (TaskLaw.fit)."
            )

    def _matrix(self, R: npt.ArrayLike) -> dict[str, Array]:
        rows = np.atleast_2d(np.asarray(R, dtype=float))
        columns = [
            np.full(len(rows), self._fixed[i]) if source < 0 else np.clip(rows[:, source], 0.0, 1.0)
            for i, source in enumerate(self._source)
        ]
        return dict(zip(self._names, columns))

    def predict(self, R: npt.ArrayLike) -> Array:
        """(n, T) losses at weights R (n, K)."""
        if self.repetition is not None:
            atoms = self.atoms()
            assert atoms is not None
            return monotone(atoms).value(self.repetition.value(np.atleast_2d(np.asarray(R, dtype=float))))
        values = np.asarray(self.law.predict(self._matrix(R)), dtype=float)
        return values[:, None] if values.ndim == 1 else values

    def interval(self, R: npt.ArrayLike, level: float) -> tuple[Array, Array]:
        """Prediction interval (low, high), each (n, T) in the targets' unit, at mixtures R (n, K)."""
        low, high = self.law.predict_interval(self._matrix(R), level)
        low, high = np.asarray(low, dtype=float), np.asarray(high, dtype=float)
        if low.ndim == 1:
            low, high = low[:, None], high[:, None]
        if self.repetition is not None:  # as wide as the law says, around what repetition leaves
            shift = self.predict(R) - replace_none(self).predict(R)
            low, high = low + shift, high + shift
        return low, high

    def gradient(self, R: npt.ArrayLike) -> Array:
        """d loss / d weight (n, T, K)."""
        if self.repetition is not None:
            atoms, rows = self.atoms(), np.atleast_2d(np.asarray(R, dtype=float))
            assert atoms is not None
            return monotone(atoms).gradient(self.repetition.value(rows)) * self.repetition.slope(rows)[:, None]
        full = np.asarray(self.law.gradient(self._matrix(R)), dtype=float)
        out = np.zeros((*full.shape[:2], len(self.domains)))
        for column, source in enumerate(self._source):
            if source >= 0:
                out[:, :, source] = full[:, :, column]
        return out

    def atoms(self) -> Atoms | None:
        """The law's atoms over the corpus' domains, or None."""
        atoms = self.law.atoms()
        if atoms is None:
            return None
        column = {source: i for i, source in enumerate(self._source)}
        result = align(atoms, [column[j] for j in range(len(self.domains))])
        if self._fixed:  # sizes are constants of the linear forms
            shift = sum(atoms.linear[:, c] * v for c, v in self._fixed.items())
            result = Atoms(**{**vars(result), "offset": result.offset + shift})
        return result

    def with_law(self, law: Any) -> LawView:
        """The same view of another law fitted on the same columns."""
        other = object.__new__(LawView)
        other.__dict__ = {**self.__dict__, "law": law}
        return other

    @property
    def of_mixture(self) -> LawView:
        """The view of a law of the mixture alone: itself, or what a joint law says at the size that is asked about."""
        law = self.law
        if len(law.averaged) == 1:  # an average of one law
            law = next(iter(law.averaged.values()))
        if law.kind != "joint":
            return self
        sizes = {self._names[c]: value for c, value in self._fixed.items() if self._names[c] not in self._former}
        there = law.at(**sizes)
        if self._former:
            there = Restricted.of(there, self.domains)
        return LawView(there, self.corpus, self.budget)

    def difference_variance(self, a: Array, b: Array, W: Array) -> float:
        """Of the objective ``W`` (T,) at weights a (K,) less that at b (K,): what a law of mixtures and sizes leaves
        open before a law of the mixture is fitted at the size that is asked about. 0 for other laws."""
        law = self.law
        if len(law.averaged) == 1:
            law = next(iter(law.averaged.values()))
        if law.kind != "joint":
            return 0.0
        sizes = {self._names[c]: value for c, value in self._fixed.items() if self._names[c] not in self._former}
        return law.difference_variance(np.column_stack(list(self._matrix(np.stack([a, b])).values())), W, **sizes)

    @property
    def columns(self) -> list[str]:
        """Names of the law's own columns, in its order."""
        return list(self._names)

    @property
    def other_columns(self) -> npt.NDArray[np.bool_]:
        """(columns,) of the law's own X: which are no weights of the corpus' domains (sizes, domains that are gone)."""
        return np.asarray(self._source) < 0

    def weights_of(self, X: Array) -> Array:
        """(n, K) token shares in the corpus' order, from the law's own X (n, columns)."""
        weights = np.zeros((len(X), len(self.domains)))
        for column, source in enumerate(self._source):
            if source >= 0:
                weights[:, source] = X[:, column]
        return weights

    # ---- what the law learned from ----------------------------------------------------------------------
    @property
    def training(self) -> tuple[Array, Array] | None:
        """(X (n, columns), losses (n, T)) that a law fitted in this process brings; None for one read from JSON."""
        rows = self.law.training
        return None if rows is None else (rows.X, rows.Y)

    def heldout(self, X: Array, losses: Array) -> Array:
        """(n, T) predictions of runs by fits that had not seen them: those the law remembers, where these are its runs,
        else those of refits."""
        law, known = self.law, None
        if law.training is not None:  # a law fitted in this process remembers
            known = law.heldout
        elif (rows := law.known_runs) is not None and alike(rows.X, X) and alike(rows.Y, losses):
            known = law.heldout  # Auto and the Gaussian process save what they scored
        if known is not None and known.shape == losses.shape:
            return known
        return law.predict_heldout(X, losses)

    def refits(self, X: Array, losses: Array, weights: Array) -> list[LawView]:
        """Views of the law refitted to runs under weights (B, n), what it chose kept; failed refits are left out."""
        own = self.training
        if own is not None and alike(own[0], X) and alike(own[1], losses):
            found = self.law.reweighted(weights)
        else:
            found = self.law.reweighted(weights, dict(zip(self._names, X.T)), dict(zip(self.targets, losses.T)))
        return [self.with_law(one) for one in found if one is not None]

    @property
    def name(self) -> str:
        """Name of the law's class, for messages."""
        return type(self.law).__name__

    @property
    def refits_in_one_batch(self) -> bool:
        """Whether refits are cheap (parametric laws solve all in one batch)."""
        return self.law.theta_ is not None

    def describe(self) -> tuple[dict[str, Any], str]:
        """Name of the law and the content hash of what it learned."""
        law = self.law
        info: dict[str, Any] = {"name": self.name, "runs": law.num_runs_}
        if law.kind == "joint":
            info["kind"] = "joint"
        if law.source:
            info["source"] = law.source
        return info, law_hash(law)


def law_hash(law: Any) -> str:
    """16 hex digits of what a law has learned (its state may hold NaN, which canonical JSON may not). How long fits
    took is left out: the same law fitted again is the same.

    Example:
        >>> from mixlaw.laws import LogLinear
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> R, loss = np.column_stack([web, 1 - web]), 4 - np.log(web + 0.1)
        >>> first, again, other = LogLinear().fit(R, loss), LogLinear().fit(R, loss), LogLinear().fit(R, loss + 1)
        >>> law_hash(first) == law_hash(again), law_hash(first) == law_hash(other)
        (True, False)
    """
    return hashlib.sha256(json.dumps(_without_times(law.to_dict()), sort_keys=True).encode()).hexdigest()[:16]


def _without_times(data: Any) -> Any:
    """Plain data without its ``seconds``; mappings in a law's state are lists of pairs."""
    if isinstance(data, dict):
        return {key: _without_times(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_without_times(x) for x in data if not (isinstance(x, list) and len(x) == 2 and x[0] == "seconds")]
    return data


def replace_none(view: LawView) -> LawView:
    """The view without repetition."""
    other = view.with_law(view.law)
    other.repetition = None
    return other


def hull_distance(points: Array, x: Array) -> float:
    """Distance in token share (half the L1 norm) from mixture x (K,) to the convex hull of points (n, K); 0 inside.

    Example:
        >>> round(hull_distance(np.array([[0.2, 0.8], [0.6, 0.4]]), np.array([0.9, 0.1])), 6)
        0.3
    """
    from scipy.optimize import linprog

    n, k = points.shape
    # min sum(d+) s.t. sum_i w_i points_i + d+ - d- = x, sum w = 1
    cost = np.concatenate([np.zeros(n), np.full(2 * k, 0.5)])
    equal = np.vstack(
        [
            np.hstack([points.T, np.eye(k), -np.eye(k)]),
            np.concatenate([np.ones(n), np.zeros(2 * k)])[None],
        ]
    )
    result = linprog(cost, A_eq=equal, b_eq=np.append(x, 1.0), bounds=(0, None), method="highs")
    return max(float(result.fun or 0.0), 0.0) if result.status == 0 else float("nan")


def check_weights(objective: str | Sequence[str] | Mapping[str, float]) -> dict[str, float]:
    """Objective as ``{set: weight}`` summing to one: a name, several names (equal weights) or weights.

    Raises:
        ConfigError: empty, negative, not finite, or all zero.

    Example:
        >>> check_weights({"qa": 3, "bugs": 1})
        {'qa': 0.75, 'bugs': 0.25}
    """
    if isinstance(objective, str):
        return {objective: 1.0}
    if not isinstance(objective, Mapping):
        objective = {str(name): 1.0 for name in objective}
    weights = {str(k): float(v) for k, v in objective.items()}
    total = sum(weights.values())
    if not weights or any(not np.isfinite(v) or v < 0 for v in weights.values()) or total <= 0:
        raise ConfigError(f"An objective needs non-negative weights with a positive sum, got {weights}.")
    return {k: v / total for k, v in weights.items()}
