"""RegMix's pair of files (arXiv 2407.01492): ``train_mixture_1m.csv``, ``train_pile_loss_1m.csv``.

Both have an ``index`` column. Weight columns are named ``train_<source>_<domain>``, loss columns
``valid_..._<domain>`` (the public files prefix both with the data set's name). The published
weights are rounded and sum to .996 to 1.003.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from mixlaw.data.mixture import Mixture
from mixlaw.data.observations import Observations
from mixlaw.errors import DataError
from mixlaw.io.frames import check_weights, numbers, read_columns, read_frame

__all__ = ["read", "recognises"]


def _role(columns: Sequence[str]) -> str | None:
    rest = [c for c in columns if c.lower() not in ("index", "run", "name", "")]
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


def read(paths: Sequence[Path], *, repair: bool = False, source: str | None = None) -> Observations:
    """Observations from RegMix's two files, joined on their ``index`` column (or row by row without one).

    Raises:
        DataError: not such a pair, rows that do not match, or weights that do not sum to one without ``repair``.
    """
    tables = {role: (p, read_frame(p)) for p in paths if (role := _role(read_columns(p)))}
    if set(tables) != {"weights", "losses"}:
        raise DataError(f"{[p.name for p in paths]} are not RegMix's pair: one file of train_* weights, one of losses.")
    (weight_path, weights), (loss_path, losses) = tables["weights"], tables["losses"]
    index_w, index_l = (_index(t) for t in (weights, losses))
    if sorted(index_w) != sorted(index_l):
        raise DataError(
            f"{weight_path.name} has {len(index_w)} runs and {loss_path.name} {len(index_l)}, and their index columns "
            f"do not name the same runs."
        )
    weight_columns = [c for c in weights.column_names if c.lower() not in ("index", "run", "name", "")]
    loss_columns = [c for c in losses.column_names if c.lower() not in ("index", "run", "name", "")]
    domains, targets = _short(weight_columns), _short(loss_columns)
    matrix = np.column_stack([numbers(weights, c, weight_path.name) for c in weight_columns])
    matrix = check_weights(matrix, domains, index_w, weight_path.name, repair)
    label = source or loss_path.name
    values = []
    for column, target in zip(loss_columns, targets):
        for run, value in zip(index_l, numbers(losses, column, loss_path.name)):
            if np.isfinite(value):
                values.append({"run": run, "target": target, "value": float(value), "source": label})
    runs = [{"run": run, "schedule": Mixture.from_array(domains, w)} for run, w in zip(index_w, matrix)]
    return Observations.from_records(runs, values, source=label)


def _index(table: pa.Table) -> list[str]:
    for name in table.column_names:
        if name.lower() in ("index", "run", "name", ""):
            values = [str(v) for v in table.column(name).to_pylist()]
            if len(set(values)) != len(values):
                raise DataError(f"The column {name!r} repeats run names; each run needs its own.")
            return values
    return [f"run{i + 1}" for i in range(table.num_rows)]
