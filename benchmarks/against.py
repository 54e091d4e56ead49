"""Is this checkout as accurate and as fast as another one?

    python benchmarks/against.py OTHER [--repeats 3] [--only NAME ...]

OTHER is the root of another checkout of mixlaw, such as a worktree of an earlier commit. Every task runs in processes
of its own, in turn with the one and the other source, so that a busy machine slows both alike. A task prints what it
found and its processor time; the table shows the median of the ratios of time (this over the other: below 1 is
faster) and the largest difference between the two results. Tasks use names that both versions have, and the published
data of this checkout.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import textwrap
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]

_HEAD = """
import json, sys, tempfile, time, warnings
from pathlib import Path
import numpy as np
import pyarrow.parquet as pq
warnings.simplefilter("ignore")
import sklearn.base  # both versions import it, in 0.7 s that would hide what they differ by
import mixlaw as ml
DATA = Path(sys.argv[1])

def regmix(runs, targets, part="train"):
    table = pq.read_table(DATA / f"regmix_1m_{part}.parquet").slice(0, runs)
    X = {c: table.column(c).to_numpy() for c in table.column_names if c.startswith("weight_")}
    total = sum(X.values())
    X = {c: v / total for c, v in X.items()}
    losses = [c for c in table.column_names if c.startswith("loss_")][:targets]
    return X, {c: table.column(c).to_numpy() for c in losses}

def corpus_of(X):
    names = {c: int(1 + 250e9 * v.mean()) for c, v in X.items()}
    return ml.Corpus.declared(names, source="mean of the runs x 250B tokens")

def task():
"""
_TAIL = """

begin = time.process_time()
result = task()
print(json.dumps({"seconds": time.process_time() - begin, "result": np.asarray(result, dtype=float).ravel().tolist()}))
"""

# name -> (what it measures, code; the last statement returns numbers to compare)
TASKS: dict[str, tuple[str, str]] = {
    "chinchilla": (
        "Chinchilla's law on 240 published points, 4,000 bootstrap resamples",
        """
        table = pq.read_table(DATA / "chinchilla_points.parquet")
        N, D, y = (table.column(c).to_numpy()[5:] for c in ("params", "tokens", "loss"))
        law = ml.laws.Chinchilla(bootstrap=4000).fit(np.c_[N, D], y)
        return [law.objective_, law.parameters_["alpha"], law.parameters_["beta"], *law.intervals_["alpha"]]
        """,
    ),
    "chinchilla_once": (
        "Chinchilla's law on 240 published points without intervals, 100 fits",
        """
        table = pq.read_table(DATA / "chinchilla_points.parquet")
        N, D, y = (table.column(c).to_numpy()[5:] for c in ("params", "tokens", "loss"))
        laws = [ml.laws.Chinchilla().fit(np.c_[N, D], y) for _ in range(100)]
        return [laws[-1].objective_, laws[-1].parameters_["alpha"], laws[-1].parameters_["beta"]]
        """,
    ),
    "kaplan": (
        "Kaplan's law of size and tokens on 240 published points, 50 fits",
        """
        table = pq.read_table(DATA / "chinchilla_points.parquet")
        N, D, y = (table.column(c).to_numpy()[5:] for c in ("params", "tokens", "loss"))
        laws = [ml.laws.Kaplan("ND").fit(np.c_[N, D], y) for _ in range(50)]
        return laws[-1].predict(np.c_[N, D])
        """,
    ),
    "repeated": (
        "Repeated data, all seven parameters, 182 made-up runs, 10 fits",
        """
        rng = np.random.default_rng(0)
        N, U = 10 ** rng.uniform(7, 10, 182), 10 ** rng.uniform(8, 10.5, 182)
        X = np.c_[N, U * 10 ** rng.uniform(0, 2, 182), U]
        y = ml.laws.published("muennighoff2023").predict(X) * np.exp(0.005 * rng.normal(size=182))
        laws = [ml.laws.RepeatedData().fit(X, y) for _ in range(10)]
        return laws[-1].predict(X)
        """,
    ),
    "annealing": (
        "Learning-rate annealing on 60 made-up steps, its memory fitted, 5 fits",
        """
        schedule = {"name": "cosine", "total": 40_000, "warmup": 1_000}
        rng = np.random.default_rng(0)
        step = np.linspace(3_000, 40_000, 60)
        y = (2.5 + 20 * step**-0.5 - 2e-9 * (step - 3_000) ** 1.5) * np.exp(0.001 * rng.normal(size=60))
        laws = [ml.laws.LearningRateAnnealing(schedule).fit({"step": step}, y) for _ in range(5)]
        return laws[-1].predict({"step": step})
        """,
    ),
    "annealing_given": (
        "The same with its memory given, 50 fits",
        """
        schedule = {"name": "cosine", "total": 40_000, "warmup": 1_000}
        rng = np.random.default_rng(0)
        step = np.linspace(3_000, 40_000, 60)
        y = (2.5 + 20 * step**-0.5 - 2e-9 * (step - 3_000) ** 1.5) * np.exp(0.001 * rng.normal(size=60))
        laws = [ml.laws.LearningRateAnnealing(schedule, decay=0.999).fit({"step": step}, y) for _ in range(50)]
        return laws[-1].predict({"step": step})
        """,
    ),
    "m4_starts": (
        "M4 on 64 RegMix runs, 17 domains, 13 losses, 300 starts",
        """
        X, y = regmix(64, 13)
        law = ml.laws.M4(num_starts=300, prior="separate").fit(X, y)
        return law.predict(regmix(256, 13, "test")[0])
        """,
    ),
    "effective_tokens": (
        "Effective tokens on 128 RegMix runs, 13 losses",
        """
        X, y = regmix(128, 13)
        return ml.laws.EffectiveTokens().fit(X, y).predict(regmix(256, 13, "test")[0])
        """,
    ),
    "auto_32": (
        "Auto on 32 RegMix runs, 4 losses",
        """
        X, y = regmix(32, 4)
        law = ml.laws.Auto(seed=0).fit(X, y)
        test = regmix(256, 4, "test")[0]
        return np.concatenate([law.predict(test), *law.predict_interval(test)])
        """,
    ),
    "auto_128": (
        "Auto on 128 RegMix runs, 4 losses",
        """
        X, y = regmix(128, 4)
        return ml.laws.Auto(seed=0).fit(X, y).predict(regmix(256, 4, "test")[0])
        """,
    ),
    "compare": (
        "League of five laws on 48 RegMix runs, 2 losses",
        """
        X, y = regmix(48, 2)
        league = ml.laws.compare(["m1", "m2", "m4", "log_linear" if "log_linear" in ml.laws.LAWS else "loglinear",
                                  "effective_tokens"], X, y)
        return sorted(row.mae for row in league.rows)
        """,
    ),
    "joint": (
        "Joint law of mixture, size and tokens on 4 sizes x 24 made-up runs",
        """
        rng = np.random.default_rng(0)
        W = rng.dirichlet([1.5, 1, 0.8], 96)
        N, D = np.repeat([7e7, 1.6e8, 3e8, 4.1e8], 24), np.tile([1e9, 2e9, 4e9, 8e9, 1.6e10, 3.2e10], 16)
        y = 2 + 400 / N**0.35 + 900 / D**0.33 + 0.5 * np.exp(-2 * W[:, 0]) + rng.normal(0, 0.002, 96)
        X = {"web": W[:, 0], "code": W[:, 1], "books": W[:, 2], "params": N, "tokens": D}
        law = ml.laws.Joint().fit(X, y)
        return law.predict(X)
        """,
    ),
    "optimum": (
        "Certified optimum, 17 domains, 13 losses, twenty times",
        """
        X, y = regmix(64, 13)
        law = ml.laws.EffectiveTokens(ridge=1e-3, prior="separate").fit(X, y)
        corpus, budget = corpus_of(X), ml.Budget("25B", max_epochs=4)
        objective = dict.fromkeys(law.target_names_, 1.0)
        for _ in range(20):
            recipe = ml.optimize(law, objective, budget, corpus, num_bootstrap=0)
        return [recipe.mixture[n] for n in corpus.names]
        """,
    ),
    "bootstrap_gain": (
        "Optimum with the interval of its gain, 20 refits",
        """
        X, y = regmix(64, 4)
        law = ml.laws.M4(ridge=1e-3, prior="separate").fit(X, y)
        corpus, budget = corpus_of(X), ml.Budget("25B", max_epochs=4)
        objective = dict.fromkeys(law.target_names_, 1.0)
        recipe = ml.optimize(law, objective, budget, corpus, runs=(X, y), num_bootstrap=20)
        return [recipe.difference.mean, recipe.difference.low, recipe.difference.high]
        """,
    ),
    "whole_recipe": (
        "Optimum of effective tokens with 10 refits, 128 RegMix runs, 13 losses, five times",
        """
        X, y = regmix(128, 13)
        law = ml.laws.EffectiveTokens(ridge=1e-3, prior="separate").fit(X, y)
        corpus, budget = corpus_of(X), ml.Budget("25B", max_epochs=4)
        objective = dict.fromkeys(law.target_names_, 1.0)
        for _ in range(5):
            recipe = ml.optimize(law, objective, budget, corpus, num_bootstrap=10)
        return [recipe.difference.mean, recipe.difference.low, recipe.difference.high]
        """,
    ),
    "recipe_of_auto": (
        "Fit and optimum of Auto with all its intervals, 64 RegMix runs, 17 domains, 13 losses",
        """
        X, y = regmix(64, 13)
        law = ml.laws.Auto().fit(X, y)
        recipe = ml.optimize(law, dict.fromkeys(law.target_names_, 1.0), ml.Budget("25B", max_epochs=4), corpus_of(X))
        return [recipe.mixture[n] for n in corpus_of(X).names]
        """,
    ),
    "frontier": (
        "Frontier of 200 points, 3 losses",
        """
        X, y = regmix(64, 3)
        law = ml.laws.EffectiveTokens(ridge=1e-3, prior="separate").fit(X, y)
        front = ml.optimize.frontier(law, list(law.target_names_), ml.Budget("25B"), corpus_of(X), num=200)
        return [len(front), float(np.max(front.gap)) < 1e-6]
        """,
    ),
    "plan": (
        "The next 4 runs after 24, Gaussian process, 6 domains",
        """
        rng = np.random.default_rng(0)
        names = list("abcdef")
        W = rng.dirichlet(np.ones(6), 24)
        loss = 2 + np.exp(-3 * W[:, 0]) + 0.5 * np.exp(-2 * W[:, 1])
        mixtures = [dict(zip(names, (w / w.sum()).tolist())) for w in W]
        rows = [{"run": f"r{i}", "schedule": m, "seed": i} for i, m in enumerate(mixtures)]
        values = [{"run": f"r{i}", "step": 1, "target": "t", "value": float(v)} for i, v in enumerate(loss)]
        obs = ml.Observations.from_records(rows, values)
        corpus = ml.Corpus.declared(dict.fromkeys(names, 10**9), source="made up")
        found = ml.design.plan(corpus, ml.Budget("1B"), 4, obs, 0, objective={"t": 1.0}, candidates=100)
        return [[s.mixture[n] for n in names] for s in found.schedules]
        """,
    ),
    "tokens": (
        "Token build of 2 x 2 MB of made-up text",
        """
        rng = np.random.default_rng(0)
        words = np.array(["".join(rng.choice(list("abcdefgh"), 5)) for _ in range(3000)])
        with tempfile.TemporaryDirectory() as folder:
            for name in ("a", "b"):
                texts = [" ".join(rng.choice(words, 120)) for _ in range(2800)]
                lines = "".join(json.dumps({"text": t}) + chr(10) for t in texts)
                (Path(folder) / f"{name}.jsonl").write_text(lines)
            files = {n: f"{folder}/{n}.jsonl" for n in ("a", "b")}
            corpus = ml.tokens.build(files, Path(folder) / "s", vocab_size=1024)
        return [d.unique_tokens for d in corpus.domains]
        """,
    ),
    "training": (
        "60 training steps of the proxy d64, fp32",
        """
        rng = np.random.default_rng(0)
        with tempfile.TemporaryDirectory() as folder:
            text = [" ".join(rng.choice(["ab", "cd", "ef", "gh"], 200)) for _ in range(400)]
            (Path(folder) / "a.jsonl").write_text("".join(json.dumps({"text": t}) + chr(10) for t in text))
            files = {"a": f"{folder}/a.jsonl"}
            corpus = ml.tokens.build(files, Path(folder) / "s", vocab_size=512, validation_tokens=512)
            spec = ml.RunSpec(ml.Schedule.constant({"a": 1.0}), tokens=60 * 8 * 128, model={"preset": "d64"}, batch=8,
                              context=128, optimizer={"precision": "fp32"}, evaluate_at=(1.0,))
            run = Path(folder) / "run"
            ml.train.TorchTrainer(corpus, Path(folder) / "s" / "tokens", curve_points=0).run(spec, run)
            values = ml.Observations.read(run).values.to_pylist()
        return [v["value"] for v in values if v["metric"] == "loss"]
        """,
    ),
}


def run(code: str, root: Path) -> dict[str, object]:
    """One task in a process with the source of ``root``."""
    body = _HEAD + textwrap.indent(textwrap.dedent(code).strip("\n"), "    ") + "\n" + _TAIL
    env = {**os.environ, "PYTHONPATH": str(root / "src"), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    data = HERE / "tests" / "data" / "published"
    done = subprocess.run([sys.executable, "-c", body, str(data)], env=env, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"With the source of {root}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=sorted(TASKS))
    options = parser.parse_args()
    print("| task | CPU seconds, other | CPU seconds, this | ratio | largest difference of the result |")
    print("|---|--:|--:|--:|--:|")
    for name in options.only or TASKS:
        what, code = TASKS[name]
        ratios, times, difference = [], [], 0.0
        for turn in range(options.repeats):
            pair = [(options.other, None), (HERE, None)][:: -1 if turn % 2 else 1]
            found = {root: run(code, root) for root, _ in pair}
            before, now = found[options.other], found[HERE]
            a, b = before["result"], now["result"]
            if len(a) != len(b):  # type: ignore[arg-type]
                raise SystemExit(f"{name}: {len(a)} numbers in {options.other}, {len(b)} here")  # type: ignore[arg-type]
            difference = max([difference, *(abs(x - y) for x, y in zip(a, b))])  # type: ignore[call-overload]
            times.append((before["seconds"], now["seconds"]))
            ratios.append(now["seconds"] / before["seconds"])  # type: ignore[operator]
        old, new = (statistics.median(t[i] for t in times) for i in (0, 1))
        print(f"| {what} | {old:.2f} | {new:.2f} | {statistics.median(ratios):.2f} | {difference:.1e} |", flush=True)


if __name__ == "__main__":
    main()
