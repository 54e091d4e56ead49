"""The whole arrow on one machine: text, tokens, swarm, law, optimum, ledger, verification, report.

The machine's throughput is measured first and the study is sized to the time given, verification included.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixlaw.data.corpus import Corpus
from mixlaw.data.mixture import Schedule
from mixlaw.data.recipe import Recipe
from mixlaw.data.runspec import RunSpec
from mixlaw.errors import ConfigError, DataError
from mixlaw.kit.store import Store
from mixlaw.kit.units import format_count, format_seconds
from mixlaw.report.cautions import cautions_of_check
from mixlaw.study.config import parse_config
from mixlaw.study.folder import Progress
from mixlaw.study.steps.tokenize import tokenized
from mixlaw.study.study import Study
from mixlaw.verify.paired import prediction_of, verification_text

__all__ = ["Plan", "plan", "run"]

MODEL = {"preset": "d64"}
BATCH, CONTEXT = 4, 128
"""512 tokens a step: with well under a million tokens a run, steps are worth more than throughput."""
VOCABULARY = 2048

LEARNING_RATE = {"name": "wsd", "peak": 3e-3, "warmup": 0.05, "decay": 0.2}
VALIDATION_TOKENS = 6_144
EVALUATIONS = 8
FAMILIES = ["effective_tokens", "loglinear", "m4"]
"""Laws the average is made of: their optimum can be certified, and refitting them for the interval takes a second."""

MIN_TOKENS = 150_000
"""Below this a run of the smallest preset has hardly left the unigram plateau, and mixtures cannot be told apart."""
MAX_TOKENS = 4_000_000
MAX_EPOCHS, AVERAGE_EPOCHS = 4, 2
"""No domain is repeated more often than the first; runs are short enough that mixtures have room below it."""
OTHER_SECONDS = 25.0
"""Fit, optimum, report and starting the workers, measured on two cores."""
REPORT_SECONDS = 12.0
"""Of these, what is still to come once verification starts."""
FEWEST_SEEDS, MOST_SEEDS = 3, 10
"""Seeds per arm: three give an interval at all; beyond ten the mixtures, not the seeds, limit what is known."""


@dataclass(frozen=True)
class Plan:
    """How a study is sized: ``num`` mixtures and ``replicates``, then ``arms`` x ``seeds`` to verify."""

    num: int
    replicates: int
    arms: int
    seeds: int
    tokens: int
    enough: bool

    @property
    def runs(self) -> int:
        """All runs, verification included."""
        return self.num + self.replicates + self.arms * self.seeds


def plan(
    num_domains: int, tokens_per_second: float, seconds: float, workers: int, unique_tokens: float = math.inf
) -> Plan:
    """Size a study to ``seconds`` of training at ``tokens_per_second`` (whole machine).

    Mixtures first (a law over K domains wants 4 to 6 K runs), then seeds; runs get shorter before they get fewer, down
    to :data:`MIN_TOKENS`. ``enough`` is false where even the smallest study does not fit.
    """
    total = max(0.0, tokens_per_second * seconds)
    options = [(6, 2, 5), (5, 2, 5), (4, 2, 5), (4, 2, 4), (3, 1, 3), (2, 1, 3)]
    for per_domain, replicates, seeds in options:
        num = max(8, per_domain * num_domains)
        # the last round of each half leaves some workers idle
        runs = num + replicates + 2 * seeds + (workers - 1)
        tokens = int(total / runs)
        wanted = 500_000 if per_domain > 4 else MIN_TOKENS
        if tokens >= wanted:
            break
    step = BATCH * CONTEXT
    most = min(MAX_TOKENS, AVERAGE_EPOCHS * unique_tokens)
    sized = int(min(most, max(MIN_TOKENS, tokens))) // step * step
    if sized < step:
        raise DataError(f"The text has {unique_tokens:.0f} tokens; a run needs {step} at least. Give more text.")
    return Plan(num, replicates, 2, seeds, sized, min(tokens, sized + step) >= MIN_TOKENS)


def _folders(corpus: Path) -> dict[str, str]:
    """One domain per entry of the user's folder.

    Raises:
        ConfigError: not a folder, or fewer than two domains in it.
    """
    if not corpus.is_dir():
        raise ConfigError(f"--corpus {corpus} is not a folder. Give a folder with one folder or file per domain.")
    entries = [p for p in sorted(corpus.iterdir()) if not p.name.startswith(".")]
    domains: dict[str, str] = {}
    for entry in entries:
        name = entry.name if entry.is_dir() else entry.name.split(".")[0]
        if name in domains:
            raise ConfigError(f"--corpus {corpus}: {entry.name} and {Path(domains[name]).name} are both {name!r}.")
        domains[name] = str(entry.resolve())
    if len(domains) < 2:
        raise ConfigError(f"--corpus {corpus} holds {sorted(domains)}; a mixture needs two domains or more.")
    return domains


def run(
    folder: str | Path,
    *,
    minutes: float = 5.0,
    corpus: str | Path | None = None,
    objective: Mapping[str, float] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    say: Callable[[str], None] = print,
) -> Path:
    """Make (or continue) a quickstart study and return the path of its report.

    Args:
        folder: the study's folder.
        minutes: time for everything, verification included.
        corpus: folder with one folder or file per domain; without it, text that Python brings along.
        objective: weight per validation set; default equal for ``corpus``, uneven for the built-in text.
        seed: of the whole study.
        progress: see :class:`mixlaw.study.study.Study`.
        say: receives the lines a person reads.
    """
    if not minutes > 0:
        raise ConfigError(f"--minutes must be positive, got {minutes}.")
    started = time.monotonic()
    root = Path(folder)
    if (root / "study.yaml").exists():
        study = Study(root, progress)
        _same_study(study, corpus, objective)
        say(f"Continuing the study in {root}.")
    else:
        study = _prepare(root, minutes, corpus, objective, seed, progress, say, started)
    specs = study.design()
    say(f"Training {len(specs)} mixtures of {format_count(study.config.training.tokens)} tokens each.")
    began = time.monotonic()
    missing = [s for s in specs if not study.store.exists("runs", s.id, "DONE")]
    failures = study.train()
    per_run = (time.monotonic() - began) / len(missing) if missing else None
    if failures:
        say(f"{len(failures)} runs failed and are left out: {sorted(failures)}. See {root / 'failures.json'}.")
    say(_law(study, say).summary())
    recipe = _recipe(study)
    say(str(recipe))
    seeds = _seeds(study, per_run, minutes * 60 - (time.monotonic() - started))
    study = _note_seeds(study, seeds, say)
    say(
        f"Prediction written to the ledger (head {study.ledger.head[:16]}). Now training the mixtures that check it, "
        f"with {seeds or study.config.verify.seeds} seeds each."
    )
    result = study.verify(seeds)
    say(verification_text(result))
    for caution in cautions_of_check(recipe, result):
        say(caution)
    report = study.report()
    say(f"Report: {report} ({format_seconds(time.monotonic() - started)} in all)")
    return report


def _law(study: Study, say: Callable[[str], None]) -> Any:
    """The law of today's runs: the one that is there where nothing changed since, else a fit."""
    if study.store.exists(f"laws/{study.config.law.name}.json") and "fit" not in study.stale():
        return study.law()
    say("Fitting laws.")
    return study.fit()


def _recipe(study: Study) -> Recipe:
    """The recipe of today's law: the one whose prediction is written down where nothing changed since, else anew."""
    if study.store.exists("recipe.json") and "optimize" not in study.stale():
        recipe = study.recipe()
        if prediction_of(study.ledger, recipe) is not None:
            return recipe
    return study.optimize()


def _note_seeds(study: Study, seeds: int | None, say: Callable[[str], None]) -> Study:
    """The study with ``verify.seeds`` as they are run, also in its study.yaml; one that a person has edited stays."""
    path, asked = study.folder / "study.yaml", study.config.verify.seeds
    if seeds is None or seeds == asked:
        return study
    if path.read_text(encoding="utf-8") != study.config.dump():
        say(f"{path} asks for {asked} seeds; the time allows {seeds}. The file was edited, so it stays as it is.")
        return study
    changed = {**study.config.model_dump(mode="json"), "verify": {**study.config.verify.model_dump(), "seeds": seeds}}
    study.store.write_bytes("study.yaml", parse_config(changed, str(path)).dump().encode())
    return Study(study.folder, study.progress)


def _same_study(study: Study, corpus: str | Path | None, objective: Mapping[str, float] | None) -> None:
    """A study that is there is continued only with the text and objective it was made for.

    Raises:
        ConfigError: it was made for others.
    """
    asked = None if corpus is None else {n: [str(Path(p).resolve())] for n, p in _folders(Path(corpus)).items()}
    if asked is not None and asked != study.config.corpus.domains:
        raise ConfigError(
            f"{study.folder} holds a study of other text ({', '.join(study.config.corpus.domains)}) than --corpus "
            f"{corpus} ({', '.join(asked)}). Give another folder: mixlaw quickstart FOLDER --corpus {corpus}."
        )
    if objective is not None and dict(objective) != study.config.objective:
        raise ConfigError(
            f"{study.folder} holds a study for the objective {study.config.objective}, not {dict(objective)}. Give "
            f"another folder, or edit {study.folder / 'study.yaml'} and run `mixlaw optimize {study.folder}`."
        )


def _seeds(study: Study, seconds_per_run: float | None, seconds_left: float) -> int | None:
    """As many seeds per arm as the time left allows, judged by how long the swarm's runs really took."""
    if seconds_per_run is None:  # the swarm was there already: as planned
        return None
    arms = 1 + len(study.config.verify.arms)
    return int(min(MOST_SEEDS, max(FEWEST_SEEDS, (seconds_left - REPORT_SECONDS) / (seconds_per_run * arms))))


def _prepare(
    root: Path,
    minutes: float,
    corpus: str | Path | None,
    objective: Mapping[str, float] | None,
    seed: int,
    progress: Progress | None,
    say: Callable[[str], None],
    started: float,
) -> Study:
    """Gather text, tokenise, measure the machine, write study.yaml."""
    from mixlaw import tokens
    from mixlaw.train import throughput

    if corpus is None:
        domains = write_text(root)
        weights: Mapping[str, float] = objective or _present(domains)
    else:
        domains = _folders(Path(corpus))
        weights = objective or {name: 1.0 for name in domains}
    say(f"Text: {', '.join(domains)}. Tokenising.")
    built = tokens.build(
        {name: [path] for name, path in domains.items()},
        root,
        vocab_size=VOCABULARY,
        validation_tokens=VALIDATION_TOKENS,
        progress=progress,
    )
    say("; ".join(f"{d.name} {format_count(d.unique_tokens)} tokens" for d in built.domains))
    workers = throughput.default_workers()
    rate = _tokens_per_second(built, workers)
    left = minutes * 60 - (time.monotonic() - started) - OTHER_SECONDS
    unique = sum(d.unique_tokens for d in built.domains)
    sized = plan(len(domains), rate, left, workers, unique)
    for line in _sizing_text(sized, rate, workers, minutes, unique):
        say(line)
    study = Study.create(root, _config(domains, weights, sized, seed), progress)
    tokenized(study)
    return study


def _tokens_per_second(corpus: Corpus, workers: int) -> float:
    """What this machine trains with all workers, the evaluations of a run included."""
    from mixlaw.train import throughput

    probe = RunSpec(
        Schedule.constant(corpus.natural),
        tokens=600_000,
        evaluate_at=tuple((k + 1) / EVALUATIONS for k in range(EVALUATIONS)),
        model=MODEL,
        batch=BATCH,
        context=CONTEXT,
    )
    scored = sum(v.tokens for v in corpus.validation)
    return throughput.measure(
        probe, vocab_size=corpus.vocab_size or VOCABULARY, workers=workers, evaluation_tokens=scored
    )


def _sizing_text(sized: Plan, rate: float, workers: int, minutes: float, unique_tokens: int) -> Iterator[str]:
    """How the study was sized, and what to expect where text or time are too little; a line each."""
    yield (
        f"This machine trains {format_count(rate)} tokens/s on {workers} workers: {sized.num} mixtures, "
        f"{sized.replicates} replicates and {sized.arms} x {sized.seeds} verification runs of "
        f"{format_count(sized.tokens)} tokens."
    )
    if AVERAGE_EPOCHS * unique_tokens < MIN_TOKENS:
        yield (
            f"{format_count(unique_tokens)} tokens of text are too few to tell mixtures apart: a run sees at most "
            f"{AVERAGE_EPOCHS} epochs of them, which is less than the {format_count(MIN_TOKENS)} tokens it needs. "
            f"Going on, but expect a null."
        )
    elif not sized.enough:
        yield (
            f"{minutes:g} minutes are too short here: the smallest study that can tell mixtures apart needs about "
            f"{format_seconds(sized.runs * MIN_TOKENS / rate + OTHER_SECONDS)}. Going on, but expect a null."
        )


def _config(domains: Mapping[str, str], objective: Mapping[str, float], sized: Plan, seed: int) -> dict[str, Any]:
    """The study.yaml of a quickstart."""
    # an even cover of the simplex serves few domains best; with many, draws around the natural mixture
    sampler = "low_discrepancy" if len(domains) <= 6 else "dirichlet"
    return {
        "corpus": {
            "domains": {n: [str(Path(p).resolve())] for n, p in domains.items()},
            "vocab_size": VOCABULARY,
            "validation_tokens": VALIDATION_TOKENS,
        },
        "objective": dict(objective),
        "budget": {"tokens": sized.tokens, "max_epochs": MAX_EPOCHS},
        "training": {
            "model": MODEL,
            "tokens": sized.tokens,
            "batch": BATCH,
            "context": CONTEXT,
            "learning_rate": LEARNING_RATE,
            "evaluations": EVALUATIONS,
        },
        "law": {"name": "auto", "options": {"families": FAMILIES}},
        "design": {"sampler": sampler, "num": sized.num, "replicates": sized.replicates, "seed": seed},
        "verify": {"seeds": sized.seeds, "arms": ["natural"]},
    }


def write_text(root: Path) -> dict[str, str]:
    """The built-in text, under ``<root>/text``."""
    from mixlaw.study.quickstart.text import write_domains

    domains = write_domains(Store(root), "text")
    if len(domains) < 2:
        raise DataError(
            f"This Python brings too little text ({sorted(domains)}). Give your own: mixlaw quickstart --corpus DIR."
        )
    return domains


def _present(domains: Mapping[str, str]) -> dict[str, float]:
    from mixlaw.study.quickstart.text import OBJECTIVE

    return {name: weight for name, weight in OBJECTIVE.items() if name in domains}
