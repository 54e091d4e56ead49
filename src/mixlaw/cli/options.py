"""Options as a person types them: pairs such as ``web=0.7``, further limits of a budget, a mixture, files of tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mixlaw.data.budget import Budget, Limit
from mixlaw.errors import ConfigError, DataError, did_you_mean
from mixlaw.kit.units import parse_count, parse_number
from mixlaw.kit.yaml_text import load_yaml

__all__ = [
    "check_kind",
    "further_limits",
    "listed",
    "mixture",
    "mixture_or_name",
    "pairs",
    "places",
    "strategies",
    "task_files",
    "values",
]


def mixture_or_name(text: str, where: str) -> dict[str, float] | str:
    """A mixture ``a=.7,b=.3``, or the name of one as it is.

    Example:
        >>> mixture_or_name("web=0.7,code=0.3", "--kl-to")
        {'web': 0.7, 'code': 0.3}
        >>> mixture_or_name("natural", "--kl-to")
        'natural'
    """
    return mixture(text, where) if "=" in text else text


def mixture(text: str, where: str) -> dict[str, float]:
    """A mixture ``a=.7,b=.3``.

    Raises:
        ConfigError: a text of another form.

    Example:
        >>> mixture("web=0.7,code=0.3", "--reference")
        {'web': 0.7, 'code': 0.3}
    """
    return _numbers(text, where)


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


def values(texts: Sequence[str]) -> dict[str, Any]:
    """``["packed=true", "seed=3"]`` -> ``{"packed": True, "seed": 3}``: options of a part, as YAML has them.

    Raises:
        ConfigError: a text of another form.
    """
    found = {}
    for text in texts:
        name, sign, value = text.partition("=")
        try:
            found[name.strip()] = load_yaml(value, f"--option {text!r}")
        except ConfigError:
            sign = ""
        if not sign or not name.strip():
            raise ConfigError(f"--option {text!r} must look like NAME=VALUE, for example packed=true.")
    return found


def task_files(texts: Sequence[str]) -> dict[str, Path | None]:
    """``["exam=pairs.csv", "quiz"]`` -> ``{"exam": Path("pairs.csv"), "quiz": None}``."""
    split = [text.partition("=") for text in texts]
    return {name: Path(path) if sign else None for name, sign, path in split}


def places(texts: Sequence[str], what: str) -> dict[str, str]:
    """``["web=text/web"]`` -> ``{"web": "/here/text/web"}``; addresses such as ``s3://...`` stay as they are.

    Raises:
        ConfigError: a text of another form.
    """
    found = pairs(texts, what, number=False)
    return {name: path if "://" in path else str(Path(path).resolve()) for name, path in found.items()}


def pairs(texts: Sequence[str], what: str, number: bool = True) -> dict[str, Any]:
    """``["a=1", "b=2"]`` -> ``{"a": 1.0, "b": 2.0}``, or texts where ``number`` is False.

    Raises:
        ConfigError: a text of another form.
    """
    result: dict[str, Any] = {}
    for text in texts:
        name, sep, value = text.partition("=")
        try:
            if not sep or not name:
                raise ValueError
            result[name] = parse_number(value) if number else value
        except (ValueError, ConfigError):
            raise ConfigError(f"--{what} {text!r} must look like NAME={'NUMBER' if number else 'PATH'}.") from None
    return result


def listed(text: str) -> list[str]:
    """``"a=1,b=2"`` -> ``["a=1", "b=2"]``; a piece without an equals sign is the beginning of a name with a comma.

    Example:
        >>> listed("web, en=1,code=2")
        ['web, en=1', 'code=2']
    """
    out: list[str] = []
    begun = ""
    for part in text.split(","):
        begun += part
        if "=" in part:
            out, begun = [*out, begun], ""
        else:
            begun += ","
    return [*out, begun[:-1]] if begun else out


def _numbers(text: str, where: str) -> dict[str, float]:
    out = {}
    for part in listed(text):
        name, sign, value = part.partition("=")
        if not sign or not name.strip():
            raise ConfigError(f"{where}: {part!r} must look like DOMAIN=NUMBER.")
        out[name.strip()] = _number(value, where)
    return out


def _number(text: str, where: str) -> float:
    try:
        return parse_number(text)
    except ConfigError:
        try:
            return float(parse_count(text, where))
        except (ConfigError, DataError, TypeError):
            raise ConfigError(f"{where}: {text!r} is not a number.") from None


def strategies(names: Sequence[str], options: Sequence[str]) -> list[dict[str, Any]]:
    """Strategies with their options ``STRATEGY.NAME=VALUE``, the value as in study.yaml.

    Raises:
        ConfigError: a text of another form, or an option of a strategy that is not among ``names``.

    Example:
        >>> strategies(["stratified", "aioli"], ["aioli.eta=0.3"])
        [{'name': 'stratified', 'options': {}}, {'name': 'aioli', 'options': {'eta': 0.3}}]
    """
    found: dict[str, dict[str, Any]] = {name: {"name": name, "options": {}} for name in names}
    for text in options:
        place, sign, value = text.partition("=")
        name, dot, option = place.partition(".")
        if not sign or not dot or not option:
            raise ConfigError(f"--option {text!r} must look like STRATEGY.NAME=VALUE, for example aioli.eta=0.3.")
        if name not in found:
            raise ConfigError(
                f"--option {text!r} is of {name!r}, which no --strategy names.{did_you_mean(name, found)}"
            )
        found[name]["options"][option] = load_yaml(value, f"--option {text!r}")
    return list(found.values())
