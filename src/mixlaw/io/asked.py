"""What a user says of the columns of a file: which are weights, which are values and of what, which to leave out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mixlaw.errors import ConfigError, DataError, did_you_mean
from mixlaw.io.names import Measure, looks_measured, measured, measured_values, weight_domain

__all__ = ["Asked", "Values", "Weights", "refuse_rivals"]

Weights = Mapping[str, str] | Sequence[str]
"""``{domain: column}``, columns whose names say the domain, or ``"domain=column"``."""

Values = Mapping[str, str] | Sequence[str]
"""``{column: kind}`` with a kind of :data:`~mixlaw.io.names.MEASURES`, columns alone, or ``"column=kind"``."""


@dataclass(frozen=True)
class Asked:
    """The options ``weights``, ``values`` and ``ignore`` of an importer, checked against the columns.

    Args:
        weights: ``{column: domain}``; empty where nothing was asked for.
        values: ``{column: measure}``; None where nothing was asked for.
        ignore: columns to leave out.
    """

    weights: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Measure] | None = None
    ignore: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls,
        columns: Iterable[str],
        where: str,
        weights: Weights | None = None,
        values: Values | None = None,
        ignore: Sequence[str] | None = None,
        noun: str = "column",
    ) -> Asked:
        """Checked options.

        Args:
            noun: what the file calls them, for messages.

        Raises:
            DataError: a column that is not there, with the nearest one.
            ConfigError: one domain or column twice, an unknown kind, or a measure whose direction nobody knows.

        Example:
            >>> asked = Asked.of(["w", "c", "f1"], "runs.csv", ["web=w", "code=c"], ["f1=higher"])
            >>> asked.weights, asked.values["f1"].unit
            ({'w': 'web', 'c': 'code'}, 'higher_is_better')
        """
        there = list(dict.fromkeys(columns))

        def check(name: str) -> str:
            if name not in there:
                raise DataError(f"{where}: there is no {noun} {name!r}.{did_you_mean(name, there)}")
            return name

        pairs = list(weights.items()) if isinstance(weights, Mapping) else [_pair(w, there) for w in weights or ()]
        by_column: dict[str, str] = {}
        for domain, column in pairs:
            if by_column.get(check(column)) or (domain is not None and domain in by_column.values()):
                raise ConfigError(
                    f"weights names {column!r} or {domain!r} twice; each {noun} is the weight of one domain."
                )
            by_column[column] = domain if domain is not None else (weight_domain(column, weak=True) or column)
        chosen: dict[str, Measure] = {}
        given = list(values.items()) if isinstance(values, Mapping) else [_kind(v, there) for v in values or ()]
        for column, kind in given:
            chosen[check(column)] = Measure.of(column, kind) if kind else _by_name(column, noun)
        left = frozenset(check(name) for name in ignore or ())
        both = sorted(left & (by_column.keys() | chosen.keys()))
        if both:
            raise ConfigError(f"{both[0]!r} is to be used and to be ignored. Say one of the two.")
        return cls(by_column, chosen or None, left)


def refuse_rivals(values: Mapping[str, Measure], where: str) -> None:
    """Refuse two columns that are the same metric on the same set.

    Raises:
        DataError: names both.

    Example:
        >>> refuse_rivals({"loss_web": Measure("web", "loss"), "bpb_web": Measure("web", "bits_per_byte")}, "runs.csv")
    """
    owner: dict[tuple[str, str, str], str] = {}
    for column, measure in values.items():
        other = owner.setdefault((measure.target, measure.metric, measure.unit), column)
        if other != column:
            raise DataError(
                f"{where}: both {other!r} and {column!r} are the {measure.metric} on {measure.target!r}. Choose with "
                f"values=, or leave one out: ignore=[{column!r}] (--ignore {column})."
            )


def _pair(text: str, columns: Sequence[str]) -> tuple[str | None, str]:
    """``domain=column``, or a column alone."""
    if text in columns or "=" not in text:
        return None, text
    domain, _, column = text.partition("=")
    return domain, column


def _kind(text: str, columns: Sequence[str]) -> tuple[str, str]:
    """``column=kind``, or a column alone."""
    if text in columns or "=" not in text:
        return text, ""
    column, _, kind = text.rpartition("=")
    return column, kind


def _by_name(column: str, noun: str) -> Measure:
    """What a column holds that was asked for without a kind."""
    found = measured(column) or measured_values([column]).get(column)
    if found is None and looks_measured(column):
        raise ConfigError(
            f"{column!r} does not say whether more or less of it is better, or in which unit it is. Name it: "
            f"{column}=higher, {column}=lower, or =loss, =perplexity, =bits_per_byte, =accuracy, =percent "
            f"(--value {column}=higher)."
        )
    return found or Measure(column, "loss")
