"""Designs on RegMix's 768 published runs: how many runs reach the regret that 512 random runs reach?

    python benchmarks/design.py [--quick] [--part table|surrogate|samplers|power] [--replicates 20]

table      the 768 measured runs are all there is: a strategy buys runs, a law is fitted, the mixture it likes best
           among the 768 is looked up; regret is against the best measured.
surrogate  a law fitted on all 768 is the truth on the whole (bounded) simplex; runs are its values plus noise, and
           the chosen mixture may lie anywhere.
samplers   which sampler's 32 runs give the best law and the least regret, on the surrogate truth.
power      regret predicted from a 32-run pilot against the regret realised in replay.

Every strategy fits the same law (one member of the hierarchical Gaussian process, ten L-BFGS iterations), and only
sees runs it has bought. Regret is in nats per token.
"""

import argparse
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from mixlaw import Budget, Corpus, MixlawWarning, Mixture, Observations
from mixlaw.design import Polytope, power_analysis, propose
from mixlaw.design.optimal import exchange
from mixlaw.design.recommendation import answer, choose_among
from mixlaw.design.sequential import choose, choose_from
from mixlaw.design.worlds import minimise
from mixlaw.laws import GaussianProcess

from _data import experiments

START, BATCH, MOST = 16, 8, 64
STEPS = list(range(START, MOST + 1, BATCH))
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


def fit(X, Y, domains, targets, iterations=10):
    law = GaussianProcess(members=("bc/log",), iterations=iterations)
    return law.fit(dict(zip(domains, X.T)), dict(zip(targets, Y.T)))


def predicted(law, X):
    return np.asarray(law.predict(X)).reshape(len(X), -1)


def d_optimal(X, num, rng):
    """D-optimal for the law linear in log(r + .01), from a random 600 of the published mixtures."""
    some = rng.choice(len(X), 600, replace=False)
    G = np.hstack([np.ones((len(some), 1)), np.log(X[some] + 0.01)])
    return some[exchange(G, num, "D", seed=int(rng.integers(1 << 31)))]


class Truth:
    """The surrogate: a law on all 768 runs, its noise, and its best mixture for every objective."""

    def __init__(self, X, Y, domains, targets, polytope, objectives, quick):
        self.law = fit(X, Y, domains, targets, 10)
        self.noise = self.law.seed_noise()
        rng = np.random.default_rng(0)
        self.best = {}
        for name, w in objectives.items():
            order = np.argsort(predicted(self.law, X) @ w)[:20]
            finds = [minimise(self.law, polytope, w, rng, X[order]) for _ in range(1 if quick else 2)]
            self.best[name] = min(f[1] for f in finds)

    def runs(self, X, rng):
        return predicted(self.law, X) + self.noise * rng.standard_normal((len(X), len(self.noise)))

    def regret(self, name, w, x):
        value = float((predicted(self.law, x[None]) @ w)[0])
        self.best[name] = min(self.best[name], value)  # nobody knows the exact optimum: take the best ever seen
        return value


def replay(part, X, Y, domains, targets, polytope, objectives, replicates, truth=None):
    """{strategy: {objective: (replicates,) regret}} for table or surrogate, by the library's own rules.

    Looking a run up twice gives the same number: in the table seed noise is 0, and every strategy knows that.
    """
    on_table = part == "table"
    scores: dict[str, dict[str, list[float]]] = {}

    def note(strategy, name, value):
        scores.setdefault(strategy, {}).setdefault(name, []).append(value)

    def recommended(law, bought, seen, w, name, rng):
        if on_table:
            return float((Y @ objectives[name])[choose_among(law, bought, seen, w, X, rng, 0.0).index])
        return truth.regret(name, objectives[name], answer(law, bought, seen, w, polytope, rng)[0])

    for replicate in range(replicates):
        began = time.process_time()
        rng = np.random.default_rng(1000 + replicate)
        values = Y if on_table else truth.runs(X, rng)
        designs = {f"random {n}": rng.choice(len(X), n, replace=False) for n in (64, 512)}
        designs["D-optimal 64"] = d_optimal(X, 64, rng)
        for strategy, rows in designs.items():
            law = fit(X[rows], values[rows], domains, targets, 6 if len(rows) > 200 else 10)
            for name, w in objectives.items():
                note(strategy, name, recommended(law, X[rows], values[rows], w, name, rng))
                if on_table and strategy == "random 512":
                    note(FAVOURITE, name, float((Y @ w)[int(np.argmin(predicted(law, X) @ w))]))
        for name, w in objectives.items():
            used = np.flatnonzero(w)
            names, part_w = [targets[t] for t in used], w[used]
            begin = designs["random 64"][:START]
            bought, seen = X[begin], values[begin][:, used]
            while True:
                law = fit(bought, seen, domains, names)
                note(f"sequential {len(bought)}", name, recommended(law, bought, seen, part_w, name, rng))
                if len(bought) >= MOST:
                    break
                if on_table:
                    likely = np.argsort(predicted(law, X) @ part_w)[:300]
                    _, picks, _ = choose_from(law, bought, seen, part_w, X[likely], BATCH, rng, 64, 0.0, bought)
                    batch, more = X[likely[picks]], Y[likely[picks]][:, used]
                else:
                    _, batch, _ = choose(law, bought, seen, part_w, polytope, BATCH, rng, 200, 64, avoid=bought)
                    more = truth.runs(batch, rng)[:, used]
                bought, seen = np.vstack([bought, batch]), np.vstack([seen, more])
        cpu = time.process_time() - began
        print(f"  {part}: replicate {replicate + 1} of {replicates}, {cpu:.0f} s", file=sys.stderr, flush=True)
    floor = {n: float((Y @ w).min()) if on_table else truth.best[n] for n, w in objectives.items()}
    return {s: {n: np.array(v) - floor[n] for n, v in by.items()} for s, by in scores.items()}


def show(part, scores, objectives, replicates):
    print(f"\n### RegMix replay, {part}: mean regret in nats, {replicates} replicates\n")
    rivals = [s for s in ("random 512", FAVOURITE) if s in scores]
    columns = ["random 64", "D-optimal 64", *rivals, *(f"sequential {n}" for n in STEPS)]
    print("| objective | " + " | ".join(columns) + " | runs for the regret of 512 random |")
    print("|---|" + "--:|" * (len(columns) + 1))
    reached = []
    for name in objectives:
        goal = min(scores[r][name].mean() for r in rivals)
        good = [scores[f"sequential {n}"][name].mean() <= goal + SAME for n in STEPS]
        enough = [n for i, n in enumerate(STEPS) if all(good[i:])]
        reached.append(enough[0] if enough else None)
        cells = [f"{scores[c][name].mean():.4f}" for c in columns]
        print(f"| {name} | " + " | ".join(cells) + f" | {reached[-1] or f'> {MOST}'} |")
    print("\nStandard errors, largest of all objectives: " + ", ".join(
        f"{c} {max(v.std(ddof=1) for v in scores[c].values()) / np.sqrt(replicates):.4f}" for c in columns
    ) + ".")  # fmt: skip
    print(f"Objectives that reach it within {MOST} runs: {sum(r is not None for r in reached)} of {len(reached)}.")


def samplers(X, Y, domains, targets, corpus, budget, polytope, truth, objectives, replicates):
    """Law and choice from 32 runs of each sampler, on the surrogate truth; tested on the published mixtures."""
    from scipy.stats import spearmanr

    name, w = next(iter(objectives.items()))
    exact = predicted(truth.law, X)
    print(f"\n### 32 runs by each sampler, surrogate truth, {replicates} replicates\n")
    print(f"| sampler | RMSE on the published mixtures, nats | Spearman | regret, {name} | seconds to propose |")
    print("|---|--:|--:|--:|--:|")
    for sampler in (
        "dirichlet",
        "double_diminishing",
        "lattice",
        "maximin",
        "low_discrepancy",
        "d_optimal",
        "i_optimal",
    ):
        errors, ranks, losses, seconds = [], [], [], []
        for replicate in range(replicates):
            rng = np.random.default_rng(replicate)
            began = time.perf_counter()
            design = propose(corpus, budget, 32, sampler=sampler, seed=replicate)
            seconds.append(time.perf_counter() - began)
            D = np.array([s.mixture.array(corpus.names) for s in design])
            law = fit(D, truth.runs(D, rng), domains, targets)
            guess = predicted(law, X)
            errors.append(np.sqrt(np.mean((guess - exact) ** 2)))
            ranks.append(np.mean([spearmanr(guess[:, t], exact[:, t])[0] for t in range(len(targets))]))
            x, _ = minimise(law, polytope, w, rng, D[np.argsort(predicted(law, D) @ w)[:10]])
            losses.append(truth.regret(name, w, x))
        regret = np.mean(losses) - truth.best[name]
        print(
            f"| {sampler} | {np.mean(errors):.4f} | {np.mean(ranks):.4f} | {regret:.4f} | {np.mean(seconds):.2f} |",
            flush=True,
        )


def power(X, domains, targets, corpus, budget, truth, objectives, replicates, worlds):
    """Predicted from 32-run pilots against realised: random designs, choosing among 192 published mixtures."""
    counts = (16, 32, 64)
    inside = X[Polytope.of(corpus, budget).contains(X)][::4]  # a quarter of the published mixtures: 192
    decisions = [Mixture.from_array(domains, x) for x in inside]
    exact = predicted(truth.law, inside)
    print(f"\n### Power: regret predicted from 32-run pilots ({replicates} pilots, {worlds} worlds each)\n")
    print("| objective | runs | predicted | realised (se) | ratio |")
    print("|---|--:|--:|--:|--:|")
    for name, w in objectives.items():
        predictions, realised = [], []
        for replicate in range(replicates):
            rng = np.random.default_rng(500 + replicate)
            pilot = propose(corpus, budget, 32, seed=9000 + replicate)
            losses = truth.runs(np.array([s.mixture.array(corpus.names) for s in pilot]), rng)
            records = Observations.from_records(
                [{"run": f"p{i}", "schedule": s} for i, s in enumerate(pilot)],
                [
                    {"run": f"p{i}", "target": t, "value": float(v)}
                    for i, row in enumerate(losses)
                    for t, v in zip(targets, row)
                    if w[targets.index(t)] > 0
                ],
            )
            law = GaussianProcess(members=("bc/log",), iterations=10)
            options = {"law": law, "fit": law, "worlds": worlds, "seed": replicate, "decisions": decisions}
            goal = {t: float(v) for t, v in zip(targets, w) if v > 0}
            found = power_analysis(corpus, budget, counts, pilot=records, objective=goal, **options)
            predictions.append([p.regret for p in found.points])
        used = np.flatnonzero(w)
        for replicate in range(3 * replicates):
            rng = np.random.default_rng(700 + replicate)
            design = propose(corpus, budget, max(counts), seed=7000 + replicate)
            D = rng.permutation(np.array([s.mixture.array(corpus.names) for s in design]))
            losses = truth.runs(D, rng)[:, used]
            value = exact @ w
            laws = [fit(D[:n], losses[:n], domains, [targets[t] for t in used]) for n in counts]
            realised.append([value[np.argmin(predicted(law, inside) @ w[used])] - value.min() for law in laws])
        for c, n in enumerate(counts):
            guess, real = np.mean(predictions, axis=0)[c], np.mean(realised, axis=0)[c]
            error = np.std(realised, axis=0, ddof=1)[c] / np.sqrt(len(realised))
            print(
                f"| {name} | {n} | {guess:.4f} | {real:.4f} ({error:.4f}) | {guess / max(real, 1e-9):.2f} |", flush=True
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="3 replicates, 3 objectives")
    parser.add_argument("--part", choices=["table", "surrogate", "samplers", "power"], default=None)
    parser.add_argument("--replicates", type=int, default=None)
    parser.add_argument("--minutes", type=float, default=1e9, help="start no further replicate after so long")
    parser.add_argument("--objectives", nargs="*", default=None, help="targets besides the mean of 13; default all")
    options = parser.parse_args()
    replicates = options.replicates or (3 if options.quick else 20)
    warnings.simplefilter("ignore", MixlawWarning)
    X, Y, domains, targets = read()
    corpus, budget = space(X, domains)
    polytope = Polytope.of(corpus, budget)
    objectives = {"mean of 13": np.full(len(targets), 1 / len(targets))}
    singles = ["pile_cc", "dm_mathematics"] if options.quick else targets
    singles = singles if options.objectives is None else options.objectives
    objectives |= {t: np.eye(len(targets))[targets.index(t)] for t in singles}
    parts = [options.part] if options.part else ["table", "surrogate", "samplers", "power"]
    truth = None
    if set(parts) - {"table"}:
        truth = Truth(X, Y, domains, targets, polytope, objectives, options.quick)
    began = time.perf_counter()
    for part in parts:
        if part in ("table", "surrogate"):
            show(
                part,
                replay(part, X, Y, domains, targets, polytope, objectives, replicates, truth),
                objectives,
                replicates,
            )
        elif part == "samplers":
            samplers(X, Y, domains, targets, corpus, budget, polytope, truth, objectives, max(2, replicates // 4))
        else:
            some = {n: w for n, w in objectives.items() if n in ("pile_cc", "github", "mean of 13")}
            some = dict(sorted(some.items(), key=lambda item: np.count_nonzero(item[1])))  # cheap ones first
            power(X, domains, targets, corpus, budget, truth, some, max(2, replicates // 4), 6)
        print(f"\n{part}: {time.perf_counter() - began:.0f} s so far, {Path(__file__).name}", flush=True)


if __name__ == "__main__":
    main()
