"""What each column of an imported file was taken as: the one table that says so, and its text.

Nothing in a file of runs is used or left out unsaid: every importer writes one row here for each column or logged key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import pyarrow as pa

from mixlaw.errors import DataError

__all__ = ["COLUMNS_SCHEMA", "ROLES", "Taken", "taken_table", "taken_text"]

ROLES = {
    "id": "names the runs",
    "weight": "token weight of a domain",
    "value": "a measured value",
    "size": "a size of the run, or how far it had trained",
    "setting": "a fact about the run that is kept, and that no law of mixture or size uses",
    "unused": "left out",
}
"""What a column can be taken as."""

COLUMNS_SCHEMA = pa.schema(
    [
        ("file", pa.string()),
        ("column", pa.string()),  # as the file has it
        ("taken_as", pa.string()),  # one of ROLES
        ("name", pa.string()),  # domain, target, size or setting that it became
        ("metric", pa.string()),  # of a value
        ("unit", pa.string()),  # of a value, as it is kept
        ("note", pa.string()),  # a conversion, or why it is not used
    ]
)
"""Columns of the columns table."""

_SHOWN = 80  # columns listed one by one; beyond it, those taken alike are counted


@dataclass(frozen=True)
class Taken:
    """One column of a file and what it was taken as.

    Args:
        file: the file's name, or the log's.
        column: the column's or key's own name.
        taken_as: one of :data:`ROLES`.
        name: the domain, target, size or setting that it became.
        metric, unit: of a value, as it is kept.
        note: a conversion, or why the column is not used.

    Raises:
        DataError: an unknown role.

    Example:
        >>> print(Taken("runs.csv", "ppl_web", "value", "web", "loss", "nats_per_token", "ln of perplexity").text())
        loss on web, nats per token (ln of perplexity)
    """

    file: str
    column: str
    taken_as: str
    name: str = ""
    metric: str = ""
    unit: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        if self.taken_as not in ROLES:
            raise DataError(f"A column is taken as one of {', '.join(ROLES)}, got {self.taken_as!r}.")

    def text(self) -> str:
        """What the column was taken as, in words."""
        words = {
            "id": "id of the run",
            "weight": f"weight of {self.name}",
            "value": f"{self.metric.replace('_', ' ')} on {self.name}"
            + (f", {self.unit.replace('_', ' ')}" if self.unit and self.unit != self.metric else ""),
            "size": f"size: {self.name}",
            "setting": f"setting {self.name}".rstrip() if self.name != self.column else "setting",
            "unused": "unused",
        }[self.taken_as]
        return f"{words} ({self.note})" if self.note else words


def taken_table(columns: Sequence[Taken]) -> pa.Table:
    """The rows as a table in :data:`COLUMNS_SCHEMA`.

    Example:
        >>> taken_table([Taken("runs.csv", "lr", "setting", "lr")]).num_rows
        1
    """
    return pa.Table.from_pylist([asdict(c) for c in columns], schema=COLUMNS_SCHEMA)


def taken_text(columns: pa.Table) -> list[str]:
    """Lines of text of a columns table: a line per column, grouped where there are many; empty for an empty table.

    Example:
        >>> table = taken_table([Taken("runs.csv", "weight_web", "weight", "web"), Taken("runs.csv", "lr", "unused")])
        >>> print("\\n".join(taken_text(table)))
        Columns of runs.csv:
          weight_web  weight of web
          lr          unused
    """
    rows = [Taken(**row) for row in columns.to_pylist()]
    lines: list[str] = []
    for file in dict.fromkeys(row.file for row in rows):
        mine = [row for row in rows if row.file == file]
        lines.append(f"Columns of {file}:")
        width = min(max(len(row.column) for row in mine), 40)
        if len(mine) <= _SHOWN:
            lines += [f"  {row.column or '(no name)':<{width}}  {row.text()}" for row in mine]
            continue
        groups: dict[tuple[str, ...], list[Taken]] = {}
        for row in mine:
            groups.setdefault((row.taken_as, row.metric, row.unit, row.note), []).append(row)
        for (role, metric, unit, note), group in groups.items():
            what = ", ".join(part.replace("_", " ") for part in (role, metric, unit, note) if part)
            few = 12 if role not in ("unused", "setting") else len(group)
            more = f" and {len(group) - few} more" if len(group) > few else ""
            lines.append(f"  {what}: {', '.join(row.column or '(no name)' for row in group[:few])}{more}")
    return lines
