"""Whether the average of families is worth more than its members, on published records: error and recommended mixture.

    python benchmarks/laws_average.py [--splits 2] [--record NAME ...]

Of each record some runs are kept and the others judge, in several random splits. Errors are root mean squares over
targets in units of the kept runs' spread, and are printed as ratios to the Gaussian process of the same average, fitted
to the same runs. The recommended mixture is the one that a law likes best among the runs that judge.

How the weights are mixed with the Gaussian process was chosen on RegMix's training rows and RedPajama at 70M; their
rows say so and do not count among the others in the last lines.
"""

import argparse
import os
import time
import warnings
from concurrent.futures import ProcessPoolExecutor

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pyarrow.parquet as pq

from mixlaw.laws.choose.candidates import Size, candidates, trusted_before
from mixlaw.laws.choose.league import spearman
from mixlaw.laws.choose.stacking import stack_weights
from mixlaw.laws.choose.trials import Runs, named
from mixlaw.laws.core.folds import count_different, replicate_groups

from _data import experiments

MEMBERS = ("gaussian_process", "effective_tokens", "log_linear", "m4", "m2")
CHOSEN_ON = ("RegMix", "RedPajama 70M")


def read(name):
    return pq.read_table(experiments(f"{name}.parquet")).to_pandas()


def columns(table, losses):
    """Weights and losses of runs whose weights sum to 1, as frames."""
    weights = [c for c in table if c.startswith("weight_")]
    table = table[(table[weights].sum(axis=1) - 1).abs() < 0.01]
    return table[weights], table[losses]


def data_mixing_laws(study, size, step=30_000):
    table = read(f"dml_{study}")
    table = table[(table.model_size == size) & (table.step == step)]
    weights = [c for c in table if c.startswith("weight_")]
    wide = table.pivot_table(index=["run", *weights], columns="validation_domain", values="loss").dropna().reset_index()
    return columns(wide, [c for c in wide if c not in ("run", *weights)])


def slimpajama(size):
    """The last checkpoint that nine tenths of the mixtures have."""
    table = read("slimpajama7_mixture_scale")
    table = table[table.model_size == size]
    count = table.groupby("n_tokens").mixture.nunique()
    table = table[table.n_tokens == count[count >= 0.9 * count.max()].index.max()].drop_duplicates("mixture")
    return columns(table, [c for c in table if c.startswith("loss_")])


def four_domains(params, tokens):
    table = read("pile4_mixture_scale")
    table = table[(table.params == params) & (table.tokens == tokens)].dropna()
    return columns(table, [c for c in table if c.startswith("loss_")])


def topics():
    table = read("olmix_30m_20_mixtures")
    return columns(table, [c for c in table if not c.startswith("weight_") and c not in ("mixture_id", "run")])


def bimix(corpus):
    table = read("bimix_runs")
    table = table[table.corpus == corpus]
    seen = table.groupby("global_step").mixture.nunique()
    table = table[table.global_step == seen[seen == seen.max()].index.max()]
    wide = [table.pivot_table(index="mixture", columns="domain", values=v) for v in ("weight", "log_ppl")]
    wide[0].columns = [f"weight_{c}" for c in wide[0]]
    return wide[0], wide[1]


def regmix():
    table = read("regmix_1m_train")
    return columns(table, [c for c in table if c.startswith("loss_")])


RECORDS = {  # name: how to read it, numbers of runs kept, a larger size to judge the ranking at
    "two domains 160M": (lambda: data_mixing_laws("two_domains", "160M"), (4,), None),
    "three domains 160M": (lambda: data_mixing_laws("three_domains", "160M"), (5,), None),
    "BiMix SlimPajama": (lambda: bimix("SlimPajama"), (5,), None),
    "BiMix Pile": (lambda: bimix("Pile"), (5,), None),
    "five domains 70M": (lambda: data_mixing_laws("five_domains", "70M"), (5, 8, 12, 18), "five domains 410M"),
    "five domains 410M": (lambda: data_mixing_laws("five_domains", "410M"), (5, 8, 12, 18), None),
    "SlimPajama 122M": (lambda: slimpajama(122e6), (5, 8, 12, 16, 24, 36), "SlimPajama 680M"),
    "SlimPajama 680M": (lambda: slimpajama(680e6), (8, 12, 16), None),
    "four domains 90M": (lambda: four_domains(90e6, 3e9), (5, 8, 12), "four domains 200M"),
    "four domains 200M": (lambda: four_domains(200e6, 8e9), (8, 12, 16), None),
    "olmix 30M": (topics, (15,), None),
    "RedPajama 70M": (lambda: data_mixing_laws("redpajama", "70M"), (5, 8, 12, 20, 30), "RedPajama 410M"),
    "RedPajama 410M": (lambda: data_mixing_laws("redpajama", "410M"), (8, 12), None),
    "RegMix": (regmix, (5, 8, 12, 16, 24, 32, 64, 128), None),
}


def fitted(X, Y, kept):
    """What became of the families of ``Auto`` at this number of runs, and which of them do not explode between them."""
    R, L = X.to_numpy(float)[kept], Y.to_numpy(float)[kept]
    laws, _ = candidates(Size(count_different(R), R.shape[1], L.shape[1]))
    runs = Runs(R, L, np.ones(len(R)), list(X.columns), list(Y.columns))
    trials = runs.fit_all(laws)
    return trials, runs.tame(trials.fitted)


def averages(trials, tame, X, Y, kept):
    """{name: (F, T) weights} of the average, of the weights that held-out runs alone choose, and of equal ones."""
    names = list(trials.fitted)
    heldout = np.stack([trials.heldout[k] for k in names])
    L, groups = Y.to_numpy(float)[kept], replicate_groups(X.to_numpy(float)[kept])
    equal = np.full((len(names), L.shape[1]), 1 / len(names))
    mixed = stack_weights(heldout, L, prior=trusted_before(names), groups=groups, allowed=tame)
    return {"Auto": mixed, "without a prior": stack_weights(heldout, L), "equal": equal}


def scores(predicted, truth, spread):
    """Squared error in units of ``spread`` (T,), mean rank correlation, and how far the recommended mixture lies above
    the best one, in standard deviations of the mean over targets."""
    error = (((predicted - truth) / spread) ** 2).mean()
    ranks = np.mean([spearman(p, y) for p, y in zip(predicted.T, truth.T, strict=True)]) if len(truth) > 2 else np.nan
    unit = np.where(truth.std(axis=0) > 0, truth.std(axis=0), 1.0)
    whole = (truth / unit).mean(axis=1)
    chosen = np.argmin((predicted / unit).mean(axis=1))
    return error, ranks, (whole[chosen] - whole.min()) / (whole.std() or 1.0)


def measure(name, n, splits):
    """{law: (splits, 5)}: the three scores on the runs that judge, then rank and regret at the larger size."""
    warnings.simplefilter("ignore")
    read_record, _, larger = RECORDS[name]
    X, Y = read_record()
    beyond = None if larger is None else RECORDS[larger][0]()
    found, seconds = {}, []
    splits = len(X) if len(X) - n == 1 else splits
    for seed in range(splits):
        order = (
            np.roll(np.arange(len(X)), -seed) if len(X) - n == 1 else np.random.default_rng(seed).permutation(len(X))
        )
        kept, judge = order[:n], order[n:]
        began = time.process_time()
        trials, tame = fitted(X, Y, kept)
        seconds.append(time.process_time() - began)
        spread = Y.to_numpy(float)[kept].std(axis=0)
        spread = np.where(spread > 0, spread, 1.0)
        laws = {k: law for k, law in trials.fitted.items()}
        weights = averages(trials, tame, X, Y, kept)
        rows = [(X.iloc[judge], Y.iloc[judge])] + ([beyond] if beyond is not None else [])
        got = {}
        for table, losses in rows:
            R = named(list(X.columns), table.to_numpy(float))
            each = {k: np.asarray(law.predict(R)).reshape(len(table), -1) for k, law in laws.items()}
            for label, w in weights.items():
                each[label] = np.einsum("fnt,ft->nt", np.stack([each[k] for k in laws]), w)
            for k, values in each.items():
                got.setdefault(k, []).append(scores(values, losses.to_numpy(float), spread))
        for k, values in got.items():
            found.setdefault(k, []).append([*values[0], *(values[1][1:] if len(values) > 1 else (np.nan, np.nan))])
    return {k: np.array(v) for k, v in found.items()}, float(np.median(seconds))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--splits", type=int, default=2)
    parser.add_argument("--record", nargs="*", default=list(RECORDS), choices=list(RECORDS))
    options = parser.parse_args()
    shown = ("Auto", "without a prior", "equal", *MEMBERS[1:])
    print("\n## Error on runs that were not kept, over that of the Gaussian process\n")
    print(f"{options.splits} splits; where one run judges, each run once.\n")
    print("| record | runs kept | " + " | ".join(shown) + " | CPU seconds of a fit |")
    print("|---|--:|" + "--:|" * (len(shown) + 1))
    pooled, later = {}, []
    cells_of = [(name, n) for name in options.record for n in RECORDS[name][1]]
    with ProcessPoolExecutor(2) as pool:
        results = pool.map(measure, *zip(*cells_of, strict=True), [options.splits] * len(cells_of))
        for (name, n), (found, seconds) in zip(cells_of, results, strict=True):
            process = found["gaussian_process"]
            cells = []
            for k in shown:
                if k not in found:
                    cells.append("-")
                    continue
                ratio = float(np.sqrt(found[k][:, 0].mean() / process[:, 0].mean()))
                cells.append(f"{ratio:.2f}")
                pooled.setdefault((name in CHOSEN_ON, k), []).append(ratio)
            mark = " (chosen on)" if name in CHOSEN_ON else ""
            print(f"| {name}{mark} | {n} | " + " | ".join(cells) + f" | {seconds:.1f} |", flush=True)
            later.append((name + mark, n, found))
    for chosen, label in ((False, "all others, median; largest"), (True, "chosen on, the same")):
        cells = [f"{np.median(v):.2f}; {max(v):.2f}" if (v := pooled.get((chosen, k))) else "-" for k in shown]
        print(f"| {label} | | " + " | ".join(cells) + " | |")
    print("\n## Rank correlation and regret of the recommended mixture\n")
    print(
        "Regret in standard deviations of the mean over targets; on runs that were not kept, then at a larger size.\n"
    )
    laws = ("Auto", "gaussian_process", "equal", "effective_tokens", "log_linear", "m4")
    print("| record | runs kept | " + " | ".join(laws) + " | larger size: " + " | ".join(laws) + " |")
    print("|---|--:|" + "--:|" * (2 * len(laws)))
    for name, n, found in later:
        cells = []
        for at in (1, 3):
            for k in laws:
                mean = np.mean(found[k][:, at : at + 2], axis=0) if k in found else np.full(2, np.nan)
                cells.append("-" if np.isnan(mean).any() else f"{mean[0]:.3f}, {mean[1]:.2f}")
        print(f"| {name} | {n} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
