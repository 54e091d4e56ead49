"""Where the environment variable CI is set, a skip whose reason nobody expects makes the run fail.

A test that skips tests nothing, and says so in a letter that nobody reads: a package that is not installed, a file that
was renamed. The reasons that are no fault of the machine or of the project are listed here, each with the case it is
for; ``MIXLAW_CORE_ONLY`` (set by ``.ci/test-pythons``) adds those of an environment without the optional packages.
"""

from __future__ import annotations

import os
import re

import pytest

EXPECTED = (
    r"is not here; set MIXLAW_SHARED",  # published records and texts that may not be passed on
    r"^programs are run on Linux only|^needs root to give up",  # what is tested there is refused or absent elsewhere
    r"does not declare it$|has no such form$",  # a property that only some laws have, in the test of every law
)
CORE_ONLY = (
    r"^could not import '(torch|safetensors|transformers|gguf|tensorboard|datasets|jsonschema|py3langid)'",
    r"needs the \[trees\] extra",
)


class UnexpectedSkips:
    """Collects the skips of a run and fails it where one is not expected."""

    def __init__(self, expected: tuple[str, ...]) -> None:
        self.expected = re.compile("|".join(expected))
        self.found: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note(report)

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if not report.skipped or hasattr(report, "wasxfail"):
            return
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reason = reason.removeprefix("Skipped: ")
        if not self.expected.search(reason):
            self.found[report.nodeid] = reason

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.found and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.found:
            terminalreporter.section("unexpected skips: they fail this run", red=True)
            for test, reason in sorted(self.found.items()):
                terminalreporter.line(f"{test}: {reason}")


def pytest_configure(config: pytest.Config) -> None:
    """Watch the skips of this run, in the process that sums it up (not in the workers of pytest-xdist)."""
    if os.environ.get("CI") and not hasattr(config, "workerinput"):
        expected = EXPECTED + (CORE_ONLY if os.environ.get("MIXLAW_CORE_ONLY") else ())
        config.pluginmanager.register(UnexpectedSkips(expected), "mixlaw-unexpected-skips")
