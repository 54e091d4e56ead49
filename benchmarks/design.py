"""Designs on RegMix's 768 published runs: how many runs reach the regret that 512 random runs reach?

    python benchmarks/design.py [--quick] [--replicates 20]

The 768 measured runs are all there is: a strategy buys runs, a law is fitted, one of the 768 is chosen by the
library's rule (mixlaw.design.adaptive.recommendation), and its loss is looked up; regret is against the best measured.
Looking a run up twice gives the same number, so seed noise is 0 and every strategy is told so; what the law leaves
unexplained then belongs to the mixture. The 512 random runs are also judged by the law's favourite alone, and the
better of the two is the regret to reach.

Every strategy fits the same law (one member of the hierarchical Gaussian process, ten L-BFGS iterations) to the
objective's losses, and only sees runs it has bought. Regret is in nats per token. benchmarks/design_surrogate.py asks
the same with noise.
"""

import argparse
import sys
import time
import warnings

import numpy as np
import pyarrow.parquet as pq

from mixlaw import Budget, Corpus, MixlawWarning
from mixlaw.design.adaptive.recommendation import answer, choose_among
from mixlaw.design.adaptive.sequential import choose, choose_from
from mixlaw.design.optimal import exchange
from mixlaw.laws import GaussianProcess

from _data import experiments
from _spread import standard_error

START, BATCH, MOST = 16, 8, 64
FAVOURITE = "random 512, the law's favourite"
SAME = 1e-3  # nats: a regret reaches another if it is at most this much larger, there and with more runs


def read():
    """Mixtures (768, 17), losses (768, 13), their names; RegMix's rounding is undone by rescaling each row."""
    tables = [pq.read_table(experiments(f"regmix_1m_{part}.parquet")) for part in ("train", "test")]
    domains = [c for c in tables[0].column_names if c.startswith("weight_")]
    targets = [c for c in tables[0].column_names if c.startswith("loss_")]
    X = np.vstack([np.column_stack([t.column(c).to_numpy() for c in domains]) for t in tables])
    Y = np.vstack([np.column_stack([t.column(c).to_numpy() for c in targets]) for t in tables])
    return X / X.sum(axis=1, keepdims=True), Y, [d[7:] for d in domains], [t[5:] for t in targets]


def space(X, domains):
    """Corpus and budget of the replay: token shares as RegMix's prior implies, caps as large as any run went."""
    share = X.mean(axis=0) ** 2  # its draws centre on share ** 0.5
    tokens = {d: int(s) for d, s in zip(domains, 1e9 * share / share.sum())}
    corpus = Corpus.declared(tokens, source="implied by the mean of the published mixtures")
    return corpus, Budget(tokens=10**9, caps={d: float(min(1.0, c)) for d, c in zip(domains, X.max(axis=0))})


def fit(X, Y, domains, targets, iterations=10, members=("bc/log",)):
    law = GaussianProcess(members=members, iterations=iterations)
    return law.fit(dict(zip(domains, X.T)), dict(zip(targets, Y.T)))


def predicted(law, X):
    return np.asarray(law.predict(X)).reshape(len(X), -1)


def objectives_of(targets, singles):
    """{name: weights (13,)}: the mean of all losses, and single ones."""
    eye = np.eye(len(targets))
    return {"mean of 13": np.full(len(targets), 1 / len(targets))} | {t: eye[targets.index(t)] for t in singles}


def d_optimal(X, num, rng):
    """D-optimal for the law linear in log(r + .01), from a random 600 of the published mixtures."""
    some = rng.choice(len(X), 600, replace=False)
    G = np.hstack([np.ones((len(some), 1)), np.log(X[some] + 0.01)])
    return some[exchange(G, num, "D", seed=int(rng.integers(1 << 31)))]


def replay(part, X, Y, domains, targets, polytope, objectives, replicates, truth=None, batch=BATCH, **law_options):
    """{strategy: {objective: (replicates,) regret}} for table or surrogate, by the library's own rules.

    Looking a run up twice gives the same number: in the table seed noise is 0, and every strategy knows that. What
    strategies know of a surrogate's noise is ``truth.told``.
    """
    on_table = part == "table"
    told = 0.0 if on_table else truth.told
    scores: dict[str, dict[str, list[float]]] = {}
    where = {tuple(x): i for i, x in enumerate(X)}

    def note(strategy, name, value):
        scores.setdefault(strategy, {}).setdefault(name, []).append(value)

    def recommended(law, bought, seen, w, name, rng):
        if on_table:
            return float((Y @ objectives[name])[choose_among(law, bought, seen, w, X, rng, told).index])
        return truth.regret(name, objectives[name], answer(law, bought, seen, w, polytope, rng, told)[0])

    for replicate in range(replicates):
        began = time.process_time()
        rng = np.random.default_rng(1000 + replicate)
        values = Y if on_table else truth.runs(X, rng)
        designs = {f"random {n}": rng.choice(len(X), n, replace=False) for n in (64, 512)}
        designs["D-optimal 64"] = d_optimal(X, 64, rng)
        for name, w in objectives.items():
            used = np.flatnonzero(w)
            names, part_w = [targets[t] for t in used], w[used]
            for strategy, rows in designs.items():
                law = fit(X[rows], values[rows][:, used], domains, names, **law_options)
                note(strategy, name, recommended(law, X[rows], values[rows][:, used], part_w, name, rng))
                if on_table and strategy == "random 512":
                    note(FAVOURITE, name, float((Y @ w)[int(np.argmin(predicted(law, X) @ part_w))]))
            begin = designs["random 64"][:START]
            bought, seen = X[begin], values[begin][:, used]
            while True:
                law, count = fit(bought, seen, domains, names, **law_options), f"sequential {len(bought)}"
                if len(bought) >= MOST:
                    note(count, name, recommended(law, bought, seen, part_w, name, rng))
                    break
                if on_table:  # among the 300 likeliest and those bought
                    likely = np.argsort(predicted(law, X) @ part_w)[:300]
                    likely = np.union1d(likely, [where[tuple(x)] for x in bought])
                    pool = X[likely]
                    _, picks, today = choose_from(law, bought, seen, part_w, pool, batch, rng, 64, told, bought)
                    note(count, name, float((Y @ w)[likely[today]]))
                    found, more = pool[picks], Y[likely[picks]][:, used]
                else:
                    _, found, today = choose(law, bought, seen, part_w, polytope, batch, rng, 200, 64, told, bought)
                    note(count, name, truth.regret(name, w, today))
                    more = truth.runs(found, rng)[:, used]
                bought, seen = np.vstack([bought, found]), np.vstack([seen, more])
        cpu = time.process_time() - began
        print(f"  {part}: replicate {replicate + 1} of {replicates}, {cpu:.0f} s", file=sys.stderr, flush=True)
    floor = {n: float((Y @ w).min()) if on_table else truth.best[n] for n, w in objectives.items()}
    return {s: {n: np.array(v) - floor[n] for n, v in by.items()} for s, by in scores.items()}


def show(part, scores, objectives, replicates):
    print(f"\n## RegMix replay, {part}: mean regret in nats, {replicates} replicates\n")
    rivals = [s for s in ("random 512", FAVOURITE) if s in scores]
    steps = sorted(int(s.split()[1]) for s in scores if s.startswith("sequential"))
    columns = ["random 64", "D-optimal 64", *rivals, *(f"sequential {n}" for n in steps)]
    print("| objective | " + " | ".join(columns) + " | runs for the regret of 512 random |")
    print("|---|" + "--:|" * (len(columns) + 1))
    reached = []
    for name in objectives:
        goal = min(scores[r][name].mean() for r in rivals)
        good = [scores[f"sequential {n}"][name].mean() <= goal + SAME for n in steps]
        enough = [n for i, n in enumerate(steps) if all(good[i:])]
        reached.append(enough[0] if enough else None)
        cells = [f"{scores[c][name].mean():.4f}" for c in columns]
        print(f"| {name} | " + " | ".join(cells) + f" | {reached[-1] or f'> {MOST}'} |")
    print("\nStandard errors, largest of all objectives: " + ", ".join(
        f"{c} {standard_error(max(scores[c].values(), key=np.std))}" for c in columns
    ) + ".")  # fmt: skip
    print(f"Objectives that reach it within {MOST} runs: {sum(r is not None for r in reached)} of {len(reached)}.")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="3 replicates, 3 objectives")
    parser.add_argument("--replicates", type=int, default=None)
    options = parser.parse_args()
    replicates = options.replicates or (3 if options.quick else 20)
    warnings.simplefilter("ignore", MixlawWarning)
    X, Y, domains, targets = read()
    objectives = objectives_of(targets, ["pile_cc", "dm_mathematics"] if options.quick else targets)
    show("table", replay("table", X, Y, domains, targets, None, objectives, replicates), objectives, replicates)
    print(f"\n{time.process_time():.0f} s of processor time")


if __name__ == "__main__":
    main()
