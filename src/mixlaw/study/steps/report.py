"""Pages for people: writes ``report.html`` and ``steer.html``."""

from __future__ import annotations

import datetime
from pathlib import Path

from mixlaw.data import formats
from mixlaw.errors import DataError
from mixlaw.report.facts import ReportFacts, installed_versions
from mixlaw.study.folder import StudyFolder
from mixlaw.study.freshness import stale, unsealed, verification
from mixlaw.study.progress import needless, status
from mixlaw.study.runs import runs_of_one_size
from mixlaw.study.steps.fit import equal_tokens_text

__all__ = ["facts", "report", "steer"]


def facts(study: StudyFolder) -> ReportFacts:
    """Whatever a study holds so far, as data types; a verification only of today's recipe."""
    store, config = study.store, study.config
    try:  # what the law was fitted to; imported runs count as well
        observations = runs_of_one_size(study)
    except DataError:  # no run is done yet: the report says so
        observations = None
    steps, skipped = status(study), {*needless(study), "report"}
    todo = [verb for verb, done, _ in steps if not done and verb not in skipped]
    verbs = [verb for verb, done, _ in steps if done and verb != "report"]
    return ReportFacts(
        title=study.folder.resolve().name,
        corpus=study.corpus if store.exists("corpus.json") else None,
        observations=observations,
        law=study.law() if store.exists(f"laws/{config.law.name}.json") else None,
        league=formats.read(store, "laws/league.json", "league") if store.exists("laws/league.json") else None,
        recipe=study.recipe() if store.exists("recipe.json") else None,
        schedule=study.recipe(schedule=True) if store.exists("recipe-schedule.json") else None,
        entries=tuple(study.ledger),
        verification=None if (checked := verification(study)) is None else checked.to_dict(),
        config=config.model_dump(mode="json"),
        failures=formats.read(store, "failures.json", "failures") if store.exists("failures.json") else {},
        stale=stale(study),
        unsealed=unsealed(study),
        equal_tokens=equal_tokens_text(study),
        commands=tuple(f"mixlaw {verb} {study.folder.name}" for verb in [*verbs, "report"]),
        next_step=f"mixlaw {todo[0]} {study.folder.name}" if todo else "",
        versions=installed_versions(),
        now=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def report(study: StudyFolder) -> Path:
    """Write ``report.html``: one self-contained page of what exists so far."""
    from mixlaw.report import page

    study.store.write_bytes("report.html", page(facts(study)).encode())
    return study.folder / "report.html"


def steer(study: StudyFolder) -> Path:
    """Write ``steer.html``: sliders on what counts and on caps, with the optimum solved anew in the browser.

    Raises:
        MixlawError: the law has no form that a browser can optimise; names the laws that have.
    """
    from mixlaw.report import steer as slides

    html = slides.page(
        study.law_here(),
        study.corpus,
        study.budget,
        study.config.objective_weights(),
        study.reference,
        level=study.config.law.level,
        title=study.folder.resolve().name,
    )
    study.store.write_bytes("steer.html", html.encode())
    return study.folder / "steer.html"
