"""The errors mixlaw raises, as one tree.

MixlawError
 ├─ ConfigError              study.yaml, command line or constructor arguments are off
 ├─ DataError                a file, table or array does not hold what it should
 ├─ InfeasibleBudgetError    no mixture satisfies the limits; names the smallest conflicting subset
 ├─ FitError                 a law could not be fitted
 │   ├─ TooFewRunsError      fewer runs than the law has parameters to identify
 │   ├─ NotIdentifiableError the data leave a needed parameter free
 │   └─ ConvergenceError     a solver or fit did not reach an optimum
 ├─ RunError                 one run, or another item of an executor's task, failed; carries it and the log's tail
 │   └─ RunStopped           it was asked to stop and published a checkpoint; running it again continues it
 ├─ ExportError              a recipe cannot be expressed in the target's format
 └─ MissingExtraError        an optional dependency is not installed; says what to install

Every message says what happened, where, and what to do next, and repeats the caller's own input.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

__all__ = [
    "ConfigError",
    "ConvergenceError",
    "DataError",
    "ExportError",
    "FitError",
    "InfeasibleBudgetError",
    "MissingExtraError",
    "MixlawError",
    "MixlawWarning",
    "NotIdentifiableError",
    "RunError",
    "RunStopped",
    "TooFewRunsError",
    "did_you_mean",
]


class MixlawError(Exception):
    """Base of everything mixlaw raises on purpose."""


class ConfigError(MixlawError):
    """A configuration value or argument is wrong."""


class DataError(MixlawError):
    """A file, table or array does not hold what it should."""


class InfeasibleBudgetError(MixlawError):
    """No mixture satisfies the limits.

    ``conflict`` holds the smallest set of limits that cannot hold together, in words.
    """

    def __init__(self, message: str, conflict: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.conflict = tuple(conflict)


class FitError(MixlawError):
    """A law could not be fitted."""


class TooFewRunsError(FitError):
    """Fewer runs than the law has parameters to identify."""


class NotIdentifiableError(FitError):
    """The data leave a needed parameter free."""


class ConvergenceError(FitError):
    """A solver or fit did not reach an optimum."""


class RunError(MixlawError):
    """One run failed. ``spec`` is its spec (of another task than training: its item), ``log_tail`` its log's end."""

    def __init__(self, message: str, spec: Any = None, log_tail: str = "") -> None:
        super().__init__(message + (f"\n--- end of the log ---\n{log_tail}" if log_tail else ""))
        self.message = message
        self.spec = spec
        self.log_tail = log_tail

    def __reduce__(self) -> tuple[Any, ...]:  # crosses process boundaries whole
        return (RunError, (self.message, self.spec, self.log_tail))


class RunStopped(RunError):
    """The run was asked to stop and published a checkpoint first; running it again continues it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (RunStopped, (self.message, self.spec, self.log_tail))


class ExportError(MixlawError):
    """A recipe cannot be expressed in the target's format."""


class MissingExtraError(MixlawError, ImportError):
    """An optional dependency is not installed."""


class MixlawWarning(UserWarning):
    """Something the user should know that does not stop the work."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`` Did you mean 'x'? Known: a, b, c.`` for an error message; always lists what is known."""
    known = [str(k) for k in known]
    close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    shown = ", ".join(known[:30]) + (f", ... ({len(known)} in all)" if len(known) > 30 else "")
    return f"{hint} Known: {shown or '(none)'}."
