"""Parametric mixture laws: speed of the engine beside what papers do, and held-out accuracy on RegMix and DML.

    python benchmarks/laws_mixture.py [--quick]

Prints markdown tables. Peers run in the same process on one thread: scipy's multi-start least squares, and a
torch loop over starts as the Data Mixing Laws notebooks have it (LBFGS per start, our own rewrite), timed on a
few starts and scaled to 300. Seconds are processor seconds, so that other work on the machine counts less.

How much is averaged over, small so that the whole takes some five processor minutes: racing 2 subsets of each size and
13 targets; the shared centre 4 subsets (AutoScale, whose fits take seconds, 2 and RegMix only); RegMix accuracy 1 set
of 16 and of 32 runs, 2 of 64, and all 512 runs once; the five domains 5 splits. A row from one subset ranks no law.
"""

import argparse
import csv
import os
import time
import warnings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pyarrow.parquet as pq

from mixlaw import laws
from mixlaw.laws.choose.league import spearman
from mixlaw.laws.fit.engine import Prior, fit_batch
from mixlaw.laws.fit.starts import log_excess_slopes, resize_starts
from mixlaw.laws.mixture.m4 import ExponentialModel

from _data import experiments


def regmix(part):
    table = pq.read_table(experiments(f"regmix_1m_{part}.parquet")).to_pandas()
    weights = [c for c in table if c.startswith("weight_")]
    losses = [c for c in table if c.startswith("loss_")]
    return table[weights], table[losses]


def five_domains(size="70M", step=30000):
    """(X (26, 5), Y (26, 22), weights (22,)) of Data Mixing Laws at one size and step."""
    table = pq.read_table(experiments("dml_five_domains.parquet")).to_pandas()
    table = table[(table.model_size == size) & (table.step == step)]
    weights = [c for c in table if c.startswith("weight_")]
    wide = table.pivot_table(index=["run", *weights], columns="validation_domain", values="loss").dropna()
    with open(experiments("dml_validation_weights.csv"), newline="") as file:
        importance = {row[0]: float(row[1]) for row in list(csv.reader(file))[1:]}
    s = np.array([importance[c] for c in wide.columns])
    return wide.reset_index()[weights].to_numpy(), wide.to_numpy(), s / s.sum(), weights


# ---- speed -------------------------------------------------------------------------------------------
def m4_starts(X, y):
    above = np.array([0.05, 0.2, 0.5, 1.0, 2.0, 5.0, 20.0, -0.2, -1.0, -5.0])
    starts = resize_starts(log_excess_slopes(X, y[:, None], above)[0], 300, 1.0, 0)[0]
    return starts - starts.mean(axis=1, keepdims=True)


def ours(X, y, starts, race=True):
    """Processor seconds, residual sum of squares, starts at the optimum, whether it is certified, objective."""
    model = ExponentialModel(X, X.mean(axis=0))
    began = time.process_time()
    fit = fit_batch(
        model, y, starts, prior=Prior(0.0, 1e-7 * y.var()), linear_prior=Prior(0.0, 5e-9), race=race
    )  # fmt: skip
    seconds = time.process_time() - began
    best = fit.best()
    objective = float(best.objective[0])
    curve = model.basis(best.theta, np.zeros(1, dtype=np.int64))[0, :, 0]
    squares = float(((best.linear[0, 0] + best.linear[0, 1] * curve - y) ** 2).sum())
    return seconds, squares, int(best.agreement[0]), bool(best.converged[0]), objective


def scipy_starts(X, y, starts):
    from scipy.optimize import least_squares

    began, found = time.process_time(), []
    for t in starts:
        begin = np.concatenate([[y.min() - 0.5, 1.0], t])
        with np.errstate(all="ignore"):
            try:
                result = least_squares(lambda p: p[0] + p[1] * np.exp(np.clip(X @ p[2:], -30, 30)) - y, begin)
            except ValueError:
                continue
        found.append(2 * result.cost)
    return time.process_time() - began, min(found), int(np.sum(np.array(found) < min(found) * 1.001))


def torch_starts(X, y, starts):
    import torch

    torch.set_num_threads(1)
    data, target = torch.tensor(X), torch.tensor(y)
    began, found = time.process_time(), []
    for t in starts:
        p = torch.tensor(np.concatenate([[y.min() - 0.5, 0.0], t]), requires_grad=True)
        optimiser = torch.optim.LBFGS([p], lr=0.1, max_iter=100, history_size=10, line_search_fn="strong_wolfe")

        def closure(p=p, optimiser=optimiser):
            optimiser.zero_grad()
            residual = p[0] + torch.exp(p[1] + data @ p[2:]) - target
            loss = torch.nn.functional.huber_loss(residual, torch.zeros_like(residual), delta=0.02, reduction="sum")
            loss.backward()
            return loss

        for _ in range(10):
            optimiser.step(closure)
        with torch.no_grad():
            found.append(float(((p[0] + torch.exp(p[1] + data @ p[2:]) - target) ** 2).sum()))
    found = [f for f in found if np.isfinite(f)]
    return time.process_time() - began, min(found) if found else float("nan")


def speed(quick):
    print("\n## 300 starts of M4 for one target\n")
    print("Raced: starts that fall behind are given up. The peers' seconds are scaled to 300 from the starts run.\n")
    print(
        "| data | mixlaw, raced, seconds | mixlaw, all starts to the end, seconds (starts that agree) | SciPy "
        "least_squares, seconds | PyTorch LBFGS loop, seconds |",
        end="",
    )
    print(" residual sum of squares: mixlaw / SciPy / PyTorch |")
    print("|---|--:|--:|--:|--:|--:|")
    X512, Y512 = (table.to_numpy() for table in regmix("train"))
    rows = np.random.default_rng(0).choice(512, 64, replace=False)
    X5, Y5, *_ = five_domains()
    few, fewer = (10, 3) if quick else (40, 8)
    warm = np.zeros((4, X5.shape[1]))
    ours(X5, Y5[:, 0], warm), scipy_starts(X5, Y5[:, 0], warm[:1]), torch_starts(X5, Y5[:, 0], warm[:1])
    for name, X, y in (
        ("Data Mixing Laws, 26 runs, 5 domains", X5, Y5[:, 7]),
        ("RegMix, 64 runs, 17 domains", X512[rows], Y512[rows, 0]),
    ):
        starts = m4_starts(X, y)
        seconds, squares, _, certified, _ = min(ours(X, y, starts) for _ in range(3))
        whole, _, agree, _, _ = ours(X, y, starts, race=False)
        s_time, s_squares, _ = scipy_starts(X, y, starts[:few])
        t_time, t_squares = torch_starts(X, y, starts[:fewer])
        mark = "" if certified else " (not certified)"
        print(
            f"| {name} | {seconds:.3f}{mark} | {whole:.3f} ({agree} of 300) | {s_time * 300 / few:.1f} "
            f"(from {few}) | {t_time * 300 / fewer:.0f} (from {fewer}) | {squares:.5g} / {s_squares:.5g} / "
            f"{t_squares:.5g} |",
            flush=True,
        )


def race_certificate(quick):
    """Whether racing starts reach what all starts reach: every RegMix target, several subsets of its training rows."""
    print("\n## 300 raced starts of M4 beside all 300 to the end: RegMix, 13 targets, subsets of the training rows\n")
    print(
        "| runs | fits | same optimum (relative 1e-6) | certified | raced, mean seconds (largest) | to the end, "
        "mean seconds |"
    )
    print("|--:|--:|--:|--:|--:|--:|")
    X, Y = (table.to_numpy() for table in regmix("train"))
    for n in (32, 64, 128):
        pairs = []
        for seed in range(1 if quick else 2):
            rows = np.random.default_rng(10 * n + seed).choice(512, n, replace=False)
            for t in range(Y.shape[1]):
                starts = m4_starts(X[rows], Y[rows, t])
                raced, whole = (ours(X[rows], Y[rows, t], starts, race) for race in (True, False))
                same = raced[4] <= whole[4] * (1 + 1e-6)
                pairs.append((raced[0], whole[0], same, raced[3]))
        a = np.array(pairs, dtype=float)
        print(
            f"| {n} | {len(a)} | {a[:, 2].sum():.0f} | {a[:, 3].sum():.0f} | {a[:, 0].mean():.3f} "
            f"({a[:, 0].max():.3f}) | {a[:, 1].mean():.3f} |",
            flush=True,
        )


# ---- a prior shared by the targets -------------------------------------------------------------------
def shared_prior(quick):
    print("\n## Coefficients shrunk towards their mean over targets: held-out training rows, no test set involved\n")
    print(
        "RegMix: n of the 512 training mixtures, scored on the other training mixtures, 13 targets. Data Mixing Laws:"
    )
    print("n of the 26 mixtures (30k steps), scored on the others, 22 targets. `default_rng(seed).permutation`.")
    print(
        "The columns `shared` and `cv` give the rank correlation and the change of the MSE against "
        "`prior='separate'`; *chosen* is how often `'cv'` used the shared mean.\n"
    )
    print("| law | data | n | subsets | separate: Spearman, MSE in nats² | shared | cv | chosen |")
    print("|---|---|--:|--:|--:|--:|--:|--:|")
    X, Y = regmix("train")
    X5, Y5, _, columns = five_domains("70M")
    data = [("RegMix", dict(zip(X.columns, X.to_numpy().T)), dict(zip(Y.columns, Y.to_numpy().T)), (16, 32, 64))]
    data.append(("five domains, 70M", dict(zip(columns, X5.T)), {f"y{t}": Y5[:, t] for t in range(22)}, (10, 18)))
    for family in ("M4", "LogLinear", "M2", "M1", "AutoScale", "EffectiveTokens"):
        subsets = 2 if quick or family == "AutoScale" else 4
        for name, table, losses, sizes in data if subsets == 4 else data[:1]:
            truth = np.column_stack(list(losses.values()))
            for n in sizes:
                scores, chosen = [], 0
                for seed in range(subsets):
                    order = np.random.default_rng(seed).permutation(len(truth))
                    rest, held = order[:n], order[n:]
                    found = {}
                    for prior in ("cv", "other"):  # what "cv" chose it has fitted; the other one is fitted for itself
                        if prior == "other":
                            prior = "separate" if found["cv"][2] else "shared"
                        law = getattr(laws, family)(prior=prior)
                        law.fit({k: v[rest] for k, v in table.items()}, {k: v[rest] for k, v in losses.items()})
                        predicted = law.predict({k: v[held] for k, v in table.items()})
                        error = ((predicted - truth[held]) ** 2).mean()
                        ranks = [spearman(predicted[:, t], truth[held, t]) for t in range(truth.shape[1])]
                        found[prior] = (np.nanmean(ranks), error, law.prior_shared_)
                    found["shared" if found["cv"][2] else "separate"] = found["cv"]
                    scores += [found[prior][:2] for prior in ("separate", "shared", "cv")]
                    chosen += found["cv"][2]
                rank, mse = np.array(scores).reshape(subsets, 3, 2).mean(axis=0).T
                cells = [f"{rank[i]:.4f}, {mse[i] / mse[0] - 1:+.0%}" for i in (1, 2)]
                print(
                    f"| {family} | {name} | {n} | {subsets} | {rank[0]:.4f}, {mse[0]:.4g} | {cells[0]} | {cells[1]} "
                    f"| {chosen} of {subsets} |",
                    flush=True,
                )


# ---- accuracy ----------------------------------------------------------------------------------------
def families(quick):
    names = ["M2", "M4", "LogLinear", "BiMix", "AutoScale", "EffectiveTokens"]
    made = {n: getattr(laws, n)() for n in names}
    made["EffectiveTokens, 2 terms"] = laws.EffectiveTokens(terms=2)
    if not quick:
        made = {"M1": laws.M1(), "M3": laws.M3(), **made, "Implicit, 3": laws.Implicit(3)}
    return made


def regmix_accuracy(quick):
    print("\n## RegMix: trained on n of the 512 mixtures, scored on the 256 of regmix_1m_test (13 targets)\n")
    print("Subsets `numpy.random.default_rng(seed).choice(512, n, replace=False)`, seeds 0, 1, ...; means over them.\n")
    print("| law | n | subsets | mean Spearman | MSE, nats² | inside the 90% interval | CPU seconds per fit |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    X, Y = regmix("train")
    X_test, Y_test = regmix("test")
    truth = Y_test.to_numpy()
    sizes = ((64, 2), (512, 1)) if quick else ((16, 1), (32, 1), (64, 2), (512, 1))
    for name, law in families(quick).items():
        for n, subsets in sizes:
            scores = []
            for seed in range(subsets):
                rows = np.random.default_rng(seed).choice(512, n, replace=False)
                began = time.process_time()
                law.fit(X.iloc[rows], Y.iloc[rows])
                seconds = time.process_time() - began
                predicted = law.predict(X_test)
                low, high = law.predict_interval(X_test)
                rank = np.mean([spearman(predicted[:, t], truth[:, t]) for t in range(truth.shape[1])])
                inside = ((truth >= low) & (truth <= high)).mean()
                scores.append((rank, ((predicted - truth) ** 2).mean(), inside, seconds))
            rank, mse, inside, seconds = np.mean(scores, axis=0)
            shown = f"{rank:.4f}" if np.isfinite(rank) else "none: constant"
            print(f"| {name} | {n} | {subsets} | {shown} | {mse:.4f} | {inside:.1%} | {seconds:.2f} |", flush=True)


def dml_accuracy(quick):
    splits = 3 if quick else 5
    print(f"\n## Data Mixing Laws, five domains, 30k steps: held-out 25% of mixtures, {splits} splits\n")
    print(
        "Mean absolute error of the overall loss in nats (22 validation domains, each fitted, summed with their "
        "weights).\n"
    )
    print("| law | 70M | 410M |")
    print("|---|--:|--:|")
    data = {size: five_domains(size) for size in ("70M", "410M")}
    for name, law in families(quick).items():
        cells = []
        for X, Y, s, columns in data.values():
            errors = []
            for seed in range(splits):
                order = np.random.default_rng(seed).permutation(len(X))
                held, rest = order[: round(len(X) / 4)], order[round(len(X) / 4) :]
                law.fit(dict(zip(columns, X[rest].T)), Y[rest])
                errors.append(np.abs((law.predict(dict(zip(columns, X[held].T))) - Y[held]) @ s).mean())
            cells.append(np.mean(errors))
        print(f"| {name} | {cells[0]:.4f} | {cells[1]:.4f} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer starts, splits and families")
    quick = parser.parse_args().quick
    warnings.simplefilter("ignore")
    speed(quick)
    race_certificate(quick)
    shared_prior(quick)
    regmix_accuracy(quick)
    dml_accuracy(quick)
