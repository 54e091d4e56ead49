"""How much of the attainable gain does replan reach where its own law holds, and what does planning cost?

    python benchmarks/replan_simulated.py

Simulated runs of 1,953 steps whose losses follow a power of the effective tokens, with random exponents, amplitudes and
transfer, and with recency, seen through probes with a noise of 0.01 nats. That is another law than the one which is
fitted. *Own sets*: every domain's held-out set counts alike, and exploring is asked for; *one set*: a single set that
is none of the domains'. The gain is against equal weights, in nats per token of the objective. Real runs need not be
so.
"""

import argparse
import time

import numpy as np
from scipy.optimize import minimize

from mixlaw.data.mixture import Schedule
from mixlaw.train.strategies.replan import Replan

STEPS = 1953


def simulate(count: int, seed: int, outside: bool, noise: float = 0.01, rho: float = 1.0) -> tuple[float, float, float]:
    """Gain reached, gain of the best fixed mixture, and processor seconds of the strategy."""
    rng = np.random.default_rng(seed)
    names = [f"d{i}" for i in range(count)]
    sets = ["x"] if outside else names
    schedule = Schedule.constant(dict.fromkeys(names, 1 / count))
    replan = Replan(
        schedule,
        STEPS,
        dict.fromkeys(sets, 1 / len(sets)),
        {name: name for name in names},
        explore=0.35,
        batch_tokens=1024,
    )
    E, C, a = rng.uniform(1, 2.5, len(sets)), rng.uniform(0.4, 1.6, len(sets)), rng.uniform(0.15, 0.45, len(sets))
    T = np.exp(rng.normal(np.log(0.15), 1, (len(sets), count)))
    if not outside:
        np.fill_diagonal(T, 1)
    drawn, recent, spent = np.zeros((STEPS, count)), (np.arange(STEPS) + 0.5) ** rho, 0.0

    def losses(weights: np.ndarray, until: int) -> np.ndarray:
        mean = recent[:until] @ weights[:until] / recent[:until].sum()
        return E + C * (until / STEPS * (T @ mean)) ** -a

    def fixed(q: np.ndarray) -> float:
        return float((E + C * (T @ q) ** -a).mean())

    for step in range(STEPS):
        shown = None
        if replan.asks(step):
            seen = losses(drawn, step) + noise * rng.standard_normal(len(sets))
            shown = dict(zip(sets, seen.tolist()))
        began = time.process_time()
        mixture = replan.update(step, shown)
        spent += time.process_time() - began
        drawn[step] = mixture.array(names)
    equal = np.full(count, 1 / count)
    simplex = {"type": "eq", "fun": lambda q: q.sum() - 1}
    best = minimize(fixed, equal, bounds=[(1e-4, 1)] * count, constraints=simplex).fun
    return losses(drawn, STEPS).mean() - fixed(equal), best - fixed(equal), spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=8)
    args = parser.parse_args()
    print(
        "| objective | domains | gain reached | gain of the best fixed mixture | worse than equal weights | seconds |"
    )
    print("|---|--:|--:|--:|--:|--:|")
    for outside in (False, True):
        for count in (3, 5, 7):
            found = np.array([simulate(count, seed, outside) for seed in range(args.runs)])
            reached, attainable, spent = found.mean(axis=0)
            worse = int((found[:, 0] > 0).sum())
            print(
                f"| {'one set' if outside else 'own sets'} | {count} | {reached:+.4f} | {attainable:+.4f} | "
                f"{worse} of {args.runs} | {spent:.2f} |"
            )


if __name__ == "__main__":
    main()
