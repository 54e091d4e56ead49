"""RegMix's 17 domains and 13 losses: how well the loss of an unseen mixture is predicted from 16 to 512 runs.

    python benchmarks/laws_regmix.py [--quick]

Fits on subsets of the 512 training mixtures, ``numpy.random.default_rng(seed).choice(512, n, replace=False)``,
and scores on the 256 test mixtures, which nothing was chosen on. LightGBM is RegMix's own model with its
notebook's settings, but without early stopping on the test labels.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from mixlaw.laws.choose.auto import Auto
from mixlaw.laws.choose.league import spearman
from mixlaw.laws.mixture.gaussian_process import GaussianProcess

from _data import experiments


def load(split: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    table = pq.read_table(experiments(f"regmix_1m_{split}.parquet"))
    columns = {name: table[name].to_numpy() for name in table.column_names}
    pick = lambda prefix: {k: v for k, v in columns.items() if k.startswith(prefix)}  # noqa: E731
    return pick("weight_"), pick("loss_")


def take(table: dict[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
    return {k: v[rows] for k, v in table.items()}


def matrix(table: dict[str, np.ndarray]) -> np.ndarray:
    return np.column_stack(list(table.values()))


class LightGBM:
    """RegMix's regression: its notebook's settings, 1,000 rounds, no look at the test labels."""

    def fit(self, X: dict[str, np.ndarray], y: dict[str, np.ndarray]) -> LightGBM:
        import lightgbm

        settings = {
            "objective": "regression",
            "learning_rate": 1e-2,
            "num_threads": 1,
            "seed": 42,
            "verbosity": -1,
        }
        self.models = [lightgbm.train(settings, lightgbm.Dataset(matrix(X), v), 1000) for v in y.values()]
        return self

    def predict(self, X: dict[str, np.ndarray]) -> np.ndarray:
        return np.column_stack([m.predict(matrix(X), num_threads=1) for m in self.models])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="64 runs, two subsets")
    quick = parser.parse_args().quick
    train_X, train_y = load("train")
    test_X, test_y = load("test")
    truth = matrix(test_y)
    laws: dict[str, Any] = {"LightGBM (RegMix, no leak)": LightGBM, "GaussianProcess": GaussianProcess, "Auto": Auto}
    print(
        "| runs (subsets) | law | mean Spearman | MSE, nats² | share of test losses inside the 90% interval | "
        "CPU seconds per fit | wall seconds per fit |"
    )
    print("|---|---|---|---|---|---|---|")
    for n, subsets in ((64, 2),) if quick else ((16, 8), (32, 8), (64, 8), (512, 1)):
        for name, make in laws.items():
            ranks, errors, inside, cpu, wall = [], [], [], [], []
            for seed in range(subsets):
                rows = np.random.default_rng(seed).choice(512, n, replace=False) if n < 512 else np.arange(512)
                began, clock = time.process_time(), time.perf_counter()
                law = make().fit(take(train_X, rows), take(train_y, rows))
                cpu.append(time.process_time() - began)
                wall.append(time.perf_counter() - clock)
                predicted = np.asarray(law.predict(test_X))
                ranks.append(np.mean([spearman(predicted[:, t], truth[:, t]) for t in range(truth.shape[1])]))
                errors.append(((predicted - truth) ** 2).mean())
                if hasattr(law, "predict_interval"):
                    low, high = law.predict_interval(test_X, 0.9)
                    inside.append(((low <= truth) & (truth <= high)).mean())
            cover = f"{np.mean(inside):.3f}" if inside else "-"
            rank = f"{np.mean(ranks):.4f}" if np.isfinite(ranks).all() else "none: constant"
            if subsets > 1 and np.isfinite(ranks).all():
                rank += f" ± {np.std(ranks):.4f}"
            print(
                f"| {n} ({subsets}) | {name} | {rank} | {np.mean(errors):.5f} | "
                f"{cover} | {np.median(cpu):.2f} | {np.median(wall):.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
