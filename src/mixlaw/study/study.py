"""A study: one folder, one ``study.yaml``, and verbs that each read artefacts and write artefacts.

```
study.yaml  corpus.json  tokens/  design.json  runs/<run-id>/  laws/<name>.json  ledger/  recipe.json
verification.json  report.html  made-from.json
```

Every verb is safe to run again: what is done is not done twice, what was interrupted continues, and an artefact made
from other inputs than today's is an error that says which verb to run. Verbs that write hold the study's lock.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mixlaw.data.budget import Budget
from mixlaw.data.corpus import Corpus
from mixlaw.data.ledger import Ledger
from mixlaw.data.mixture import Mixture
from mixlaw.data.observations import Observations
from mixlaw.data.prediction import Prediction
from mixlaw.data.recipe import Recipe
from mixlaw.data.runspec import RunSpec
from mixlaw.data.verification import Verification
from mixlaw.errors import ConfigError, DataError, MixlawWarning, RunError, did_you_mean
from mixlaw.kit.lock import exclusive, hold
from mixlaw.kit.store import Store
from mixlaw.study.config import DesignConfig, StudyConfig, load_config, parse_config
from mixlaw.study.freshness import corpus_inputs, law_inputs, made_from, recipe_inputs, schedule_inputs, stale
from mixlaw.study.progress import check_trainable, following, status
from mixlaw.study.steps.design import Swarm
from mixlaw.study.steps.verify import Verifier
from mixlaw.verify.paired import prediction_of
from mixlaw.verify.transfer import Evidence, base_size, left_out_text, rank_evidence

__all__ = ["Study"]

Progress = Callable[[str, float, float], None]
"""``progress(what, done, total)``, called often; the command line draws it."""


def _silent(what: str, done: float, total: float) -> None:
    """No progress shown."""


class Study:
    """The folder of a study.

    Args:
        folder: holds ``study.yaml``.
        progress: called with (what, done, total) during long work.

    Raises:
        ConfigError: no ``study.yaml``, or it is wrong.
    """

    def __init__(self, folder: str | Path, progress: Progress | None = None) -> None:
        self.folder = Path(folder)
        self.store = Store(self.folder)
        self.config: StudyConfig = load_config(self.folder / "study.yaml")
        self.ledger = Ledger(self.store)
        self.progress = progress or _silent

    @classmethod
    def create(cls, folder: str | Path, config: Mapping[str, Any], progress: Progress | None = None) -> Study:
        """Write ``study.yaml`` into a new folder.

        Raises:
            ConfigError: the configuration is wrong, or the folder holds another study already.
        """
        root = Path(folder)
        checked = parse_config(dict(config), "the configuration")
        text = checked.dump()
        existing = root / "study.yaml"
        if existing.exists():
            if load_config(existing) != checked:
                raise ConfigError(f"{root} holds another study already. Choose another folder, or edit {existing}.")
        else:
            Store(root).write_bytes("study.yaml", text.encode())
        return cls(root, progress)

    # ---- corpus ------------------------------------------------------------------------------------
    @exclusive
    def tokenize(self) -> Corpus:
        """Text to token shards: ``tokens/`` and ``corpus.json``."""
        from mixlaw import tokens

        c = self.config.corpus
        if c.counts:
            corpus = Corpus.declared(c.counts, source=c.counts_source)
            self.budget.check(corpus)
            with made_from(self, "corpus.json", corpus_inputs(self)):
                self.store.write_json("corpus.json", corpus.to_dict())
            return corpus
        corpus = tokens.build(
            {name: self._resolve(paths) for name, paths in c.domains.items()},
            self.folder,
            validation={name: self._resolve(paths) for name, paths in c.validation.items()},
            tokenizer=None if c.tokenizer is None else self._resolve([c.tokenizer])[0],
            vocab_size=c.vocab_size,
            validation_tokens=c.validation_tokens,
            text_field=c.text_field,
            progress=self.progress,
        )
        self.tokenized()
        self.check_objective(corpus)
        self.budget.check(corpus)
        return corpus

    def tokenized(self) -> None:
        """Note that ``tokens/`` and ``corpus.json`` were made with today's settings."""
        with made_from(self, "corpus.json", corpus_inputs(self)):
            pass

    def stale(self) -> dict[str, str]:
        """``{verb: why what it wrote no longer holds}``; see :mod:`mixlaw.study.freshness`."""
        return stale(self)

    def need(self, *verbs: str) -> None:
        """Stop where what these verbs wrote was made from other inputs than today's.

        Raises:
            DataError: names the verb to run again.
        """
        reasons = self.stale()
        for verb in verbs:
            if verb in reasons:
                again = "" if verb == "design" else f" Run `mixlaw {verb} {self.folder}` again."
                raise DataError(f"{self.folder}: {reasons[verb]}.{again}")

    def _resolve(self, paths: Sequence[str]) -> list[str]:
        """Relative paths are relative to the study folder's parent, so that a study can be moved with its text."""
        return [p if "://" in p or Path(p).is_absolute() else str(self.folder.parent / p) for p in paths]

    @property
    def corpus(self) -> Corpus:
        """The measured corpus.

        Raises:
            DataError: not tokenised yet.
        """
        if not self.store.exists("corpus.json"):
            raise DataError(f"{self.folder} has no corpus.json yet. Run `mixlaw tokenize {self.folder}` first.")
        return Corpus.from_dict(self.store.read_json("corpus.json"))

    @property
    def budget(self) -> Budget:
        """Limits of the target run."""
        return self.config.make_budget()

    @property
    def reference(self) -> Mixture:
        """The mixture used today."""
        corpus, reference = self.corpus, self.config.reference
        if reference == "natural":
            return corpus.natural
        if reference == "uniform":
            return Mixture.uniform(corpus.names)
        if not isinstance(reference, dict):
            raise ConfigError(f"reference must be 'natural', 'uniform' or weights, got {reference!r}.")
        unknown = [name for name in reference if name not in corpus.names]
        if unknown:
            raise ConfigError(f"reference names {unknown[0]!r}.{did_you_mean(unknown[0], corpus.names)}")
        return Mixture({name: reference.get(name, 0.0) for name in corpus.names})

    def check_objective(self, corpus: Corpus) -> None:
        """Raise where the objective names a set that is not measured; before the first run of a declared corpus, what
        will be measured is not known."""
        sets = [v.name for v in corpus.validation]
        if not sets:
            if not self.config.runs and not any(self.store.exists("runs", s.id, "DONE") for s in self._designed()):
                return
            sets = self.observations().targets
        for name in self.config.objective:
            if name not in sets:
                raise ConfigError(f"objective names {name!r}, which is not a validation set.{did_you_mean(name, sets)}")

    # ---- design ------------------------------------------------------------------------------------
    @property
    def swarm(self) -> Swarm:
        """The runs this study trains, and how they are chosen."""
        return Swarm(self)

    def template(self) -> RunSpec:
        """A run of the reference mixture with this study's model and training; the swarm varies its schedule."""
        return self.swarm.template()

    def design(self, settings: DesignConfig | None = None) -> list[RunSpec]:
        """Propose the swarm: ``design.json``; see :meth:`mixlaw.study.steps.design.Swarm.design`."""
        if self.store.exists("design.json"):  # looking at it disturbs nobody
            return self.swarm.design(settings)
        with hold(self.folder, "design"):
            return self.swarm.design(settings)

    @exclusive
    def extend(self, num: int) -> tuple[list[RunSpec], str]:
        """Add the ``num`` runs that are expected to reduce the regret most."""
        return self.swarm.extend(num)

    def _designed(self) -> list[RunSpec]:
        return self.specs() if self.store.exists("design.json") else []

    def specs(self) -> list[RunSpec]:
        """The designed runs.

        Raises:
            DataError: nothing designed yet.
        """
        if not self.store.exists("design.json"):
            raise DataError(f"{self.folder} has no design.json yet. Run `mixlaw design {self.folder}` first.")
        return [RunSpec.from_dict(s) for s in self.store.read_json("design.json")["specs"]]

    def cut(self) -> str:
        """How far the budget cuts the simplex of mixtures, in words."""
        return self.swarm.cut()

    # ---- train -------------------------------------------------------------------------------------
    @exclusive
    def train(self, specs: Sequence[RunSpec] | None = None, what: str = "train") -> dict[str, RunError]:
        """Train the designed runs that are not done yet; returns the failures by run id (also ``failures.json``)."""
        wanted = self.specs() if specs is None else specs
        check_trainable(self)
        self.need("tokenize", "design")
        failures: dict[str, RunError] = {}
        for spec, result in self._map(wanted, what):
            if isinstance(result, RunError):
                failures[spec.id] = result
        ids = {spec.id for spec in wanted}
        earlier = self.store.read_json("failures.json") if self.store.exists("failures.json") else {}
        others = {k: v for k, v in earlier.items() if k not in ids}
        self.store.write_json("failures.json", {**others, **{k: str(v) for k, v in failures.items()}})
        return failures

    def _map(self, specs: Sequence[RunSpec], what: str) -> Iterator[tuple[RunSpec, Observations | RunError]]:
        from mixlaw.execute import EXECUTORS

        executor = EXECUTORS[self.config.executor.name](workers=self.config.executor.workers)
        steps = {spec.id: 0 for spec in specs}
        total = sum(spec.num_steps for spec in specs)
        lengths = {spec.id: spec.num_steps for spec in specs}

        def progress(spec: RunSpec, step: int, num_steps: int) -> None:
            steps[spec.id] = step
            self.progress(what, sum(steps.values()), total)

        for spec, result in executor.map(self.trainer(), specs, self.folder / "runs", progress=progress):
            steps[spec.id] = lengths[spec.id]
            self.progress(what, sum(steps.values()), total)
            yield spec, result

    def trainer(self) -> Any:
        """The configured trainer, bound to this study's corpus and tokens."""
        from mixlaw.train import TRAINERS

        t = self.config.training
        options: dict[str, Any] = {}
        if t.trainer == "command":
            if not t.command:
                raise ConfigError("training.trainer is 'command' but training.command is empty. Give the template.")
            options = {"command": t.command, "timeout": t.timeout}
        return TRAINERS[t.trainer](corpus=self.corpus, tokens_root=self.folder / "tokens", **options)

    # ---- observations --------------------------------------------------------------------------------
    def observations(self, specs: Sequence[RunSpec] | None = None) -> Observations:
        """What was measured in the designed runs that are done (or in ``specs``).

        Raises:
            DataError: no run is done yet.
        """
        if specs is None and self.config.runs:
            imported = [self._imported(paths) for paths in self.config.run_files()]
            trained = [s for s in self._designed() if self.store.exists("runs", s.id, "DONE")]
            return Observations.concat([*imported, *(Observations.load(self.folder / "runs" / s.id) for s in trained)])
        wanted = self.specs() if specs is None else specs
        done = dict.fromkeys(s.id for s in wanted if self.store.exists("runs", s.id, "DONE"))
        if not done:
            raise DataError(f"No run of {self.folder} is done yet. Run `mixlaw train {self.folder}` first.")
        return Observations.concat([Observations.load(self.folder / "runs" / run) for run in done])

    def _imported(self, paths: Sequence[str]) -> Observations:
        from mixlaw.io.importers import read, takes

        resolved = self._resolve(paths)
        repair = self.config.repair and all(Path(p).exists() for p in resolved) and takes(resolved, "repair")
        return read(resolved, repair=True) if repair else read(resolved)

    # ---- law ---------------------------------------------------------------------------------------
    def runs_of_one_size(self) -> Observations:
        """What a law of mixtures alone is fitted to: the runs of the size that ``training`` describes, or, among
        imported ones, of the size at which most mixtures were run."""
        observations, t = self.observations(), self.config.training
        params = dict(zip(*(observations.runs[c].to_pylist() for c in ("run", "params"))))
        if len({p for p in params.values() if p is not None}) < 2:
            return observations
        designed = [s.id for s in self._designed() if s.model == t.model and s.tokens == t.tokens]
        size = next((params[r] for r in designed if params.get(r) is not None), base_size(observations))
        return observations.select([r for r, p in params.items() if p is None or p == size])

    def fitted_to(self) -> str:
        """Which runs the law explains, in words; empty where it is all of them."""
        return "" if self._joint() else left_out_text(self.observations(), self.runs_of_one_size())

    def _joint(self) -> bool:
        """Whether the configured law explains sizes and tokens beside the mixture."""
        from mixlaw.laws import LAWS

        return str(getattr(LAWS[self.config.law.name], "kind", "mixture")) == "joint"

    def _table(self) -> tuple[pa.Table, pa.Table]:
        targets = [v.name for v in self.corpus.validation] or None
        if not self._joint():
            return self.runs_of_one_size().table(targets)
        X, y = self.observations().table(targets, at="all", features="joint")
        return X.drop_columns(["step"]), y

    def evidence(self) -> Evidence:
        """Whether mixtures rank alike at the sizes that were run."""
        return rank_evidence(self.observations(), self.config.objective_weights())

    def own_domains(self) -> dict[str, str]:
        """Which training domain each validation set was split from."""
        return {v.name: v.domain for v in self.corpus.validation if v.domain}

    @exclusive
    def fit(self) -> Any:
        """Fit the configured law and compare it with others by held-out error: ``laws/``."""
        from mixlaw import laws

        inputs = law_inputs(self)
        self.check_objective(self.corpus)
        X, y = self._table()
        self.need("tokenize", "design")
        name, options = self.config.law.name, dict(self.config.law.options)
        law = laws.LAWS[name](**options)
        if "own" in law.get_params() and "own" not in options:
            law.set_params(own=self.own_domains())
        law.fit(X, y)
        league = getattr(law, "league_", None)
        if league is None:
            others = [n for n in ("m4", "loglinear", "effective_tokens") if n != name]
            league = laws.compare([name, *others], X, y)
        # a law read back has no rows to leave out: what the report shows of held-out runs is computed while it has them
        getattr(law, "heldout_", None)
        with made_from(self, f"laws/{name}.json", inputs):
            self.store.write_bytes(f"laws/{name}.json", law.to_json().encode())
            self.store.write_json("laws/league.json", league.to_dict())
        return law

    def law(self) -> Any:
        """The fitted law.

        Raises:
            DataError: nothing fitted yet.
        """
        from mixlaw.laws.core.base import Law

        name = f"laws/{self.config.law.name}.json"
        if not self.store.exists(name):
            raise DataError(f"{self.folder} has no {name} yet. Run `mixlaw fit {self.folder}` first.")
        return Law.from_json(self.store.read_bytes(name).decode())

    def law_here(self) -> Any:
        """The fitted law as a law of today's domains: those that only imported runs drew from are held at zero.

        Raises:
            ConfigError: the corpus has a domain that no run names.
            DataError: nothing fitted yet.
        """
        from mixlaw.laws.core.restricted import SIZES
        from mixlaw.optimize import Restricted

        law, names = self.law(), self.corpus.names
        former = [str(n) for n in law.feature_names_in_ if n not in names and n not in SIZES]
        if not former:
            return law
        restricted = Restricted.of(law, names)
        warnings.warn(
            f"Runs drew from {former}, which the corpus lacks: they count as former domains, held at zero.",
            MixlawWarning,
            stacklevel=3,
        )
        return restricted

    def predict(self, mixture: Mixture | Mapping[str, float]) -> dict[str, Prediction]:
        """Predicted loss of each validation set for a mixture, at the swarm's size and tokens (a joint law: at the
        target's)."""
        corpus = self.corpus
        if not isinstance(mixture, Mixture):
            unknown = [d for d in mixture if d not in corpus.names]
            if unknown:
                raise ConfigError(f"The mixture names {unknown[0]!r}.{did_you_mean(unknown[0], corpus.names)}")
            mixture = Mixture(mixture)
        law, level = self.law_here(), self.config.law.level
        self.need("fit")
        X = {d: [w] for d, w in zip(corpus.names, mixture.array(corpus.names).tolist())}
        if self._joint():
            if self.budget.params is None:
                raise ConfigError("The law depends on the model's size: give budget.params, that of the target.")
            X |= {"params": [float(self.budget.params)], "tokens": [float(self.budget.tokens)]}
        mean = np.atleast_2d(law.predict(X))[0]
        low, high = (np.atleast_2d(side)[0] for side in law.predict_interval(X, level=level))
        return {
            t: Prediction(float(m), float(min(a, m)), float(max(b, m)), level)
            for t, m, a, b in zip(law.target_names_, mean, low, high)
        }

    @exclusive
    def schedule(self) -> Recipe:
        """The best schedule of mixtures over phases, against the best constant mixture: ``recipe-schedule.json``.

        Needs runs with phases (``design.sampler: phases``).

        Raises:
            DataError: no run has more than one phase.
        """
        from mixlaw.optimize import PhaseLaw, best_schedule

        observations, inputs = self.observations(), schedule_inputs(self)
        several = [r for r, s in observations.schedules().items() if s.num_phases > 1]
        if not several:
            raise DataError(
                f"No run of {self.folder} has phases. Set design.sampler to 'phases' in a new study, then train it."
            )
        chosen = observations.select(several)
        fractions = [p.fraction for p in next(iter(chosen.schedules().values())).phases]
        X, y = chosen.table([v.name for v in self.corpus.validation] or None, features="phases")
        law = PhaseLaw(fractions=fractions).fit(X, y)
        recipe = best_schedule(
            law,
            self.config.objective_weights(),
            self.budget,
            self.corpus,
            level=self.config.law.level,
            rank_transfer=self._transfer(),
        )
        with made_from(self, "recipe-schedule.json", inputs):
            recipe.save(self.folder / "recipe-schedule.json")
        return recipe

    def frontier(self, sets: Sequence[str], num: int = 200) -> Any:
        """Pareto-optimal mixtures for two or more validation sets, under the study's law and budget."""
        from mixlaw.optimize import frontier

        law = self.law_here()
        self.need("fit")
        return frontier(getattr(law, "certifiable_", None) or law, sets, self.budget, self.corpus, num=num)

    # ---- optimum -------------------------------------------------------------------------------------
    def _transfer(self) -> str:
        """What is known of ranks at the target's size, in words."""
        if self.budget.params is None and self.budget.tokens == self.config.training.tokens:
            return "not needed, the target run is as long as the swarm's runs and of their model."
        return self.evidence().sentence(self.budget.params)

    @exclusive
    def optimize(self, budget: Budget | None = None, **options: Any) -> Recipe:
        """Find the mixture: ``recipe.json``; its prediction goes into the ledger before anything is trained on it.

        Args:
            budget: instead of study.yaml's.
            options: of :func:`mixlaw.optimize.optimize`: ``kind``, ``guard``, ``task``, ``kl_limit``, ``robust``, ...
        """
        from mixlaw.optimize import optimize

        corpus, law, runs = self.corpus, self.law_here(), self._table()
        self.need("tokenize", "fit")
        inputs = recipe_inputs(self)
        recipe: Recipe = optimize(
            law,
            objective=self.config.objective_weights(),
            budget=budget or self.budget,
            corpus=corpus,
            reference=self.reference,
            runs=runs,
            level=self.config.law.level,
            rank_transfer=self._transfer(),
            **options,
        )
        if prediction_of(self.ledger, recipe) is None:
            self.ledger.append("prediction", self._prediction(recipe))
        with made_from(self, "recipe.json", inputs):
            recipe.save(self.folder / "recipe.json")
        return recipe

    def _prediction(self, recipe: Recipe) -> dict[str, Any]:
        return {
            "recipe": recipe.hash,
            "schedule": recipe.schedule.to_dict(),
            "objective": self.config.objective_weights(),
            "predictions": {k: v.to_dict() for k, v in recipe.predictions.items()},
            "reference": recipe.reference.to_dict() if recipe.reference else None,
            "difference": recipe.difference.to_dict() if recipe.difference else None,
            "certificate": str(recipe.certificate),
            "law_hash": recipe.law_hash,
            "corpus_hash": recipe.corpus.hash,
            "evaluation_hash": recipe.corpus.evaluation_hash,
            "runs": len(self.observations()),
        }

    def recipe(self, schedule: bool = False) -> Recipe:
        """The recipe, or the one with phases (``recipe-schedule.json``).

        Raises:
            DataError: nothing optimised yet.
        """
        name, verb = ("recipe-schedule.json", "schedule") if schedule else ("recipe.json", "optimize")
        if not self.store.exists(name):
            raise DataError(f"{self.folder} has no {name} yet. Run `mixlaw {verb} {self.folder}` first.")
        return Recipe.load(self.folder / name)

    # ---- verify ------------------------------------------------------------------------------------
    def verification_specs(self, seeds: int | None = None) -> dict[tuple[str, int], RunSpec]:
        """Runs of each arm with paired seeds: ``{(arm, seed): spec}``."""
        return Verifier(self).specs(seeds)

    @exclusive
    def verify(self, seeds: int | None = None) -> Verification:
        """Train the recipe and the references with paired seeds, compare with the ledger: ``verification.json``.

        Args:
            seeds: runs per arm; default ``verify.seeds`` of study.yaml.

        Raises:
            DataError: the recipe's prediction is not in the ledger, or too few runs succeeded for an interval.
        """
        return Verifier(self).run(seeds)

    def verification(self) -> Verification | None:
        """The verification of today's recipe, or None; that of an earlier recipe stays in the ledger."""
        if not self.store.exists("verification.json") or "verify" in self.stale():
            return None
        return Verification.from_dict(self.store.read_json("verification.json"))

    # ---- what came of it -----------------------------------------------------------------------------
    def export(self, framework: str, path: str | Path, *, schedule: bool = False, **options: Any) -> Any:
        """Write the recipe (with ``schedule`` the one with phases) for a training framework; ``options`` are its
        exporter's (``packed=True``, ...)."""
        recipe, reason = self.recipe(schedule), self.stale().get("schedule" if schedule else "optimize")
        if reason:
            warnings.warn(f"{self.folder}: {reason}. What is exported is the old recipe.", MixlawWarning, stacklevel=2)
        return recipe.export(framework, path, **options)

    def report(self) -> Path:
        """Write ``report.html``: one self-contained page of what exists so far."""
        from mixlaw import report

        html = report.page(report.ReportFacts.from_study(self))
        self.store.write_bytes("report.html", html.encode())
        return self.folder / "report.html"

    def steer(self) -> Path:
        """Write ``steer.html``: sliders on what counts and on caps, with the optimum solved anew in the browser.

        Raises:
            MixlawError: the law has no form that a browser can optimise; names the laws that have.
        """
        from mixlaw.report import steer

        objective, level = self.config.objective_weights(), self.config.law.level
        html = steer.page(
            self.law_here(),
            self.corpus,
            self.budget,
            objective,
            self.reference,
            level=level,
            title=self.folder.resolve().name,
        )
        self.store.write_bytes("steer.html", html.encode())
        return self.folder / "steer.html"

    def status(self) -> list[tuple[str, bool, str]]:
        """``(verb, done, detail)`` in order; see :mod:`mixlaw.study.progress`."""
        return status(self)

    def following(self) -> str | None:
        """The verb that comes next, None where everything is done."""
        return following(self)

    def estimate(self) -> dict[str, float]:
        """What training the design costs: ``flops``, ``tokens``, ``seconds`` on this machine, ``disk_bytes``."""
        return self.swarm.estimate()
