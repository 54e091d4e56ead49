"""Data Mixing Laws' records: held-out error of the overall validation loss on mixtures left out.

    python benchmarks/laws_dml.py [--quick]

20 random splits, a quarter of the mixtures left out each time; 22 validation domains fitted jointly and summed
with the study's weights. Families are chosen and averaged inside the training part of every split.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from mixlaw.laws.auto import Auto
from mixlaw.laws.effective import EffectiveTokens
from mixlaw.laws.loglinear import LogLinear
from mixlaw.laws.m4 import M4

from _data import experiments

CASES = {
    "five domains 70M": ("dml_five_domains", "70M", 0.0085, 0.0090),
    "five domains 410M": ("dml_five_domains", "410M", 0.0060, 0.0066),
    "RedPajama 70M": ("dml_redpajama", "70M", 0.018, 0.0199),
}


def load(study: str, size: str, step: int = 30_000) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Weights and losses of the runs of one model size at one step, a row each."""
    table = pq.read_table(experiments(f"{study}.parquet")).to_pylist()
    weights: dict[str, list[float]] = {}
    losses: dict[str, dict[str, float]] = {}
    for row in table:
        if row["model_size"] == size and row["step"] == step:
            weights[row["run"]] = [v for k, v in row.items() if k.startswith("weight_")]
            losses.setdefault(row["run"], {})[row["validation_domain"]] = row["loss"]
    names = [k for k in table[0] if k.startswith("weight_")]
    every = sorted(set.intersection(*(set(v) for v in losses.values())))
    # one published mixture sums to 1.02: it cannot be what was trained
    runs = [r for r in losses if abs(sum(weights[r]) - 1) < 0.01]
    X = np.array([weights[r] for r in runs])
    Y = np.array([[losses[r][d] for d in every] for r in runs])
    return dict(zip(names, X.T, strict=True)), dict(zip(every, Y.T, strict=True))


def validation_weights() -> dict[str, float]:
    with open(experiments("dml_validation_weights.csv"), encoding="utf-8") as lines:
        return {row["validation_domain"]: float(row["weight"]) for row in csv.DictReader(lines)}


def splits(n: int, num: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for seed in range(num):
        order = np.random.default_rng(seed).permutation(n)
        held = max(1, round(n / 4))
        yield order[held:], order[:held]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two splits")
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--only", help="one law of the table")
    options = parser.parse_args()
    num = 2 if options.quick else options.splits
    overall = validation_weights()
    laws: dict[str, Any] = {
        "M4": M4,
        "LogLinear": LogLinear,
        "EffectiveTokens": EffectiveTokens,
        "Auto": Auto,
    }
    if options.only:
        laws = {options.only: laws[options.only]}
    print(
        "| record (mixtures) | law | held-out MAE, weighted loss | MAE, single domains | 90% covers | CPU s per fit |"
    )
    print("|---|---|---|---|---|---|")
    for case, (study, size, goal, before) in CASES.items():
        X, Y = load(study, size)
        losses = np.column_stack(list(Y.values()))
        weight = np.array([overall[d] for d in Y])
        weight /= weight.sum()
        for name, make in laws.items():
            scores: dict[str, list[list[float]]] = {}
            for kept, held in splits(len(losses), num):
                began = time.process_time()
                law = make().fit({k: v[kept] for k, v in X.items()}, {k: v[kept] for k, v in Y.items()})
                seconds = time.process_time() - began
                # Auto has fitted a Gaussian process: judged by itself in passing
                parts = {name: law} | ({"GaussianProcess (of Auto)": law.members_["gp"]} if name == "Auto" else {})
                for label, part in parts.items():
                    there = {k: v[held] for k, v in X.items()}
                    predicted = np.asarray(part.predict(there))
                    low, high = part.predict_interval(there, 0.9)
                    total = np.abs((predicted - losses[held]) @ weight).mean()
                    single = np.abs(predicted - losses[held]).mean()
                    inside = ((low <= losses[held]) & (losses[held] <= high)).mean()
                    scores.setdefault(label, []).append([total, single, inside, seconds])
            for label, rows in scores.items():
                mean = np.mean(rows, axis=0)
                took = f"{np.median(rows, axis=0)[3]:.2f}" if label == name else "-"
                print(
                    f"| {case} ({len(losses)}) | {label} | {mean[0]:.4f} | {mean[1]:.4f} | {mean[2]:.3f} | {took} |",
                    flush=True,
                )
        print(f"| {case} | to reach | {goal} | | .88-.93 | |")
        print(f"| {case} | prototype before | {before} | | | |", flush=True)


if __name__ == "__main__":
    main()
