"""Commands that take a study one step further: each parses, calls one step, and prints what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mixlaw.cli.options import (
    check_kind,
    further_limits,
    listed,
    mixture,
    mixture_or_name,
    pairs,
    places,
    strategies,
    task_files,
)
from mixlaw.cli.shared import StudyFolder, echo, next_step, progress_bar, schedule_text
from mixlaw.data.budget import Budget
from mixlaw.data.seams import IMPORTERS, SAMPLERS, STRATEGIES
from mixlaw.errors import ConfigError

__all__ = [
    "corpus_diff",
    "design",
    "fit",
    "init",
    "ledger_verify",
    "optimize",
    "quickstart",
    "report",
    "status",
    "tokenize",
    "train",
    "verify",
]


def quickstart(
    folder: Annotated[Path, typer.Argument(help="Where the study is made; continues if it is there.")] = Path(
        "quickstart-study"
    ),
    minutes: Annotated[float, typer.Option(help="Time for the whole study, verification included.")] = 5.0,
    corpus: Annotated[
        Path | None, typer.Option(help="Your text: a folder with one folder (or file) per domain.")
    ] = None,
    objective: Annotated[
        list[str] | None, typer.Option(help="NAME=WEIGHT of a validation set; repeat. Default: all equal.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the whole study.")] = 0,
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open the report in a browser.")] = False,
) -> None:
    """From raw text to a verified mixture, on this machine, in a few minutes."""
    from mixlaw.study.quickstart.plan import run

    with progress_bar() as progress:
        path = run(
            folder,
            minutes=minutes,
            corpus=corpus,
            objective=pairs(objective or [], "objective") or None,
            seed=seed,
            progress=progress,
            say=echo,
        )
    if show:
        import webbrowser

        webbrowser.open(path.resolve().as_uri())


def init(
    folder: StudyFolder,
    domain: Annotated[list[str], typer.Option(help="NAME=PATH of a training domain; repeat.")],
    objective: Annotated[list[str], typer.Option(help="NAME=WEIGHT of a validation set; repeat.")],
    tokens: Annotated[str, typer.Option(help="Tokens of the target run, e.g. 300B.")],
    validation: Annotated[list[str] | None, typer.Option(help="NAME=PATH of a validation-only set; repeat.")] = None,
    max_epochs: Annotated[float | None, typer.Option(help="Largest number of epochs of any domain.")] = None,
) -> None:
    """Make a study folder with a study.yaml you can edit."""
    from mixlaw.study.study import Study

    budget: dict[str, Any] = {"tokens": tokens}
    if max_epochs is not None:
        budget["max_epochs"] = max_epochs
    Study.create(
        folder,
        {
            "corpus": {"domains": places(domain, "domain"), "validation": places(validation or [], "validation")},
            "objective": pairs(objective, "objective"),
            "budget": budget,
        },
    )
    echo(f"Wrote {folder / 'study.yaml'}. Edit it as you like, then: mixlaw tokenize {folder}")


def tokenize(
    folder: StudyFolder,
    verify: Annotated[bool, typer.Option(help="Compare all tokens that are there already with their hashes.")] = False,
) -> None:
    """Text to token shards with measured counts."""
    from mixlaw.kit.units import format_count
    from mixlaw.study.study import Study

    with progress_bar() as progress:
        study = Study(folder, progress)
        corpus = study.tokenize(verify)
    for d in corpus.domains:
        documents = "" if d.num_documents is None else f", {d.num_documents} documents"
        echo(f"{d.name:<24} {format_count(d.unique_tokens):>8} unique tokens{documents} ({d.source})")
    for v in corpus.validation:
        echo(f"{v.name:<24} {format_count(v.tokens):>8} validation tokens")
    echo(f"Wrote {folder / 'corpus.json'}. Next: {next_step(study, 'tokenize')}")


def corpus_diff(before: Path, after: Path) -> None:
    """What changed between two corpora (study folders or corpus.json files)."""
    from mixlaw.study.steps.reuse import read_corpus
    from mixlaw.tokens import corpus_diff as compare_corpora

    echo(str(compare_corpora(read_corpus(before), read_corpus(after))))


def design(
    folder: StudyFolder,
    more: Annotated[int, typer.Option(help="Add this many runs, chosen from what was observed so far.")] = 0,
    sampler: Annotated[
        str | None,
        typer.Option(help=f"{', '.join(SAMPLERS.names())}; see docs/design.md."),
    ] = None,
    num: Annotated[int | None, typer.Option(help="How many mixtures.")] = None,
    replicates: Annotated[int | None, typer.Option(help="Extra runs of the reference: they measure the noise.")] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            # the backslash keeps the help's markup from taking [web, news] for a style
            help=r"NAME=VALUE of the sampler, e.g. 'levels={news: \[web, news]}' or 'fractions=[.8, .2]'; repeat."
        ),
    ] = None,
    size: Annotated[
        list[str] | None,
        typer.Option(
            help="PRESET=NUM:TOKENS, a larger size for NUM of the mixtures, e.g. d128=8:8M; repeat, cheapest first."
        ),
    ] = None,
    trunk: Annotated[
        float | None,
        typer.Option(help="Share of the tokens that all runs have in common, trained once, such as 0.5; 0: none."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option(help="Write nothing: print the runs, and FLOPs, hours and disk of those not trained yet.")
    ] = False,
) -> None:
    """Choose the mixtures of the swarm; what is not given here comes from study.yaml."""
    from mixlaw.kit.units import format_count
    from mixlaw.study.config import design_changes
    from mixlaw.study.study import Study

    study = Study(folder)
    settings = design_changes(study.config.design, sampler, num, replicates, option or [], size or [], trunk)
    worth, exists = "", study.store.exists("design.json")
    if more and settings is not None:
        raise ConfigError("--more adds runs to the design as it was made; leave out --sampler, --num and the like.")
    if more:
        specs, worth = study.swarm.further(more) if dry_run else study.extend(more)
    elif dry_run and not exists:
        specs = study.swarm.propose(settings)
    else:
        specs = study.design(settings)
    for spec in specs:
        larger = "" if spec.tokens == study.config.training.tokens else f"{format_count(spec.tokens)} tokens  "
        echo(f"{spec.id}  seed {spec.seed}  {larger}{schedule_text(spec.schedule)}")
    echo(worth or study.swarm.cut())
    echo(study.swarm.epoching())
    if dry_run:
        _print_cost(study.swarm.cost(specs))
        echo(f"Nothing was written. Without --dry-run: {folder / 'design.json'}.")
        return
    echo(f"Wrote {folder / 'design.json'} ({len(specs)} runs). Next: {next_step(study, 'design')}")


def _print_cost(e: dict[str, float]) -> None:
    from mixlaw.kit.units import format_bytes, format_count, format_seconds

    echo(
        f"{e['runs']:.0f} runs to train: {format_count(e['tokens'])} tokens, {e['flops']:.2e} FLOPs, about "
        f"{format_seconds(e['seconds'])} here at {format_count(e['tokens_per_second'])} tokens/s, "
        f"{format_bytes(e['disk_bytes'])} of disk."
    )


def train(
    folder: StudyFolder,
    dry_run: Annotated[bool, typer.Option(help="Print FLOPs, hours and disk; train nothing.")] = False,
    verify: Annotated[bool, typer.Option(help="Compare all tokens with their hashes first, not only samples.")] = False,
    strategy: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Train a run whose mixture this strategy chooses, instead of the design; repeat to compare with the "
            f"first. {', '.join(STRATEGIES.names())}."
        ),
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="With --strategy: STRATEGY.NAME=VALUE, such as aioli.eta=0.3; repeat.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="With --strategy: runs of each, with the same seeds.")] = 1,
    search: Annotated[
        float,
        typer.Option(help="With --strategy: share of the tokens for runs before the final one, where it has some."),
    ] = 0.25,
    uncharged: Annotated[
        bool,
        typer.Option(help="With --strategy: do not pay these runs and probes from the budget; their cost is said."),
    ] = False,
) -> None:
    """Train the designed runs that are not done yet, or with --strategy runs whose mixture changes as they train."""
    from mixlaw.study.study import Study

    if strategy:
        if dry_run:
            raise ConfigError("--dry-run is of the design's runs; leave it out with --strategy.")
        _compare(folder, strategy, option or [], seeds, search, not uncharged)
        return
    given = {"--option": option, "--seeds": seeds != 1, "--search": search != 0.25, "--uncharged": uncharged}
    if used := [name for name, value in given.items() if value]:
        raise ConfigError(f"{used[0]} goes with --strategy. Name a strategy, or leave it out.")
    if dry_run:
        _print_cost(Study(folder).swarm.estimate())
        return
    with progress_bar() as progress:
        study = Study(folder, progress)
        failures = study.train(verify=verify)
    for run, reason in failures.items():
        echo(f"run {run} failed: {reason}", err=True)
    echo(
        f"{len(study.specs()) - len(failures)} of {len(study.specs())} runs are done"
        + (f"; {len(failures)} failed, run `mixlaw train {folder}` to try them again" if failures else "")
        + f". Next: mixlaw fit {folder}"
    )
    if failures:
        raise typer.Exit(1)


def _compare(folder: Path, names: list[str], options: list[str], seeds: int, search: float, charged: bool) -> None:
    """Train strategies, print what each was worth, and draw their weights."""
    from mixlaw.data.observations import Observations
    from mixlaw.report.plots import weights_along_training
    from mixlaw.study.study import Study
    from mixlaw.verify.compared import comparison_text

    asked = strategies(names, options)
    with progress_bar() as progress:
        study = Study(folder, progress)
        found = study.compare(asked, seeds, search=search, charged=charged)
    echo(comparison_text(found, study.config.law.level))
    plots = study.folder / "strategies"
    for label, arm in found.arms.items():
        if arm.objective:
            run = arm.runs[min(arm.objective)][-1]
            plots.mkdir(exist_ok=True)
            weights_along_training(Observations.load(study.folder / "runs" / run)).savefig(plots / f"{label}.png")
    echo(f"Wrote {folder / 'strategies.json'}, and the weights along training in {plots}.")


def fit(
    source: Annotated[list[Path], typer.Argument(help="A study folder, or files of runs (CSV, Parquet, ...).")],
    out: Annotated[Path | None, typer.Option(help="For files: folder for law, league table and plots.")] = None,
    target: Annotated[list[str] | None, typer.Option(help="For files: fit only these targets; repeat.")] = None,
    repair: Annotated[bool, typer.Option(help="For files: rescale weights that do not sum to one.")] = False,
    mixtures: Annotated[Path | None, typer.Option(help="For logs: table of mixtures (run, one column each).")] = None,
    weight: Annotated[
        list[str] | None, typer.Option(help="For files: DOMAIN=COLUMN, a column of weights; repeat.")
    ] = None,
    value: Annotated[
        list[str] | None,
        typer.Option(
            help="For files: COLUMN or COLUMN=KIND, a measured value, KIND loss, perplexity, bits_per_token, "
            "bits_per_byte, accuracy, percent, higher or lower; repeat."
        ),
    ] = None,
    ignore: Annotated[list[str] | None, typer.Option(help="For files: a column to leave out; repeat.")] = None,
    format: Annotated[str | None, typer.Option(help=f"For files: {', '.join(IMPORTERS.names())}.")] = None,
    law: Annotated[
        str | None,
        typer.Option(help="For files: the law, such as m2 or effective_tokens, instead of the one that suits them."),
    ] = None,
    seed: Annotated[int, typer.Option(help="For files: seed of everything random.")] = 0,
    at: Annotated[
        list[str] | None,
        typer.Option(
            help="For files of sizes: predict a larger run, such as params=7B,tokens=140B, by the fit that backtests "
            "inside the record choose; repeat."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option(help="Print what each column is taken as and what would be fitted; write nothing.")
    ] = False,
) -> None:
    """Fit laws, compare them by held-out error, and keep the best."""
    if len(source) == 1 and (source[0] / "study.yaml").exists():
        from mixlaw.study.study import Study

        given = {
            "--out": out,
            "--target": target,
            "--repair": repair,
            "--mixtures": mixtures,
            "--weight": weight,
            "--value": value,
            "--ignore": ignore,
            "--format": format,
            "--law": law,
            "--seed": seed,
            "--at": at,
        }
        ignored = [name for name, value_given in given.items() if value_given]
        if ignored:
            raise ConfigError(
                f"{ignored[0]} is for files of runs; {source[0]} is a study, which takes its settings from study.yaml "
                f"(law.name and law.options for the law, repair: true for --repair, run_options for the columns of "
                f"imported runs)."
            )
        study = Study(source[0])
        if study.config.runs and (text := study.observations().columns_text()):
            echo(text)
        if dry_run:
            echo("Nothing was fitted or written.")
            return
        found = study.fit()
        if words := study.fitted_to():
            echo(words)
        echo(found.summary())
        if words := study.equal_tokens_text():
            echo(words)
        echo(str(study.evidence()))
        echo(f"Wrote {source[0] / 'laws'}. Next: mixlaw optimize {source[0]}")
        return
    from mixlaw.study.fit_files import fit_files
    from mixlaw.study.fit_folder import next_command

    folder = out or Path(source[0].name.split(".")[0] + "-fit")
    with progress_bar() as progress:
        found = fit_files(
            source,
            folder,
            targets=target,
            repair=repair,
            mixtures=mixtures,
            weights=weight,
            values=value,
            ignore=ignore,
            format=format,
            law=law,
            seed=seed,
            dry_run=dry_run,
            at=at or (),
            progress=progress,
            say=echo,
        )
    if found is None:
        echo("Nothing was fitted or written.")
        return
    echo(found.summary())
    following = next_command(folder, found)
    if found.certifiable_ is not None and found.certifiable_ is not found and law is None:
        echo(f"For an optimum with a certificate, fit that law by itself: --law {found.certifiable_name_}.")
    league = "league.json, " if (folder / "league.json").exists() else ""
    echo(f"Wrote {folder} (law.json, {league}observations, plots).")
    if following:
        echo(
            "For a recipe, write numbers such as 300B for TOKENS: after --tokens how long the run you plan is, after "
            "--counts how many different (unique) tokens each domain has."
        )
        echo(f"Next: {following}")


def optimize(
    folder: StudyFolder,
    kind: Annotated[str, typer.Option(help="mean, worst, guard or least_change.")] = "mean",
    guard: Annotated[
        list[str] | None,
        typer.Option(help="SET=NATS: how much worse than today SET may get; negative: must improve; repeat."),
    ] = None,
    gain: Annotated[float | None, typer.Option(help="With --kind least_change: the wanted gain in nats.")] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="SET=PAIRS.csv (columns loss, accuracy), or SET alone where the study's runs measured both: maximise "
            "the accuracy that follows from SET's loss; repeat."
        ),
    ] = None,
    kl_weight: Annotated[float, typer.Option(help="Adds this weight times the KL divergence to --kl-to.")] = 0.0,
    kl_limit: Annotated[float | None, typer.Option(help="At most so many nats of KL divergence to --kl-to.")] = None,
    kl_to: Annotated[
        str, typer.Option(help="natural, uniform, reference, or a mixture DOMAIN=WEIGHT,DOMAIN=WEIGHT,...")
    ] = "natural",
    repetition: Annotated[bool, typer.Option(help="Count repeated tokens by their effective worth.")] = False,
    robust: Annotated[str | None, typer.Option(help="Over refitted laws: mean, cvar or regret.")] = None,
    near: Annotated[
        float, typer.Option(help="Relative worsening of the objective that the near-optimal ranges allow.")
    ] = 1e-3,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=TOTAL:DOMAIN=COST,...: a further budget, cost per token, beside those of study.yaml "
            "(budget.limits, where floors, caps, groups and epochs are as well); repeat."
        ),
    ] = None,
    tokens: Annotated[str | None, typer.Option(help="For a fit of files: tokens of the target run, e.g. 300B.")] = None,
    counts: Annotated[
        list[str] | None,
        typer.Option(help="For a fit of files: DOMAIN=TOKENS, its unique tokens, e.g. web=3T; repeat."),
    ] = None,
    objective: Annotated[
        list[str] | None,
        typer.Option(help="For a fit of files: NAME=WEIGHT of a validation set; repeat. Default: all equal."),
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="For a fit of files: today's mixture DOMAIN=WEIGHT,...; default: natural.")
    ] = None,
    params: Annotated[str | None, typer.Option(help="For a fit of files: parameters of the target model.")] = None,
    max_epochs: Annotated[float | None, typer.Option(help="For a fit of files: largest epochs of any domain.")] = None,
) -> None:
    """Find the mixture, and write its prediction into the ledger (of a fit of files: recipe.json alone)."""
    from mixlaw.study.fit_folder import is_fit
    from mixlaw.study.steps.task import task_laws
    from mixlaw.study.study import Study

    check_kind(kind, guard or [], gain)
    asked: dict[str, Any] = {
        "kind": kind,
        "guard": pairs(guard or [], "guard") or None,
        "gain": gain,
        "kl_weight": kl_weight,
        "kl_limit": kl_limit,
        "kl_to": mixture_or_name(kl_to, "--kl-to"),
        "repetition": repetition or None,
        "robust": robust,
        "near": near,
    }
    of_files = {
        "--tokens": tokens,
        "--counts": counts,
        "--objective": objective,
        "--reference": reference,
        "--params": params,
        "--max-epochs": max_epochs,
    }
    if is_fit(folder):
        _optimize_fit(folder, of_files, limit or [], task_files(task or []), asked)
        return
    given = [name for name, value in of_files.items() if value is not None]
    if given and not folder.is_file():
        raise ConfigError(
            f"{given[0]} is for a folder that `mixlaw fit FILES` wrote; {folder} is a study, which has it in its "
            f"study.yaml."
            if (folder / "study.yaml").exists()
            else f"{folder} holds neither law.json nor study.yaml. Run `mixlaw fit FILES --out {folder}` first."
        )
    study = Study(folder)
    recipe = study.optimize(
        budget=further_limits(study.budget, limit or []),
        task=task_laws(study.observations, task_files(task or [])) or None,
        **asked,
    )
    _print_recipe(recipe, near)
    if (found := study.evidence()).reassures(study.budget.params):  # no caution, so it is none of the recipe's warnings
        echo(f"Rank transfer: {found.sentence(study.budget.params)}")
    echo(f"Ledger head {study.ledger.head[:16]}. Wrote {folder / 'recipe.json'}. Next: {next_step(study, 'optimize')}")


def _print_recipe(recipe: Any, near: float) -> None:
    echo(str(recipe))
    if recipe.near_optimal:
        echo(f"weights that stay within {near:.2%} of the objective:")
        for domain, (low, high) in recipe.near_optimal.items():
            echo(f"  {domain:<24} {low:.4f} to {high:.4f}")


def _optimize_fit(
    folder: Path, of_files: dict[str, Any], limits: list[str], tasks: dict[str, Path | None], asked: dict[str, Any]
) -> None:
    """The mixture from the folder of a fit: its law, and what the command line says of the target run."""
    from mixlaw.study.fit_folder import optimize_fit

    if of_files["--tokens"] is None:
        raise ConfigError(
            f"{folder} holds a fit of files, which does not say how long the target run is. Add --tokens, for example "
            f"--tokens 300B, and --counts DOMAIN=TOKENS for each domain."
        )
    counts = [part for text in of_files["--counts"] or [] for part in listed(text)]
    reference = of_files["--reference"]
    recipe = optimize_fit(
        folder,
        tokens=of_files["--tokens"],
        counts=pairs(counts, "counts", number=False),
        objective=pairs(of_files["--objective"] or [], "objective") or None,
        reference=None if reference is None else mixture(reference, "--reference"),
        params=of_files["--params"],
        max_epochs=of_files["--max-epochs"],
        limits=further_limits(Budget(tokens=1), limits).limits,
        task_files=tasks,
        **asked,
    )
    _print_recipe(recipe, asked["near"])
    echo(
        "A fit of files keeps no ledger: this prediction is not written down for a later check. A study of these runs "
        "does that (mixlaw init, and `runs:` in study.yaml)."
    )
    echo(f"Wrote {folder / 'recipe.json'}. Next: mixlaw export {folder} FRAMEWORK FILE")


def verify(
    folder: StudyFolder,
    dry_run: Annotated[bool, typer.Option(help="Print FLOPs, hours and disk; train nothing.")] = False,
) -> None:
    """Train the recipe and the references with paired seeds; score the prediction."""
    from mixlaw.report.cautions import cautions_of_check
    from mixlaw.study.study import Study
    from mixlaw.verify.paired import verification_text

    if dry_run:
        study = Study(folder)
        _print_cost(study.swarm.cost(list(study.verification_specs().values())))
        return
    with progress_bar() as progress:
        study = Study(folder, progress)
        result = study.verify()
    echo(verification_text(result))
    for caution in cautions_of_check(study.recipe(), result):
        echo(caution)
    echo(f"Wrote {folder / 'verification.json'}. Next: mixlaw report {folder}")


def report(folder: StudyFolder) -> None:
    """One self-contained HTML page of what exists so far."""
    from mixlaw.study.study import Study

    echo(f"Wrote {Study(folder).report()}.")


def status(folder: StudyFolder) -> None:
    """What is done, and what comes next."""
    from mixlaw.study.study import Study

    study = Study(folder)
    for verb, done, detail in study.status():
        echo(f"{'done' if done else '    '}  {verb:<9} {detail}")
    following = study.following()
    if words := study.unsealed():
        echo(words)
    echo(f"Ledger: {len(study.ledger)} entries, head {study.ledger.head[:16]}.")
    echo(f"Next: mixlaw {following} {folder}" if following else "Everything is done.")


def ledger_verify(
    folder: StudyFolder,
    head: Annotated[
        str | None, typer.Argument(help="The head that a report or `mixlaw status` printed; 8 digits or more of it.")
    ] = None,
) -> None:
    """Check that no entry of the ledger was changed, removed or dated impossibly, and that it leads through HEAD."""
    from mixlaw.study.study import Study

    study = Study(folder)
    last = study.ledger.verify(head)
    through = "" if head is None else f" It leads through the head {head}."
    echo(f"The ledger is whole: {len(study.ledger)} entries, head {last}.{through}")
    if head is None:
        echo("Compare with a head that was printed elsewhere (a report, a log): only that tells a rewritten ledger.")
