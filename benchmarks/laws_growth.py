"""How ``Auto``'s time and memory grow with runs n, domains K and targets T.

    python benchmarks/laws_growth.py [--quick]

Every case runs in its own process, so that memory is that of the case. Losses are simulated: one
effective-token term per target, plus noise; the last column is the error of the prediction against the truth,
in units of the noise.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np

NOISE = 0.01
CASES = [
    (16, 17, 13),
    (64, 17, 13),
    (256, 17, 13),
    (256, 200, 13),
    (256, 17, 50),
    (10_000, 17, 13),
    (10_000, 200, 50),
]


def simulated(n: int, K: int, T: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mixtures (n, K), observed and true losses (n, T)."""
    fixed, rng = np.random.default_rng(7), np.random.default_rng(seed)
    transfer = np.exp(fixed.normal(-3, 1, (T, K)))
    transfer[np.arange(T), np.arange(T) % K] = 1.0
    level, power = fixed.uniform(1.5, 3, T), fixed.uniform(0.2, 0.5, T)
    X = rng.dirichlet(np.full(K, 0.5), n)
    truth = level + 0.5 * (0.01 + X @ transfer.T) ** -power
    return X, truth + NOISE * rng.standard_normal(truth.shape), truth


def one(n: int, K: int, T: int) -> None:
    from mixlaw.laws.choose.auto import Auto

    X, Y, _ = simulated(n, K, T, 0)
    names = [f"domain_{j}" for j in range(K)]
    targets = [f"loss_domain_{t % K}" + (f"_{t // K}" if t >= K else "") for t in range(T)]
    began, clock = time.process_time(), time.perf_counter()
    law = Auto().fit(dict(zip(names, X.T, strict=True)), dict(zip(targets, Y.T, strict=True)))
    cpu, wall = time.process_time() - began, time.perf_counter() - clock
    fresh, _, truth = simulated(300, K, T, 1)
    error = float(np.abs(law.predict(dict(zip(names, fresh.T, strict=True))) - truth).mean() / NOISE)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    share = {k: round(float(np.mean(w)), 2) for k, w in law.weights_.items() if np.max(w) > 0}
    parts = {row.name: round(row.seconds, 1) for row in law.league_.rows if not row.error}
    print(json.dumps({"cpu": cpu, "wall": wall, "peak": peak, "error": error, "weights": share, "seconds": parts}))


def listed(values: dict[str, float]) -> str:
    return ", ".join(f"{k} {v:g}" for k, v in values.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the two smallest cases")
    parser.add_argument("--case", nargs=3, type=int, help="one case in this process: n K T")
    parser.add_argument("--only", type=int, help="only the case with this index")
    options = parser.parse_args()
    if options.case:
        one(*options.case)
        return
    print(
        "| runs n | domains K | targets T | CPU seconds | wall seconds | peak memory, GB | error / noise | "
        "weights of the average | seconds by family |"
    )
    print("|--:|--:|--:|--:|--:|--:|--:|---|---|")
    cases = CASES[:2] if options.quick else CASES if options.only is None else [CASES[options.only]]
    for n, K, T in cases:
        command = [sys.executable, "-W", "ignore", __file__, "--case", str(n), str(K), str(T)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"| {n} | {K} | {T} | failed: {done.stderr.strip().splitlines()[-1]} |", flush=True)
            continue
        r = json.loads(done.stdout.strip().splitlines()[-1])
        print(
            f"| {n} | {K} | {T} | {r['cpu']:.1f} | {r['wall']:.1f} | {r['peak']:.2f} | {r['error']:.2f} | "
            f"{listed(r['weights'])} | {listed(r['seconds'])} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
