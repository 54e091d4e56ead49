"""How much may be trained on what: tokens, repetition, floors, caps, groups and further linear limits.

Syntax is checked when a budget is made; the arithmetic against a corpus is done by :meth:`Budget.check`, which
every consumer calls and which answers in words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.data.columns import SIZES
from mixlaw.data.conflict import feasible, smallest_conflict
from mixlaw.data.corpus import Corpus
from mixlaw.errors import ConfigError, InfeasibleBudgetError, did_you_mean
from mixlaw.kit.units import format_count, parse_count

__all__ = ["Budget", "Constraints", "Group", "Limit"]


@dataclass(frozen=True)
class Group:
    """Several domains whose weights together stay between ``floor`` and ``cap`` (shares of tokens).

    Args:
        domains: their names; :class:`Budget` checks names and numbers.
        floor, cap: smallest and largest share of the tokens of all of them together.

    Example:
        >>> corpus = Corpus.declared({"web": 9_000, "news": 9_000, "code": 9_000}, source="example")
        >>> budget = Budget(tokens=8_000, groups={"english": Group(("web", "news"), cap=0.6)})
        >>> budget.constraints(corpus).labels
        ('group english: cap 0.6',)
    """

    domains: tuple[str, ...]
    floor: float = 0.0
    cap: float = 1.0


@dataclass(frozen=True)
class Limit:
    """A further budget: ``sum_j cost_per_token[j] * tokens_j <= total`` (licence fees, cleaning hours, ...).

    Args:
        cost_per_token: ``{domain: cost}`` in the unit of ``total``, >= 0; a domain that is not named costs nothing.
        total: what may be spent, >= 0.

    Example:
        >>> corpus = Corpus.declared({"web": 9_000, "books": 9_000}, source="example")
        >>> budget = Budget(tokens=8_000, limits={"fees": Limit({"books": 0.01}, total=20.0)})
        >>> c = budget.constraints(corpus)
        >>> (c.matrix @ [0.75, 0.25]).tolist(), c.upper.tolist()  # a quarter from books costs all that may be spent
        ([20.0], [20.0])
    """

    cost_per_token: Mapping[str, float]
    total: float


@dataclass(frozen=True)
class Constraints:
    """A budget's arithmetic on a corpus, for solvers: ``low <= r <= high``, ``matrix @ r <= upper``, sum(r) = 1.

    Shapes, for the K ``domains`` and M further limits: ``low``, ``high`` (K,) smallest and largest weights (shares of
    the budget's tokens); ``matrix`` (M, K); ``upper`` (M,).

    ``labels_low``, ``labels_high`` (K) and ``labels`` (M) name each limit in words, with numbers.
    ``high_kind`` (K) says which limit makes each upper bound: ``"cap"``, ``"epochs"`` or ``"simplex"``.

    Example:
        >>> corpus = Corpus.declared({"web": 10_000, "wiki": 1_000}, source="example")
        >>> c = Budget(tokens=8_000, max_epochs=4).constraints(corpus)
        >>> c.high.tolist(), c.high_kind
        ([1.0, 0.5], ('simplex', 'epochs'))
        >>> c.labels_high[1]
        'wiki: cap 4.00k tokens (1.00k unique x 4 epochs)'
    """

    domains: tuple[str, ...]
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    matrix: npt.NDArray[np.float64]
    upper: npt.NDArray[np.float64]
    labels_low: tuple[str, ...]
    labels_high: tuple[str, ...]
    labels: tuple[str, ...]
    high_kind: tuple[str, ...]


@dataclass(frozen=True)
class Budget:
    """What the run that the mixture is for may use.

    Args:
        tokens: training tokens of the target run, > 0 (numbers or "300B").
        params: non-embedding parameters of the target model, if known.
        max_epochs: largest number of epochs of any domain, or per domain ``{domain: epochs}``; ``None`` = no limit.
        floors, caps: weights (shares of tokens in [0, 1]) per domain.
        groups: ``{name: Group}`` over several domains.
        limits: ``{name: Limit}``: further linear budgets.

    Raises:
        ConfigError: a number out of range, or a floor above its cap.

    Example:
        >>> corpus = Corpus.declared({"web": 10_000, "wiki": 1_000}, source="example")
        >>> Budget(tokens=8_000, max_epochs=4).constraints(corpus).high.tolist()
        [1.0, 0.5]
    """

    tokens: int
    params: int | None = None
    max_epochs: float | Mapping[str, float] | None = None
    floors: Mapping[str, float] = field(default_factory=dict)
    caps: Mapping[str, float] = field(default_factory=dict)
    groups: Mapping[str, Group] = field(default_factory=dict)
    limits: Mapping[str, Limit] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tokens", parse_count(self.tokens, "budget tokens"))
        if self.tokens <= 0:
            raise ConfigError(f"Budget tokens must be positive, got {self.tokens}.")
        if self.params is not None:
            object.__setattr__(self, "params", parse_count(self.params, "budget params"))
        per_domain = self.max_epochs if isinstance(self.max_epochs, Mapping) else {"(all)": self.max_epochs}
        for name, epochs in per_domain.items():
            if epochs is not None and not (_finite(epochs) and epochs > 0):
                raise ConfigError(
                    f"max_epochs of {name} must be a positive number, got {epochs!r}. Write 'max_epochs: 4', one "
                    f"number per domain, or leave it out for no limit."
                )
        for kind, table in (("floor", self.floors), ("cap", self.caps)):
            for name, weight in _table(table, f"{kind}s", "{web: 0.3}").items():
                if not (_finite(weight) and 0 <= weight <= 1):
                    raise ConfigError(
                        f"The {kind} of {name!r} must be a share of tokens in [0, 1], got {weight!r}. Write "
                        f"for example '{kind}s: {{{name}: 0.3}}'."
                    )
        for name in self.floors:
            if name in self.caps and self.floors[name] > self.caps[name]:
                raise ConfigError(
                    f"{name!r}: floor {self.floors[name]:g} is above cap {self.caps[name]:g}. Lower the floor "
                    f"or raise the cap."
                )
        for name, group in _table(self.groups, "groups", _GROUP).items():
            if not isinstance(group, Group):
                raise ConfigError(f"Group {name!r} must be a Group (in study.yaml: {_GROUP}), got {group!r}.")
            if not (
                group.domains and _finite(group.floor) and _finite(group.cap) and 0 <= group.floor <= group.cap <= 1
            ):
                raise ConfigError(
                    f"Group {name!r} needs domains and 0 <= floor <= cap <= 1, got domains "
                    f"{list(group.domains)}, floor {group.floor!r}, cap {group.cap!r}."
                )
        for name, limit in _table(self.limits, "limits", _LIMIT).items():
            if not isinstance(limit, Limit):
                raise ConfigError(f"Limit {name!r} must be a Limit (in study.yaml: {_LIMIT}), got {limit!r}.")
            costs = _table(limit.cost_per_token, f"limit {name!r}: cost_per_token", "{web: 2e-6}").values()
            if not all(_finite(c) and c >= 0 for c in (limit.total, *costs)):
                raise ConfigError(f"Limit {name!r} needs non-negative costs and total, got {limit}.")

    def _check_names(self, domains: Sequence[str]) -> None:
        named = {
            "max_epochs": list(self.max_epochs) if isinstance(self.max_epochs, Mapping) else [],
            "floors": list(self.floors),
            "caps": list(self.caps),
            **{f"group {n}": list(g.domains) for n, g in self.groups.items()},
            **{f"limit {n}": list(x.cost_per_token) for n, x in self.limits.items()},
        }
        for where, names in named.items():
            for name in names:
                if name not in domains:
                    raise ConfigError(
                        f"Budget {where} names {name!r}, which is not a domain.{did_you_mean(name, domains)}"
                    )

    def epochs_cap(self, domain: str) -> float | None:
        """The epoch limit of ``domain``, or None."""
        if isinstance(self.max_epochs, Mapping):
            return self.max_epochs.get(domain)
        return self.max_epochs

    def sizes(self, corpus: Corpus) -> dict[str, float | None]:
        """What each column of sizes (:data:`mixlaw.data.columns.SIZES`) holds at the target: parameters and tokens as
        counts; None where a budget does not state it.

        Args:
            corpus: whose unique tokens are counted.

        Example:
            >>> corpus = Corpus.declared({"web": 9_000, "code": 1_000}, source="example")
            >>> Budget(tokens=2_000).sizes(corpus)["unique_tokens"]
            10000.0
        """
        stated = {
            "params": self.params,
            "tokens": self.tokens,
            "unique_tokens": float(sum(corpus.unique_tokens.values())),
        }
        return {name: stated.get(name) for name in SIZES}

    def constraints(self, corpus: Corpus) -> Constraints:
        """The limits as arrays over ``corpus.names``; names are checked, feasibility is not (see :meth:`check`).

        Raises:
            ConfigError: a limit names a domain that the corpus does not have.
        """
        names = corpus.names
        self._check_names(names)
        low = np.array([float(self.floors.get(n, 0.0)) for n in names])
        high, kinds, labels_high, labels_low = np.ones(len(names)), [], [], []
        for j, name in enumerate(names):
            options = [(1.0, "simplex", f"{name}: at most the whole budget")]
            if name in self.caps:
                options.append((float(self.caps[name]), "cap", f"{name}: cap {self.caps[name]:g}"))
            epochs = self.epochs_cap(name)
            unique = corpus[name].unique_tokens
            if epochs is not None:
                options.append(
                    (
                        epochs * unique / self.tokens,
                        "epochs",
                        f"{name}: cap {format_count(epochs * unique)} tokens ({format_count(unique)} unique x "
                        f"{epochs:g} epochs)",
                    )
                )
            value, kind, label = min(options, key=lambda o: o[0])  # a limit of all tokens or more is none
            high[j] = value
            kinds.append(kind)
            labels_high.append(label)
            labels_low.append(f"{name}: floor {format_count(low[j] * self.tokens)} tokens ({low[j]:g})")
        rows, upper, labels = [], [], []
        for name, group in self.groups.items():
            row = np.array([float(n in group.domains) for n in names])
            if group.cap < 1:
                rows.append(row)
                upper.append(group.cap)
                labels.append(f"group {name}: cap {group.cap:g}")
            if group.floor > 0:
                rows.append(-row)
                upper.append(-group.floor)
                labels.append(f"group {name}: floor {group.floor:g}")
        for name, limit in self.limits.items():
            rows.append(np.array([float(limit.cost_per_token.get(n, 0.0)) for n in names]) * self.tokens)
            upper.append(float(limit.total))
            labels.append(f"limit {name}: at most {limit.total:g}")
        return Constraints(
            names,
            low,
            high,
            np.array(rows).reshape(len(rows), len(names)),
            np.array(upper),
            tuple(labels_low),
            tuple(labels_high),
            tuple(labels),
            tuple(kinds),
        )

    def check(self, corpus: Corpus) -> Constraints:
        """The limits as arrays, after making sure that some mixture satisfies them.

        Raises:
            ConfigError: the budget names a domain the corpus lacks.
            InfeasibleBudgetError: no mixture satisfies all limits; the message names as few of them as conflict, with
                their numbers (:func:`mixlaw.data.conflict.smallest_conflict`).
        """
        c = self.constraints(corpus)
        for j in range(len(c.domains)):
            if c.low[j] > c.high[j] + 1e-12:
                crossed = (c.labels_low[j], c.labels_high[j])
                name, _, floor = c.labels_low[j].partition(": ")
                cap = c.labels_high[j].partition(": ")[2]
                raise InfeasibleBudgetError(
                    f"{name}: {floor} > {cap}. Lower the floor, allow more epochs, or train on fewer tokens.",
                    crossed,
                )
        if not feasible(c.low, c.high, c.matrix, c.upper):
            conflict = smallest_conflict(c.low, c.high, c.matrix, c.upper)
            needed = [c.labels_low[j] for j in conflict.lows]
            needed += [c.labels_high[j] for j in conflict.highs]
            needed += [c.labels[i] for i in conflict.rows]
            needed += ["weights sum to 1"] if conflict.whole else []
            together = ""
            if len(conflict.highs) == len(c.domains) == conflict.size:  # no floor, group or limit takes part
                most = float(c.high.sum())
                together = (
                    f" Together the caps allow {format_count(most * self.tokens)} tokens, {most:.1%} of the budget: "
                    f"allow more epochs or train on fewer tokens."
                )
            raise InfeasibleBudgetError(
                "No mixture satisfies the budget of "
                f"{format_count(self.tokens)} tokens. These limits cannot hold together: {'; '.join(needed)}."
                f"{together or ' Relax one of them.'}",
                needed,
            )
        return c

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON and study.yaml."""
        return {
            "tokens": self.tokens,
            "params": self.params,
            "max_epochs": dict(self.max_epochs) if isinstance(self.max_epochs, Mapping) else self.max_epochs,
            "floors": dict(self.floors),
            "caps": dict(self.caps),
            "groups": {n: {"domains": list(g.domains), "floor": g.floor, "cap": g.cap} for n, g in self.groups.items()},
            "limits": {n: {"cost_per_token": dict(x.cost_per_token), "total": x.total} for n, x in self.limits.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Budget:
        """Inverse of :meth:`to_dict`; unknown keys are errors.

        Raises:
            ConfigError: an unknown key, or a value that :class:`Budget` refuses.
        """
        known = ("tokens", "params", "max_epochs", "floors", "caps", "groups", "limits")
        if not isinstance(data, Mapping) or "tokens" not in data:
            has = sorted(map(str, data)) if isinstance(data, Mapping) else repr(data)
            raise ConfigError(f"budget needs 'tokens' (of the target run), as in {{tokens: 300B}}; it has {has}.")
        for key in data:
            if key not in known:
                raise ConfigError(f"Unknown budget key {key!r}.{did_you_mean(key, known)}")
        groups = {
            name: Group(_names(g["domains"], f"Group {name!r}"), g.get("floor", 0.0), g.get("cap", 1.0))
            for name, entry in _table(data.get("groups") or {}, "groups", _GROUP).items()
            for g in [_entry(entry, f"Group {name!r}", ("domains", "floor", "cap"), ("domains",), _GROUP)]
        }
        limits = {
            name: Limit(_table(x["cost_per_token"], f"limit {name!r}: cost_per_token", "{web: 2e-6}"), x["total"])
            for name, entry in _table(data.get("limits") or {}, "limits", _LIMIT).items()
            for x in [
                _entry(entry, f"Limit {name!r}", ("cost_per_token", "total"), ("cost_per_token", "total"), _LIMIT)
            ]
        }
        return cls(
            tokens=data["tokens"],
            params=data.get("params"),
            max_epochs=data.get("max_epochs"),
            floors=_table(data.get("floors") or {}, "floors", "{web: 0.3}"),
            caps=_table(data.get("caps") or {}, "caps", "{web: 0.3}"),
            groups=groups,
            limits=limits,
        )


_GROUP = "{easy: {domains: [web, news], floor: 0.1, cap: 0.5}}"
_LIMIT = "{fees: {cost_per_token: {web: 2e-6}, total: 5000}}"


def _finite(value: Any) -> bool:
    """Whether a value from a file or a caller is a number, and no boolean, text, infinity or NaN."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _table(value: Any, where: str, example: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"Budget {where} must be a table such as {example}, got {value!r}.")
    return dict(value)


def _names(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ConfigError(f"{where}: domains must be a list such as [web, news], got {value!r}.")
    return tuple(str(name) for name in value)


def _entry(value: Any, where: str, known: Sequence[str], needed: Sequence[str], example: str) -> Mapping[str, Any]:
    """A group or limit as study.yaml has it, its keys checked."""
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where} must be a table as in {example}, got {value!r}.")
    for key in value:
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key!r}.{did_you_mean(str(key), known)}")
    for key in needed:
        if key not in value:
            raise ConfigError(f"{where} lacks {key!r}, it has {dict(value)!r}. Write it as in {example}.")
    return value
