"""Leave one study out: is ``Auto`` as good on a study that no choice in it has seen?

    python benchmarks/laws_studies.py [--quick] [--swarm FOLDER]

Three studies: RegMix (64 of its training runs, two subsets, scored on the other 448 training runs), Data Mixing Laws
(five domains at 70M and 410M, RedPajama at 70M; two random splits, a quarter held out) and this project's own swarm
(``studies/real-text``, or the study folder given; five folds). Where the folder is missing or has fewer than ten
finished runs, the swarm is left out and the output says so.

Auto's choices are made inside the rows it is given, by cross-validation. What was set once, with records at hand, are
three numbers in the Gaussian process' priors: two means and the width for targets without an own domain. So for
every held-out study four settings of that width and of the larger of the means are scored on the *other* studies
(Gaussian process alone) and the best one is given to Auto on the held-out study: "Auto, priors chosen elsewhere".
"Best single family elsewhere" is the family with the lowest mean error on the other studies. Both may be worse than
the shipped Auto for lack of evidence; if the shipped one were tuned to a study, it would be better than them there.

Error: mean absolute error over the target's standard deviation in its record, mean over targets and records.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import laws_dml
import laws_regmix
from mixlaw.data.observations import Observations
from mixlaw.errors import MixlawWarning
from mixlaw.laws.choose.auto import Auto
from mixlaw.laws.choose.league import spearman
from mixlaw.laws.core.folds import fold_ids
from mixlaw.laws.mixture.effective_tokens import EffectiveTokens
from mixlaw.laws.mixture.gaussian_process import GaussianProcess
from mixlaw.laws.mixture.log_linear import LogLinear
from mixlaw.laws.mixture.m4 import M4
from mixlaw.laws.process import gp_hyper

Table = dict[str, np.ndarray]
FAMILIES: dict[str, Any] = {
    "GaussianProcess": GaussianProcess,
    "EffectiveTokens": EffectiveTokens,
    "LogLinear": LogLinear,
    "M4": M4,
    "LightGBM (RegMix)": laws_regmix.LightGBM,
}
SETTINGS = list(itertools.product((1.0, 2.0), (1.5, 2.5)))  # width without an own domain, mean of the own slope
SHIPPED = (gp_hyper.UNTIED, gp_hyper._PRIORS["v_own"][0])


@dataclass(frozen=True)
class Record:
    """One table of runs and its splits into rows to fit and rows to score."""

    study: str
    name: str
    X: Table
    Y: Table
    splits: list[tuple[np.ndarray, np.ndarray]]


def records(swarm: Path, quick: bool) -> list[Record]:
    X, Y = laws_regmix.load("train")
    splits = []
    for seed in range(1 if quick else 2):
        kept = np.random.default_rng(seed).choice(512, 64, replace=False)
        splits.append((kept, np.setdiff1d(np.arange(512), kept)))
    found = [Record("RegMix", "64 runs", X, Y, splits)]
    for name, (study, size) in laws_dml.CASES.items():
        X, Y = laws_dml.load(study, size)
        num = len(next(iter(Y.values())))
        found.append(Record("Data Mixing Laws", name, X, Y, list(laws_dml.splits(num, 1 if quick else 2))))
    own = own_swarm(swarm)
    if isinstance(own, str):
        print(f"Own swarm left out: {own}\n")
        return found
    X, Y = own
    ids = fold_ids(np.column_stack(list(X.values())), np.column_stack(list(Y.values())), 5)
    splits = [(np.flatnonzero(ids != f), np.flatnonzero(ids == f)) for f in range(1 if quick else 5)]
    return [*found, Record("own swarm", f"{len(ids)} runs", X, Y, splits)]


def own_swarm(folder: Path) -> tuple[Table, Table] | str:
    """Weights and losses of a study folder's finished runs, or why there are none."""
    if not folder.is_dir():
        return f"there is no study folder {folder}."
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixlawWarning)
        seen = Observations.read(folder)
        X, Y = seen.table() if len(seen) else (None, None)
    if X is None or X.num_rows < 10:
        return f"{folder} has {0 if X is None else X.num_rows} finished runs; ten are needed."
    columns = lambda table: {c: table[c].to_numpy() for c in table.column_names}  # noqa: E731
    return columns(X), columns(Y)


@contextlib.contextmanager
def priors(setting: tuple[float, float]) -> Iterator[None]:
    """The Gaussian process with another prior width of untied targets and another mean of own slopes."""
    before = gp_hyper._PRIORS["v_own"]
    try:
        gp_hyper.UNTIED = setting[0]
        gp_hyper._PRIORS["v_own"] = (setting[1], *before[1:])
        yield
    finally:
        gp_hyper.UNTIED, gp_hyper._PRIORS["v_own"] = SHIPPED[0], before


def score(make: Any, record: Record) -> np.ndarray:
    """Error in units of sd, Spearman, coverage of 90% intervals (NaN without), CPU seconds per fit: means (4,)."""
    truth = np.column_stack(list(record.Y.values()))
    spread = truth.std(axis=0)
    rows = []
    for kept, held in record.splits:
        began = time.process_time()
        law = make().fit(laws_regmix.take(record.X, kept), laws_regmix.take(record.Y, kept))
        seconds = time.process_time() - began
        there = laws_regmix.take(record.X, held)
        predicted = np.asarray(law.predict(there)).reshape(len(held), -1)
        inside = np.nan
        if hasattr(law, "predict_interval"):
            low, high = law.predict_interval(there, 0.9)
            inside = float(((low <= truth[held]) & (truth[held] <= high)).mean())
        ranks = [spearman(predicted[:, t], truth[held, t]) for t in range(truth.shape[1])]
        ranks = [0.0 if np.isnan(r) else r for r in ranks]  # a constant prediction ranks nothing
        rows.append([(np.abs(predicted - truth[held]) / spread).mean(), np.mean(ranks), inside, seconds])
    return np.mean(rows, axis=0)


def over(study: str, every: list[Record], make: Any) -> np.ndarray:
    return np.mean([score(make, r) for r in every if r.study == study], axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one split of each record")
    parser.add_argument("--swarm", type=Path, default=Path("studies/real-text"), help="this project's own study folder")
    options = parser.parse_args()
    warnings.simplefilter("ignore", MixlawWarning)
    every = records(options.swarm, options.quick)
    studies = list(dict.fromkeys(r.study for r in every))
    alone = {s: {name: over(s, every, make) for name, make in FAMILIES.items()} for s in studies}
    by_setting: dict[str, dict[tuple[float, float], float]] = {}
    for s in studies:
        by_setting[s] = {}
        for setting in SETTINGS:
            with priors(setting):
                known = alone[s]["GaussianProcess"] if setting == SHIPPED else over(s, every, GaussianProcess)
            by_setting[s][setting] = float(known[0])
    print("| held-out study | law | error / sd | mean Spearman | share inside the 90% interval | CPU seconds per fit |")
    print("|---|---|--:|--:|--:|--:|")
    for s in studies:
        others = [o for o in studies if o != s]
        # relative to the best setting of a study, so that no study's scale decides
        cost = {k: np.mean([by_setting[o][k] / min(by_setting[o].values()) for o in others]) for k in SETTINGS}
        chosen = min(SETTINGS, key=lambda k: cost[k])
        mean = {name: np.mean([alone[o][name][0] for o in others]) for name in FAMILIES}
        best = min(mean, key=lambda name: mean[name])
        shipped = over(s, every, Auto)
        with priors(chosen):
            again = shipped if chosen == SHIPPED else over(s, every, Auto)
        rows = {"**Auto**": shipped, f"Auto, priors chosen elsewhere {chosen}": again}
        rows |= {f"{k}{' (best single family elsewhere)' if k == best else ''}": v for k, v in alone[s].items()}
        for label, (error, rank, inside, seconds) in rows.items():
            cover = "-" if np.isnan(inside) else f"{inside:.3f}"
            print(f"| {s} | {label} | {error:.4f} | {rank:.4f} | {cover} | {seconds:.2f} |", flush=True)
    print("\nA setting is the prior's width for targets without an own domain, and the mean of the log of the "
          "own slope over "
          f"the others'. Shipped: {SHIPPED}.\n")  # fmt: skip
    for s in studies:
        shown = ", ".join(f"{k}: {v:.4f}" for k, v in by_setting[s].items())
        print(f"- Gaussian process alone on {s}, by setting: {shown}")
    print("\nRecords: " + "; ".join(f"{r.study}, {r.name}: {len(r.splits)} splits" for r in every) + ".")


if __name__ == "__main__":
    main()
