"""Tables of runs as people keep them: sound ones of which the right reading is known, and the same with a fault or two.

Most of what is drawn here is read to the end, so that what lies behind the first checks is reached.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from fuzz.odd import cells, headers

DOMAINS = ("web", "code", "wiki", "a b", "é", "x/y", "the_pile-cc", "HuggingFaceFW/fineweb", "日本", "Web")
SETS = ("web", "code", "arc", "x/y", "C4 100 domains", "日本", "c4:val")

_WEIGHTS = ("weight_{}", "mix/{}", "config.weight_{}", "weights.{}", "{}_weight", "train_{}", "ratio/{}", "share_{}")
_VALUES = {  # form of the column: how the file's number becomes the one that is kept
    "loss_{}": "loss",
    "{}_loss": "loss",
    "val/{}/loss": "loss",
    "eval/{}/ce_loss": "loss",
    "bpb_{}": "bits_per_byte",
    "{}_bpb": "bits_per_byte",
    "acc_{}": "accuracy",
    "ppl_{}": "perplexity",
    "val/{}/ppl": "perplexity",
    "valid_{}": "loss",
}
_SETTINGS = {
    "lr": ("3e-4", "1e-3", "4e-3"),
    "batch_size": ("8", "16"),
    "optimizer": ("adamw", "muon"),
    "notes": ("", "ok", "warm start, again"),
    "created": ("2026-01-02", "2026-01-03 10:00"),
    "dropout": ("0.1",),
    "mixture_id": ("7", "8", "9"),
    "Unnamed: 0": ("0", "1", "2"),
}


@dataclass(frozen=True)
class Runs:
    """A table of runs as texts, and what must be read from it where nothing is wrong with it.

    Args:
        columns, rows: the table.
        options: to be read with.
        faults: what was broken; nothing of what follows need hold where anything was.
        weights: ``{domain: weight}`` of each run, in order of the runs.
        values: ``{(run's number, target, step): value}`` as it is kept.
        named: ids of the runs, where a column names them.
    """

    columns: list[str]
    rows: list[list[str]]
    options: dict[str, Any] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    weights: tuple[dict[str, float], ...] = ()
    values: dict[tuple[int, str, int | None], float] = field(default_factory=dict)
    named: tuple[str, ...] = ()


def _kept(kind: str, given: float) -> float:
    """The file's number in the unit it is kept in."""
    return math.log(given) if kind == "perplexity" else given


@st.composite
def sound_runs(draw: Any) -> Runs:
    """A table with nothing wrong."""
    rng = np.random.default_rng(draw(st.integers(0, 2**20)))
    num_domains = draw(st.integers(1, 4))
    start = draw(st.integers(0, len(DOMAINS) - 1))
    domains = [DOMAINS[(start + 3 * k) % len(DOMAINS)] for k in range(num_domains)]
    start = draw(st.integers(0, len(SETS) - 1))
    sets = [SETS[(start + k) % len(SETS)] for k in range(draw(st.integers(1, 3)))]
    layout = draw(st.sampled_from(("wide", "wide", "long", "curves", "sizes")))
    num = draw(st.integers(1, 9))
    steps: list[int | None] = [100, 200, 400] if layout == "curves" else [None]
    mark = draw(st.sampled_from(_WEIGHTS)) if num_domains > 1 else "weight_{}"
    form = draw(st.sampled_from(sorted(_VALUES)))
    kind = _VALUES[form]
    if layout == "long":
        form, kind = "{}", "loss"
    if mark == "train_{}" and form == "valid_{}":
        mark = "weight_{}"
    spelling = draw(st.sampled_from(("shares", "shares", "rounded", "percent", "tokens")))
    shares = rng.dirichlet(np.full(num_domains, 0.7), num)
    shares[rng.random(shares.shape) < 0.15] = 0.0
    shares[shares.sum(1) == 0] = 1.0
    shares /= shares.sum(1, keepdims=True)
    if spelling == "rounded":
        written = np.round(shares, 3)
        written[written.sum(1) == 0] = 1.0
    elif spelling == "tokens":
        written = np.round(shares * 1e9)
    else:
        written = shares * (100.0 if spelling == "percent" else 1.0)
    repair = spelling in ("percent", "tokens") or bool((np.abs(written.sum(1) - 1) > 1e-6).any())
    expected = written / written.sum(1, keepdims=True)
    names = draw(st.sampled_from(("run", "run_id", "name", "", ""))) if layout in ("wide", "sizes") else "run"
    style = draw(st.sampled_from(("r{:02d}", "run {}", "https://x/{}", "{}", "a,{}")))
    ids = [style.format(k + 1) for k in range(num)]
    extra = draw(st.lists(st.sampled_from(sorted(_SETTINGS)), max_size=2, unique=True))
    if kind == "loss" and draw(st.integers(0, 4)) == 0:
        extra.append("train_loss" if mark != "train_{}" else "lr")
    columns = [names] if names else []
    columns += extra + [mark.format(d) for d in domains]
    columns += ["step"] if layout == "curves" else []
    columns += ["params", "tokens"] if layout == "sizes" else []
    columns += ["target", "loss"] if layout == "long" else [form.format(s) for s in sets]
    size_texts = draw(st.sampled_from((("1e6", "7e6", "14000000"), ("1M", "7M", "14M"))))
    rows: list[list[str]] = []
    values: dict[tuple[int, str, int | None], float] = {}
    for k in range(num):
        of_run = [ids[k]] if names else []
        for e in extra:
            choices = _SETTINGS.get(e, ("2.5", "2.25"))
            of_run.append(choices[int(rng.integers(len(choices)))])
        of_run += [repr(float(w)) for w in written[k]]
        if layout == "sizes":
            of_run += [size_texts[k % 3], f"{10 + k}e7"]
        for step in steps:
            given = {
                s: round(float(0.05 + 0.9 * rng.random() if kind == "accuracy" else 1.5 + rng.random()), 9)
                for s in sets
            }
            for s in sets:
                values[(k, s, step)] = _kept(kind, given[s])
            at = [] if step is None else [str(step)]
            if layout == "long":
                rows += [[*of_run, s, repr(given[s])] for s in sets]
            else:
                rows.append([*of_run, *at, *(repr(given[s]) for s in sets)])
    weights = tuple({d: float(w) for d, w in zip(domains, row)} for row in expected)
    return Runs(columns, rows, {"repair": True} if repair else {}, (), weights, values, tuple(ids) if names else ())


_FAULTS = (
    *("cell", "cell", "weight", "value", "missing", "column", "rename", "twice"),
    *("row", "order", "end", "off", "repeat", "gone", "infinite"),
)


@st.composite
def faulty_runs(draw: Any) -> Runs:
    """A table with nothing, one thing, or two things wrong."""
    runs: Runs = draw(sound_runs())
    columns, rows = list(runs.columns), [list(row) for row in runs.rows]
    options = dict(runs.options)
    faults = []
    for _ in range(draw(st.sampled_from((0, 0, 1, 1, 1, 2)))):
        fault = draw(st.sampled_from(_FAULTS))
        row = draw(st.integers(0, len(rows) - 1))
        at = draw(st.integers(0, len(columns) - 1))
        of_weights = [
            i for i, c in enumerate(columns) if "weight" in c or "mix" in c or c.startswith(("train_", "ratio"))
        ]
        of_values = [i for i, c in enumerate(columns) if "loss" in c or "bpb" in c or "acc" in c or "ppl" in c]
        if fault == "weight" and of_weights:
            at, fault = draw(st.sampled_from(of_weights)), "cell"
        elif fault in ("value", "infinite") and of_values:
            at = draw(st.sampled_from(of_values))
        if fault in ("cell", "value"):
            rows[row][at] = draw(cells)
        elif fault == "infinite":
            rows[row][at] = draw(st.sampled_from(("inf", "-inf", "nan", "NaN", "1e999", "Infinity")))
        elif fault == "missing":
            rows[row][at] = ""
        elif fault == "column":
            for r in rows:
                r[at] = draw(cells)
        elif fault == "rename":
            columns[at] = draw(headers)
        elif fault == "twice":
            columns.append(columns[at])
            for r in rows:
                r.append(r[at] if draw(st.booleans()) else draw(cells))
        elif fault == "row":
            rows.append(list(rows[row]))
        elif fault == "repeat" and len(rows) > 1:
            rows[row] = [*rows[row - 1][:1], *rows[row][1:]]
        elif fault == "off" and of_weights:
            at = draw(st.sampled_from(of_weights))
            rows[row][at] = repr(
                float(rows[row][at] or 0) * draw(st.sampled_from((1.00001, 1.01, 2.0, -1.0)))
                if _is_number(rows[row][at])
                else 1.0
            )
        elif fault == "gone" and len(columns) > 1:
            del columns[at]
            for r in rows:
                del r[at]
        elif fault == "end" and "step" in columns and len(rows) > 1:
            del rows[row]
        elif fault == "order":
            draw(st.randoms(use_true_random=False)).shuffle(rows)
        else:
            continue
        if fault != "order" or "run" not in columns:
            faults.append(fault)
    if draw(st.integers(0, 5)) == 0:
        options["ignore"] = [draw(st.sampled_from(columns))]
        faults.append("ignore")
    if draw(st.integers(0, 11)) == 0:
        options["values"] = [
            draw(st.sampled_from(columns)) + draw(st.sampled_from(("", "=loss", "=higher", "=percent", "=ppl")))
        ]
        faults.append("values")
    if draw(st.integers(0, 7)) == 0:
        options["repair"] = not options.get("repair")
        faults.append("repair")
    if not faults:
        return runs if rows == runs.rows else Runs(columns, rows, options, ("order",))
    return Runs(columns, rows, options, tuple(faults))


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


@st.composite
def pairs(
    draw: Any,
) -> tuple[str, tuple[list[str], list[list[str]]], tuple[list[str], list[list[str]]], dict[str, Any]]:
    """``(format, weights, losses, options)``: a sound pair of RegMix's or olmix's tables, sometimes with a fault."""
    runs: Runs = draw(sound_runs().filter(lambda runs: len({s for _, s, step in runs.values if step is None}) > 0))
    kind = draw(st.sampled_from(("regmix", "olmix")))
    domains = list(dict.fromkeys(d for w in runs.weights for d in w))
    sets = sorted({s for _, s, _ in runs.values})
    if kind == "regmix":
        heads = ["index", *(f"train_{d}" for d in domains)], ["index", *(f"valid_{s}/loss" for s in sets)]
    else:
        heads = ["run_id", "name", *domains], ["run_id", "name", *(f"{s}_bpb" for s in sets)]
    tables: list[tuple[list[str], list[list[str]]]] = [(head, []) for head in heads]
    for k, weights in enumerate(runs.weights):
        ids = [str(k)] if kind == "regmix" else [f"r{k}", f"run {k}"]
        tables[0][1].append([*ids, *(repr(weights[d]) for d in domains)])
        of_run = {s: v for (number, s, _), v in runs.values.items() if number == k}
        tables[1][1].append([*ids, *(repr(of_run[s]) for s in sets)])
    if draw(st.booleans()):
        columns, rows = tables[draw(st.integers(0, 1))]
        row, at = draw(st.integers(0, len(rows) - 1)), draw(st.integers(0, len(columns) - 1))
        fault = draw(st.sampled_from(("cell", "missing", "rename", "row", "order", "extra")))
        if fault in ("cell", "missing"):
            rows[row][at] = draw(cells) if fault == "cell" else ""
        elif fault == "rename":
            columns[at] = draw(headers)
        elif fault == "row":
            del rows[row]
        elif fault == "order":
            rows.reverse()
        else:
            columns.append(draw(headers))
            for r in rows:
                r.append(draw(cells))
    return kind, tables[0], tables[1], draw(st.sampled_from(({}, {}, {"repair": True})))


@st.composite
def exports(draw: Any) -> tuple[str | None, list[str], list[list[str]], dict[str, Any]]:
    """``(format, columns, rows, options)``: a table as W&B's page, W&B's API or ``mlflow.search_runs`` writes it, often
    with a fault, or to be read as another format."""
    runs: Runs = draw(sound_runs().filter(lambda runs: all(step is None for _, _, step in runs.values)))
    kind = draw(st.sampled_from(("page", "flat", "search")))
    domains = list(dict.fromkeys(d for w in runs.weights for d in w))
    sets = sorted({s for _, s, _ in runs.values})
    weight, value = {
        "page": ("weight_{}", "loss/{}"),
        "flat": ("config.weight_{}", "summary.loss/{}"),
        "search": ("params.weight_{}", "metrics.loss/{}"),
    }[kind]
    first = {"page": ["Name", "State", "ID"], "flat": ["name", "state"], "search": ["run_id", "status"]}[kind]
    columns = [*first, *(weight.format(d) for d in domains), *(value.format(s) for s in sets)]
    rows = []
    for k, weights in enumerate(runs.weights):
        ids = {
            "page": [f"r{k}", "finished", f"id{k}"],
            "flat": [f"r{k}", "crashed"],
            "search": [f"{k:032x}", "FINISHED"],
        }
        values = [repr(runs.values[k, s, None]) for s in sets if (k, s, None) in runs.values]
        rows.append([*ids[kind], *(repr(weights[d]) for d in domains), *values])
    if draw(st.booleans()):
        row, at = draw(st.integers(0, len(rows) - 1)), draw(st.integers(0, len(columns) - 1))
        rows[row][at] = draw(cells)
    if draw(st.integers(0, 3)) == 0:
        columns[draw(st.integers(0, len(columns) - 1))] = draw(headers)
    options: dict[str, Any] = {}
    if draw(st.integers(0, 5)) == 0:
        options["ignore"] = [draw(st.sampled_from(columns)).partition(".")[2] or "loss/web"]
    format = draw(st.sampled_from((None, None, None, "mlflow" if kind == "search" else "wandb", "table", "olmix")))
    return format, columns, rows, options
