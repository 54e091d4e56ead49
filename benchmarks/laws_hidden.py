"""What Joint predicts of rows that it did not see: late steps, the largest size, mixtures at the largest size.

    python benchmarks/laws_hidden.py

Of Data Mixing Laws (RedPajama, five domains) and of SlimPajama's 52 mixtures these rows are hidden and predicted:

    late                  steps beyond 30,000 of 100,000: no row is left in which the rate has decayed by a third
    late, larger          the same; scored at the sizes above the smallest
    size                  the largest of four sizes; scored at the end of its runs
    mixtures              half of the mixtures at every size; scored at the end of the largest
    mixtures at the top   half of the mixtures at the largest size
    seen small only       half of the mixtures at every size but the smallest; scored at the end of the largest

Of the weighted loss and of the single sets: bias (mean of predicted - measured), mean absolute error, coverage and half
width of the 90% interval, and the mean absolute error of the gap between mixtures (a mixture's loss less the mean over
mixtures) beside the size of these gaps. The slope is that of measured on predicted gaps: below 1 they were exaggerated.
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from laws_scale import SCHEDULE, TOKENS_PER_STEP, load
from mixlaw import Budget, Corpus
from mixlaw.errors import MixlawWarning
from mixlaw.laws import Joint, LogLinear
from mixlaw.optimize.around.form_error import FormError
from mixlaw.optimize.pose.request import Request

from _data import experiments

Array = np.ndarray
Rows = dict[str, tuple[Array, Array]]


def slimpajama() -> dict[str, Array]:
    """52 mixtures of seven domains at three sizes, 11 checkpoints a run, eight targets (the schedule is unknown)."""
    table = pq.read_table(experiments("slimpajama7_mixture_scale.parquet")).to_pydict()
    key = list(zip(table["mixture"], table["model_size"], table["n_tokens"]))
    domains, losses = ([c for c in table if c.startswith(p)] for p in ("weight_", "loss_"))
    first = [i for i, k in enumerate(key) if key.index(k) == i and all(table[c][i] is not None for c in losses)]
    weights = np.array([table[c] for c in domains]).T[first]
    return {
        "domains": np.array(domains),
        "X": weights / weights.sum(axis=1, keepdims=True),
        "run": np.array([str(table["mixture"][i]) for i in first]),
        "params": np.array(table["model_size"], dtype=float)[first],
        "tokens": np.array(table["n_tokens"], dtype=float)[first],
        "losses": np.array([table[c] for c in losses], dtype=float).T[first],
        "weight": np.full(len(losses), 1 / len(losses)),
    }


def columns(data: dict[str, Array], rows: Array) -> dict[str, Array]:
    X = {str(d): data["X"][rows, j] for j, d in enumerate(data["domains"])}
    return X | {"params": data["params"][rows], "tokens": data["tokens"][rows]}


def hidden(data: dict[str, Array]) -> Rows:
    """{what: (rows to fit, rows to predict)}."""
    params, tokens, run = data["params"], data["tokens"], data["run"]
    sizes = np.unique(params)
    top, small = params == sizes[-1], params == sizes[0]
    usual = {
        p: np.median([tokens[(params == p) & (run == r)].max() for r in np.unique(run[params == p])]) for p in sizes
    }
    last = top & (tokens >= 0.9 * usual[sizes[-1]])
    runs = np.unique(run[top])
    half = np.isin(run, np.random.default_rng(0).permutation(runs)[: len(runs) // 2])
    tests: Rows = {}
    late = tokens > 1.01 * usual[sizes[0]]
    if late.any():
        tests |= {"late": (~late, late), "late, larger": (~late, late & ~small)}
    if len(sizes) > 3:
        tests["size"] = (~top, last)
    return tests | {
        "mixtures": (~half, half & last),
        "mixtures at the top": (~(top & half), half & last),
        "seen small only": (small | ~half, half & last),
    }


def gaps(predicted: Array, measured: Array, run: Array) -> tuple[float, float, float]:
    """Mean absolute error of the gaps between mixtures, their mean size, and the slope of measured on predicted."""
    names, at = np.unique(run, return_inverse=True)
    if len(names) < 3:
        return np.nan, np.nan, np.nan
    P, Y = (np.array([v[at == k].mean(axis=0) for k in range(len(names))]) for v in (predicted, measured))
    P, Y = P - P.mean(axis=0), Y - Y.mean(axis=0)
    slope = (P * Y).sum(axis=0) / np.maximum((P * P).sum(axis=0), 1e-12)
    return float(np.abs(P - Y).mean()), float(np.abs(Y).mean()), float(np.median(slope))


def line(law: Joint, X: dict[str, Array], y: Array, run: Array) -> tuple[str, Array]:
    predicted = np.asarray(law.predict(X)).reshape(len(run), -1)
    low, high = (np.asarray(v).reshape(predicted.shape) for v in law.predict_interval(X))
    inside = (low <= y) & (y <= high)
    error, size, slope = gaps(predicted, y, run)
    gap = "- | -" if np.isnan(error) else f"{1e3 * error:.1f} of {1e3 * size:.0f} | {slope:.2f}"
    text = (
        f"{1e3 * (predicted - y).mean():+.1f} | {1e3 * np.abs(predicted - y).mean():.1f} | {inside.mean():.0%} | "
        f"{1e3 * (high - low).mean() / 2:.0f} | {gap}"
    )
    return text, inside


def pairs_inside(data: dict[str, Array], what: str, options: dict[str, Any]) -> tuple[int, float, float, float, float]:
    """Of all pairs of hidden mixtures at the end of the largest size: how many, the shares of measured gaps inside the
    90% interval of a recipe's gain, without and with what the law over sizes leaves open, half width and mean error."""
    proper = np.abs(data["X"].sum(axis=1) - 1) < 5e-3
    fit, test = (rows & proper for rows in hidden(data)[what])
    at = test & (data["tokens"] == data["tokens"][test].max())
    y = data["losses"] @ data["weight"]
    law = Joint(**options, backtest=False).fit(columns(data, fit), y[fit])
    budget = Budget(tokens=int(data["tokens"][at][0]), params=int(data["params"][at][0]))
    plenty = Corpus.declared({str(n): 10**14 for n in data["domains"]}, source="as much as there is")
    form = FormError.of(Request.of(law, law.target_names_[0], budget, plenty))
    assert form is not None
    R, measured = data["X"][at] / data["X"][at].sum(axis=1, keepdims=True), y[at]
    predicted, one = form.view.predict(R)[:, 0], np.ones(1)
    rows = []
    for i in range(len(R)):
        for j in range(i):
            whole = form.variance_of_difference(R[i], R[j], one)
            alone = whole - form.asked.difference_variance(R[i], R[j], one)
            error = abs((predicted[i] - predicted[j]) - (measured[i] - measured[j]))
            half = 1.645 * np.sqrt([max(alone, 0.0), whole])
            rows.append([*(error <= half), half[1], error])
    return len(rows), *(float(v) for v in np.mean(rows, axis=0))


def main() -> None:
    warnings.simplefilter("ignore", MixlawWarning)
    studies = {name: load(name) for name in ("redpajama", "five_domains")}
    for data in studies.values():
        data["tokens"] = data["step"] * TOKENS_PER_STEP
    studies["slimpajama"] = slimpajama()
    known = {"schedule": SCHEDULE, "tokens_per_step": TOKENS_PER_STEP}
    pooled: dict[str, list[Array]] = {"weighted": [], "sets": []}
    print("In thousandths of a nat. *Rows*: predicted rows. *Seconds*: processor time of the fit to all sets.\n")
    print("| record | hidden | rows | loss | bias | mean absolute error | inside 90% | half width | "
          "error of gaps | slope | seconds |")  # fmt: skip
    print("|---|---|--:|---|--:|--:|--:|--:|--:|--:|--:|")
    for name, data in studies.items():
        options = {} if name == "slimpajama" else known
        Y, weight = data["losses"], data["weight"]
        sets = [f"set {t}" for t in range(Y.shape[1])]
        ways: list[tuple[str, dict[str, Any]]] = [("as defaults", options)]
        if options:
            ways += [("annealing dropped", known | {"annealing_prior": None}), ("blind to the schedule", {})]
        for label, chosen in ways:
            for what, (fit, test) in hidden(data).items():
                if label != "as defaults" and not what.startswith("late"):
                    continue
                X, run = columns(data, test), data["run"][test]
                base = {"mixture_law": LogLinear()} | chosen
                law = Joint(**base).fit(columns(data, fit), Y[fit] @ weight)
                weighted, inside = line(law, X, (Y[test] @ weight)[:, None], run)
                start = time.process_time()
                law = Joint(**base, target_weights=dict(zip(sets, weight))).fit(
                    columns(data, fit), dict(zip(sets, Y[fit].T))
                )
                seconds = time.process_time() - start
                single, each = line(law, X, Y[test], run)
                if label == "as defaults":
                    pooled["weighted"].append(inside.mean())
                    pooled["sets"].append(each.mean())
                note = what if label == "as defaults" else f"{what} ({label})"
                print(f"| {name} | {note} | {test.sum()} | weighted | {weighted} | |")
                print(f"| | | | {len(sets)} sets | {single} | {seconds:.0f} |", flush=True)
    print(
        f"\nMean coverage over the tests with defaults: weighted loss {np.mean(pooled['weighted']):.0%}, single sets "
        f"{np.mean(pooled['sets']):.0%}."
    )
    print("\n## Gaps between two mixtures that were not run at the largest size\n")
    print("Predicted by `Auto`, fitted to what `Joint` says at that size; in thousandths of a nat.\n")
    print("| record | hidden | pairs | inside 90%, `Auto` alone | inside 90%, as printed | half width | "
          "mean error |")  # fmt: skip
    print("|---|---|--:|--:|--:|--:|--:|")
    for name, data in studies.items():
        for what in ("mixtures", "seen small only"):
            num, alone, inside, half, error = pairs_inside(data, what, {} if name == "slimpajama" else known)
            print(f"| {name} | {what} | {num} | {alone:.0%} | {inside:.0%} | {1e3 * half:.0f} | {1e3 * error:.1f} |")


if __name__ == "__main__":
    main()
