"""Where a study stands: what is done, what it goes without, and which verb comes next."""

from __future__ import annotations

from mixlaw.data.seams import TRAINERS
from mixlaw.errors import ConfigError
from mixlaw.study.folder import StudyFolder
from mixlaw.study.freshness import stale, verification
from mixlaw.train.contract import needs_tokens

__all__ = ["VERBS", "after", "check_trainable", "following", "needless", "status"]

VERBS = ("tokenize", "design", "train", "fit", "optimize", "verify", "report")
"""In the order in which a study goes through them."""


def status(study: StudyFolder) -> list[tuple[str, bool, str]]:
    """``(verb, done, detail)`` in the order of the verbs."""
    store, rows = study.store, list[tuple[str, bool, str]]()
    corpus = study.corpus if store.exists("corpus.json") else None
    rows.append(("tokenize", corpus is not None, "" if corpus is None else ", ".join(corpus.names)))
    specs = study.designed()
    rows.append(("design", bool(specs), f"{len(specs)} runs" if specs else ""))
    done = [s for s in specs if study.is_done(s)]
    rows.append(("train", bool(specs) and len(done) == len(specs), f"{len(done)} of {len(specs)} runs done"))
    rows.append(("fit", store.exists(f"laws/{study.config.law.name}.json"), study.config.law.name))
    rows.append(("optimize", store.exists("recipe.json"), ""))
    reasons, verified = stale(study), verification(study)
    detail = "" if verified is None else f"{verified.verdict}, {verified.num_seeds} seeds"
    rows.append(("verify", verified is not None, detail))
    rows.append(("report", store.exists("report.html"), ""))
    without = {verb: why for verb, done, _ in rows if not done and (why := needless(study).get(verb))}
    details = {**without, **reasons}
    return [(verb, done and verb not in reasons, details.get(verb, detail)) for verb, done, detail in rows]


def needless(study: StudyFolder) -> dict[str, str]:
    """``{verb: why}`` of what this study goes without: imported runs need no design, declared text no training."""
    found: dict[str, str] = {}
    designed = study.store.exists("design.json")
    if study.config.runs and not designed:
        found = dict.fromkeys(("design", "train"), "not needed: runs are imported")
    if _nothing_to_read(study):
        why = "not possible here: the corpus is declared, there is no text to train on"
        found |= {"verify": why} | ({"train": why} if designed else {})
    return found


def following(study: StudyFolder) -> str | None:
    """The verb that comes next, None where everything is done."""
    skipped = needless(study)
    return next((verb for verb, done, _ in status(study) if not done and verb not in skipped), None)


def after(study: StudyFolder, verb: str) -> str:
    """The verb to run after ``verb``, without those this study goes without.

    Example:
        >>> after(StudyFolder("study-of-imported-runs"), "tokenize")                           # doctest: +SKIP
        'fit'
    """
    skipped = needless(study)
    return next(v for v in VERBS[VERBS.index(verb) + 1 :] if v not in skipped)


def _nothing_to_read(study: StudyFolder) -> bool:
    return bool(study.config.corpus.counts) and needs_tokens(TRAINERS[study.config.training.trainer])


def check_trainable(study: StudyFolder) -> None:
    """Stop before any run starts where the trainer would have no text to read.

    Raises:
        ConfigError: the corpus is declared by counts, and the trainer reads tokens.
    """
    if _nothing_to_read(study):
        others = " or ".join(repr(name) for name in TRAINERS if not needs_tokens(TRAINERS[name]))
        raise ConfigError(
            f"{study.folder}: the corpus is declared (corpus.counts), so there is no text that the trainer "
            f"{study.config.training.trainer!r} could read. Give corpus.domains, or set training.trainer to {others}, "
            f"which reads its own."
        )
