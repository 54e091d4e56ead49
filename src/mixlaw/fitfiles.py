"""``mixlaw fit runs.csv``: laws from somebody's table, with no configuration and no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from mixlaw.errors import DataError
from mixlaw.observations import Observations
from mixlaw.store import Store

__all__ = ["fit_files"]


def fit_files(
    source: Sequence[str | Path],
    folder: str | Path,
    *,
    targets: Sequence[str] | None = None,
    repair: bool = False,
    seed: int = 0,
    progress: Callable[[str, float, float], None] | None = None,
    say: Callable[[str], None] = print,
) -> Any:
    """Read runs, fit :class:`mixlaw.laws.Auto`, and write law, league table, observations and plots into ``folder``.

    Args:
        source: files or folders :meth:`Observations.read` understands.
        targets: fit only these; default all losses.
        repair: rescale weights that do not sum to one.

    Returns:
        The fitted law.
    """
    from mixlaw import laws
    from mixlaw.io import importers
    from mixlaw.report import plots

    options: dict[str, Any] = {"repair": True} if repair else {}
    observations: Observations = importers.read(list(source), **options)
    metric = _metric(observations)
    features, at = _features(observations)
    X, y = observations.table(targets, metric=metric, at=at, features=features, missing="keep")
    rows = "runs" if at == "final" else "measurements"
    say(f"{X.num_rows} {rows}, columns {', '.join(X.column_names)}; {y.num_columns} targets.")
    if progress:
        progress("fit", 0, 2)
    law = laws.LAWS["chinchilla" if features == "scale" else "auto"](seed=seed).fit(X, y)
    store = Store(folder)
    store.write_bytes("law.json", law.to_json().encode())
    league = getattr(law, "league_", None)
    if league is not None:
        store.write_json("league.json", league.to_dict())
    observations.save(Path(folder) / "observations")
    if progress:
        progress("fit", 1, 2)
    plots.save_all(law, X, y, Path(folder) / "plots")
    if progress:
        progress("fit", 2, 2)
    return law


def _features(observations: Observations) -> tuple[Literal["mixture", "scale", "joint"], Literal["final", "all"]]:
    """Mixtures at one size, or together with size and tokens where there are three sizes or more, or size alone."""
    if not observations.domains:
        return "scale", "final"
    sizes = {p for p in observations.runs.column("params").to_pylist() if p is not None}
    return ("joint", "all") if len(sizes) >= 3 else ("mixture", "final")


def _metric(observations: Observations) -> str:
    found = list(dict.fromkeys(observations.values.column("metric").to_pylist()))
    if not found:
        raise DataError("The runs hold no measured values.")
    return "loss" if "loss" in found else str(found[0])
