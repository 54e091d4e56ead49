"""The command line: parses, calls one verb, prints what came of it and what comes next. No logic of its own."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from mixlaw.errors import ConfigError, DataError, MixlawError

__all__ = ["app", "main"]

app = typer.Typer(
    name="mixlaw",
    help="Predict what a language model learns from a data mixture before it is trained, and find the best mixture.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

StudyFolder = Annotated[Path, typer.Argument(help="Study folder (holds study.yaml).")]


# typer brings its own click since 0.21 and used the public one before; both derive BadParameter from ClickException
_USAGE_ERRORS: Any = typer.BadParameter.__mro__[2]


def main() -> None:
    """Entry point: errors of ours are one message, not a traceback; Ctrl-C leaves a study that continues."""
    _plain_warnings()
    try:
        code = app(standalone_mode=False)
    except MixlawError as error:
        _echo(f"error: {error}", err=True)
        sys.exit(1)
    except OSError as error:  # a full disk, a folder that cannot be written
        _echo(f"error: {error}. Free the disk or mend the path, then run the same command again.", err=True)
        sys.exit(1)
    except (KeyboardInterrupt, typer.Abort):
        _echo("\nStopped. Nothing is lost: run the same command again to continue.", err=True)
        sys.exit(130)
    except _USAGE_ERRORS as error:
        error.show()
        sys.exit(error.exit_code)
    sys.exit(code if isinstance(code, int) else 0)


def _plain_warnings() -> None:
    from mixlaw.errors import MixlawWarning

    def show(message: Any, category: type, filename: str, lineno: int, file: Any = None, line: Any = None) -> None:
        label = "warning" if issubclass(category, MixlawWarning) else category.__name__
        _echo(f"{label}: {message}", err=True)

    warnings.showwarning = show


def _echo(text: str = "", err: bool = False) -> None:
    typer.echo(text, err=err)


@contextmanager
def _progress() -> Iterator[Any]:
    """A progress bar with an ETA on a terminal; a line every ten seconds elsewhere."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        bar = Progress(
            TextColumn("{task.description:>9}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        tasks: dict[str, Any] = {}
        with bar:

            def draw(what: str, done: float, total: float) -> None:
                if what not in tasks:
                    tasks[what] = bar.add_task(what, total=total)
                bar.update(tasks[what], completed=done, total=total)

            yield draw
    else:
        last: dict[str, float] = {}
        started: dict[str, float] = {}

        def line(what: str, done: float, total: float) -> None:
            now = time.monotonic()
            started.setdefault(what, now)
            if now - last.get(what, now - 100) >= 10 and total > 0:
                last[what] = now
                spent = now - started[what]
                eta = f", {spent * (total - done) / done:.0f} s to go" if done > 0 and spent > 2 else ""
                _echo(f"{what}: {100 * done / total:.0f}%{eta}", err=True)

        yield line


def _pairs(values: list[str], what: str, number: bool = True) -> dict[str, Any]:
    """``["a=1", "b=2"]`` -> ``{"a": 1.0, "b": 2.0}``."""
    result: dict[str, Any] = {}
    for text in values:
        name, sep, value = text.partition("=")
        try:
            if not sep or not name:
                raise ValueError
            result[name] = float(value) if number else value
        except ValueError:
            raise ConfigError(f"--{what} {text!r} must look like NAME={'NUMBER' if number else 'PATH'}.") from None
    return result


@app.command()
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
    from mixlaw.quickstart import run

    with _progress() as progress:
        path = run(
            folder,
            minutes=minutes,
            corpus=corpus,
            objective=_pairs(objective or [], "objective") or None,
            seed=seed,
            progress=progress,
            say=_echo,
        )
    if show:
        import webbrowser

        webbrowser.open(path.resolve().as_uri())


@app.command()
def init(
    folder: StudyFolder,
    domain: Annotated[list[str], typer.Option(help="NAME=PATH of a training domain; repeat.")],
    objective: Annotated[list[str], typer.Option(help="NAME=WEIGHT of a validation set; repeat.")],
    tokens: Annotated[str, typer.Option(help="Tokens of the target run, e.g. 300B.")],
    validation: Annotated[list[str] | None, typer.Option(help="NAME=PATH of a validation-only set; repeat.")] = None,
    max_epochs: Annotated[float | None, typer.Option(help="Largest number of epochs of any domain.")] = None,
) -> None:
    """Make a study folder with a study.yaml you can edit."""
    from mixlaw.study import Study

    absolute = {k: str(v) if "://" in v else str(Path(v).resolve()) for k, v in _pairs(domain, "domain", False).items()}
    checks = {
        k: str(v) if "://" in v else str(Path(v).resolve())
        for k, v in _pairs(validation or [], "validation", False).items()
    }
    budget: dict[str, Any] = {"tokens": tokens}
    if max_epochs is not None:
        budget["max_epochs"] = max_epochs
    Study.create(
        folder,
        {
            "corpus": {"domains": absolute, "validation": checks},
            "objective": _pairs(objective, "objective"),
            "budget": budget,
        },
    )
    _echo(f"Wrote {folder / 'study.yaml'}. Edit it as you like, then: mixlaw tokenize {folder}")


@app.command()
def tokenize(folder: StudyFolder) -> None:
    """Text to token shards with measured counts."""
    from mixlaw.study import Study
    from mixlaw.units import format_count

    with _progress() as progress:
        corpus = Study(folder, progress).tokenize()
    for d in corpus.domains:
        documents = "" if d.num_documents is None else f", {d.num_documents} documents"
        _echo(f"{d.name:<24} {format_count(d.unique_tokens):>8} unique tokens{documents} ({d.source})")
    for v in corpus.validation:
        _echo(f"{v.name:<24} {format_count(v.tokens):>8} validation tokens")
    _echo(f"Wrote {folder / 'corpus.json'}. Next: mixlaw design {folder}")


corpus_app = typer.Typer(help="Look at corpora.", no_args_is_help=True)
app.add_typer(corpus_app, name="corpus")


@corpus_app.command("diff")
def corpus_diff(before: Path, after: Path) -> None:
    """What changed between two corpora (study folders or corpus.json files)."""
    from mixlaw.carryover import read_corpus
    from mixlaw.tokens import corpus_diff as compare_corpora

    _echo(str(compare_corpora(read_corpus(before), read_corpus(after))))


@app.command()
def design(
    folder: StudyFolder,
    more: Annotated[int, typer.Option(help="Add this many runs, chosen from what was observed so far.")] = 0,
    sampler: Annotated[
        str | None,
        typer.Option(help="dirichlet, lattice, maximin, d_optimal, hierarchical, phases, ...; see docs/design.md."),
    ] = None,
    num: Annotated[int | None, typer.Option(help="How many mixtures.")] = None,
    replicates: Annotated[int | None, typer.Option(help="Extra runs of the reference: they measure the noise.")] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=VALUE of the sampler, e.g. 'levels={news: [web, news]}' or 'fractions=[.8, .2]'; repeat."
        ),
    ] = None,
    size: Annotated[
        list[str] | None,
        typer.Option(
            help="PRESET=NUM:TOKENS, a larger size for NUM of the mixtures, e.g. d128=8:8M; repeat, cheapest first."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option(help="Write nothing: print the runs, and FLOPs, hours and disk of those not trained yet.")
    ] = False,
) -> None:
    """Choose the mixtures of the swarm; what is not given here comes from study.yaml."""
    from mixlaw.config import design_changes
    from mixlaw.study import Study
    from mixlaw.units import format_count

    study = Study(folder)
    settings = design_changes(study.config.design, sampler, num, replicates, option or [], size or [])
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
        _echo(f"{spec.id}  seed {spec.seed}  {larger}{spec.schedule.mixture}")
    _echo(worth or study.cut())
    _echo(study.swarm.epoching())
    if dry_run:
        _print_cost(study.swarm.cost(specs))
        _echo(f"Nothing was written. Without --dry-run: {folder / 'design.json'}.")
        return
    _echo(f"Wrote {folder / 'design.json'} ({len(specs)} runs). Next: mixlaw train {folder}")


def _print_cost(e: dict[str, float]) -> None:
    from mixlaw.units import format_bytes, format_count, format_seconds

    _echo(
        f"{e['runs']:.0f} runs to train: {format_count(e['tokens'])} tokens, {e['flops']:.2e} FLOPs, about "
        f"{format_seconds(e['seconds'])} here at {format_count(e['tokens_per_second'])} tokens/s, "
        f"{format_bytes(e['disk_bytes'])} of disk."
    )


@app.command()
def power(
    folder: StudyFolder,
    runs: Annotated[list[int] | None, typer.Option(help="A number of runs to simulate; repeat.")] = None,
    regret: Annotated[float | None, typer.Option(help="Say how many runs bring the regret down to this.")] = None,
    worlds: Annotated[int, typer.Option(help="Simulated worlds; more take longer and say it more sharply.")] = 12,
) -> None:
    """How many runs for which regret, simulated from the runs trained so far (an order of magnitude)."""
    from mixlaw.design import power_analysis
    from mixlaw.study import Study

    study = Study(folder)
    found = power_analysis(
        study.corpus,
        study.budget,
        tuple(runs or (16, 32, 64)),
        pilot=study.observations(),
        objective=study.config.objective_weights(),
        worlds=worlds,
    )
    _echo(str(found))
    if regret is not None:
        needed = found.runs_for(regret)
        most = max(p.runs for p in found.points)
        _echo(f"Regret {regret:g}: " + (f"about {needed} runs." if needed else f"not reached with {most} runs."))
    _echo("Held against replays it was off by up to several times: read it as an order of magnitude.")


@app.command()
def train(
    folder: StudyFolder,
    dry_run: Annotated[bool, typer.Option(help="Print FLOPs, hours and disk; train nothing.")] = False,
) -> None:
    """Train the designed runs that are not done yet."""
    from mixlaw.study import Study

    if dry_run:
        _print_cost(Study(folder).estimate())
        return
    with _progress() as progress:
        study = Study(folder, progress)
        failures = study.train()
    for run, reason in failures.items():
        _echo(f"run {run} failed: {reason}", err=True)
    _echo(
        f"{len(study.specs()) - len(failures)} of {len(study.specs())} runs are done"
        + (f"; {len(failures)} failed, run `mixlaw train {folder}` to try them again" if failures else "")
        + f". Next: mixlaw fit {folder}"
    )
    if failures:
        raise typer.Exit(1)


@app.command()
def fit(
    source: Annotated[list[Path], typer.Argument(help="A study folder, or files of runs (CSV, Parquet, ...).")],
    out: Annotated[Path | None, typer.Option(help="For files: folder for law, league table and plots.")] = None,
    target: Annotated[list[str] | None, typer.Option(help="For files: fit only these targets; repeat.")] = None,
    repair: Annotated[bool, typer.Option(help="For files: rescale weights that do not sum to one.")] = False,
    mixtures: Annotated[Path | None, typer.Option(help="For logs: table of mixtures (run, one column each).")] = None,
    value: Annotated[list[str] | None, typer.Option(help="For files: a metric that is a loss; repeat.")] = None,
    format: Annotated[str | None, typer.Option(help="For files: table, olmix, wandb, mlflow, ...")] = None,
    seed: Annotated[int, typer.Option(help="For files: seed of everything random.")] = 0,
) -> None:
    """Fit laws, compare them by held-out error, and keep the best."""
    if len(source) == 1 and (source[0] / "study.yaml").exists():
        from mixlaw.study import Study

        given = {
            "--out": out,
            "--target": target,
            "--repair": repair,
            "--mixtures": mixtures,
            "--value": value,
            "--format": format,
            "--seed": seed,
        }
        ignored = [name for name, value_given in given.items() if value_given]
        if ignored:
            raise ConfigError(
                f"{ignored[0]} is for files of runs; {source[0]} is a study, which takes its settings from study.yaml "
                f"(law.options for the law)."
            )
        study = Study(source[0])
        law = study.fit()
        _echo(law.summary())
        _echo(str(study.evidence()))
        _echo(f"Wrote {source[0] / 'laws'}. Next: mixlaw optimize {source[0]}")
        return
    from mixlaw.fitfiles import fit_files

    folder = out or Path(source[0].name.split(".")[0] + "-fit")
    with _progress() as progress:
        law = fit_files(
            source,
            folder,
            targets=target,
            repair=repair,
            mixtures=mixtures,
            values=value,
            format=format,
            seed=seed,
            progress=progress,
            say=_echo,
        )
    _echo(law.summary())
    _echo(f"Wrote {folder} (law.json, league.json, observations, plots).")


@app.command()
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
) -> None:
    """Find the mixture, and write its prediction into the ledger."""
    from mixlaw.study import Study
    from mixlaw.wishes import further_limits, mixture_or_name, task_laws

    study = Study(folder)
    recipe = study.optimize(
        budget=further_limits(study.budget, limit or []),
        kind=kind,
        guard=_pairs(guard or [], "guard") or None,
        gain=gain,
        task=task_laws(study, task or []),
        kl_weight=kl_weight,
        kl_limit=kl_limit,
        kl_to=mixture_or_name(kl_to, "--kl-to"),
        repetition=repetition or None,
        robust=robust,
        near=near,
    )
    _echo(str(recipe))
    if recipe.near_optimal:
        _echo(f"weights that stay within {near:.2%} of the objective:")
        for domain, (low, high) in recipe.near_optimal.items():
            _echo(f"  {domain:<24} {low:.4f} to {high:.4f}")
    _echo(f"Ledger head {study.ledger.head[:16]}. Wrote {folder / 'recipe.json'}. Next: mixlaw verify {folder}")


@app.command()
def schedule(folder: StudyFolder) -> None:
    """The best mixture per phase, against the best constant mixture (needs runs with phases)."""
    from mixlaw.study import Study

    _echo(str(Study(folder).schedule()))
    _echo(f"Wrote {folder / 'recipe-schedule.json'}.")


@app.command()
def frontier(
    folder: StudyFolder,
    target: Annotated[list[str], typer.Option(help="Validation set; repeat, two or more.")],
    points: Annotated[int, typer.Option(help="Points of the frontier.")] = 200,
) -> None:
    """Which losses are possible together: the Pareto frontier of several validation sets."""
    from mixlaw.report import plots
    from mixlaw.study import Study

    found = Study(folder).frontier(target, points)
    _echo(str(found))
    path = folder / "frontier.png"
    plots.pareto(found).savefig(path, dpi=150)
    _echo(f"Wrote {path}.")


@app.command()
def critical(
    source: Annotated[Path, typer.Argument(help="Runs of continued pretraining (study folder or table).")],
    domain: Annotated[str, typer.Option(help="Training domain that holds the old data.")],
    target: Annotated[list[str], typer.Option(help="SET=WEIGHT of the old skills' validation sets; repeat.")],
    before: Annotated[str, typer.Option(help="Id of the run that measured the model before continuing.")],
) -> None:
    """The share of old data below which old skills get worse, with an interval."""
    from mixlaw.observations import Observations
    from mixlaw.optimize import critical_from_observations

    _echo(str(critical_from_observations(Observations.read(source), domain, _pairs(target, "target"), before)))


@app.command()
def reuse(
    before: Annotated[Path, typer.Argument(help="Study folder whose runs are to be used again.")],
    after: Annotated[Path, typer.Argument(help="Study folder or corpus.json of the changed domains.")],
    split: Annotated[list[str] | None, typer.Option(help="OLD=PART,PART of a split domain; repeat.")] = None,
    kept: Annotated[
        list[str] | None,
        typer.Option(help="DOMAIN=SHARE of a re-filtered domain's tokens that are still there; repeat."),
    ] = None,
    max_runs: Annotated[int, typer.Option(help="Most new runs to propose.")] = 32,
    out: Annotated[
        Path | None, typer.Option(help="Write the old runs over old and new domains here, for 'runs:' in study.yaml.")
    ] = None,
) -> None:
    """Which old runs stay valid after the domains changed, and which few new ones restore the interval."""
    from mixlaw.carryover import carry_over

    parts = {old: tuple(new.split(",")) for old, new in _pairs(split or [], "split", False).items()}
    found, new = carry_over(before, after, split=parts, kept=_pairs(kept or [], "kept"), max_runs=max_runs)
    _echo(str(found))
    _echo(str(new))
    if out is not None:
        found.observations.save(out)
        _echo(f"Wrote {out}. In the new study.yaml: runs: [{out}]")


@app.command()
def effects(folder: StudyFolder) -> None:
    """Which domain helps, hurts or leaves alone which validation set, false discoveries held down."""
    from sklearn.base import clone

    from mixlaw.laws.effects import effects as measure
    from mixlaw.study import Study

    study = Study(folder)
    study.need("fit")
    law = study.law()
    X, y = study.observations().table([v.name for v in study.corpus.validation] or None)
    try:
        found = measure(law, X)
    except DataError:  # read from a file, most laws have lost the runs that the standard errors are taken from
        found = measure(clone(law).fit(X, y), X)
    _echo(str(found))


@app.command()
def predict(
    folder: StudyFolder,
    weight: Annotated[list[str], typer.Option(help="DOMAIN=WEIGHT; repeat; must sum to 1.")],
) -> None:
    """Predicted loss of every validation set for a mixture."""
    from mixlaw.study import Study

    predictions = Study(folder).predict(_pairs(weight, "weight"))
    for name, prediction in predictions.items():
        _echo(f"{name:<24} {prediction}")


@app.command()
def verify(
    folder: StudyFolder,
    dry_run: Annotated[bool, typer.Option(help="Print FLOPs, hours and disk; train nothing.")] = False,
) -> None:
    """Train the recipe and the references with paired seeds; score the prediction."""
    from mixlaw.study import Study
    from mixlaw.verification import verification_text

    if dry_run:
        study = Study(folder)
        _print_cost(study.swarm.cost(list(study.verification_specs().values())))
        return
    with _progress() as progress:
        result = Study(folder, progress).verify()
    _echo(verification_text(result))
    _echo(f"Wrote {folder / 'verification.json'}. Next: mixlaw report {folder}")


@app.command()
def export(
    folder: StudyFolder,
    framework: Annotated[
        str,
        typer.Argument(help="huggingface, llama_factory, megatron, nanotron, olmo_core, streaming or torchtitan."),
    ],
    path: Annotated[Path, typer.Argument(help="File to write.")],
) -> None:
    """Write the recipe for a training framework, and say what that framework will really draw."""
    from mixlaw.io.exporters import simulate
    from mixlaw.study import Study

    study = Study(folder)
    written = study.export(framework, path)
    drawn = simulate(study.recipe(), framework)
    _echo(f"{drawn.framework} draws {drawn.draws}:")
    for domain, share in drawn.shares.items():
        _echo(f"  {domain:<24} {share:7.4f} of tokens  {drawn.epochs[domain]:7.2f} epochs")
    _echo(f"Wrote {written}.")


@app.command()
def report(folder: StudyFolder) -> None:
    """One self-contained HTML page of what exists so far."""
    from mixlaw.study import Study

    _echo(f"Wrote {Study(folder).report()}.")


@app.command()
def steer(folder: StudyFolder) -> None:
    """An offline page of sliders: push one skill or one cap and see the new optimum and what else moves."""
    from mixlaw.study import Study

    _echo(f"Wrote {Study(folder).steer()}.")


@app.command()
def status(folder: StudyFolder) -> None:
    """What is done, and what comes next."""
    from mixlaw.study import Study

    study = Study(folder)
    following = None
    for verb, done, detail in study.status():
        _echo(f"{'done' if done else '    '}  {verb:<9} {detail}")
        if not done and following is None:
            following = verb
    _echo(f"Ledger: {len(study.ledger)} entries, head {study.ledger.head[:16]}.")
    _echo(f"Next: mixlaw {following} {folder}" if following else "Everything is done.")
