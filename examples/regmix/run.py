"""RegMix's published runs, from CSV to a recipe with prices and a Pareto plot.

    python examples/regmix/run.py train_mixture_1m.csv train_pile_loss_1m.csv --out regmix_out
    python examples/regmix/run.py regmix_1m_train.parquet --out regmix_out

The files are RegMix's own (github.com/sail-sg/regmix, arXiv:2407.01492): 512 mixtures of 17 Pile domains, each with 13
validation losses of a model with 1M parameters. Token counts of the domains are not among them, so the corpus here is
declared: 250B tokens in the proportions of the swarm's mean, which RegMix draws around the natural mixture.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

import mixlaw as ml

CORPUS_TOKENS = 250e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path("regmix_out"))
    parser.add_argument("--tokens", type=int, default=int(CORPUS_TOKENS), help="budget of the target run")
    parser.add_argument("--max-epochs", type=float, default=4.0)
    parser.add_argument("--runs", type=int, help="use only the first so many runs")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    # 1. what was measured; RegMix rounds its weights to three decimals, so they are rescaled on purpose
    if len(options.files) == 1:
        observations = ml.Observations.read(options.files[0], repair=True)
    else:
        from mixlaw.io.importers import regmix

        observations = regmix.read(options.files, repair=True)
    if options.runs:
        observations = observations.select(observations.runs["run"].to_pylist()[: options.runs])
    X, y = observations.table()
    weights = np.column_stack([X.column(n).to_numpy() for n in X.column_names])
    print(f"{len(X)} runs, {len(X.column_names)} domains, {len(y.column_names)} validation sets")

    # 2. a law that is convex in the mixture, so that its optimum can be certified
    start = time.perf_counter()
    law = ml.laws.EffectiveTokens().fit(X, y)
    print(f"fitted in {time.perf_counter() - start:.1f} s")

    # 3. what there is, and what the target run may use
    corpus = ml.Corpus.declared(
        {n: max(1, int(w * CORPUS_TOKENS)) for n, w in zip(X.column_names, weights.mean(axis=0))},
        source="mean of the RegMix swarm x 250B tokens",
    )
    budget = ml.Budget(tokens=options.tokens, max_epochs=options.max_epochs)

    # 4. the mixture, with prices and everything around it
    objective = dict.fromkeys(y.column_names, 1.0)
    start = time.perf_counter()
    recipe = ml.optimize(law, objective, budget, corpus, runs=(X, y), num_bootstrap=20)
    print(f"optimised in {time.perf_counter() - start:.1f} s\n\n{recipe}\n")
    print("near-optimal ranges (0.1% of loss):")
    for name, (low, high) in sorted(recipe.near_optimal.items(), key=lambda item: -item[1][1]):
        print(f"  {name:<20} {recipe.mixture[name]:.3f}  [{low:.3f}, {high:.3f}]")
    print("\nobjective of other mixtures:")
    for name, row in recipe.baselines.items():
        mark = "" if row["feasible"] else "  (breaks the budget)"
        print(f"  {name:<20} {row['prediction']['mean']:.4f}{mark}")
    recipe.save(options.out / "recipe.json")

    # 5. guarded: better web text, with code no worse than at the natural mixture
    guarded = ml.optimize(law, "pile_cc", budget, corpus, kind="guard", guard={"github": 0.0}, num_bootstrap=0)
    price = next((p["loss_per_nat"] for p in guarded.shadow_prices if p["kind"] == "guard"), 0.0)
    print(
        f"\nPile-CC with GitHub no worse than natural: {guarded.predictions['pile_cc'].mean:.4f}, "
        f"a nat of slack on GitHub is worth {price:.3f}"
    )

    # 6. what one skill costs in another
    start = time.perf_counter()
    front = ml.optimize.frontier(law, ["pile_cc", "github", "wikipedia_en"], budget, corpus, num=200)
    print(f"frontier of {len(front)} points in {time.perf_counter() - start:.1f} s, largest gap {front.gap.max():.1e}")
    from mixlaw.report import plots

    natural = law.predict({n: [corpus.natural[n]] for n in X.column_names})[0]
    marks = {"natural": [float(natural[list(law.target_names_).index(s)]) for s in front.sets]}
    marks["13-loss mean"] = [recipe.predictions[s].mean for s in front.sets]
    chart = plots.pareto(front, marks=marks)
    chart.savefig(options.out / "pareto.png", dpi=160, bbox_inches="tight")
    print(f"wrote {options.out / 'recipe.json'} and {options.out / 'pareto.png'}")


if __name__ == "__main__":
    main()
