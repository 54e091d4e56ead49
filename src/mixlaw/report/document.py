"""The report: one self-contained HTML page. Nothing is fetched; what does not exist yet is said."""

from __future__ import annotations

import html
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib import resources
from typing import Any

import numpy as np

from mixlaw.data.recipe import Recipe
from mixlaw.data.recipe_text import NOT_FOR_SCHEDULES, asked_text, compared_with
from mixlaw.errors import DataError, FitError, MixlawError
from mixlaw.report.answer import Answer, answer, interval_text, unit_text
from mixlaw.report.cautions import first_cautions
from mixlaw.report.facts import ReportFacts
from mixlaw.report.tables import (
    baselines_table,
    corpus_table,
    ledger_table,
    losses_table,
    mixture_table,
    phases_table,
    prices_table,
    skills_table,
    table,
)
from mixlaw.verify.paired import lost_runs_text, rate_text

__all__ = ["asset", "page", "shell"]

WIDE, NARROW = 10.4, 3.75
"""Inches at which plots are drawn for the two layouts; 96 CSS pixels each, so that letters keep their size."""

_BADGES = {"gain": "verified gain", "null": "no difference shown", "loss": "verified loss", "open": "not verified yet"}


def asset(name: str) -> str:
    """A text file that ships beside this module."""
    return resources.files("mixlaw.report").joinpath(name).read_text(encoding="utf-8")


def shell(title: str, body: str, scripts: str, styles: str = "") -> str:
    """A complete HTML document; a content security policy keeps it from fetching anything."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
        "script-src 'unsafe-inline'; img-src data:\">\n"
        '<link rel="icon" href="data:,">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{asset('page.css')}{styles}</style>\n</head>\n"
        f"<body>\n{body}\n<script>\n{scripts}</script>\n</body>\n</html>\n"
    )


def page(facts: ReportFacts) -> str:
    """The report as HTML text: the answer first, then what it rests on.

    Example:
        >>> page(ReportFacts("empty")).startswith("<!doctype html>")
        True
    """
    facts = replace(facts, effects=_effects(facts))
    said = answer(facts)
    sections = [(key, title, "".join(build(facts, _Charts(key)))) for key, title, build in _SECTIONS]
    sections = [section for section in sections if section[2]]
    menu = "".join(f'<li><a href="#{key}">{html.escape(title)}</a></li>' for key, title, _ in sections)
    content = "".join(
        f'<section id="{key}" aria-labelledby="{key}-h"><h2 id="{key}-h">{html.escape(title)}</h2>{text}</section>'
        for key, title, text in sections
    )
    body = (
        f"{_band(facts, said)}<nav aria-label='Contents'><ul>{menu}</ul></nav>"
        f"<main>{_warnings(facts)}{content}<footer>Made by mixlaw {html.escape(facts.versions.get('mixlaw', ''))}"
        f"{' on ' + html.escape(facts.now) if facts.now else ''}. This page fetches nothing.</footer>"
        '</main><div id="tip" role="status"></div>'
    )
    return shell(f"{facts.title}: {said.headline}", body, asset("page.js"))


class _Charts:
    """Draws each plot at both widths and numbers them, so that ids stay apart."""

    def __init__(self, key: str) -> None:
        self.key, self.count = key, 0

    def __call__(self, draw: Callable[[float], Any], caption: str, half: bool = False) -> str:
        self.count += 1
        try:
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore", UserWarning
                )  # a tight layout is Matplotlib's business, not the reader's
                parts = [
                    f'<div class="{name}">{draw(width).to_svg(f"{self.key}{self.count}{name[0]}")}</div>'
                    for name, width in (("wide", WIDE * 0.68 if half else WIDE), ("narrow", NARROW))
                ]
        except DataError as error:
            return _todo(str(error))
        return f'<figure class="chart">{"".join(parts)}<figcaption>{html.escape(caption)}</figcaption></figure>'


def _todo(text: str) -> str:
    return f'<p class="todo">{html.escape(text)}</p>'


def _band(facts: ReportFacts, said: Answer) -> str:
    tiles = "".join(
        f'<div class="tile"><dt>{a}</dt><dd>{b}</dd><dd>{c}</dd></div>'
        for a, b, c in (tuple(map(html.escape, tile)) for tile in said.tiles)
    )
    lines = [f"<span>{html.escape(facts.title)}</span>"]
    if facts.observations is not None:
        lines.append(f"<span>{len(facts.observations)} runs</span>")
    corpus = facts.corpus or (facts.recipe.corpus if facts.recipe is not None else None)
    if corpus is not None:
        lines.append(f"<span>{len(corpus.names)} domains</span>")
    if facts.recipe is not None:
        lines.append(f"<span>{html.escape(facts.recipe.how_found)}</span>")
    return (
        f'<header class="band {said.verdict}"><div>'
        f'<p class="study"><span class="badge">{_BADGES[said.verdict]}</span>{"".join(lines)}</p>'
        f'<h1 id="answer">{html.escape(said.headline)}</h1>'
        f'<p class="lead">{html.escape(" ".join(said.sentences))}</p>'
        f"{f'<dl class=tiles>{tiles}</dl>' if tiles else ''}</div></header>"
    )


def _warnings(facts: ReportFacts) -> str:
    notes = first_cautions(facts)
    said = facts.recipe.warnings if facts.recipe is not None else ()
    notes += [
        w for w in said if not w.startswith("Rank transfer: not needed")
    ]  # recipes of before called that a warning
    notes += [f"Schedule: {w}" for w in facts.schedule.warnings] if facts.schedule is not None else []
    notes += [f"Not up to date ({verb}): {reason}." for verb, reason in facts.stale.items()]
    notes += [facts.unsealed] if facts.unsealed else []
    for arm, counts in (facts.verification or {}).get("left_out", {}).items():
        notes.append(f"Verification of {arm}: {lost_runs_text(counts)}; their seeds are left out of every arm.")
    if facts.failures:
        notes.append(f"{_runs(len(facts.failures))} failed and left out: {', '.join(sorted(facts.failures)[:5])}.")
    if facts.observations is not None:
        diverged = sum(s == "diverged" for s in facts.observations.runs["status"].to_pylist())
        if diverged:
            notes.append(f"{_runs(diverged)} diverged: recorded, but left out of every fit.")
    if not notes:
        return ""
    items = "".join(f"<li>{html.escape(n)}</li>" for n in notes)
    return f'<div class="warnings" role="note"><h2>Before you rely on this</h2><ul>{items}</ul></div>'


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


# ---- the sections ------------------------------------------------------------------------------------
def _references(facts: ReportFacts) -> dict[str, dict[str, float]]:
    """Mixtures the recipe is compared with: the verified arms, else the recipe's own reference."""
    arms = (facts.verification or {}).get("arms") or {}
    found = {name: dict(arm["weights"]) for name, arm in arms.items() if name != "recipe"}
    recipe = facts.recipe
    if not found and recipe is not None and recipe.reference is not None:
        natural = recipe.corpus.natural.to_dict()
        reference = recipe.reference.to_dict()
        same = all(abs(natural[d] - reference.get(d, 0.0)) < 1e-6 for d in natural)
        found = {"natural" if same else "reference": reference}
    return found


def _mixture(facts: ReportFacts, chart: _Charts) -> Iterator[str]:
    from mixlaw.report import plots

    recipe = facts.recipe
    if recipe is None:
        yield _todo("No mixture is proposed yet. `mixlaw optimize` finds one once a law is fitted.")
        return
    references = _references(facts)
    yield (
        f"<p>How it was found: {html.escape(recipe.how_found)}"
        f"{', law ' + html.escape(str(recipe.law.get('name', ''))) if recipe.law.get('name') else ''}. "
        "Weights are shares of training tokens.</p>"
    )
    yield _asked(recipe)
    yield chart(
        lambda width: plots.mixture_bars(
            {"recipe": recipe.mixture, **references},
            tokens=recipe.tokens,
            unique_tokens=recipe.corpus.unique_tokens,
            near_optimal=recipe.near_optimal or None,
            width=width,
        ),
        "Share of training tokens per domain."
        + (
            " The dark line is how far each weight may move before the predicted loss rises by 0.1%."
            if recipe.near_optimal
            else ""
        ),
    )
    if recipe.schedule.num_phases > 1:
        yield phases_table(recipe)
    yield mixture_table(recipe, references)


def _asked(recipe: Recipe) -> str:
    return "".join(f"<p>{html.escape(line)}</p>" for line in asked_text(recipe.objective))


def _schedule(facts: ReportFacts, chart: _Charts) -> Iterator[str]:
    """Empty where no schedule was sought: most studies have no runs with phases."""
    recipe = facts.schedule
    if recipe is None:
        return
    gain = ""
    if recipe.difference is not None:
        chance = recipe.probability_better
        better = "" if chance is None else f", better with probability {chance:.0%}"
        shown = interval_text(recipe.difference, sign=True)
        gain = f" Objective minus the {compared_with(recipe.baselines)}: {shown}{better}."
    yield f"<p>How it was found: {html.escape(recipe.how_found)}.{html.escape(gain)}</p>"
    yield _asked(recipe)
    yield phases_table(recipe)
    yield mixture_table(
        recipe, {compared_with(recipe.baselines): recipe.reference.to_dict()} if recipe.reference else {}
    )
    yield baselines_table(recipe)
    yield f"<p class='note'>{html.escape(NOT_FOR_SCHEDULES)}</p>"


def _check(facts: ReportFacts, chart: _Charts) -> Iterator[str]:
    from mixlaw.report import plots

    recipe, verification = facts.recipe, facts.verification
    if recipe is None:
        yield _todo("Nothing is predicted yet, so there is nothing to check.")
        return
    if verification:
        measured = {"objective": verification["arms"]["recipe"]["losses"]}
        measured |= dict((verification.get("sets") or {}).get("recipe", {}))
        entry = verification.get("prediction_entry")
        where = f" (ledger entry {entry})" if entry else ""
        yield (
            f"<p>The prediction was written down{where} before any of these runs was measured.</p>"
            if verification.get("predicted_first", True)
            else f"<p><strong>This is no blind check</strong>: runs of the proposed mixture had been measured before "
            f"this prediction was written down{where}.</p>"
        )
        unit = unit_text(next(iter(recipe.predictions.values())).unit)
        names = sorted(recipe.predictions, key=lambda n: n != "objective")
        predictions = {n: recipe.predictions[n] for n in names}
        yield chart(
            lambda width: plots.predicted_vs_measured(predictions, measured, unit=unit, width=width),
            "Zero is the predicted mean. The wide bar is the predicted interval of one run (small dots), the narrow "
            "one that of the mean of these seeds (large dot).",
        )
    else:
        yield _todo("Predicted, but not measured yet. `mixlaw verify` trains the mixture and its references.")
    yield losses_table(facts)


def _gain(facts: ReportFacts, chart: _Charts) -> Iterator[str]:
    from mixlaw.report import plots

    verification = facts.verification
    if verification:
        curves = {name: arm["curves"] for name, arm in verification["arms"].items()}
        yield chart(
            lambda width: plots.learning_curves(curves, width=width),
            "Objective along training, with the range over seeds. On the right, seed by seed, recipe minus reference.",
        )
        rows = []
        for key, data in (verification.get("difference") or {}).items():
            name = key.removeprefix("vs ")
            saved = (verification.get("steps_saved") or {}).get(name) or {}
            rows.append(
                [
                    name,
                    _range_cell(data, "{:+.4f}"),
                    str((verification.get("verdicts") or {}).get(key, verification.get("verdict", ""))),
                    _range_cell(saved.get("recipe_reaches_reference_at"), "{:.0%}"),
                    _range_cell(saved.get("reference_needs"), "{:.2f}"),
                ]
            )
        yield table(
            ["against", "loss difference", "verdict", "recipe reaches its loss after", "it needs, times the steps"],
            rows,
            f"{verification.get('num_seeds')} paired seeds per arm; steps are shares of the run before the learning "
            "rate decays",
        )
        if verification.get("false_gains") is not None:
            said = rate_text(len(rows), int(verification.get("look", 1)), float(verification["false_gains"]))
            yield f"<p>{html.escape(said)}</p>"
    elif facts.observations is not None:
        yield chart(
            lambda width: plots.learning_curves(facts.observations, target=facts.objective or None, width=width),
            "Objective along training of the swarm's runs.",
        )
    else:
        yield _todo("No run is trained yet. `mixlaw train` trains the swarm.")


def _skills(facts: ReportFacts, chart: _Charts) -> Iterator[str]:
    """Empty where no task was scored."""
    from mixlaw.report import plots
    from mixlaw.report.plots.task_scores import scores

    observations = facts.observations
    if observations is None or not scores(observations):
        return
    yield chart(
        lambda width: plots.skills(observations, width=width),
        "Scores on tasks along training, a thin line per run; the band is two standard errors over the questions.",
    )
    yield skills_table(facts)


def _range_cell(value: Any, form: str) -> str:
    if value is None:
        return "not shown"
    if isinstance(value, Mapping):
        if value.get("low") is None:
            return form.format(value["mean"]).replace("-", "−")
        text = f"{form.format(value['mean'])} [{form.format(value['low'])}, {form.format(value['high'])}]"
        return text.replace("-", "−")
    return form.format(value).replace("-", "−")


def _held_out(law: Any, X: Any, y: Any) -> Any:
    """Held-out predictions (n, T): the law's own, else by five quick refits; None where neither can be had."""
    from mixlaw.report.plots.inputs import own_heldout

    own = own_heldout(law, X.num_rows)
    # a law that keeps its runs with itself has said what it can; those (Auto, the Gaussian process) are dear to refit
    if own is not None or law.kind == "joint" or law.known_runs is not None or X.num_rows < 10:
        return own
    try:
        return law.predict_heldout(X, y, folds=5)
    except FitError:  # four fifths of the runs are too few for this law; the fitted losses are shown instead
        return None


def _law(facts: ReportFacts, chart: _Charts) -> Iterator[str]:
    from mixlaw.report import plots

    law = facts.law
    if law is None:
        yield _todo("No law is fitted yet. `mixlaw fit` fits one once enough runs are trained.")
        return
    yield f"<p>{html.escape(type(law).__name__)}, fitted to {law.num_runs_} runs.</p>"
    if law.notes:
        yield f"<ul class='note'>{''.join(f'<li>{html.escape(note)}</li>' for note in law.notes)}</ul>"
    table = None if facts.observations is None else facts.observations.table(list(law.target_names_))
    if table is not None:
        yield _fit_against_runs(facts, chart, *table)
    if facts.league is not None:
        yield "<h3>League table</h3>"
        yield chart(
            lambda width: plots.league_table(facts.league, width=width),
            "Laws by their error on held-out runs. The dashed line is the coverage an interval should have.",
        )
    if facts.equal_tokens:
        yield f"<h3>Experts and mixtures at equal tokens</h3><pre>{html.escape(facts.equal_tokens)}</pre>"
    if law.kind == "mixture":
        yield "<h3>What each domain does</h3>"
        yield from _domains(facts, chart, *(table or (None, None)))


def _fit_against_runs(facts: ReportFacts, chart: _Charts, X: Any, y: Any) -> str:
    """Observed losses against held-out predictions, or against fitted ones where there are none."""
    from mixlaw.report import plots

    heldout = _held_out(facts.law, X, y)
    return chart(
        lambda width: plots.fit_vs_observed(facts.law, X, y, heldout=heldout, width=width),
        "Observed losses of the swarm against predictions by fits that had not seen the run."
        if heldout is not None
        else "Fitted against observed losses of the swarm."
        + (" The league table below has the errors on runs the laws had not seen." if facts.league else ""),
    )


def _effects(facts: ReportFacts) -> Any:
    """Which domain helps or hurts what, as known or from the runs; None where that cannot be told."""
    law = facts.law
    if facts.effects is not None or law is None or law.kind != "mixture" or facts.observations is None:
        return facts.effects
    from mixlaw.laws.read.effects import effects_from_runs

    try:
        return effects_from_runs(law, *facts.observations.table(list(law.target_names_)))
    except MixlawError:  # the section on domains says why
        return None


def _domains(facts: ReportFacts, chart: _Charts, X: Any, y: Any) -> Iterator[str]:
    """What a law of mixtures says of each domain; ``X`` and ``y`` are None where no run is known."""
    from mixlaw.laws.read.effects import effects_from_runs
    from mixlaw.report import plots

    law, marks = facts.law, _marks(facts)
    base = next((m for n, m in marks.items() if n != "recipe"), None)
    yield chart(
        lambda width: plots.effect_curves(
            law, base, X=X, objective=facts.objective or None, own=facts.own or None, marks=marks, width=width
        ),
        "Predicted change of the losses as one domain's share moves and the others keep their proportions; "
        "triangles mark the compared mixtures.",
    )
    try:
        effects = facts.effects or (None if X is None else effects_from_runs(law, X, y))
    except MixlawError as error:  # too few runs to tell effects from noise, say
        effects = None
        yield _todo(f"Which domain helps or hurts what cannot be told: {error}")
    if effects is not None:
        yield chart(
            lambda width: plots.effects_heatmap(effects, width=width),
            "Which domain helps or hurts which validation set around the mean of the tried mixtures; blank where "
            "no effect is shown, and few of those that are shown are chance (false discoveries are held at 5%).",
        )
    if len(law.feature_names_in_) == 3 and facts.objective:
        yield chart(
            lambda width: plots.ternary(law, objective=facts.objective, X=X, marks=marks, width=width),
            "Predicted objective over all mixtures of the three domains.",
            half=True,
        )


def _marks(facts: ReportFacts) -> dict[str, Any]:
    """The mixtures that plots mark: the recipe and what it is compared with."""
    return {} if facts.recipe is None else {"recipe": facts.recipe.mixture, **_references(facts)}


def _swarm(facts: ReportFacts, chart: _Charts) -> Iterator[str]:
    from mixlaw.report import plots

    observations = facts.observations
    if observations is None:
        yield _todo("No run is trained yet. `mixlaw design` proposes mixtures, `mixlaw train` trains them.")
        return
    targets = list(facts.objective) or observations.targets
    X, y = observations.table(targets)
    weights = np.array([facts.objective.get(t, 1 / len(targets)) for t in targets])
    loss = np.column_stack([y.column(t).to_numpy() for t in targets]) @ weights
    yield chart(
        lambda width: plots.swarm(X, loss, marks=_marks(facts), label="objective", width=width),
        f"Weights of the {X.num_rows} runs, one dot per run and domain; darker runs reached a lower objective.",
    )


def _prices(facts: ReportFacts, chart: _Charts) -> Iterator[str]:
    recipe = facts.recipe
    if recipe is None:
        yield _todo("Prices come with a proposed mixture.")
        return
    if not recipe.shadow_prices:
        yield "<p>No limit binds: more tokens of any domain, or looser caps, would not lower the predicted loss.</p>"
    else:
        yield "<p>What the predicted objective would gain if a limit were loosened a little.</p>"
        yield prices_table(recipe)
    if recipe.baselines:
        yield baselines_table(recipe)


def _provenance(facts: ReportFacts, chart: _Charts) -> Iterator[str]:
    recipe, config = facts.recipe, facts.config
    corpus = facts.corpus or (recipe.corpus if recipe is not None else None)
    pairs: list[tuple[str, str, str]] = [("Ledger head", facts.ledger_head, "hash")]
    if corpus is not None:
        pairs += [("Corpus", corpus.hash, "hash"), ("Validation sets", corpus.evaluation_hash, "hash")]
        pairs += [("Tokenizer", corpus.tokenizer, "hash")] if corpus.tokenizer else []
    if recipe is not None and recipe.law_hash:
        pairs.append(("Law", recipe.law_hash, "hash"))
    seeds = []
    if config.get("design"):
        seeds.append(f"design and swarm {config['design'].get('seed')}")
    if facts.verification:
        seeds.append(f"{facts.verification.get('num_seeds')} paired seeds per verified arm")
    pairs += [("Seeds", ", ".join(seeds), "")] if seeds else []
    pairs += [("Versions", ", ".join(f"{k} {v}" for k, v in facts.versions.items()), "")] if facts.versions else []
    pairs += [("Made", facts.now, "")] if facts.now else []
    items = "".join(
        f"<dt>{html.escape(k)}</dt><dd{f' class={c}' if c else ''}>{html.escape(v)}</dd>" for k, v, c in pairs
    )
    yield f'<dl class="facts">{items}</dl>'
    if facts.commands:
        yield f"<h3>Commands</h3><pre>{html.escape(chr(10).join(facts.commands))}</pre>"
    yield corpus_table(facts)
    if facts.entries:
        yield ledger_table(facts)
        yield (
            "<p class='note'>Each entry holds the hash of the one before: an edited ledger misses the head above. "
            f"<code>mixlaw ledger verify {html.escape(facts.title)} {facts.ledger_head[:16]}</code> compares.</p>"
        )
    if config:
        text = json.dumps(config, indent=2, ensure_ascii=False)
        yield f"<details><summary>Configuration</summary><pre>{html.escape(text)}</pre></details>"


_SECTIONS: tuple[tuple[str, str, Callable[[ReportFacts, _Charts], Iterator[str]]], ...] = (
    ("mixture", "Recommended mixture", _mixture),
    ("schedule", "Recommended schedule", _schedule),
    ("check", "Predicted against measured", _check),
    ("training", "Along training", _gain),
    ("skills", "Skills", _skills),
    ("law", "The law", _law),
    ("swarm", "What was tried", _swarm),
    ("prices", "What limits cost", _prices),
    ("provenance", "Provenance", _provenance),
)
