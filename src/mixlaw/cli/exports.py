"""What a study gives away: its recipe for a training framework, its models, and the tokenizer of a GGUF file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mixlaw.cli.options import values
from mixlaw.cli.shared import StudyFolder, draws_text, echo
from mixlaw.data.seams import EXPORTERS
from mixlaw.errors import ConfigError

__all__ = ["export", "export_model", "export_tokenizer"]


def export(
    folder: StudyFolder,
    framework: Annotated[
        str,
        typer.Argument(help=f"{', '.join(EXPORTERS.names())}."),
    ],
    path: Annotated[Path, typer.Argument(help="File to write.")],
    option: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE of the exporter, e.g. packed=true or sequence_length=2048; repeat."),
    ] = None,
    schedule: Annotated[
        bool, typer.Option("--schedule", help="The recipe with phases; without it where there is no other.")
    ] = False,
) -> None:
    """Write the recipe for a training framework, and say what that framework will really draw."""
    from mixlaw.data.recipe import Recipe
    from mixlaw.io.exporters import simulate
    from mixlaw.study.fit_folder import is_fit
    from mixlaw.study.steps.export import only_phases
    from mixlaw.study.study import Study

    options = values(option or [])
    if is_fit(folder):
        if not (folder / "recipe.json").exists():
            raise ConfigError(
                f"{folder} holds no recipe yet. First run `mixlaw optimize {folder} --tokens TOKENS --counts "
                f"DOMAIN=TOKENS ...`."
            )
        recipe = Recipe.load(folder / "recipe.json")
        _print_draws(simulate(recipe, framework, **options), framework, recipe.export(framework, path, **options))
        return
    study = Study(folder)
    phased = schedule or only_phases(study)
    drawn = simulate(study.recipe(phased), framework, **options)
    written = study.export(framework, path, schedule=phased, **options)
    if phased:
        echo(f"The recipe with phases, {folder / 'recipe-schedule.json'}.")
    _print_draws(drawn, framework, written)


def _print_draws(drawn: Any, framework: str, written: Path) -> None:
    echo(f"{drawn.framework} draws {drawn.draws}:")
    for line in draws_text(drawn):
        echo(line)
    if len(drawn.phase_tokens) > 1 and not EXPORTERS[framework].switches:
        echo(f"{framework} has no phases within a run: train one after another, each from the checkpoint before.")
    echo(f"Wrote {written}.")


def export_model(
    folder: StudyFolder,
    run: Annotated[str, typer.Argument(help="Id of a finished run, or the first digits of it.")],
    path: Annotated[Path, typer.Argument(help="A folder that is not there yet.")],
) -> None:
    """Write the model of a finished run as a Hugging Face folder that transformers loads."""
    from mixlaw.study.study import Study

    Study(folder).export_model(run, path)
    echo(f"Wrote {path}. In Python: transformers.AutoModelForCausalLM.from_pretrained({str(path)!r})")


def export_tokenizer(
    model: Annotated[Path, typer.Argument(help="A .gguf file.")],
    path: Annotated[Path, typer.Argument(help="The tokenizer.json to write.")],
) -> None:
    """Write the tokenizer.json of a GGUF file, for corpus.tokenizer of a study that starts from it."""
    from mixlaw.models.gguf_file import GGUFFile

    if path.exists():
        raise ConfigError(f"{path} is there already. Give a file that is not there.")
    text = GGUFFile(model).tokenizer_json()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    echo(f"Wrote {path}. In study.yaml: corpus: {{tokenizer: {path}}}, training: {{start: {model}}}.")
