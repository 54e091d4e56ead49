"""Replan: learns a law of the run's own losses while it trains, and plans the rest by it, again and again."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.data.conflict import feasible
from mixlaw.data.mixture import Mixture, Schedule
from mixlaw.errors import ConfigError, did_you_mean
from mixlaw.train.adaptive import Adaptive, target_weights, within
from mixlaw.train.recency_law import RECENCIES, History, draw, fit_sets, plan, prior_draws
from mixlaw.train.strategies.contract import Need

__all__ = ["Replan"]

Floats = npt.NDArray[np.float64]

_WARM = 0.05  # of the run, before anything is explored: losses fall too fast then to tell what moved them
_LAST_PLAN = 0.85  # of the run: what is left after it moves little
_EXPLORE = 0.35  # of the run, where there is something to find out
_EVEN = 0.25  # of the base: equal weights
_FAR = 2.5  # factor by which a plan's weights may differ from the base
_DRAWS = 48
_PROBE_SHARE = 0.03  # of the run's cost


class Replan(Adaptive):
    """Explores around a base mixture, fits the losses it saw, and replans the remaining mixture at each probe.

    *Base.* Three quarters of the mixture that is best under the prior of the law alone, and a quarter of equal weights:
    together equal weights where the objective is the domains' own sets alike. Where every set of the objective was held
    out of a domain, that is all: what a run can find out about such sets is worth less than finding it out costs.

    *Exploration*, where a set is of no domain (``explore`` of the run): in turn each domain gets ``tilt`` of the weight
    and the base the rest, so the average stays near the base, and a probe follows each turn. *Planning*: at each of
    ``plans`` probes the law of :mod:`mixlaw.train.recency_law` is fitted to all probes, and the weights for the rest of
    the run are those under which the run ends best, over the laws that the probes leave possible; with caution, so that
    what is not known keeps the weights at the base. Limits hold for the whole run: what was drawn counts.

    Args:
        schedule: names the domains; its weights are not used.
        num_steps: optimiser steps of the run.
        objective: weights of validation sets; a study fills them in.
        own_sets: the validation set that was held out of each domain; a study fills them in.
        limits: shares of the whole run, ``{"low": {domain: share}, "high": {domain: share}, "rows": [{domain: cost}],
            "upper": [total]}``; a study fills in those of its budget (floors, caps, epochs, groups, prices).
        explore: share of the run for exploring. None: 0.35 where a set of the objective is of no domain, else 0.
        tilt: weight that is moved to one domain while exploring.
        cycles: how often each domain has its turn.
        plans: how often the rest is planned.
        caution: how many standard deviations of a plan's gain are taken off it.
        probe_tokens: validation tokens of each set that a probe scores. None: as many as cost 3% of the run.
        batch_tokens: tokens of one step, to count that; a study fills it in.

    Raises:
        ConfigError: no objective, options out of range, limits of unknown domains.

    Example:
        >>> schedule = Schedule.constant({"web": 0.5, "code": 0.5})
        >>> replan = Replan(schedule, 200, {"web": 0.8, "code": 0.2}, {"web": "web", "code": "code"})
        >>> round(replan.update(0)["web"], 2), replan.needs
        (0.69, frozenset())
        >>> replan = Replan(schedule, 200, {"exam": 1.0}, {"web": "web", "code": "code"})
        >>> [step for step in range(100) if replan.asks(step)]
        [10, 21, 33, 45, 56, 68, 80, 93]
    """

    changing = ("ends", "drawn", "shares", "seen", "weights", "recency")

    def __init__(
        self,
        schedule: Schedule,
        num_steps: int,
        objective: Mapping[str, float] | None = None,
        own_sets: Mapping[str, str] | None = None,
        limits: Mapping[str, Any] | None = None,
        explore: float | None = None,
        tilt: float = 0.3,
        cycles: int = 3,
        plans: int = 8,
        caution: float = 1.0,
        probe_tokens: int | None = None,
        batch_tokens: int = 2048,
    ) -> None:
        super().__init__(schedule, num_steps)
        count = len(self.domains)
        self.objective = target_weights("replan", objective)
        self.sets = list(self.objective)
        self.tilt = within("replan", "tilt", tilt, 0, 1, "()")
        self.caution = within("replan", "caution", caution, 0, math.inf, "[)")
        within("replan", "cycles", cycles, 1, math.inf, "[)")
        within("replan", "plans", plans, 1, math.inf, "[)")
        back = {name: domain for domain, name in (own_sets or {}).items()}
        self._own: list[int | None] = [
            self.domains.index(back[name]) if back.get(name) in self.domains else None for name in self.sets
        ]
        if explore is None:
            explore = _EXPLORE if None in self._own else 0.0
        within("replan", "explore", explore, 0, _LAST_PLAN - _WARM, "[)")
        self.needs: frozenset[Need] = frozenset({"probes"} if explore else ())
        self._weigh = np.array([self.objective[name] for name in self.sets])
        self._weigh = self._weigh / self._weigh.sum()
        self.ends: list[float] = []
        self.drawn: list[list[float]] = []
        self.shares: list[float] = []
        self.seen: list[list[float]] = []
        self._read_limits(limits or {})
        even = np.full(count, 1 / count)
        best = self._planned(prior_draws(self._own, count), np.zeros(count), 1.0, even)
        # The prior cannot know that a domain helps no set: none begins at 0.
        self.base = self._allowed((1 - _EVEN) * best + _EVEN * even, 0.0)
        begin, end = round(_WARM * num_steps), round((_WARM + explore) * num_steps)
        turns = max(1, min(int(cycles), (end - begin) // count)) * count
        self._turns = [begin + k * (end - begin) // turns for k in range(turns)]
        later = np.linspace(end, max(end, round(_LAST_PLAN * num_steps)), int(plans)).round().astype(int)
        self._plans = sorted(set(later.tolist()))
        if not explore:
            self._turns = self._plans = []
        self._probes = frozenset(step for step in (*self._turns, *self._plans) if 0 < step < num_steps)
        if probe_tokens is None:
            scored = 3 * _PROBE_SHARE * num_steps * batch_tokens / (max(len(self._probes), 1) * len(self.sets))
            probe_tokens = int(np.clip(scored, 256, 8192))
        self.probe_tokens = int(within("replan", "probe_tokens", probe_tokens, 1, math.inf, "[)"))
        self._order = np.concatenate([np.random.default_rng(k).permutation(count) for k in range(turns // count)])
        self.weights = self.base.copy()
        self.recency = 1.0

    def _read_limits(self, limits: Mapping[str, Any]) -> None:
        names = {*limits.get("low", {}), *limits.get("high", {}), *(d for row in limits.get("rows", []) for d in row)}
        if unknown := sorted(names - set(self.domains)):
            raise ConfigError(
                f"The limits of replan name {unknown[0]!r}, which is no domain of this run."
                f"{did_you_mean(unknown[0], self.domains)}"
            )
        self._low = np.array([float(limits.get("low", {}).get(d, 0.0)) for d in self.domains])
        self._high = np.array([float(limits.get("high", {}).get(d, 1.0)) for d in self.domains])
        rows: Sequence[Mapping[str, float]] = limits.get("rows", [])
        self._rows = np.array([[float(row.get(d, 0.0)) for d in self.domains] for row in rows]).reshape(
            len(rows), len(self.domains)
        )
        self._upper = np.array([float(x) for x in limits.get("upper", [])])
        if len(self._rows) != len(self._upper):
            raise ConfigError(f"The limits of replan have {len(self._rows)} rows and {len(self._upper)} upper ends.")
        if self._low.sum() > 1 + 1e-9 or self._high.sum() < 1 - 1e-9 or (self._low > self._high).any():
            raise ConfigError(
                f"No mixture satisfies the limits of replan: low {self._low.tolist()}, high {self._high.tolist()}."
            )
        if len(self._rows) and not feasible(self._low, self._high, self._rows, self._upper):
            raise ConfigError(
                f"No mixture satisfies the limits of replan together: low {self._low.tolist()}, high "
                f"{self._high.tolist()}, rows {self._rows.tolist()} up to {self._upper.tolist()}."
            )

    def asks(self, step: int) -> frozenset[Need]:
        """Probes where a turn of the exploration begins or ends, and where the rest is planned."""
        return self.needs if step in self._probes else frozenset()

    def update(
        self,
        step: int,
        losses: Mapping[str, float] | None = None,
        gradients: Mapping[str, npt.NDArray[np.float64]] | None = None,
        target: npt.NDArray[np.float64] | None = None,
    ) -> Mixture:
        """The weights of ``step``: the base, a turn of the exploration, or the last plan."""
        if self.asks(step):
            now = self.measured_sets(step, losses, self.sets)
            self.shares.append(step / self.num_steps)
            self.seen.append(now.tolist())
        if self._plans and step >= self._plans[0]:
            if step in self._plans and len(self.seen) >= 3:
                self.weights = self._replan(step / self.num_steps)
        elif self._turns and step >= self._turns[0]:
            turn = self._order[bisect_right(self._turns, step) - 1]
            self.weights = self._allowed(
                (1 - self.tilt) * self.base + self.tilt * np.eye(len(self.domains))[turn], step / self.num_steps
            )
        self._note(step)
        return self.mixture(self.weights)

    def _note(self, step: int) -> None:
        """Remember what ``step`` draws: pieces of constant weights."""
        weights, end = self.weights.tolist(), (step + 1) / self.num_steps
        if self.drawn and self.drawn[-1] == weights:
            self.ends[-1] = end
        else:
            self.drawn.append(weights)
            self.ends.append(end)

    def _history(self) -> History:
        return History(np.array(self.ends), np.array(self.drawn))

    def _replan(self, share: float) -> Floats:
        """Fit what was seen and plan the rest, as ``share`` of the run is done."""
        history, shares, seen = self._history(), np.array(self.shares), np.array(self.seen)
        first = round(share * self.num_steps) == self._plans[0]
        chosen = None
        for rho in RECENCIES if first or len(self.shares) % 3 == 0 else (self.recency,):
            fits = fit_sets(history, shares, seen, self._own, rho, self.base)
            cost = sum(fit.cost for fit in fits)
            if chosen is None or cost < chosen[0]:
                chosen = cost, rho, fits
        assert chosen is not None
        _, self.recency, fits = chosen
        draws = draw(fits, self.recency, _DRAWS, np.random.default_rng(len(self.shares)), self.base)
        kept = share ** (self.recency + 1)
        return self._planned(draws, kept * history.mean(share, self.recency), 1 - kept, self.base, share)

    def _planned(self, draws: Any, past: Floats, remaining: float, base: Floats, share: float = 0.0) -> Floats:
        bounds, constraints = self._limits(share)
        start = self._allowed(base, share)
        # What a turn of the exploration shows holds near the base: a plan far from it would rest on the law's form.
        near = [(max(low, x / _FAR), min(high, x * _FAR)) for (low, high), x in zip(bounds, start)]
        bounds = [(min(low, x), max(high, x)) for (low, high), x in zip(near, start)]
        return plan(draws, self._weigh, past, remaining, start, (bounds, constraints), self.caution)

    def _mean_drawn(self) -> Floats:
        """(K,) mean of what was drawn so far, all tokens alike."""
        return self._history().mean(self.ends[-1], 0.0) if self.ends else np.zeros(len(self.domains))

    def _left(self, share: float) -> tuple[Floats, Floats]:
        """The bounds of the weights from here on, under which the whole run keeps its own."""
        done = share * self._mean_drawn()
        left = max(1 - share, 1e-9)
        return np.clip((self._low - done) / left, 0, 1), np.clip((self._high - done) / left, 0, 1)

    def _limits(self, share: float) -> tuple[list[tuple[float, float]], list[dict[str, Any]]]:
        """Bounds and constraints of the weights from here on, as ``scipy.optimize.minimize`` takes them."""
        low, high = self._left(share)
        constraints: list[dict[str, Any]] = [
            {"type": "eq", "fun": lambda q: q.sum() - 1, "jac": lambda q: np.ones_like(q)}
        ]
        if len(self._rows):
            left = self._upper - self._rows @ (share * self._mean_drawn())
            constraints.append(
                {
                    "type": "ineq",
                    "fun": lambda q: left - (1 - share) * (self._rows @ q),
                    "jac": lambda q: -(1 - share) * self._rows,
                }
            )
        return list(zip(low, np.maximum(high, low))), constraints

    def _allowed(self, weights: Floats, share: float) -> Floats:
        """Weights near to these with which the rest of the run, after ``share`` of it, keeps all limits."""
        found = _into(weights, *self._left(share))
        bounds, constraints = self._limits(share)
        if not len(self._rows) or (constraints[1]["fun"](found) >= -1e-9).all():
            return found
        from scipy.optimize import minimize

        near = minimize(
            lambda q: (float((q - weights) @ (q - weights)), 2 * (q - weights)),
            found,
            jac=True,
            method="SLSQP",
            bounds=bounds,
            constraints=constraints,
        )
        q = np.clip(near.x, 0, None)
        return np.asarray(q / q.sum())


def _into(weights: Floats, low: Floats, high: Floats) -> Floats:
    """``weights`` within bounds, summing to one: what a bound takes goes to the others in proportion."""
    found = np.clip(weights, low, high)
    for _ in range(50):
        gap = 1 - found.sum()
        if abs(gap) < 1e-12:
            break
        room = high - found if gap > 0 else found - low
        if room.sum() <= 0:
            break
        found = found + gap * room / room.sum() if abs(gap) < room.sum() else (high if gap > 0 else low)
        found = np.clip(found, low, high)
    return np.asarray(found / found.sum())
