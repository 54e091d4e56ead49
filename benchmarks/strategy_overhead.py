"""What the strategies themselves cost: processor time of `update`, for those that look at losses or gradients.

    python benchmarks/strategy_overhead.py

Losses and gradients are made up, so nothing that the trainer measures is in these figures. Takes about a minute.
"""

from __future__ import annotations

import time

import numpy as np

from mixlaw.data.mixture import Schedule
from mixlaw.train.strategies import STRATEGIES

STEPS = (500, 5000)
DOMAINS = (5, 7, 17)
PARAMS = 500_000  # a proxy of width 64 with a vocabulary of 4,096


def milliseconds(name: str, domains: int, steps: int) -> float:
    """Mean processor time of one call, over a run."""
    schedule = Schedule.constant({f"domain {i}": 1 / domains for i in range(domains)})
    objective = {d: 1 / domains for d in schedule.domains}
    ring = {a: {a: 1.0, b: 0.3} for a, b in zip(schedule.domains, schedule.domains[1:] + schedule.domains[:1])}
    options = {"tikmix": {"objective": objective}, "skill_it": {"graph": ring}, "doremi": {"reference": "r"}}
    strategy = STRATEGIES.make(name, {"schedule": schedule, "num_steps": steps, **options.get(name, {})})
    rng = np.random.default_rng(0)
    gradients = {d: rng.normal(size=PARAMS).astype(np.float32) for d in schedule.domains}
    total = 0.0
    for step in range(steps):
        asked = strategy.asks(step)
        given: dict = {}
        if asked & {"losses", "reference", "probes"}:
            given["losses"] = {
                d: 3 + i / 9 + 3 * (step + 1) ** -0.4 + 0.05 * rng.normal() for i, d in enumerate(schedule.domains)
            }
        if "gradients" in asked:
            given["gradients"] = gradients
        if "target" in asked:
            given["target"] = gradients[schedule.domains[0]]
        began = time.process_time()
        strategy.update(step, **given)
        total += time.process_time() - began
    return 1000 * total / steps


def main() -> None:
    runs = [(k, n) for k in DOMAINS for n in STEPS]
    print("| strategy | " + " | ".join(f"{k} domains, {n:,} steps" for k, n in runs) + " |")
    print("|---|" + "--:|" * len(runs))
    for name in ("doremi", "odm", "ado", "skill_it", "aioli", "tikmix"):
        row = " | ".join(f"{milliseconds(name, k, n):.3f}" for k, n in runs)
        print(f"| {name} | {row} |", flush=True)
    row = " | ".join(f"{milliseconds('doge', k, 200):.2f}" if n == STEPS[0] else "" for k, n in runs)
    print(f"| doge (200 steps) | {row} |")


if __name__ == "__main__":
    main()
