"""The runs that a study trains: one model and training for all, mixtures from a sampler, further sizes for some."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mixlaw.data import formats
from mixlaw.data.corpus import Corpus
from mixlaw.data.runspec import RunSpec
from mixlaw.data.seams import SAMPLERS, TRAINERS
from mixlaw.design.trunk import branch_of, expert_specs
from mixlaw.errors import ConfigError, MixlawWarning
from mixlaw.kit.hashing import content_hash
from mixlaw.study.config import DesignConfig
from mixlaw.study.folder import SharedRuns, StudyFolder
from mixlaw.study.freshness import need
from mixlaw.study.runs import runs_of_one_size
from mixlaw.study.seeds import SEEDS
from mixlaw.study.steps.train import trainer
from mixlaw.study.templates import made_with, template, templates, trunk_template
from mixlaw.train.contract import needs_tokens

if TYPE_CHECKING:
    from mixlaw.design.adaptive.power import Power

__all__ = ["Swarm"]


class Swarm:
    """Designs the swarm of a study.

    Args:
        study: with a corpus.
    """

    def __init__(self, study: StudyFolder) -> None:
        self.study = study
        self.config, self.store, self.folder = study.config, study.store, study.folder

    # ---- proposing -----------------------------------------------------------------------------------
    def propose(self, settings: DesignConfig | None = None) -> list[RunSpec]:
        """The swarm that ``settings`` (study.yaml's without) ask for; writes nothing.

        Raises:
            ConfigError: settings that no run could be trained with.
            InfeasibleBudgetError: no mixture satisfies the budget.
        """
        from mixlaw import design
        from mixlaw.design.ladder import nested

        corpus, d = self.study.corpus, settings or self.config.design
        need(self.study, "tokenize")
        self._check_training(corpus, d)
        self.study.check_objective(corpus)
        self.study.budget.check(corpus)
        self._check_shared(d)
        schedules = []
        if d.num or not d.experts:
            schedules = design.propose(corpus, self.study.budget, d.num, seed=d.seed, sampler=d.sampler, **d.options)
        else:  # no mixture to propose, and a mistyped option is one all the same
            SAMPLERS.check(d.sampler, d.options)
        base, *larger = templates(self.study, d)
        seeds = iter(range(SEEDS * d.seed, SEEDS * (d.seed + 1)))
        specs: list[RunSpec] = []
        trunk, share = trunk_template(self.study, d), 0.0 if d.trunk is None else d.trunk.share
        if trunk is not None:
            specs.append(trunk)
            next(seeds)  # the trunk's
        if d.experts:
            specs += expert_specs(base, corpus.names, trunk, share, next(seeds))
            for _ in corpus.names[1:]:
                next(seeds)
        elif trunk is not None:
            base = branch_of(base, trunk, share)
        specs += [base.replace(schedule=s, seed=next(seeds)) for s in schedules]
        specs += [base.replace(seed=next(seeds), replicate_group="reference") for _ in range(d.replicates)]
        if larger:
            rows = nested(schedules, [len(schedules), *(size.num for size in d.sizes)])[1:]
            for at_size, chosen in zip(larger, rows):
                specs += [at_size.replace(schedule=schedules[i], seed=next(seeds)) for i in chosen]
        return list({spec.id: spec for spec in specs}.values())

    def design(self, settings: DesignConfig | None = None) -> list[RunSpec]:
        """Propose the swarm: ``design.json``. A design that exists is kept; more runs are appended by `extend`.

        Raises:
            ConfigError: ``settings`` differ from those of the design that is there.
        """
        if not self.store.exists("design.json"):
            d = settings or self.config.design
            return self._write(self.propose(settings), d, self._shared(d))
        need(self.study, "tokenize", "design")
        made = made_with(self.study)
        asked = settings or self.config.design
        if made is not None and made != asked:
            message = (
                f"design.json is kept as it was made, with {_differences(made, asked)}. To add runs: `mixlaw design "
                f"{self.folder} --more N`."
            )
            if settings is not None:
                raise ConfigError(f"{message} For another design start a new folder.")
            warnings.warn(message, MixlawWarning, stacklevel=3)
        return self.study.specs()

    def extend(self, num: int) -> tuple[list[RunSpec], str]:
        """Add the runs of :meth:`further` to ``design.json``.

        Returns:
            All designed runs, and in words what the new ones are worth: the stopping rule.
        """
        added, worth = self.further(num)
        made = made_with(self.study) or self.config.design
        return self._write([*self._specs_so_far(), *added], made, self.study.shared()), worth

    def further(self, num: int) -> tuple[list[RunSpec], str]:
        """The ``num`` runs that are expected to reduce the regret most, given what was observed so far, and in words
        what they are worth; writes nothing."""
        from mixlaw.design.adaptive import sequential

        need(self.study, "tokenize", "design")
        settings = made_with(self.study) or self.config.design
        specs = self._specs_so_far()
        plan = sequential.plan(
            self.study.corpus,
            self.study.budget,
            num,
            runs_of_one_size(self.study),
            seed=settings.seed + len(specs),
            objective=self.config.objective_weights(),
        )
        base, trunk = template(self.study), trunk_template(self.study, settings)
        if trunk is not None and settings.trunk is not None and not settings.experts:
            base = branch_of(base, trunk, settings.trunk.share)
        first = SEEDS * settings.seed + len(specs)
        return [base.replace(schedule=s, seed=first + i) for i, s in enumerate(plan.schedules)], str(plan.worth)

    def _specs_so_far(self) -> list[RunSpec]:
        """The designed runs; none, where imported ones stand in for a first design."""
        first = self.config.runs and not self.store.exists("design.json")
        return [] if first else self.study.specs()

    def _shared(self, settings: DesignConfig) -> SharedRuns:
        """Trunk and experts of a design with these settings."""
        trunk, share = trunk_template(self.study, settings), 0.0 if settings.trunk is None else settings.trunk.share
        experts: dict[str, str] = {}
        if settings.experts:
            names, seed = self.study.corpus.names, SEEDS * settings.seed + (trunk is not None)
            found = expert_specs(template(self.study), names, trunk, share, seed)
            experts = {name: spec.id for name, spec in zip(names, found)}
        return SharedRuns(None if trunk is None else trunk.id, experts)

    def _check_shared(self, settings: DesignConfig) -> None:
        """What would stop runs that start from others, or the scoring of experts, said before any of them starts."""
        if settings.trunk is None and not settings.experts:
            return
        what = "design.sampler: experts" if settings.experts else "design.trunk"
        t = self.config.training
        keep = t.trainer_options().get("keep", "full")
        if settings.experts and len(self.study.corpus.names) < 2:
            raise ConfigError(
                f"{what} trains one expert per domain, and there is only {list(self.study.corpus.names)}: nothing "
                f"would be mixed. Split the text into at least two domains (corpus.domains)."
            )
        if settings.experts and t.trainer != "torch":
            raise ConfigError(
                f"{what} scores the experts' weights on the validation sets, which only the trainer 'torch' keeps in a "
                f"form that can be read; training.trainer is {t.trainer!r}. For runs trained elsewhere give their "
                f"log-probabilities to mixlaw.laws.MixMin(experts=...)."
            )
        if needs_tokens(TRAINERS[t.trainer]) and keep == "none":
            raise ConfigError(
                f"{what} needs the weights of runs when they have ended, and training.options.keep is 'none'. Set it "
                f"to 'full' (the default) or 'weights'."
            )
        if settings.trunk is not None and keep == "weights" and t.optimizer.get("moments", "keep") == "keep":
            raise ConfigError(
                f"{what} continues a trunk with its Adam moments, and training.options.keep is 'weights', which drops "
                f"them. Set keep to 'full', or training.optimizer.moments to 'reset'."
            )

    def _write(self, specs: Sequence[RunSpec], settings: DesignConfig, shared: SharedRuns) -> list[RunSpec]:
        unique = list({spec.id: spec for spec in specs}.values())
        formats.write(
            self.store,
            "design.json",
            "design",
            {
                "corpus_hash": self.study.corpus.hash,
                "design": settings.model_dump(mode="json"),
                "specs": [spec.to_dict() for spec in unique],
                **({"trunk": shared.trunk} if shared.trunk else {}),
                **({"experts": dict(shared.experts)} if shared.experts else {}),
            },
        )
        return unique

    def _check_training(self, corpus: Corpus, settings: DesignConfig) -> None:
        """What would stop every run, said before any of them starts."""
        name = self.config.training.trainer
        checked = trainer(self.study) if hasattr(TRAINERS[name], "check") else None
        if self.config.evaluators and checked is None:
            raise ConfigError(
                f"study.yaml asks for evaluators, and the trainer {name!r} does not say whether it runs them: it has "
                f"no check(spec). Give it one that accepts spec.evaluators, or leave evaluators out."
            )
        for where, spec in zip(
            ("training", *map("design.sizes[{}]".format, range(99))), templates(self.study, settings)
        ):
            if spec.tokens < spec.batch * spec.context:
                raise ConfigError(
                    f"{where}.tokens {spec.tokens} are less than one step of {spec.batch} x {spec.context} tokens. "
                    f"Raise tokens, or lower batch or context."
                )
            if checked is not None:
                try:
                    checked.check(spec)
                except ConfigError as error:
                    raise ConfigError(f"{where} in study.yaml: {error}{_no_text_hint(corpus, spec)}") from None
            short = [name for name, count in spec.unique_tokens.items() if count < spec.context]
            if short:
                warnings.warn(
                    f"With simulated epoching a proxy sees less than one sequence ({spec.context} tokens) of {short}, "
                    f"again and again: what it learns there says little about the target run. Train longer proxies, or "
                    f"set training.simulated_epoching to false.",
                    MixlawWarning,
                    stacklevel=4,
                )

    # ---- in words ------------------------------------------------------------------------------------
    def cut(self) -> str:
        """How far the budget cuts the simplex of mixtures, in words."""
        from mixlaw import design

        return str(design.cut(self.study.corpus, self.study.budget))

    def epoching(self) -> str:
        """How often proxies repeat their text, in words."""
        t, budget = self.config.training, self.study.budget
        if template(self.study).unique_tokens:
            alone = " Experts see all text of their domain." if self.study.shared().experts else ""
            words = "Simulated epoching: every run repeats each domain as often as the target run would on its mixture."
            return f"{words}{alone}"
        if not t.simulated_epoching:
            return (
                "Simulated epoching is off (training.simulated_epoching): runs repeat text less often than the target "
                "run will, and their law cannot know what repetition costs."
            )
        return f"Simulated epoching is not needed: runs are as long as the target run of {budget.tokens} tokens."

    def power(self, runs: Sequence[int], worlds: int = 48) -> Power:
        """How many runs for which regret, simulated from the runs trained so far.

        Args:
            runs: numbers of runs to simulate.
            worlds: simulated truths; more take longer and give narrower intervals.

        Raises:
            DataError: no run is done yet, or too few to simulate from.
        """
        from mixlaw.design import power_analysis

        return power_analysis(
            self.study.corpus,
            self.study.budget,
            tuple(runs),
            pilot=runs_of_one_size(self.study),
            objective=self.config.objective_weights(),
            worlds=worlds,
        )

    def estimate(self) -> dict[str, float]:
        """What training the design costs: see :meth:`cost`."""
        return self.cost(self.study.specs())

    def cost(self, specs: Sequence[RunSpec]) -> dict[str, float]:
        """What the specs that are not trained yet cost.

        Returns:
            ``runs``, ``flops``, ``tokens``, ``disk_bytes``; and ``seconds`` and ``tokens_per_second`` of this machine,
            on which the speed of every model is measured.
        """
        from mixlaw.train import throughput

        todo = [s for s in specs if not self.study.is_done(s)]
        vocab = self.study.corpus.vocab_size or 2048
        models = {content_hash([dict(s.model), s.batch, s.context]): s for s in todo or [template(self.study)]}
        rates = {
            key: throughput.measure(spec, vocab_size=vocab, workers=self.config.executor.workers)
            for key, spec in models.items()
        }
        tokens = float(sum(s.tokens for s in todo))
        seconds = sum(s.tokens / rates[content_hash([dict(s.model), s.batch, s.context])] for s in todo)
        return {
            "runs": float(len(todo)),
            "tokens": tokens,
            "flops": float(sum(throughput.flops(s, vocab) for s in todo)),
            "seconds": float(seconds),
            "tokens_per_second": tokens / seconds if seconds else next(iter(rates.values())),
            "disk_bytes": float(sum(throughput.checkpoint_bytes(s, vocab) for s in todo)),
        }


def _no_text_hint(corpus: Corpus, spec: RunSpec) -> str:
    """What to do where a trainer that reads tokens is to train on a corpus that is declared by counts."""
    if corpus.vocab_size is not None or not needs_tokens(TRAINERS[spec.trainer]):
        return ""
    return (
        " The corpus is declared by counts, so its runs are trained elsewhere: set training.trainer to your own, or, "
        "only to see mixtures, give the model what it lacks."
    )


def _differences(made: DesignConfig, asked: DesignConfig) -> str:
    """``num 24 and not 32``: what a design was made with, where it differs from what is asked."""
    then, now = made.model_dump(mode="json"), asked.model_dump(mode="json")
    return ", ".join(f"{key} {then[key]} and not {now[key]}" for key in now if then[key] != now[key])
