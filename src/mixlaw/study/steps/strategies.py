"""Runs whose mixture a strategy chooses, with the runs that it needs before, on one budget: ``strategies.json``.

A strategy's *search* is what it trains before its final run: a reference, a proxy whose average weights are used
(DoReMi, DoGE), runs from which a graph is learned (Skill-it). Where costs are charged, search, probes and the final run
together take the tokens of one run of the study, so that every strategy costs the same number of FLOPs.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow.compute as pc

from mixlaw.data import formats
from mixlaw.data.comparison import Comparison, StrategyArm
from mixlaw.data.mixture import Mixture, Schedule
from mixlaw.data.observations import Observations
from mixlaw.data.runspec import RunSpec
from mixlaw.data.seams import STRATEGIES, TRAINERS
from mixlaw.errors import ConfigError, DataError, MixlawError, RunError
from mixlaw.kit.hashing import content_hash
from mixlaw.study.folder import StudyFolder
from mixlaw.study.freshness import need
from mixlaw.study.progress import check_trainable
from mixlaw.study.seeds import SEEDS
from mixlaw.study.steps.train import train, trainer
from mixlaw.study.templates import template, unique_tokens
from mixlaw.train.skill_graph import learn_graph
from mixlaw.train.strategy_of import scored_tokens, strategy_of

__all__ = ["STRATEGY_SEED", "compare", "comparison"]

STRATEGY_SEED = 800
"""Seeds of these runs begin here, among the thousand of a design: the same for every strategy, so they are paired."""

FILE = "strategies.json"
_SHORTEST = 10  # steps of a run before the final one that can still show something


@dataclass
class _Arm:
    """One strategy, one seed: how far it has come."""

    label: str
    name: str
    given: Mapping[str, Any]
    seed: int
    options: dict[str, Any]
    rounds: int
    search: float = 0.0  # tokens trained before the final run, and a third of those only scored
    probed: float = 0.0
    runs: list[str] = field(default_factory=list)
    average: Mixture | None = None
    lost: str = ""
    final: RunSpec | None = None


def compare(
    study: StudyFolder,
    strategies: Sequence[str | Mapping[str, Any]],
    seeds: int = 1,
    search: float = 0.25,
    charged: bool = True,
) -> Comparison:
    """Train strategies with equal seeds on the study's text, model and budget of tokens, and write what came of it.

    Args:
        study: tokenised.
        strategies: names, or ``{"name": ..., "label": ..., "options": {...}}``; the first is what the others are
            compared with. ``options`` may hold ``iterations`` where the strategy's result is its average weights: how
            often it is repeated with the last average as its reference mixture.
        seeds: runs of each.
        search: share of the tokens for runs before the final one, where a strategy needs such runs.
        charged: pay them, and probes, from the budget, so that the final run is shorter. Without, the final run has the
            whole budget, and the cost is stated.

    Returns:
        What was measured. ``strategies.json`` holds it, beside arms of earlier calls with the same budget, objective,
        limits, text and training.

    Raises:
        ConfigError: an unknown strategy or option, a share outside (0, 1), a budget too small for the runs before.
        DataError: not tokenised yet, a recipe that is asked for and not there, or every run of every strategy was lost.
    """
    check_trainable(study)
    need(study, "tokenize")
    if seeds < 1 or not 0 < search < 1:
        raise ConfigError(
            f"Strategies need seeds of at least 1 and a search share in (0, 1), got {seeds} and {search}."
        )
    study.check_objective(study.corpus)
    arms = [arm for number in range(seeds) for one in strategies for arm in _arms(study, one, number)]
    for arm in arms:
        other = next(one for one in arms if one.label == arm.label)
        if (other.name, dict(other.given)) != (arm.name, dict(arm.given)):
            raise ConfigError(
                f"Two strategies are called {arm.label!r}, with the options {dict(other.given)} and {dict(arm.given)}. "
                f"Give one of them another label: {{'name': {arm.name!r}, 'label': ..., 'options': ...}}."
            )
    if not arms:
        raise ConfigError("No strategy was named. Name at least one, such as stratified.")
    plan = _Plan(study, search, charged)
    plan.search_all(arms)
    plan.finish_all(arms)
    return plan.write(arms)


def comparison(study: StudyFolder) -> Comparison | None:
    """What :func:`compare` wrote last, or None.

    Raises:
        DataError: the file was changed after it was written.
    """
    if not study.store.exists(FILE):
        return None
    return formats.made(
        "strategies", study.folder / FILE, Comparison.from_dict, formats.read(study.store, FILE, "strategies")
    )


def _arms(study: StudyFolder, one: str | Mapping[str, Any], number: int) -> Iterator[_Arm]:
    asked: Mapping[str, Any] = {"name": one} if isinstance(one, str) else one
    name = STRATEGIES.canonical(str(asked["name"]))
    given = dict(asked.get("options", {}))
    rounds = given.pop("iterations", 1)
    averaged = getattr(STRATEGIES[name], "averaged", False)
    if not isinstance(rounds, int) or rounds < 1 or (rounds > 1 and not averaged):
        raise ConfigError(
            f"iterations={rounds!r} of the strategy {name!r}: give a whole number of at least 1, and more than 1 only "
            f"to a strategy whose result is its average weights (doremi, doge)."
        )
    if averaged and "reference" in given:
        raise ConfigError(
            f"reference={given['reference']!r} of the strategy {name!r}: a study trains the reference itself, on its "
            f"reference mixture (reference: in study.yaml). Leave the option out."
        )
    seed = SEEDS * study.config.design.seed + STRATEGY_SEED + number
    yield _Arm(str(asked.get("label", name)), name, given, seed, _filled(study, name, given), rounds)


def _filled(study: StudyFolder, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The user's options, and those that a study knows (see the contract of strategies)."""
    known = inspect.signature(STRATEGIES[name]).parameters
    corpus = study.corpus
    ours: dict[str, Any] = {
        "sizes": dict(corpus.unique_tokens),
        # runs that repeat text as often as the target run are, for this, as long as it
        "tokens": study.budget.tokens if template(study).unique_tokens else study.config.training.tokens,
        "objective": study.config.objective_weights(),
        "own_sets": {domain: name for name, domain in study.own_domains().items()},
        "limits": _limits(study),
        "batch_tokens": study.config.training.batch * study.config.training.context,
    }
    options = {key: value for key, value in ours.items() if key in known and value is not None}
    if name == "recipe" and "weights" not in given:
        options["weights"] = study.recipe().schedule.mixture.to_dict()
    return {**options, **given}


def _limits(study: StudyFolder) -> dict[str, Any] | None:
    """The budget's limits as shares of the whole run; None where there are none but those of the simplex."""
    found = study.budget.constraints(study.corpus)
    names = found.domains
    high = {name: float(x) for name, x in zip(names, found.high) if x < 1}
    low = {name: float(x) for name, x in zip(names, found.low) if x > 0}
    rows = [{name: float(x) for name, x in zip(names, row) if x} for row in found.matrix]
    if not (low or high or rows):
        return None
    return {"low": low, "high": high, "rows": rows, "upper": found.upper.tolist()}


class _Plan:
    """Trains the arms wave by wave: whatever can be trained at once is."""

    def __init__(self, study: StudyFolder, share: float, charged: bool) -> None:
        self.study, self.share, self.charged = study, share, charged
        self.base = template(study)
        self.tokens = self.base.tokens
        self.step_tokens = self.base.batch * self.base.context
        self.validation = {one.name: one.tokens for one in study.corpus.validation}

    # ---- one wave ------------------------------------------------------------------------------------
    def spec(self, arm: _Arm, tokens: float, **changes: Any) -> RunSpec:
        """A run of the study's settings for this arm, of so many tokens in whole steps."""
        whole = int(tokens // self.step_tokens) * self.step_tokens
        if whole < _SHORTEST * self.step_tokens:
            raise ConfigError(
                f"The strategy {arm.name!r} would train a run of {whole} tokens, fewer than {_SHORTEST} steps of "
                f"{self.step_tokens}. Raise training.tokens or --search, "
                + (f"lower iterations={arm.rounds}, " if arm.rounds > 1 else "")
                + "or do not charge the search (--uncharged)."
            )
        few = unique_tokens(self.study, self.study.corpus, whole)
        spec = self.base.replace(tokens=whole, seed=arm.seed, unique_tokens=few, **changes)
        if spec.strategy is not None or self.base.trainer != "torch":
            checked = trainer(self.study) if hasattr(TRAINERS[self.base.trainer], "check") else None
            if checked is not None:
                checked.check(spec)
        return spec

    def wave(self, jobs: Sequence[tuple[_Arm, RunSpec]], what: str) -> None:
        """Train the runs of a wave; an arm whose run fails is lost, and says why."""
        wanted = {spec.id: spec for arm, spec in jobs}
        failures: dict[str, RunError] = train(self.study, list(wanted.values()), what) if wanted else {}
        for arm, spec in jobs:
            arm.runs.append(spec.id)
            if spec.id in failures:
                arm.lost = arm.lost or str(failures[spec.id])
            elif self.observed(spec).runs["status"].to_pylist() != ["done"]:
                log = self.study.folder / "runs" / spec.id / "log.txt"
                arm.lost = arm.lost or (
                    f"its run {spec.id} diverged (NaN or exploded losses; {log} says at which step). Lower the peak "
                    f"of training.learning_rate in study.yaml, now {spec.learning_rate.get('peak')}, and run again."
                )

    def observed(self, spec: RunSpec) -> Observations:
        return Observations.load(self.study.folder / "runs" / spec.id)

    def last(self, spec: RunSpec, metric: str) -> dict[str, float]:
        """The last value of a metric by target."""
        values = self.observed(spec).values
        rows = values.filter(pc.equal(values["metric"], metric)).sort_by("step")
        return dict(zip(rows["target"].to_pylist(), rows["value"].to_pylist()))

    # ---- before the final run --------------------------------------------------------------------------
    def search_all(self, arms: Sequence[_Arm]) -> None:
        """Graphs, references and proxies."""
        self.graphs([arm for arm in arms if "graph" in _parameters(arm.name) and "graph" not in arm.options])
        averaged = [arm for arm in arms if getattr(STRATEGIES[arm.name], "averaged", False)]
        for number in range(max((arm.rounds for arm in averaged), default=0)):
            self.one_round([arm for arm in averaged if arm.rounds > number and not arm.lost])

    def graphs(self, arms: Sequence[_Arm]) -> None:
        """Runs on one domain each, from whose losses the graph of skills is learned."""
        names = self.study.corpus.names
        per_run = self.share * self.tokens / len(names)
        jobs = []
        for arm in arms:
            if set(arm.options.get("own_sets", {})) != set(names):
                missing = sorted(set(names) - set(arm.options.get("own_sets", {})))
                raise ConfigError(
                    f"The graph of {arm.name!r} is learned from the validation set of each domain, and {missing} have "
                    f"none. Give the graph as an option: {{domain: {{domain: strength}}}}."
                )
            for name in names:
                alone = Schedule.constant({other: float(other == name) for other in names})
                jobs.append((arm, self.spec(arm, per_run, schedule=alone)))
        self.wave(jobs, "learn the graph")
        for arm in arms:
            mine = [spec for one, spec in jobs if one is arm]
            arm.search += sum(spec.tokens for spec in mine)
            if arm.lost:
                continue
            losses = {name: self.last(spec, "loss") for name, spec in zip(names, mine)}
            guess = math.log(self.study.corpus.vocab_size or 2)
            start = self.last(mine[0], "start_loss") or dict.fromkeys(losses[names[0]], guess)
            try:
                owned = arm.options["own_sets"]
                others = [name for name in arm.options["objective"] if name not in owned.values()]
                arm.options["graph"] = learn_graph(start, losses, None, owned, others)
                strategy_of(self.base.replace(strategy={"name": arm.name, "options": arm.options}))
            except MixlawError as error:  # such as a graph without edges
                arm.lost = str(error)

    def one_round(self, arms: Sequence[_Arm]) -> None:
        """A reference on the last average (at first the study's), where one is needed, then the proxy."""
        share = {arm.label: self.share * self.tokens / arm.rounds for arm in arms}
        referred = [arm for arm in arms if "reference" in _parameters(arm.name)]
        jobs = []
        for arm in referred:
            # The proxy reads the reference on every token it trains on, which costs a third of training.
            mixture = arm.average or self.study.reference
            part = share[arm.label] / (1 + 4 / 3)
            jobs.append((arm, self.spec(arm, part, schedule=Schedule.constant(mixture))))
        self.wave(jobs, "reference runs")
        for arm, spec in jobs:
            arm.options["reference"] = spec.id
            arm.search += spec.tokens
        proxies = []
        for arm in arms:
            if not arm.lost:
                whole = share[arm.label] / (1 + 4 / 3) if arm in referred else share[arm.label]
                proxies.append((arm, self.within(arm, whole)))
        self.wave(proxies, "proxy runs")
        for arm, spec in proxies:
            arm.search += spec.tokens + scored_tokens(spec, self.validation) / 3
            if not arm.lost:
                found = self.last(spec, "average_mixture_weight")
                arm.average = Mixture.normalized({name: found[name] for name in self.study.corpus.names})

    def within(self, arm: _Arm, tokens: float) -> RunSpec:
        """The strategy's own run, as long as ``tokens`` allow when what it scores is paid too."""
        chosen = {"name": arm.name, "options": arm.options}
        spec = self.spec(arm, tokens, strategy=chosen)
        if "reference" in strategy_of(spec).needs or not self.charged:
            return spec
        for _ in range(3):  # what is scored depends a little on the run's length
            scored = scored_tokens(spec, self.validation) / 3
            # Scoring at every step grows with the run; then the run's share of the cost is what stays the same.
            left = tokens - scored if scored < tokens / 2 else tokens * spec.tokens / (spec.tokens + scored)
            spec = self.spec(arm, left, strategy=chosen)
        return spec

    # ---- the final run -----------------------------------------------------------------------------------
    def finish_all(self, arms: Sequence[_Arm]) -> None:
        """The run that counts: the strategy's own, or one on its average weights."""
        jobs = []
        for arm in arms:
            if arm.lost:
                continue
            left = self.tokens - (arm.search if self.charged else 0.0)
            if arm.average is not None:
                weights = {"name": "recipe", "options": {"weights": arm.average.to_dict()}}
                arm.final = self.spec(arm, left, strategy=weights)
            else:
                arm.final = self.within(arm, left)
                arm.probed = scored_tokens(arm.final, self.validation) / 3
            jobs.append((arm, arm.final))
        self.wave(jobs, "strategies")

    def write(self, arms: Sequence[_Arm]) -> Comparison:
        """Collect, and publish beside what was there for the same budget and setting."""
        made = {}
        for label in dict.fromkeys(arm.label for arm in arms):
            mine = [arm for arm in arms if arm.label == label]
            made[label] = self.collected(mine)
        if not any(arm.objective for arm in made.values()):
            reasons = "; ".join(f"{label}: {next(iter(arm.lost.values()), '')}" for label, arm in made.items())
            raise DataError(f"No run of any strategy gave a result. {reasons}")
        setting = content_hash([self.base.id, self.study.config.objective_weights(), _limits(self.study)])
        before, ours = comparison(self.study), (self.tokens, self.charged, setting)
        if before is not None and (before.tokens, before.charged, before.setting) == ours:
            made = {**made, **{k: v for k, v in before.arms.items() if k not in made}}
        result = Comparison(made, *ours)
        formats.write(self.study.store, FILE, "strategies", result.to_dict())
        return result

    def collected(self, arms: Sequence[_Arm]) -> StrategyArm:
        """One strategy over its seeds."""
        weights = self.study.config.objective_weights()
        losses: dict[str, dict[int, float]] = {}
        objective, average, lost = {}, {}, {}
        for arm in arms:
            if arm.lost or arm.final is None:
                lost[arm.seed] = arm.lost
                continue
            try:
                found = self.last(arm.final, "loss")
                drawn = self.last(arm.final, "average_mixture_weight")
            except MixlawError as error:
                lost[arm.seed] = str(error)
                continue
            for name, loss in found.items():
                losses.setdefault(name, {})[arm.seed] = loss
            objective[arm.seed] = sum(w * found[name] for name, w in weights.items())
            average[arm.seed] = Mixture.normalized(drawn)
        spent = [arm.search + arm.probed + (arm.final.tokens if arm.final else 0.0) for arm in arms]
        return StrategyArm(
            arms[0].name,
            dict(arms[0].given),
            losses,
            objective,
            max(spent),
            max(arm.search for arm in arms),
            average,
            {arm.seed: tuple(arm.runs) for arm in arms},
            lost,
        )


def _parameters(name: str) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(STRATEGIES[name]).parameters
