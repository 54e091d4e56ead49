"""RegMix's pair of files (arXiv 2407.01492): ``train_mixture_1m.csv``, ``train_pile_loss_1m.csv``.

Both have an ``index`` column. Weight columns are named ``train_<source>_<domain>``, loss columns
``valid_..._<domain>`` (the public files prefix both with the data set's name). The published
weights are rounded and sum to .996 to 1.003.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mixlaw.data.mixture import Mixture
from mixlaw.data.observations import Observations
from mixlaw.data.taken import Taken
from mixlaw.errors import DataError
from mixlaw.io.asked import Asked, Values, Weights
from mixlaw.io.endings import mark_endings
from mixlaw.io.frames import check_weights, numbers, read_columns, read_frame, weight_numbers
from mixlaw.io.names import Measure, is_id

__all__ = ["read", "recognises"]

_IDS = ("index", "run", "name", "")


def _role(columns: Sequence[str]) -> str | None:
    rest = [c for c in columns if c.lower() not in _IDS and not is_id(c)]
    if rest and all("loss" in c.lower() or c.lower().startswith(("valid", "metric")) for c in rest):
        return "losses"
    if rest and all(c.lower().startswith(("train_", "weight_")) for c in rest):
        return "weights"
    return None


def recognises(paths: Sequence[Path]) -> bool:
    """Two files, a table of weights and a table of losses, in either order."""
    return len(paths) == 2 and {_role(read_columns(p)) for p in paths} == {"weights", "losses"}


def _common(texts: Sequence[str]) -> str:
    """The longest start all texts share."""
    first, last = min(texts), max(texts)
    size = next((i for i, (a, b) in enumerate(zip(first, last)) if a != b), min(len(first), len(last)))
    return first[:size]


def _short(columns: Sequence[str]) -> list[str]:
    """Names without the prefix and suffix they all share, cut at ``_`` so that no word is cut."""
    if len(columns) < 2:
        return list(columns)
    prefix = _common(columns)
    prefix = prefix[: max(prefix.rfind("_"), prefix.rfind("/")) + 1]
    rest = [c[len(prefix) :] for c in columns]
    suffix = _common([r[::-1] for r in rest])[::-1]
    cut = max(suffix.find("_"), suffix.find("/"))
    suffix = suffix[cut:] if cut >= 0 else ""
    return [r[: len(r) - len(suffix)] if suffix else r for r in rest]


def read(
    paths: Sequence[Path],
    *,
    weights: Weights | None = None,
    values: Values | None = None,
    ignore: Sequence[str] | None = None,
    repair: bool = False,
    source: str | None = None,
) -> Observations:
    """Observations from RegMix's two files, joined on their ``index`` column (or row by row without one).

    An infinite loss becomes a bound, and its run counts as diverged.

    Args:
        weights: ``{domain: column}``, or columns; default all of the one file.
        values: ``{column: what it holds}``, or columns; default all of the other file, in nats.
        ignore: columns to leave out.
        repair: rescale weights that do not sum to one.

    Raises:
        DataError: not such a pair, rows that do not match, or weights that do not sum to one without ``repair``.
    """
    tables = {role: (p, read_frame(p)) for p in paths if (role := _role(read_columns(p)))}
    if set(tables) != {"weights", "losses"}:
        raise DataError(f"{[p.name for p in paths]} are not RegMix's pair: one file of train_* weights, one of losses.")
    (weight_path, mixtures), (loss_path, losses) = tables["weights"], tables["losses"]
    index_w, index_l = (_index(t) for t in (mixtures, losses))
    if sorted(index_w) != sorted(index_l):
        raise DataError(
            f"{weight_path.name} has {len(index_w)} runs and {loss_path.name} {len(index_l)}, and their index columns "
            f"do not name the same runs."
        )
    both = [*mixtures.column_names, *losses.column_names]
    asked = Asked.of(both, f"{weight_path.name}, {loss_path.name}", weights, values, ignore)
    weight_columns = [c for c in mixtures.column_names if _used(c, asked)]
    loss_columns = [c for c in losses.column_names if _used(c, asked)]
    by_column = dict(asked.weights) or dict(zip(weight_columns, _short(weight_columns)))
    measures = dict(asked.values or {})
    if asked.values is None:
        measures = {c: Measure(t, "loss") for c, t in zip(loss_columns, _short(loss_columns))}
    matrix = weight_numbers(mixtures, by_column, index_w, weight_path.name)
    matrix = check_weights(matrix, list(by_column.values()), index_w, weight_path.name, repair)
    label = source or loss_path.name
    records = []
    for column, measure in measures.items():
        for run, value in zip(index_l, numbers(losses, column, loss_path.name)):
            if not np.isnan(value):
                kept = {"target": measure.target, "metric": measure.metric, "unit": measure.unit, "source": label}
                records.append(kept | {"run": run, "value": measure.value(float(value)), "censored": "none"})
    domains = list(by_column.values())
    runs: list[dict[str, Any]] = [
        {"run": run, "schedule": Mixture.from_array(domains, w)} for run, w in zip(index_w, matrix)
    ]
    mark_endings(runs, records, loss_path.name)
    taken = []
    for path, table in ((weight_path, mixtures), (loss_path, losses)):
        for column in table.column_names:
            taken.append(_taken(path.name, column, by_column, measures, asked))
    return Observations.from_records(runs, records, source=label, columns=taken)


def _used(column: str, asked: Asked) -> bool:
    return column.lower() not in _IDS and not is_id(column) and column not in asked.ignore


def _taken(file: str, column: str, weights: Mapping[str, str], values: Mapping[str, Measure], asked: Asked) -> Taken:
    if column in weights:
        return Taken(file, column, "weight", weights[column])
    if column in values:
        measure = values[column]
        return Taken(file, column, "value", measure.target, measure.metric, measure.unit, measure.note)
    if column in asked.ignore:
        return Taken(file, column, "unused", note="left out as asked")
    if column.lower() in _IDS:
        return Taken(file, column, "id")
    return Taken(file, column, "id" if is_id(column) else "unused", note="not asked for" if not is_id(column) else "")


def _index(table: pa.Table) -> list[str]:
    for name in table.column_names:
        if name.lower() in _IDS:
            values = [str(v) for v in table.column(name).to_pylist()]
            if len(set(values)) != len(values):
                raise DataError(f"The column {name!r} repeats run names; each run needs its own.")
            return values
    return [f"run{i + 1}" for i in range(table.num_rows)]
