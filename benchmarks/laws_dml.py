"""Data Mixing Laws' records: held-out error of the overall validation loss on mixtures left out.

    python benchmarks/laws_dml.py [--quick]

20 random splits, a quarter of the mixtures left out each time; 22 validation domains fitted jointly and summed
with the study's weights. Families are chosen and averaged inside the training part of every split.

Noise: what is left of the evaluations from step 10k to 30k after every run has got a curve of its own (a + b / sqrt
step) and every step an offset that all runs share. Even the true law of the mixture would miss a held-out evaluation
by that. "Smoothed" is the Gaussian process fitted to and scored on these curves' values at 30k instead of on single
evaluations: how far it is off when most of that noise is gone.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from mixlaw.laws.choose.auto import Auto
from mixlaw.laws.mixture.effective_tokens import EffectiveTokens
from mixlaw.laws.mixture.gaussian_process import GaussianProcess
from mixlaw.laws.mixture.log_linear import LogLinear
from mixlaw.laws.mixture.m4 import M4

from _data import experiments

CASES = {
    "five domains 70M": ("dml_five_domains", "70M"),
    "five domains 410M": ("dml_five_domains", "410M"),
    "RedPajama 70M": ("dml_redpajama", "70M"),
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


def smoothed(study: str, size: str, last: int = 30_000) -> tuple[dict[str, np.ndarray], float, float]:
    """Losses of each run at ``last`` from its own curve, and the standard deviation of one evaluation of the weighted
    loss around it: over all steps, and at ``last`` alone. Runs stand in the order of :func:`load`."""
    table = pq.read_table(experiments(f"{study}.parquet")).to_pylist()
    curves: dict[tuple[str, int], dict[str, float]] = {}
    for row in table:
        if row["model_size"] == size and 10_000 <= row["step"] <= last:
            curves.setdefault((row["run"], row["step"]), {})[row["validation_domain"]] = row["loss"]
    total = validation_weights()
    full = {k: v for k, v in curves.items() if len(v) == len(total)}
    at_last = {row["run"]: row for row in table if row["model_size"] == size and row["step"] == last}
    share = {r: sum(v for k, v in row.items() if k.startswith("weight_")) for r, row in at_last.items()}
    runs = [r for r in at_last if abs(share[r] - 1) < 0.01]
    keys = [k for k in full if k[0] in runs]
    step = np.array([k[1] for k in keys])
    mine = np.array([[float(k[0] == r) for r in runs] for k in keys])
    bend = np.sqrt(1e4 / step)[:, None]
    shared = (step[:, None] == np.unique(step)).astype(float)
    design = np.hstack([mine, mine * bend, shared])
    names = sorted(total)
    losses = np.array([[full[k][d] for d in names] for k in keys])
    solved, _, rank, _ = np.linalg.lstsq(design, losses, rcond=None)
    weight = np.array([total[d] for d in names])
    left = (losses - design @ solved) @ weight / weight.sum()
    free = 1 - np.einsum("ij,ji->i", design, np.linalg.pinv(design))
    end = step == last
    noise = float(np.sqrt((left**2).sum() / (len(left) - rank)))
    ending = np.hstack([np.eye(len(runs)), np.eye(len(runs)) * np.sqrt(1e4 / last)])
    offset = solved[2 * len(runs) :][np.unique(step) == last]
    values = ending @ solved[: 2 * len(runs)] + offset
    return dict(zip(names, values.T, strict=True)), noise, float(np.sqrt((left[end] ** 2).sum() / free[end].sum()))


def validation_weights() -> dict[str, float]:
    with open(experiments("dml_validation_weights.csv"), encoding="utf-8") as lines:
        return {row["validation_domain"]: float(row["weight"]) for row in csv.DictReader(lines)}


def column_weights(table: dict[str, np.ndarray], overall: dict[str, float]) -> np.ndarray:
    """The study's weights of a table's columns, summing to one."""
    weight = np.array([overall[d] for d in table])
    return weight / weight.sum()


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
        "| record (mixtures) | law | held-out MAE of the weighted loss, nats | MAE of single domains, nats | "
        "share inside the 90% interval | CPU seconds per fit |"
    )
    print("|---|---|---|---|---|---|")
    for case, (study, size) in CASES.items():
        X, Y = load(study, size)
        losses = np.column_stack(list(Y.values()))
        weight = column_weights(Y, overall)
        for name, make in laws.items():
            scores: dict[str, list[list[float]]] = {}
            for kept, held in splits(len(losses), num):
                began = time.process_time()
                law = make().fit({k: v[kept] for k, v in X.items()}, {k: v[kept] for k, v in Y.items()})
                seconds = time.process_time() - began
                # Auto has fitted a Gaussian process: judged by itself in passing
                parts = {name: law}
                if name == "Auto":
                    parts["GaussianProcess (of Auto)"] = law.members_["gaussian_process"]
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
        if not options.only:
            calm, everywhere, at_end = smoothed(study, size)
            errors = []
            for kept, held in splits(len(losses), num):
                law = GaussianProcess().fit({k: v[kept] for k, v in X.items()}, {k: v[kept] for k, v in calm.items()})
                predicted = np.asarray(law.predict({k: v[held] for k, v in X.items()}))
                truth = np.column_stack([v[held] for v in calm.values()])
                errors.append(
                    [
                        np.abs((predicted - truth) @ column_weights(calm, overall)).mean(),
                        np.abs(predicted - truth).mean(),
                    ]
                )
            total, single = np.mean(errors, axis=0)
            print(f"| {case} | GaussianProcess, smoothed | {total:.4f} | {single:.4f} | - | - |")
            floors = [np.sqrt(2 / np.pi) * v for v in (everywhere, at_end)]
            print(
                f"| {case} | the true law, error from noise alone (all steps / step 30,000) | "
                f"{floors[0]:.4f} / {floors[1]:.4f} | | | |"
            )


if __name__ == "__main__":
    main()
