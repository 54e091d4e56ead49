"""The command line as a whole: which commands there are, and what a person sees when something goes wrong."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import typer

try:  # typer brings its own click since 0.21, and used the public one before
    from typer._click.exceptions import ClickException
except ImportError:
    from click.exceptions import ClickException  # type: ignore[assignment]

from mixlaw.cli import exports, questions, selecting, verbs
from mixlaw.cli.shared import echo
from mixlaw.errors import MixlawError, MixlawWarning

__all__ = ["app", "main"]

app = typer.Typer(
    name="mixlaw",
    help="Predict what a language model learns from a data mixture before it is trained, and find the best mixture.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

for _command in (
    verbs.quickstart,
    verbs.init,
    verbs.tokenize,
    verbs.design,
    questions.power,
    verbs.train,
    verbs.fit,
    verbs.optimize,
    questions.schedule,
    questions.frontier,
    questions.critical,
    questions.reuse,
    questions.effects,
    questions.predict,
    questions.evaluate,
    verbs.verify,
    exports.export,
    exports.export_model,
    exports.export_tokenizer,
    verbs.report,
    questions.steer,
    verbs.status,
):
    app.command()(_command)

_corpus = typer.Typer(help="Look at corpora.", no_args_is_help=True)
_corpus.command("diff")(verbs.corpus_diff)
app.add_typer(_corpus, name="corpus")
_select = typer.Typer(help="Choose documents of a pool.", no_args_is_help=True)
_select.command("dsir")(selecting.dsir)
app.add_typer(_select, name="select")
_ledger = typer.Typer(help="Look at the ledger of a study.", no_args_is_help=True)
_ledger.command("verify")(verbs.ledger_verify)
app.add_typer(_ledger, name="ledger")


def main() -> None:
    """Entry point: errors of ours are one message, not a traceback; Ctrl-C leaves a study that continues."""
    _plain_warnings()
    try:
        code = app(standalone_mode=False)
    except MixlawError as error:
        echo(f"error: {error}", err=True)
        sys.exit(1)
    except OSError as error:  # a full disk, a folder that cannot be written
        echo(f"error: {error}. Free the disk or mend the path, then run the same command again.", err=True)
        sys.exit(1)
    except (KeyboardInterrupt, typer.Abort):
        echo("\nStopped. Nothing is lost: run the same command again to continue.", err=True)
        sys.exit(130)
    except ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    sys.exit(code if isinstance(code, int) else 0)


def _plain_warnings() -> None:
    shown: set[str] = set()

    def show(message: Any, category: type, filename: str, lineno: int, file: Any = None, line: Any = None) -> None:
        label = "warning" if issubclass(category, MixlawWarning) else category.__name__
        text = f"{label}: {message}"
        if text not in shown:  # a command reads the same runs more than once
            shown.add(text)
            echo(text, err=True)

    warnings.showwarning = show
    # fits try parameters at which an exponential overflows and reject them: nothing that a user could act on
    warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"(mixlaw|numpy|scipy)\.")
