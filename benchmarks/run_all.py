"""Run the benchmarks and write a page for each: docs/benchmarks/<script>.md.

    python benchmarks/run_all.py                    # everything; about two hours on two cores
    python benchmarks/run_all.py --only laws_regmix optimize
    python benchmarks/run_all.py --quick            # small versions, printed only

A page holds a question, what is measured, the command, and what the script printed. The section on misses below that
is written by hand and is kept as it is. A script that fails leaves its old page and is reported. docs/benchmarks.md,
the summary, is written by hand: look at its rows after a run.
"""

import argparse
import datetime
import os
import platform
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
SUMMARY = HERE.parent / "docs" / "benchmarks.md"
PAGES = HERE.parent / "docs" / "benchmarks"
BEGIN, END = "<!-- printed by the script: begin -->", "<!-- printed by the script: end -->"
NOTES = "\n## Misses, and how to read the tables\n\nNot written yet.\n"


@dataclass(frozen=True)
class Benchmark:
    """What a page says above the printed tables, and the arguments that its script is run with."""

    question: str
    measures: str
    arguments: tuple[str, ...] = ()


BENCHMARKS: dict[str, Benchmark] = {
    "laws_average": Benchmark(
        "Is the average of families worth more than its members, from 4 to 128 runs?",
        """
        Of each published record some runs are kept and the others judge. All families of `Auto` are fitted to the same
        kept runs, so each row compares like with like. Errors are root mean squares over targets in units of the kept
        runs' spread, over that of the Gaussian process. *Without a prior* are the weights that held-out runs alone
        choose, as `Auto` had them before; *equal* gives each family the same weight. The recommended mixture is the one
        that a law likes best among the runs that judge, or among all runs at a larger size.
        """,
    ),
    "laws_hidden": Benchmark(
        "What does Joint predict of late steps, larger models and mixtures that it did not see?",
        """
        Rows of three published records are hidden and predicted: every late step (so that no row is left in which the
        learning rate has decayed), the largest size, and half of the mixtures at the largest size, at every size, or at
        every size but the smallest. *Gaps* are differences between mixtures, which choose a recipe; their error stands
        beside their mean size.
        """,
    ),
    "laws_regmix": Benchmark(
        "How well do the laws predict mixtures of RegMix that nobody trained on?",
        """
        RegMix (arXiv:2407.01492) published 512 training runs and 256 test runs of 1M-parameter models over 17
        domains, with 13 validation losses each. Each law is fitted to a random subset of the training runs and
        predicts all losses of the 256 test runs. *Mean Spearman* is the rank correlation between predicted and
        measured losses, averaged over the 13 losses, with its standard deviation over the subsets; *MSE* is the
        mean squared error in nats². *LightGBM* is RegMix's own model, without its early stopping on the test
        labels.
        """,
    ),
    "laws_dml": Benchmark(
        "How well do the laws predict left-out mixtures of the Data Mixing Laws records?",
        """
        Data Mixing Laws (arXiv:2403.16952) published the losses of 22 validation domains for 26 mixtures of five
        domains, at 70M and 410M parameters, and for 41 mixtures of RedPajama's domains at 70M. In each of 20
        random splits a quarter of the mixtures is left out and predicted. *MAE* is the mean absolute error in
        nats per token, of the study's weighted loss or of the single domains. *Smoothed* is the Gaussian process
        fitted to and scored on smoothed loss curves instead of single evaluations. The last row of each record is
        the error that even the true law would have, because of the noise of one evaluation.
        """,
    ),
    "laws_studies": Benchmark(
        "Is Auto as good on a study that none of its choices has seen?",
        """
        Three numbers in the priors of the Gaussian process were set with records at hand. Here two of them are
        chosen again on two of three studies (RegMix, Data Mixing Laws, and this project's own swarm of small
        models) and `Auto` is judged on the third. *Error / sd* is the mean absolute error divided by the standard
        deviation of the loss in its record, averaged over losses and records.
        """,
    ),
    "laws_mixture": Benchmark(
        "How fast and how accurate are the parametric mixture laws?",
        """
        Four questions: how long 300 starts of the exponential law M4 take beside SciPy and a PyTorch loop;
        whether giving up slow starts loses the optimum; whether shrinking coefficients towards their mean over
        targets lowers the held-out error; and how accurate each family is on RegMix and Data Mixing Laws. Seconds
        are processor seconds of one thread.
        """,
    ),
    "laws_chinchilla": Benchmark(
        "Do the laws of size, data and schedule reproduce what their authors published?",
        """
        The laws are fitted to published points and compared with the published parameters, with SciPy's BFGS in
        the same process for time, and with held-out runs. Losses are in nats per token; seconds are processor
        seconds of one thread.
        """,
    ),
    "laws_scale": Benchmark(
        "How well are larger models and longer runs predicted from smaller and shorter ones?",
        """
        Backtests on the Data Mixing Laws records (weighted loss of 22 validation domains). A: 410M parameters
        from at most 305M. B: 410M at 27,000 steps and later from at most 305M at 20,000 steps and earlier. D:
        late 160M from late 70M. G: late 160M and 410M together. H: the late curve of one mixture at a time (six
        of the five-domain mixtures). *Bias* is the mean of predicted minus measured. *Score* is the root of half
        the mean squared bias on RedPajama, a quarter of that on five domains and a quarter of that of H. Forms
        and priors were chosen while 305M was hidden instead of 410M.
        """,
    ),
    "laws_extrapolate": Benchmark(
        "How well are the losses of larger runs predicted from smaller ones, and do the intervals hold?",
        """
        Of each published record with parameters, tokens and losses the largest scale (the largest size, or compute
        where runs are isoFLOP curves) is hidden and predicted from what is smaller; then the two largest. *Before* is
        `Chinchilla` on the first count of parameters with 80 bootstraps, *now* `laws.extrapolate`. *Ways differ* says
        how far the predictions lie apart of those ways that did as well in the backtests.
        """,
    ),
    "laws_growth": Benchmark(
        "How do Auto's time and memory grow with runs, domains and targets?",
        """
        Each row is one fit of `Auto` in its own process on n simulated runs of K domains and T targets. The
        simulated losses follow the effective-tokens law with noise of 0.01 nats. *Error / noise* is the mean
        absolute error of the prediction on new mixtures divided by that noise.
        """,
    ),
    "optimize": Benchmark(
        "Does the optimiser find better mixtures than search does, and how fast?",
        """
        The certified optimum on RegMix's runs beside random search and a grid, problems with 1,000 domains,
        problems small enough for brute force, a Pareto frontier, optima that take the law's uncertainty into
        account, the critical proportion of old data in continued pretraining, and the time of a whole recipe.
        Objectives, gaps and regrets are in nats per token unless the table says otherwise; seconds are wall-clock
        seconds where they are not called CPU seconds.
        """,
    ),
    "gain_intervals": Benchmark(
        "How often does the 90% interval of a gain contain the measured gain?",
        """
        A law is fitted to n of RegMix's runs and predicts the difference of the objective between two mixtures
        that were measured. *Refits* is the interval from refitting the law to resampled runs; *as printed* is
        that interval widened by the errors of held-out runs, which is what `optimize` prints. Errors and half
        widths are in nats.
        """,
    ),
    "recipe_intervals": Benchmark(
        "Do the intervals of a recipe hold what its run would measure?",
        """
        The law's own optimum lies where no run was, and is where the law is at its most hopeful. Truths are of the
        law's form, of another form (two of which no family has), or RegMix's records, where the recipe is the best
        held-out mixture by the law; and, for laws of mixtures and sizes, truths at a size three times as large and runs
        eight times as long as any that was run. A cell gives the number of worlds; the share of them in which the 90%
        interval held the loss of the recipe's run (by the law alone, then as printed), its gain over the reference, and
        single sets; then the half width and the mean error of the loss, and those of the gain, in nats. The probability
        of a gain is true if of the recipes said to be better with probability p a share p is.
        """,
        ("--workers", "1", "--minutes", "60", "--kept", ".cache/recipe_intervals.jsonl"),
    ),
    "design": Benchmark(
        "How many sequentially chosen runs are as good as 512 random ones?",
        """
        RegMix's 768 published runs are used as a table: a strategy picks runs, a Gaussian process is fitted to
        the runs it picked, one mixture is recommended, and its measured loss is looked up. *Regret* is that loss
        minus the lowest one in the table. *The law's favourite* is the mixture with the lowest predicted loss,
        without the rule that the library uses to recommend one.
        """,
    ),
    "design_surrogate": Benchmark(
        "Do sequential designs also pay when any mixture may be run, and when runs are noisy?",
        """
        A law fitted to all 768 runs of RegMix stands for the truth, so that any mixture within the limits can be
        run. Without noise, runs repeat exactly and every strategy is told so. With noise, each run has the noise
        that the law estimates, no strategy is told how large it is, and regret is computed without it. The last
        table compares the samplers.
        """,
        ("--replicates", "8"),
    ),
    "design_noise": Benchmark(
        "Is the expected error of an objective as large as its held-out error?",
        """
        The Gaussian process is fitted to 64 of RegMix's training runs and predicts the others. The table shows
        the held-out error divided by the error that the process expects (1 is right, more than 1 is
        overconfident), for the mean of all 13 losses and for single losses, and what the ratio would be if the
        errors of the 13 losses of one run were independent.
        """,
    ),
    "design_power": Benchmark(
        "Does the power analysis predict the regret that studies then have?",
        """
        `power_analysis` predicts the regret of studies with 16, 32 and 64 runs from a pilot of 32 runs, and many
        such studies are then simulated. There are two truths: a law fitted to all 768 runs of RegMix, with its
        noise (*surrogate*), and the measured losses themselves (*table*). Regrets are in nats; *se* is a standard
        error. The last table draws several truths that all 768 runs allow and shows how much the regret differs
        between them.
        """,
    ),
    "dsir": Benchmark(
        "What is it worth to choose documents by DSIR, beside random documents and the whole pool?",
        """
        The pool is seven domains of real text; the targets are two others, half of whose documents the selection sees
        while the other half judges. Selections of equally many words (signs counted as words) are drawn at random and
        by `mixlaw select dsir`, from whole documents and from pieces of 256 words. A d64 model is trained on each and
        on the whole pool (*natural*) with paired seeds. A difference is the loss minus that of random documents, with
        a 90% interval over seeds; negative is better.
        """,
    ),
    "tokens": Benchmark(
        "How fast is text tokenised?",
        """
        The encoder beside the tokenizers library on the same texts in memory, and the time and peak memory of
        building a whole corpus from compressed text.
        """,
    ),
    "throughput": Benchmark(
        "How much faster is the training loop than a plain one, and does it learn as well?",
        """
        *Plain* is one process in fp32 with PyTorch's own attention, loss and AdamW; *fast* is what `mixlaw train`
        runs. Both train the same decoder on the same batches, in turns. The losses are compared on the sources of
        Python's standard library, from the same initial weights.
        """,
        ("--rounds", "3", "--seeds", "3", "--steps", "200"),
    ),
    "evaluation": Benchmark(
        "How long does an evaluation of 67,000 minimal pairs take?",
        """
        BLiMP (arXiv:1912.00582) has 67 paradigms of 1,000 pairs of sentences. Each of the 134,000 sentences is scored
        by a proxy of 1.3M parameters, in fp32, as `mixlaw evaluate` does it. The plain loop scores the same sentences
        one after the other.
        """,
    ),
    "strategies": Benchmark(
        "Do online strategies beat a fixed mixture at equal cost?",
        """
        Every strategy has the tokens of one d64 run on real text, and the same seeds. References, proxies, the graph's
        runs, the small runs of the recipe's swarm (a quarter of the tokens where there are any) and probes are paid
        from these tokens. Losses are those of the validation sets at the end of the final run, in nats per token; the
        objective is their weighted mean. Equal weights are called *uniform*; the loader draws them stratified.
        """,
    ),
    "replan_simulated": Benchmark(
        "How much of the attainable gain does replan reach, and what does planning cost?",
        """
        Simulated runs of 1,953 steps whose losses follow a power of the effective tokens, with random exponents,
        amplitudes and transfer, and with recency, seen through probes with a noise of 0.01 nats. That is another law
        than the one which is fitted. *Own sets*: every domain's held-out set counts alike, and exploring is asked for;
        *one set*: a single set that is none of the domains'. The gain is against equal weights, in nats per token.
        """,
    ),
    "quickstart_seeds": Benchmark(
        "Does the gain that the quickstart predicts come true under other seeds?",
        """
        Each seed is a whole study of two minutes: its own small models, law, recipe and verification runs. Gains
        are differences of the objective between recipe and natural mixture in nats per token, with 90% intervals;
        negative is better. *Steps to natural's loss* is the share of the steps after which the recipe reaches the
        final loss of the natural mixture.
        """,
        ("--seeds", "10", "--minutes", "2"),
    ),
    "real_text_study": Benchmark(
        "Does a whole study on real text end with a recipe that keeps its promise?",
        """
        Eight domains of real text, 24 mixtures and three replicates of 2M tokens each; then the recipe, the
        natural mixture and the uniform mixture are trained with five paired seeds. The target is uneven: docs-
        prose 0.35, web 0.25, encyclopedia-en 0.2, code-python 0.1, and news-en 0.1, which is no training domain.
        Losses are in nats per token.
        """,
    ),
    "experts": Benchmark(
        "Do experts, merged models and a shared trunk recommend as good a mixture as a swarm, for less?",
        """
        Two settings of real text (`SETTINGS` in the script), each with a validation set that is no training domain. A
        swarm of 24 mixtures, 10 held-out mixtures, a trunk and one expert per domain, the experts again from scratch,
        and the swarm's mixtures again as branches of the trunk are trained from the same tokens. Every way of
        predicting sees some of them and predicts the 10. *Tokens, in runs* counts what it trained, in whole runs:
        trunk and experts together, mixtures as they are. *MAE* is the mean absolute error in nats per token over sets;
        *level removed*: after the mean error of each set. *Regret of the pick* is the objective of the held-out mixture
        that it likes best, above the best of the 10. For *regret of its optimum* the mixture that it likes best of
        4,000 was trained, and stands above the best of everything that was trained from scratch. Rows of fewer than
        24 mixtures are means over four choices of them, but for their optimum.
        """,
    ),
    "two_phase_study": Benchmark(
        "Does the order of the data matter, and does the best schedule beat the best constant mixture?",
        """
        No published record has runs in phases, so this script trains 28 small models that see one mixture in the
        first half and another in the second, in pairs of both orders. Ten runs are held out together with their
        reverses. Then the best schedule and the best constant mixture are trained with five paired seeds, first
        without a limit and then with the most wanted domain limited. Losses are in nats per token.
        """,
    ),
}
"""By script, in the order in which they run."""


def machine() -> str:
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        model = platform.platform()
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"


def measured(seconds: float, here: str) -> str:
    """When a script ran and how long; the machine only where it is not the one that the summary names."""
    where = "" if SUMMARY.exists() and here in SUMMARY.read_text(encoding="utf-8") else f" on {here}"
    return f"Measured on {datetime.date.today().isoformat()}{where}; the script ran for {seconds:.0f} seconds."


def page(name: str, arguments: list[str], when: str, output: str, old: str = "") -> str:
    """The text of a script's page; what stands below the printed part of the ``old`` page is kept."""
    benchmark = BENCHMARKS[name]
    command = " ".join(["python", f"benchmarks/{name}.py", *arguments])
    measures = textwrap.fill(" ".join(benchmark.measures.split()), 120, break_on_hyphens=False)
    notes = old.partition(END)[2] if END in old else NOTES
    return (
        f"# {benchmark.question}\n\n{measures}\n\n```\n{command}\n```\n\n"
        f"{BEGIN}\n\n{when}\n\n{output.strip()}\n\n{END}\n" + notes.removeprefix("\n")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(BENCHMARKS), default=list(BENCHMARKS))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--arguments", nargs=argparse.REMAINDER, help="for the script, in place of its page's")
    args = parser.parse_args()
    failed = []
    for name in args.only:
        arguments = list(BENCHMARKS[name].arguments) if args.arguments is None else args.arguments
        arguments += ["--quick"] if args.quick else []
        began = time.monotonic()
        print(f"== {name} {' '.join(arguments)}", flush=True)
        done = subprocess.run(
            [sys.executable, str(HERE / f"{name}.py"), *arguments], cwd=HERE.parent, stdout=subprocess.PIPE, text=True
        )
        print(done.stdout, flush=True)
        if done.returncode != 0:
            failed.append(name)
        elif not args.quick:
            PAGES.mkdir(exist_ok=True)
            path = PAGES / f"{name}.md"
            old = path.read_text(encoding="utf-8") if path.exists() else ""
            when = measured(time.monotonic() - began, machine())
            path.write_text(page(name, arguments, when, done.stdout, old), encoding="utf-8")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}; their old pages stand")


if __name__ == "__main__":
    main()
