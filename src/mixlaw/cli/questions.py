"""Commands that answer a question about runs and laws, and change nothing that a later verb builds on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mixlaw.cli.options import pairs
from mixlaw.cli.shared import StudyFolder, echo
from mixlaw.errors import ConfigError

__all__ = ["critical", "effects", "evaluate", "frontier", "power", "predict", "reuse", "schedule", "steer"]


def power(
    folder: StudyFolder,
    runs: Annotated[list[int] | None, typer.Option(help="A number of runs to simulate; repeat.")] = None,
    regret: Annotated[float | None, typer.Option(help="Say how many runs bring the regret down to this.")] = None,
    worlds: Annotated[int, typer.Option(help="Simulated worlds; more take longer and say it more sharply.")] = 48,
) -> None:
    """How many runs for which regret, simulated from the runs trained so far, with an 80% interval."""
    from mixlaw.study.study import Study

    if regret is not None and not regret > 0:
        raise ConfigError(f"--regret {regret:g}: no number of runs reaches that; give nats above 0, such as 0.01.")
    found = Study(folder).swarm.power(tuple(runs or (16, 32, 64)), worlds)
    echo(str(found))
    if regret is not None:
        needed, (fewest, most) = found.runs_for(regret), found.runs_interval(regret)
        largest = max(p.runs for p in found.points)
        said = f"about {needed} runs" if needed else f"not reached with {largest} runs"
        ends = [str(n) if n else f"more than {largest}" for n in (fewest, most)]
        echo(f"Regret {regret:g}: {said} (80% interval: {ends[0]} to {ends[1]}).")
    echo("Few runs say little about regret: plan with the upper ends of the intervals.")


def schedule(folder: StudyFolder) -> None:
    """The best mixture per phase, against the best constant mixture (needs runs with phases)."""
    from mixlaw.study.study import Study

    echo(str(Study(folder).schedule()))
    echo(
        f"Wrote {folder / 'recipe-schedule.json'}. Next: mixlaw export {folder} FRAMEWORK FILE --schedule; "
        f"mixlaw report {folder} shows it."
    )


def frontier(
    folder: StudyFolder,
    target: Annotated[list[str], typer.Option(help="Validation set; repeat, two or more.")],
    points: Annotated[int, typer.Option(help="Points of the frontier.")] = 200,
) -> None:
    """Which losses are possible together: the Pareto frontier of several validation sets."""
    from mixlaw.report import plots
    from mixlaw.study.study import Study

    found = Study(folder).frontier(target, points)
    echo(str(found))
    path = folder / "frontier.png"
    plots.pareto(found).savefig(path, dpi=150)
    echo(f"Wrote {path}.")


def critical(
    source: Annotated[Path, typer.Argument(help="Runs of continued pretraining (study folder or table).")],
    domain: Annotated[str, typer.Option(help="Training domain that holds the old data.")],
    target: Annotated[list[str], typer.Option(help="SET=WEIGHT of the old skills' validation sets; repeat.")],
    before: Annotated[
        str,
        typer.Option(
            help="Id of the run that measured the model before continuing; or start, where the runs continue a "
            "published model and measured it themselves."
        ),
    ],
    tolerance: Annotated[
        float, typer.Option(help="Nats per token by which the loss on old data may end higher.")
    ] = 0.0,
) -> None:
    """The share of old data below which old skills get worse, with an interval."""
    from mixlaw.data.observations import Observations
    from mixlaw.optimize import critical_from_observations

    seen = Observations.read(source)
    echo(str(critical_from_observations(seen, domain, pairs(target, "target"), before, tolerance=tolerance)))


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
    from mixlaw.study.steps.reuse import carry_over

    parts = {old: tuple(new.split(",")) for old, new in pairs(split or [], "split", False).items()}
    found, new = carry_over(before, after, split=parts, kept=pairs(kept or [], "kept"), max_runs=max_runs)
    echo(str(found))
    echo(str(new))
    if out is not None:
        found.observations.save(out)
        echo(f"Wrote {out}. In the new study.yaml: runs: [{out}]")


def effects(
    folder: StudyFolder,
    out: Annotated[Path | None, typer.Option(help="Draw a heat map into this file (.png, .svg or .pdf).")] = None,
) -> None:
    """Which domain helps, hurts or leaves alone which validation set, false discoveries held down."""
    from mixlaw.study.steps.effects import effects as measure
    from mixlaw.study.study import Study

    if out is not None and out.suffix not in (".png", ".svg", ".pdf"):
        raise ConfigError(f"--out {str(out)!r} must end in .png, .svg or .pdf.")
    found = measure(Study(folder))
    echo(str(found))
    if out is not None:
        from mixlaw.report import plots

        out.parent.mkdir(parents=True, exist_ok=True)
        plots.effects_heatmap(found, width=max(7.2, 2 + 0.55 * len(found.targets))).savefig(out, dpi=150)
        echo(f"Wrote {out}.")


def predict(
    folder: StudyFolder,
    weight: Annotated[list[str], typer.Option(help="DOMAIN=WEIGHT; repeat; must sum to 1.")],
    params: Annotated[str | None, typer.Option(help="For a fit of files over sizes: parameters of the run.")] = None,
    tokens: Annotated[str | None, typer.Option(help="For a fit of files over sizes: tokens of the run.")] = None,
) -> None:
    """Predicted loss of every validation set for a mixture, by a study's law or that of a fit of files."""
    from mixlaw.study.fit_folder import is_fit, predict_fit
    from mixlaw.study.study import Study

    if is_fit(folder):
        predictions = predict_fit(folder, pairs(weight, "weight"), params=params, tokens=tokens)
    elif params is not None or tokens is not None:
        raise ConfigError(
            f"--params and --tokens are for a folder that `mixlaw fit FILES` wrote; {folder} is a study, which has "
            f"them in its study.yaml (budget)."
        )
    else:
        predictions = Study(folder).predict(pairs(weight, "weight"))
    for name, prediction in predictions.items():
        echo(f"{name:<24} {prediction}")


def evaluate(
    folder: StudyFolder,
    model: Annotated[
        Path,
        typer.Argument(
            help="A checkpoint folder (config.json, safetensors, tokenizer.json), a .gguf file, or the id of a "
            "finished run of the study (its first digits do)."
        ),
    ],
    context: Annotated[int | None, typer.Option(help="Tokens per sequence; default: training.context.", min=1)] = None,
) -> None:
    """Losses of a model on the study's validation sets, in nats per token and bits per byte, and its scores on the
    tasks of the study's evaluators, each with its standard error."""
    from mixlaw.study.study import Study

    study = Study(folder)
    for name, losses in study.evaluate(model, context).items():
        per_byte = f"  {losses['bits_per_byte']:.4f} bits per byte" if "bits_per_byte" in losses else ""
        echo(f"{name:<24} {losses['loss']:.4f} nats per token{per_byte}")
    measured = study.evaluate_tasks(model, context)
    rows = measured.values.to_pylist()
    tasks = {row["target"] for row in rows}
    parts = {row["target"] for row in rows if row["target"].rpartition("/")[0] in tasks}
    for row in rows:
        if row["target"] in parts:
            continue
        error = "" if row["std"] is None else f" ± {row['std']:.4f}"
        echo(f"{row['target']:<24} {row['metric']} {row['value']:.4f}{error} {row['unit']} ({row['num_items']} items)")
    if len(measured):
        where = folder / "evaluations" / measured.runs["run"].to_pylist()[0]
        also = f", with {len(parts)} parts of tasks" if parts else ""
        echo(f"Wrote {where}{also}, apart from what runs measured.")


def steer(folder: StudyFolder) -> None:
    """An offline page of sliders: push one skill or one cap and see the new optimum and what else moves."""
    from mixlaw.study.study import Study

    echo(f"Wrote {Study(folder).steer()}.")
