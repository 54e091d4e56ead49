"""How well are the losses of larger runs predicted from smaller ones, and do the intervals hold?

    python benchmarks/laws_extrapolate.py [--quick] [--records overtraining ladder ...] [--ways]

Of every published record with parameters, tokens and losses the largest scale (the largest size, or compute where runs
are isoFLOP curves) is hidden and predicted from what is smaller. With two scales hidden the way is longer. Hidden runs
are asked about together where their tokens per parameter are of one order of magnitude.

before: Chinchilla on the first count of parameters, all rows, 90% interval with 80 bootstraps. now: laws.extrapolate.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq

from mixlaw.errors import FitError, MixlawWarning
from mixlaw.laws import Chinchilla, extrapolate

from _data import experiments

Array = np.ndarray
SIZES = {"params": "params", "tokens": "tokens"}
LADDER = {"190M": 190354176, "370M": 371262464, "760M": 758220288, "1B": 1279395840, "3B": 3169537280}
LADDER_SETS = ("c4_en", "dolma_books", "dolma_stack", "dolma_pes2o", "pile", "wikitext_103")


class Case(NamedTuple):
    """Runs of one set: columns and losses (n,), and which runs are hidden."""

    record: str
    name: str
    X: dict[str, Array]
    y: Array
    hidden: Array


def read(name: str) -> dict[str, Array]:
    table = pq.read_table(experiments(f"{name}.parquet"))
    return {c: table[c].to_numpy(zero_copy_only=False) for c in table.column_names}


def kept(table: dict[str, Array], rows: Array) -> dict[str, Array]:
    return {c: v[rows] for c, v in table.items()}


def largest(values: Array, num: int) -> Array:
    """The rows of the ``num`` largest values; values within 5% are one."""
    logs = np.sort(np.unique(np.log(values.astype(float))))
    starts = logs[np.append(True, np.diff(logs) > np.log(1.05))]
    return np.log(values.astype(float)) >= starts[-min(num, len(starts) - 1)] - 1e-9


def both(record: str, name: str, X: dict[str, Array], y: Array, scale: Array, far: bool = True) -> Iterator[Case]:
    """The largest scale hidden, then the two largest where at least half of the rows are left."""
    seen = np.isfinite(y) & np.all([np.isfinite(v) for v in X.values()], axis=0)
    X, y, scale = {k: v[seen].astype(float) for k, v in X.items()}, y[seen].astype(float), scale[seen]
    for num in (1, 2) if far else (1,):
        hidden = largest(scale, num)
        if hidden.mean() <= 0.5:
            yield Case(record, f"{name}{' (two)' if num == 2 else ''}".strip(), X, y, hidden)


def cases() -> Iterator[Case]:
    over = read("overtraining")
    for corpus in np.unique(over["train_set"].astype(str)):
        t = kept(over, over["train_set"] == corpus)
        counts = {"params": t["params"], "non_embedding_params": t["non_embedding_params"], "tokens": t["tokens"]}
        for loss in ("loss_c4_val", "loss_val_tok_mult"):
            yield from both("overtraining", f"{corpus} {loss[5:]}", counts, t[loss], t["params"], far=False)
    t = read("chinchilla_points")
    t = kept(t, t["loss"] < 5)
    bins = np.exp(np.round(np.log(t["flops"]) / np.log(3)) * np.log(3))
    yield from both("chinchilla_points", "", {c: t[c] for c in SIZES}, t["loss"], bins)
    iso = read("isoflops_six_studies")
    iso = kept(iso, ~iso["outlier"].astype(bool))
    for study in np.unique(iso["experiment"].astype(str)):
        t = kept(iso, iso["experiment"] == study)
        yield from both("isoflops_six_studies", study.split("__")[0], {c: t[c] for c in SIZES}, t["loss"], t["flops"])
    marin = read("marin_isoflops_three_corpora")
    for corpus in np.unique(marin["corpus"].astype(str)):
        t = kept(marin, marin["corpus"] == corpus)
        X = {"params": t["parameter_count"], "tokens": t["throughput/total_tokens"]}
        yield from both("marin_isoflops_three_corpora", corpus, X, t["eval/paloma/macro_loss"], t["flops_nominal"])
    t = read("scalebench_farseer")
    for group in np.unique(t["group"].astype(str)):
        g = kept(t, t["group"] == group)
        yield from both("scalebench_farseer", group, {"params": g["N"], "tokens": g["D"]}, g["loss"], g["N"])
    t = read("data_constrained")
    t = kept(t, (t["loss"] < 6) & (t["tokens"] > 0))
    fresh = t["tokens"] <= 1.001 * t["unique_tokens"]
    for name, rows, names in (
        ("repeated", np.ones(len(fresh), bool), ("params", "tokens", "unique_tokens")),
        ("one epoch", fresh, ("params", "tokens")),
    ):
        g = kept(t, rows)
        yield from both("data_constrained", name, {c: g[c] for c in names}, g["loss"], g["params"])
    t = read("gemstones_runs")
    for phase, every in (("cooldown_end", 1), ("stable", 10)):
        g = kept(t, (t["phase"] == phase) & (np.round(t["tokens"] / 2.000683008e9) % every == 0))
        X = {c: g[c] for c in SIZES}
        yield from both("gemstones_runs", phase, X, g["val_loss_dolma"], g["params"])
    t = read("ladder_runs")
    runs = t["run"].astype(str)
    last = np.array([np.flatnonzero(runs == r)[np.argmax(t["_step"][runs == r])] for r in np.unique(runs)])
    t = kept(t, last)
    params = np.array([LADDER[r.split("-")[0]] for r in t["run"]], float)
    for name in LADDER_SETS:
        X = {"params": params, "tokens": t["throughput/total_tokens"]}
        yield from both("ladder_runs", name, X, t[f"eval/{name}-validation/CrossEntropyLoss"], params)


def before(case: Case) -> Array:
    """(4, hidden): measured, predicted, low and high of the usual fit."""
    X = {k: case.X[k] for k in SIZES}
    law = Chinchilla(bootstrap=80).fit({k: v[~case.hidden] for k, v in X.items()}, case.y[~case.hidden])
    there = {k: v[case.hidden] for k, v in X.items()}
    return np.stack([case.y[case.hidden], law.predict(there), *law.predict_interval(there, 0.9)])


def now(case: Case, ways: bool) -> tuple[Array, list[str], float]:
    """The same of ``laws.extrapolate``, what it chose, and how many percent its ways differ on average."""
    ratio = np.round(np.log10(case.X["tokens"] / case.X["params"]))
    parts, chosen, apart = [], [], []
    for r in np.unique(ratio[case.hidden]):
        asked = case.hidden & (ratio == r)
        shown = {k: v[~case.hidden] for k, v in case.X.items()}
        found = extrapolate(shown, case.y[~case.hidden], {k: v[asked] for k, v in case.X.items()})
        parts.append(np.stack([case.y[asked], found.predicted, found.low, found.high]))
        chosen.append(found.chosen.label)
        apart.append(found.apart)
        if ways:
            print(found, "\n")
    return np.concatenate(parts, axis=1), chosen, 100 * float(np.mean(np.concatenate(apart)))


def scores(rows: Array) -> tuple[float, float, float, float]:
    """Bias and mean absolute error in percent, coverage, width in percent."""
    y, predicted, low, high = rows
    error = 100 * np.log(predicted / y)
    inside = float(((low <= y) & (y <= high)).mean())
    return float(error.mean()), float(np.abs(error).mean()), inside, 100 * float(((high - low) / y).mean())


def shown(found: tuple[float, float, float, float]) -> str:
    return f"{found[0]:+.1f}, {found[1]:.1f} | {found[2]:.0%} | {found[3]:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two records only")
    parser.add_argument("--records", nargs="+")
    parser.add_argument("--ways", action="store_true", help="print every answer")
    args = parser.parse_args()
    warnings.simplefilter("ignore", MixlawWarning)
    wanted = args.records or (["overtraining", "marin_isoflops_three_corpora"] if args.quick else None)
    print(
        "Bias and mean absolute error in percent of the loss; share of hidden runs inside the 90% interval; its width"
    )
    print("in percent of the loss. First the usual fit, then `laws.extrapolate`.\n")
    print("| record | runs shown, hidden | before: bias, error | inside | width | now: bias, error | inside | width "
          "| ways differ, % | chosen most often | s |")  # fmt: skip
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|---|--:|")
    pooled: dict[tuple[str, bool], list[tuple[Array, Array]]] = {}
    for case in cases():
        if wanted is not None and case.record not in wanted:
            continue
        began = time.perf_counter()
        try:
            old = before(case)
            new, chosen, apart = now(case, args.ways)
        except FitError as error:
            print(f"| {case.record} {case.name} | {(~case.hidden).sum()}, {case.hidden.sum()} | {error} |")
            continue
        pooled.setdefault((case.record, "(two)" in case.name), []).append((old, new))
        usual = max(set(chosen), key=chosen.count)
        print(
            f"| {case.record} {case.name} | {(~case.hidden).sum()}, {case.hidden.sum()} | {shown(scores(old))} "
            f"| {shown(scores(new))} | {apart:.1f} | {usual} | {time.perf_counter() - began:.0f} |",
            flush=True,
        )
    print("\n## By record, and every record counted alike\n")
    print("| record | hidden | before: bias, error | inside | width | now: bias, error | inside | width |")
    print("|---|---|--:|--:|--:|--:|--:|--:|")
    for two in (False, True):
        every = []
        for (record, is_two), parts in pooled.items():
            if is_two == two:
                old, new = (np.concatenate(p, axis=1) for p in zip(*parts))
                every.append((scores(old), scores(new)))
                name = "two largest scales" if two else "largest scale"
                print(f"| {record} | {name} | {shown(every[-1][0])} | {shown(every[-1][1])} |")
        if every:
            mean = np.mean(every, axis=0)
            size = np.mean(np.abs(every), axis=0)[:, 0]
            mean[:, 0] = size
            print(f"| **mean of records** (size of bias) | | {shown(tuple(mean[0]))} | {shown(tuple(mean[1]))} |")


if __name__ == "__main__":
    main()
