"""Which artefacts of a study were made from other inputs than today's.

A verb notes a hash of what its artefact was made from in ``made-from.json``, after the artefact is written; before, the
note is blanked. So an artefact whose note is not the hash of today's inputs is *stale* (one nobody made a note of was
put there by somebody else, and is believed). The design needs no note: its run specs say what they were made for. Nor
does a verification: it must say what the ledger says was measured.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mixlaw.data import formats
from mixlaw.data.runspec import RunSpec
from mixlaw.data.saved_tables import CHECKSUMS
from mixlaw.data.verification import Verification, agrees
from mixlaw.design.trunk import branch_of, expert_specs
from mixlaw.errors import DataError
from mixlaw.kit.hashing import content_hash
from mixlaw.study.config import DesignConfig
from mixlaw.study.folder import StudyFolder
from mixlaw.study.templates import made_with, template, templates, trunk_template
from mixlaw.verify.paired import measurement_of, prediction_of

__all__ = [
    "corpus_inputs",
    "law_inputs",
    "made_from",
    "need",
    "recipe_inputs",
    "schedule_inputs",
    "stale",
    "unsealed",
    "verification",
]

RECORD = "made-from.json"


@contextmanager
def made_from(study: StudyFolder, artefact: str, inputs: str) -> Iterator[None]:
    """While the block writes ``artefact``, nothing is known of it; afterwards, that it was made from ``inputs``."""
    formats.write(study.store, RECORD, "made-from", {**_record(study), artefact: ""})
    yield
    formats.write(study.store, RECORD, "made-from", {**_record(study), artefact: inputs})


def _record(study: StudyFolder) -> dict[str, str]:
    return formats.read(study.store, RECORD, "made-from") if study.store.exists(RECORD) else {}


def corpus_inputs(study: StudyFolder) -> str:
    """Hash of the corpus section of study.yaml. Whether files changed, ``tokenize`` finds out itself."""
    return content_hash(study.config.corpus.model_dump(mode="json"))


def law_inputs(study: StudyFolder) -> str:
    """Hash of what a law is fitted on: its settings, the corpus, the runs that are done, imported files."""
    config = study.config
    return content_hash(
        {
            "law": config.law.model_dump(mode="json", exclude={"level"}),
            "corpus": [study.corpus.hash, study.corpus.evaluation_hash],
            "runs": sorted(s.id for s in study.designed() if study.is_done(s)),
            # under the names of study.yaml: from another working directory the same files resolve otherwise
            "imported": [
                [name, _stamp(Path(p))] for names in config.run_files() for name, p in zip(names, study.resolve(names))
            ],
            **({"repair": True} if config.repair else {}),
            **({"run_options": config.run_options} if config.run_options else {}),
        }
    )


def schedule_inputs(study: StudyFolder) -> str:
    """Hash of what a schedule is found from: the runs, the corpus, budget and objective. It fits a law of its own."""
    return content_hash(
        {
            "runs": sorted(s.id for s in study.designed() if study.is_done(s)),
            "imported": [_stamp(Path(p)) for names in study.config.run_files() for p in study.resolve(names)],
            "corpus": [study.corpus.hash, study.corpus.evaluation_hash],
            "budget": study.budget.to_dict(),
            "objective": study.config.objective_weights(),
            "level": study.config.law.level,
            **({"repair": True} if study.config.repair else {}),
            **({"run_options": study.config.run_options} if study.config.run_options else {}),
        }
    )


def _stamp(path: Path) -> list[Any]:
    """Files by size and time of change; an address elsewhere by its name alone."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path] if path.exists() else []
    return [[p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in files]


def recipe_inputs(study: StudyFolder) -> str:
    """Hash of what a recipe is found from: the law's file, the corpus, budget, objective and reference."""
    law = f"laws/{study.config.law.name}.json"
    return content_hash(
        {
            "law": hashlib.sha256(study.store.read_bytes(law)).hexdigest() if study.store.exists(law) else None,
            "corpus": [study.corpus.hash, study.corpus.evaluation_hash],
            "budget": study.budget.to_dict(),
            "objective": study.config.objective_weights(),
            "reference": study.reference.to_dict(),
            "level": study.config.law.level,
        }
    )


def stale(study: StudyFolder) -> dict[str, str]:
    """``{verb: why what it wrote no longer holds}``; empty where everything was made from today's inputs.

    Example:
        >>> stale(StudyFolder("my-study"))                                               # doctest: +SKIP
        {'fit': 'runs or settings changed since the law was fitted'}
    """
    store, reasons = study.store, {}
    if not store.exists("corpus.json"):
        return {}
    known = _record(study)

    def changed(artefact: str, inputs: Callable[[StudyFolder], str]) -> bool:
        return store.exists(artefact) and artefact in known and known[artefact] != inputs(study)

    if changed("corpus.json", corpus_inputs):
        reasons["tokenize"] = "the corpus section of study.yaml changed since the text was tokenised"
    if store.exists("design.json") and (reason := _design(study)):
        reasons["design"] = reason
    if changed(f"laws/{study.config.law.name}.json", law_inputs):
        reasons["fit"] = "runs or settings changed since the law was fitted"
    if changed("recipe.json", recipe_inputs):
        reasons["optimize"] = "law, corpus, budget, objective or reference changed since the recipe was found"
    elif store.exists("recipe.json") and "fit" in reasons:
        reasons["optimize"] = "the recipe rests on a law that no longer holds"
    if changed("recipe-schedule.json", schedule_inputs):
        reasons["schedule"] = "runs, corpus, budget, objective or repair changed since the schedule was found"
    if store.exists("verification.json") and (reason := _verification(study)):
        reasons["verify"] = reason
    return reasons


def unsealed(study: StudyFolder) -> str:
    """Which files of the study carry no checksum, in words; empty where all do.

    Example:
        >>> unsealed(StudyFolder("study-of-the-first-version"))                                # doctest: +SKIP
        'Without checksums (whether they were changed cannot be told): corpus.json, recipe.json, 34 runs.'
    """
    law = study.config.law.name
    names = (
        "corpus.json",
        "design.json",
        f"laws/{law}.json",
        "laws/league.json",
        "recipe.json",
        "recipe-schedule.json",
    )
    found = formats.unsealed(study.store, (*names, "verification.json"))
    runs = sum(study.is_done(s) and not study.store.exists("runs", s.id, CHECKSUMS) for s in study.designed())
    found += [f"{runs} run{'' if runs == 1 else 's'}"] if runs else []
    return f"Without checksums (whether they were changed cannot be told): {', '.join(found)}." if found else ""


def need(study: StudyFolder, *verbs: str) -> None:
    """Stop where what these verbs wrote was made from other inputs than today's.

    Raises:
        DataError: names the verb to run again.
    """
    reasons = stale(study)
    for verb in verbs:
        if verb in reasons:
            again = "" if verb == "design" else f" Run `mixlaw {verb} {study.folder}` again."
            raise DataError(f"{study.folder}: {reasons[verb]}.{again}")


def verification(study: StudyFolder) -> Verification | None:
    """The verification of today's recipe as the ledger measured it, or None; that of an earlier recipe stays in the
    ledger."""
    if not study.store.exists("verification.json") or "verify" in stale(study):
        return None
    content = formats.read(study.store, "verification.json", "verification")
    return formats.made("verification", study.folder / "verification.json", Verification.from_dict, content)


def _design(study: StudyFolder) -> str | None:
    corpus, made_for = study.corpus, formats.read(study.store, "design.json", "design").get("corpus_hash")
    if made_for != corpus.hash:
        return (
            f"design.json was made for corpus {made_for}, today's is {corpus.hash}, and the swarm's runs would not be "
            f"comparable: start a study in a new folder, or restore the old text"
        )
    made_today, shared, settings = templates(study), study.shared(), made_with(study)
    if settings is not None and (shared.trunk or shared.experts):
        made_today += _shared_today(study, settings)
    for spec in study.specs():
        own = {"schedule": spec.schedule, "seed": spec.seed, "replicate_group": spec.replicate_group}
        today = [template.replace(**own) for template in made_today]
        if spec.id not in [one.id for one in today]:
            ours, theirs = today[0].to_dict(), spec.to_dict()
            changed = ", ".join(k for k in ours if ours[k] != theirs[k])
            return (
                f"the runs of design.json were designed with other settings ({changed}), and runs made with today's "
                f"would not be comparable: start a study in a new folder, or restore study.yaml"
            )
    return None


def _shared_today(study: StudyFolder, settings: DesignConfig) -> list[RunSpec]:
    """The trunk, a branch of it and an expert, as the design would make them with today's settings."""
    base, trunk = template(study), trunk_template(study, settings)
    share = 0.0 if settings.trunk is None else settings.trunk.share
    found = [] if trunk is None else [trunk, branch_of(base, trunk, share)]
    return found + (expert_specs(base, study.corpus.names, trunk, share, 0)[:1] if settings.experts else [])


def _verification(study: StudyFolder) -> str | None:
    if not study.store.exists("recipe.json"):
        return "there is no recipe that verification.json could belong to"
    entry = prediction_of(study.ledger, study.recipe())
    result = formats.read(study.store, "verification.json", "verification")
    if entry is None or result.get("prediction_entry") != entry.number:
        return "verification.json is of an earlier recipe"
    measured = measurement_of(study.ledger, entry)
    if measured is None:
        return f"the ledger holds no measurement of its entry {entry.number}, so verification.json is not believed"
    if not agrees(result, measured.body):
        return (
            f"verification.json does not say what was measured (entry {measured.number} of the ledger), so it is not "
            f"believed"
        )
    if list(result["arms"]) != ["recipe", *study.config.verify.arms]:
        return f"verification.json compares {list(result['arms'])[1:]}, study.yaml asks for {study.config.verify.arms}"
    return None
