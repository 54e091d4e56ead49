"""Skill-it: weight on the domains that lead to the skills whose losses are still high."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.data.mixture import Mixture, Schedule
from mixlaw.errors import ConfigError, did_you_mean
from mixlaw.train.adaptive import Adaptive, softmax, target_weights, within
from mixlaw.train.strategies.contract import Need

__all__ = ["SkillIt"]

Graph = Mapping[str, Mapping[str, float]] | Sequence[Sequence[float]]


class SkillIt(Adaptive):
    """Multiplicative weights over a graph in which training on domain i lowers the loss of skill j (``A_ij > 0``).

    ``w_i`` is proportional to ``exp(eta * sum_j A_ij L_j)``, with L_j the sum of skill j's last ``window`` validation
    losses. They are 1 at the start, and measured at ``updates`` - 1 steps spread evenly over the run. Entries that are
    1 and not a domain's own become 0.5, as published. Where the objective names only some of the skills, only their
    columns count, and L_j is the mean of the last losses instead of their sum, as published.

    Args:
        schedule: names the domains; its weights are not used.
        num_steps: optimiser steps of the run.
        graph: strengths ``A``, as ``{domain: {skill: strength}}`` (what is not there is 0) or as a matrix whose rows
            and columns are the domains. A skill is a validation set, or a domain that stands for its own.
            :func:`mixlaw.train.skill_graph.learn_graph` makes one from short runs.
        objective: weights of validation sets; those above 0 are the targets. A study fills them in. None: all skills.
        own_sets: validation set of each domain; a study fills them in. None: sets named like the domains.
        eta: step of the log-weights; published: 0.5 (LEGO), 0.1 (addition), 0.8 (Natural Instructions).
        updates: mixtures of the run, the first included; published: 6.
        window: how many measurements are added up.

    Raises:
        ConfigError: no graph or one without edges, names it does not know, negative strengths; an objective with sets
            that no column of the graph stands for; options out of range.

    Source: Chen et al. 2023, arXiv:2307.14430, and the repository HazyResearch/skill-it (trainer/mw_trainer.py).

    Example:
        >>> graph = {"web": {"web": 1, "code": 0.4}, "code": {"code": 1}}
        >>> skill_it = SkillIt(Schedule.constant({"web": 0.5, "code": 0.5}), num_steps=60, graph=graph)
        >>> [step for step in range(60) if skill_it.asks(step)]
        [10, 20, 30, 40, 50]
        >>> [round(w, 3) for w in skill_it.update(0).weights]  # exp(0.5 * 1.4) to exp(0.5 * 1)
        [0.55, 0.45]
    """

    needs: frozenset[Need] = frozenset({"probes"})
    changing = ("recent",)

    def __init__(
        self,
        schedule: Schedule,
        num_steps: int,
        graph: Graph | None = None,
        objective: Mapping[str, float] | None = None,
        own_sets: Mapping[str, str] | None = None,
        eta: float = 0.5,
        updates: int = 6,
        window: int = 3,
    ) -> None:
        super().__init__(schedule, num_steps)
        self.eta = within("skill_it", "eta", eta, 0, math.inf, "()")
        self.updates = within("skill_it", "updates", updates, 1, math.inf, "[)")
        self.window = within("skill_it", "window", window, 1, math.inf, "[)")
        own = {d: d for d in self.domains} if own_sets is None else dict(own_sets)
        self.strengths, self.sets = self._read(graph, own)
        self.some = False  # whether only some of the skills are targets
        if objective is not None:
            targets = list(target_weights("skill_it", objective))
            if lost := [s for s in targets if s not in self.sets]:
                raise ConfigError(
                    f"The strategy skill_it minimises {targets}, and no column of its graph stands for "
                    f"{lost}: it has {self.sets}. Give the graph a column for each set of the objective."
                )
            kept = [i for i, s in enumerate(self.sets) if s in targets]
            self.some = len(kept) < len(self.sets)
            self.strengths, self.sets = self.strengths[:, kept], [self.sets[i] for i in kept]
        self.recent: list[list[float]] = []
        self._at = {round(i * num_steps / self.updates) for i in range(1, int(self.updates))} - {0}

    def asks(self, step: int) -> frozenset[Need]:
        """Probes where the mixture changes."""
        return self.needs if step in self._at else frozenset()

    def update(
        self,
        step: int,
        losses: Mapping[str, float] | None = None,
        gradients: Mapping[str, npt.NDArray[np.float64]] | None = None,
        target: npt.NDArray[np.float64] | None = None,
    ) -> Mixture:
        """The weights of ``step``, from the validation losses (``losses``) measured so far."""
        if self.asks(step):
            now = self.measured_sets(step, losses, self.sets)
            self.recent = [*self.recent, now.tolist()][-int(self.window) :]
        seen = np.array(self.recent) if self.recent else np.ones((1, len(self.sets)))
        level = seen.mean(axis=0) if self.some else seen.sum(axis=0)
        return self.mixture(softmax(self.eta * self.strengths @ level))

    def _read(self, graph: Graph | None, own: Mapping[str, str]) -> tuple[npt.NDArray[np.float64], list[str]]:
        """Strengths (K, M) and the M validation sets."""
        help_ = (
            "Give {domain: {skill: strength}}, or learn one from short runs with mixlaw.train.skill_graph.learn_graph."
        )
        if graph is None:
            raise ConfigError(f"The strategy skill_it needs the option graph. {help_}")
        rows = graph if isinstance(graph, Mapping) else self._named(graph, help_)
        sets: list[str] = list(dict.fromkeys(own[d] for d in self.domains if d in own))
        entries: dict[tuple[str, str], float] = {}
        for domain, row in rows.items():
            if domain not in self.domains:
                raise ConfigError(
                    f"The graph of skill_it has a row {domain!r}, which is no domain of the run."
                    f"{did_you_mean(domain, self.domains)}"
                )
            if not isinstance(row, Mapping):
                raise ConfigError(f"The graph of skill_it has the row {row!r} for {domain!r} in {graph!r}. {help_}")
            for skill, strength in row.items():
                if skill in self.domains and skill not in own:
                    raise ConfigError(
                        f"The graph of skill_it has a column {skill!r}, a domain without a validation set of its own. "
                        f"Name a validation set, or hold one out of it."
                    )
                name = own.get(skill, skill)
                if name not in sets:
                    sets.append(name)
                entries[domain, name] = _strength(domain, skill, strength)
        strengths = np.array([[entries.get((d, s), 0.0) for s in sets] for d in self.domains])
        others = np.array([[own.get(d) != s for s in sets] for d in self.domains])
        if not (strengths[others] > 0).any():
            raise ConfigError(
                f"The graph of skill_it has no edge from a domain to another's skill: {graph!r}. Without one there is "
                f"no order to follow; use a strategy that needs no graph (uniform, aioli). {help_}"
            )
        strengths[others & (strengths == 1)] = 0.5
        used = [i for i in range(len(sets)) if strengths[:, i].any()]
        return strengths[:, used], [sets[i] for i in used]

    def _named(self, graph: Any, help_: str) -> dict[str, dict[str, float]]:
        """A matrix over the domains as rows by name."""
        count = len(self.domains)
        try:
            lengths = [len(row) for row in graph]
        except TypeError:
            lengths = []
        if lengths != [count] * count:
            raise ConfigError(
                f"The graph of skill_it is a matrix of {count} rows and columns, for {list(self.domains)}; got "
                f"{graph!r}. {help_}"
            )
        return {d: dict(zip(self.domains, row)) for d, row in zip(self.domains, graph)}


def _strength(domain: str, skill: str, value: Any) -> float:
    try:
        strength = float(value)
    except (TypeError, ValueError):
        strength = math.nan
    if not 0 <= strength < math.inf:
        raise ConfigError(
            f"The graph of skill_it has the strength {value!r} from {domain!r} to {skill!r}; strengths are numbers "
            f"from 0 (no effect) up."
        )
    return strength
