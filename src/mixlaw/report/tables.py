"""HTML tables that scroll inside themselves, and the rows that go into them."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mixlaw.data.multiplicity import by_themselves
from mixlaw.data.prediction import Prediction
from mixlaw.data.recipe import Recipe
from mixlaw.data.recipe_text import baseline_rows, phase_epochs, score_text
from mixlaw.data.verification import interval_of_mean
from mixlaw.kit.units import format_bytes, format_count
from mixlaw.report.answer import digits_for, interval_text, number
from mixlaw.report.facts import ReportFacts

__all__ = [
    "baselines_table",
    "corpus_table",
    "ledger_table",
    "losses_table",
    "mixture_table",
    "phases_table",
    "prices_table",
    "skills_table",
    "table",
]


# A number, perhaps with a unit and an interval or error behind it; or a dash where there is none.
_NUMBER = re.compile(r"^(–|not shown|[+−<-]?[\d∞][\d.]*(e[+-]?\d+)?\s?(%|k|M|B|T|x|[kMGT]?B)?(\s?(±|\[|to).*)?)$")


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> str:
    """An HTML table; cells are escaped. Columns of numbers are set right."""
    numeric = [
        bool(rows) and "hash" not in headers[j] and all(_NUMBER.match(r[j]) for r in rows) for j in range(len(headers))
    ]
    css = [' class="num"' if n else "" for n in numeric]
    head = "".join(f'<th scope="col"{c}>{html.escape(h)}</th>' for h, c in zip(headers, css))
    body = "".join(
        "<tr>"
        + "".join(
            f'<th scope="row">{html.escape(cell)}</th>' if j == 0 else f"<td{css[j]}>{html.escape(cell)}</td>"
            for j, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    words = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{html.escape(caption or headers[0], quote=True)}">'
        f"<table>{words}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}" if value >= 0.001 or value == 0 else "<0.1%"


def _epochs(value: float) -> str:
    return "∞" if math.isinf(value) else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def mixture_table(recipe: Recipe, references: Mapping[str, Mapping[str, float]]) -> str:
    """Weights, tokens and epochs per domain: the recipe, its references, and how far each weight may move."""
    unique, tokens = recipe.corpus.unique_tokens, recipe.tokens
    headers = ["domain", "recipe", "tokens", "epochs"]
    for name in references:
        headers += [name, f"{name}: tokens", "epochs"]
    if recipe.unconstrained is not None:
        headers += ["without limits", "epochs"]
    if recipe.near_optimal:
        headers.append("near-optimal range")
    headers.append("unique tokens")
    rows = []
    weights = recipe.mixture.to_dict()
    for domain in sorted(weights, key=lambda d: -weights[d]):
        row = [
            domain,
            _share(weights[domain]),
            format_count(recipe.domain_tokens[domain]),
            _epochs(recipe.epochs[domain]),
        ]
        for other in references.values():
            drawn = other.get(domain, 0.0) * tokens
            row += [_share(other.get(domain, 0.0)), format_count(drawn), _epochs(drawn / unique[domain])]
        if recipe.unconstrained is not None:
            free = recipe.unconstrained.get(domain)
            row += [_share(free), _epochs(free * tokens / unique[domain])]
        if recipe.near_optimal:
            ends = recipe.near_optimal.get(domain)
            row.append("–" if ends is None else f"{ends[0]:.1%} to {ends[1]:.1%}")
        row.append(format_count(unique[domain]))
        rows.append(row)
    return table(headers, rows, f"Of {format_count(tokens)} training tokens")


def phases_table(recipe: Recipe) -> str:
    """Weight, tokens and epochs of every domain within every phase."""
    headers, epochs = ["domain"], phase_epochs(recipe.schedule, recipe.tokens, recipe.corpus.unique_tokens)
    for k, phase in enumerate(recipe.schedule.phases):
        headers += [f"phase {k + 1} ({phase.fraction:.0%})", "tokens", "epochs"]
    rows = []
    for domain in recipe.schedule.domains:
        row = [domain]
        for phase, repeated in zip(recipe.schedule.phases, epochs):
            weight = phase.mixture[domain]
            row += [_share(weight), format_count(weight * phase.fraction * recipe.tokens), _epochs(repeated[domain])]
        rows.append(row)
    return table(headers, rows, "Shares of each phase's tokens")


def baselines_table(recipe: Recipe) -> str:
    """Predicted objective of the recipe and of every mixture it stands beside."""
    rows = []
    own = recipe.predictions.get("objective")
    for names, p, feasible in [("recipe", own, True), *baseline_rows(recipe.baselines)]:
        against = "–" if p is None or own is None or p is own else number(p.mean - own.mean, 4, True)
        shown = "not shown" if p is None else interval_text(p)
        rows.append([names, shown, against, "yes" if feasible else "no"])
    what = score_text(recipe.objective)
    caption = "The same law on other mixtures" + (f" (objective: {what})" if what else "")
    return table(["mixture", "predicted objective", "against the recipe", "within the budget"], rows, caption)


def losses_table(facts: ReportFacts) -> str:
    """Predicted and measured loss of the objective and of every validation set, per arm."""
    recipe, verification = facts.recipe, facts.verification or {}
    if recipe is None:
        return ""
    weights = facts.objective
    measured: Mapping[str, Mapping[str, Sequence[float]]] = verification.get("sets") or {}
    arms: Mapping[str, Any] = verification.get("arms") or {}
    names = [n for n in recipe.predictions if n == "objective"] + [n for n in recipe.predictions if n != "objective"]
    references = [a for a in arms if a != "recipe"]
    headers = ["validation set", "weight", "predicted"]
    if arms:
        headers += ["measured", "in interval", *(f"{a}: measured" for a in references)]
        headers += [f"recipe − {a}" for a in references]
    rows = []
    for name in names:
        p = recipe.predictions[name]
        weight = "–" if name == "objective" else (_share(weights[name]) if name in weights else "0%")
        row = [name, weight, interval_text(p)]
        if arms:
            seeds = {a: _seeds(arms, measured, a, name) for a in arms}
            row += [_mean(seeds.get("recipe")), _inside(p, seeds.get("recipe"))]
            row += [_mean(seeds.get(a)) for a in references]
            row += [_difference(seeds.get("recipe"), seeds.get(a)) for a in references]
        rows.append(row)
    level = next(iter(recipe.predictions.values())).level if recipe.predictions else 0.9
    caption = f"Losses; [low, high] are {level:.0%} intervals, ± is the standard error over seeds."
    return table(headers, rows, f"{caption} {by_themselves(len(names), level)}".strip())


def _seeds(
    arms: Mapping[str, Any], measured: Mapping[str, Mapping[str, Sequence[float]]], arm: str, name: str
) -> list[float] | None:
    if name == "objective":
        return list(arms[arm]["losses"])
    values = measured.get(arm, {}).get(name)
    return list(values) if values is not None else None


def _mean(seeds: Sequence[float] | None) -> str:
    if not seeds:
        return "–"
    if len(seeds) < 2:
        return f"{seeds[0]:.4f}"
    error = float(np.std(seeds, ddof=1) / math.sqrt(len(seeds)))
    d = digits_for(error) if error > 0 else 4
    return f"{np.mean(seeds):.{d}f} ± {error:.{d}f}"


def _inside(p: Prediction, seeds: Sequence[float] | None) -> str:
    if not seeds:
        return "–"
    return "yes" if interval_of_mean(p, seeds).covers(float(np.mean(seeds))) else "no"


def _difference(a: Sequence[float] | None, b: Sequence[float] | None) -> str:
    if not a or not b:
        return "–"
    if len(a) != len(b) or len(a) < 2:
        return number(float(np.mean(a) - np.mean(b)), 4, True)
    paired = np.asarray(a) - np.asarray(b)
    error = float(paired.std(ddof=1) / math.sqrt(len(paired)))
    d = digits_for(error) if error > 0 else 4
    return f"{number(float(paired.mean()), d, True)} ± {error:.{d}f}"


def prices_table(recipe: Recipe) -> str:
    """Shadow prices: what each binding limit costs. Every number keeps the name it came with."""
    keys = list(dict.fromkeys(k for price in recipe.shadow_prices for k in price))
    keys.sort(key=lambda k: (k not in ("limit", "domain"), k != "limit"))
    rows = [[_cell(price.get(k)) for k in keys] for price in recipe.shadow_prices]
    return table([k.replace("_", " ") for k in keys], rows, "What each binding limit costs")


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:.4g}".replace("-", "−")
    if isinstance(value, list | tuple):
        return ", ".join(_cell(v) for v in value)
    return str(value)


def corpus_table(facts: ReportFacts) -> str:
    """Counts, sources and hashes of the domains."""
    corpus = facts.corpus or (facts.recipe.corpus if facts.recipe is not None else None)
    if corpus is None:
        return ""
    rows = [
        [
            d.name,
            format_count(d.unique_tokens),
            "–" if d.num_bytes is None else format_bytes(d.num_bytes),
            "–" if d.num_documents is None else format_count(d.num_documents),
            d.source,
            d.hash or "none",
        ]
        for d in corpus.domains
    ]
    text = table(
        ["domain", "unique tokens", "bytes", "documents", "counts are", "content hash"], rows, "Training domains"
    )
    if corpus.validation:
        sets = [
            [
                v.name,
                format_count(v.tokens),
                "–" if v.num_bytes is None else format_bytes(v.num_bytes),
                v.domain or "a set of its own",
                v.hash or "none",
            ]
            for v in corpus.validation
        ]
        text += table(["validation set", "tokens", "bytes", "split from", "content hash"], sets, "Validation sets")
    return text


def skills_table(facts: ReportFacts) -> str:
    """Scores of the runs on each task where they were measured last."""
    from mixlaw.report.plots.task_scores import scores

    rows = []
    for (task, metric), values in scores(facts.observations).items() if facts.observations is not None else ():
        last: dict[str, dict[str, Any]] = {}
        for row in values:
            if row["run"] not in last or row["step"] >= last[row["run"]]["step"]:
                last[row["run"]] = row
        numbers = [row["value"] for row in last.values()]
        errors = [row["std"] for row in last.values() if row["std"] is not None]
        rows.append(
            [
                task,
                metric.replace("_", " "),
                f"{np.mean(numbers):.4f}",
                f"{min(numbers):.4f} to {max(numbers):.4f}",
                f"{np.mean(errors):.4f}" if errors else "–",
                f"{values[0]['num_items']}",
                f"{len(last)}",
            ]
        )
    headers = ["task", "metric", "mean over runs", "range over runs", "standard error over items", "items", "runs"]
    return table(headers, rows, "Scores where each run was measured last")


def ledger_table(facts: ReportFacts) -> str:
    """The ledger's entries with their hashes."""
    rows = [[str(e.number), e.kind, e.time, e.hash[:16]] for e in facts.entries]
    return table(["entry", "kind", "written", "hash (first 16 digits)"], rows, "Ledger")
