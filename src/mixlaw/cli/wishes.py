"""Wishes at an optimum as a person types them: task laws, further budgets, a prior mixture, options of an export."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import yaml

from mixlaw.data.budget import Budget, Limit
from mixlaw.errors import ConfigError, DataError, did_you_mean
from mixlaw.kit.units import parse_count

if TYPE_CHECKING:
    from mixlaw.io.exporters.base import Simulation
    from mixlaw.optimize import TaskLaw
    from mixlaw.study.study import Study

__all__ = ["check_kind", "export_as_asked", "further_limits", "mixture_or_name", "task_laws"]


def mixture_or_name(text: str, where: str) -> dict[str, float] | str:
    """A mixture ``a=.7,b=.3``, or the name of one as it is.

    Example:
        >>> mixture_or_name("web=0.7,code=0.3", "--kl-to")
        {'web': 0.7, 'code': 0.3}
        >>> mixture_or_name("natural", "--kl-to")
        'natural'
    """
    return _numbers(text, where) if "=" in text else text


def further_limits(budget: Budget, texts: Sequence[str]) -> Budget:
    """The budget with further limits ``NAME=TOTAL:DOMAIN=COST,...``.

    Raises:
        ConfigError: a text of another form, or a name that the budget or an earlier text has already.

    Example:
        >>> further_limits(Budget(tokens=100), ["fees=50:books=2"]).limits["fees"].total
        50.0
    """
    limits = dict(budget.limits)
    for text in texts:
        head, sign, costs = text.partition(":")
        name, equals, total = head.partition("=")
        if not (sign and equals and name and total and costs):
            raise ConfigError(
                f"--limit {text!r} must look like NAME=TOTAL:DOMAIN=COST,..., for example fees=5000:books=1e-6."
            )
        if name in limits and name not in budget.limits:
            raise ConfigError(
                f"--limit {text!r}: an earlier --limit is called {name!r} as well. Give one another name."
            )
        if name in limits:
            raise ConfigError(f"--limit {text!r}: study.yaml has a limit {name!r} already. Give it another name.")
        limits[name] = Limit(_numbers(costs, f"--limit {text!r}"), _number(total, f"--limit {text!r}"))
    return replace(budget, limits=limits) if texts else budget


def check_kind(kind: str, guard: Sequence[str], gain: float | None) -> None:
    """Stop where ``--kind`` and the options that belong to it do not go together, in the words of the command line.

    Raises:
        ConfigError: names the option to add or to leave out.
    """
    if kind == "guard" and not guard:
        raise ConfigError(
            "--kind guard needs --guard SET=NATS, how much worse than today SET may get (negative: it must improve), "
            "for example --guard code=0.01."
        )
    if kind == "least_change" and gain is None:
        raise ConfigError("--kind least_change needs --gain NATS, the wanted gain, for example --gain 0.02.")
    if kind != "least_change" and gain is not None:
        raise ConfigError(f"--gain {gain:g} is for --kind least_change, not {kind}. Add that, or leave --gain out.")


def export_as_asked(
    study: Study, framework: str, path: Path, texts: Sequence[str], schedule: bool = False
) -> tuple[Path, Simulation, bool]:
    """Write the study's recipe for a framework with ``NAME=VALUE`` options, what the framework will draw, and whether
    it was the recipe with phases: as asked, or because it is the only one.

    Raises:
        ConfigError: a text of another form, or an option or value that the exporter does not have.
        DataError: there is no such recipe.
        ExportError: the recipe cannot be expressed there.
    """
    from mixlaw.io.exporters import simulate

    options = {}
    for text in texts:
        name, sign, value = text.partition("=")
        try:
            options[name.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            sign = ""
        if not sign or not name.strip():
            raise ConfigError(f"--option {text!r} must look like NAME=VALUE, for example packed=true.")
    only = study.store.exists("recipe-schedule.json") and not study.store.exists("recipe.json")
    phased = schedule or only
    drawn = simulate(study.recipe(phased), framework, **options)
    return Path(study.export(framework, path, schedule=phased, **options)), drawn, phased


def task_laws(study: Study, texts: Sequence[str]) -> Mapping[str, TaskLaw] | None:
    """Task laws by validation set, from ``SET=PAIRS.csv`` or from what the study's runs measured on ``SET``.

    Raises:
        ConfigError: a set that the runs do not measure both on.
        DataError: no such file, or other columns.
    """
    from mixlaw.optimize import TaskLaw

    found = {}
    for text in texts:
        name, sign, path = text.partition("=")
        loss, accuracy = _pairs_of_file(Path(path)) if sign else _pairs_of_runs(study, name)
        found[name] = TaskLaw.fit(loss, accuracy)
    return found or None


def _pairs_of_file(path: Path) -> tuple[list[float], list[float]]:
    if not path.is_file():
        raise DataError(f"--task: {path} is not a file. Give a CSV with the columns loss and accuracy.")
    with path.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    columns = list(rows[0]) if rows else []
    missing = [c for c in ("loss", "accuracy") if c not in columns]
    if missing:
        raise DataError(
            f"--task: {path} lacks the column {missing[0]!r}; it has {columns}.{did_you_mean(missing[0], columns)}"
        )
    return tuple([_number(row[c], f"{path}, {c}") for row in rows] for c in ("loss", "accuracy"))  # type: ignore[return-value]


def _pairs_of_runs(study: Study, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Loss and accuracy on ``name`` wherever a run measured both at one step."""
    rows = study.observations().values.select(["run", "step", "target", "metric", "value", "censored"]).to_pylist()
    seen: dict[tuple[str, int], dict[str, float]] = {}
    for row in rows:
        if row["target"] == name and row["censored"] == "none" and row["metric"] in ("loss", "accuracy"):
            seen.setdefault((row["run"], row["step"]), {})[row["metric"]] = row["value"]
    both = [(v["loss"], v["accuracy"]) for v in seen.values() if len(v) == 2]
    if not both:
        have = sorted({r["target"] for r in rows if r["metric"] == "accuracy"})
        hint = did_you_mean(name, have) if have else " No run measured an accuracy."
        raise ConfigError(
            f"--task {name!r}: no run measured both loss and accuracy on it.{hint} Or give pairs: "
            f"--task {name}=PAIRS.csv."
        )
    pairs = np.array(both)
    return pairs[:, 0], pairs[:, 1]


def _numbers(text: str, where: str) -> dict[str, float]:
    out = {}
    for part in text.split(","):
        name, sign, value = part.partition("=")
        if not sign or not name.strip():
            raise ConfigError(f"{where}: {part!r} must look like DOMAIN=NUMBER.")
        out[name.strip()] = _number(value, where)
    return out


def _number(text: str, where: str) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        try:
            return float(parse_count(text, where))
        except (ConfigError, DataError, TypeError):
            raise ConfigError(f"{where}: {text!r} is not a number.") from None
