"""Laws of size and data saved by version 0.1.0: their internal numbers were centred, today's are not.

Then theta held the logarithm of a term at the mean logarithm of its column (``centre_``), and annealing in units of the
largest area of the rows (``unit_``). What it stood for is written down here once for each family of that version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mixlaw.kit.arrays import Array
from mixlaw.laws.core.parameters import Layout

__all__ = ["migrated"]


def migrated(name: str, layout: Layout, state: Mapping[str, Any]) -> dict[str, Any]:
    """The state of a law called ``name`` as today's law holds it; a state of today is returned as it is.

    ``theta_`` is (T, P), ``bootstrap_theta_`` (T, B, P), or (T, B, P + 1) where a memory was fitted with the rest.

    Example:
        >>> layout = Layout({})
        >>> migrated("chinchilla", layout, {"theta_": [[0.5]]})  # written today: nothing to do
        {'theta_': [[0.5]]}
    """
    out = dict(state)
    if "centre_" not in state or name not in _VALUES:
        return out
    centre, unit = np.asarray(out.pop("centre_")), float(out.pop("unit_", 1.0))

    def moved(theta: Array) -> Array:
        flat = theta.reshape(-1, theta.shape[-1])
        values = _VALUES[name](flat, centre, unit, layout)
        new = np.concatenate([layout.join(values), flat[:, layout.size :]], axis=1)
        return new.reshape(*theta.shape[:-1], -1)

    for key in ("theta_", "bootstrap_theta_"):
        if key in out:
            out[key] = moved(np.asarray(out[key], dtype=float))
    return out


def _chinchilla(t: Array, centre: Array, unit: float, layout: Layout) -> dict[str, Array]:
    alpha, beta = t[:, 3], t[:, 4 if "beta" in layout.parameters else 3]
    return {"E": np.exp(t[:, 0]), "A": np.exp(t[:, 1] + alpha * centre[0]), "B": np.exp(t[:, 2] + beta * centre[1]),
            "alpha": alpha, "beta": beta}  # fmt: skip


def _kaplan(t: Array, centre: Array, unit: float, layout: Layout) -> dict[str, Array]:
    exponents = [name for name in layout.parameters if name.startswith("a_")]
    out = {}
    for i, name in enumerate(exponents):
        out[name] = np.exp(t[:, 2 * i + 1])
        out["k" + name[1:]] = t[:, 2 * i] + out[name] * centre[i]
    return out


def _repeated_data(t: Array, centre: Array, unit: float, layout: Layout) -> dict[str, Array]:
    repeats = {"R_D": np.exp(t[:, -2]), "R_N": np.exp(t[:, -1])}
    return repeats if layout.size == 2 else _chinchilla(t, centre, unit, layout) | repeats


def _annealing(t: Array, centre: Array, unit: float, layout: Layout) -> dict[str, Array]:
    alpha = np.exp(t[:, 2])
    out = {"L0": np.exp(t[:, 0]), "A": np.exp(t[:, 1] + alpha * centre[0]), "alpha": alpha, "C": t[:, 3] / unit}
    if "gamma" in layout.parameters:
        gamma = np.exp(t[:, 5])
        out |= {"B": np.exp(t[:, 4] + gamma * centre[1]), "gamma": gamma}
    return out


def _broken(t: Array, centre: Array, unit: float, layout: Layout) -> dict[str, Array]:
    out = {"a": np.exp(t[:, 0]), "b": np.exp(t[:, 1] + t[:, 2] * centre[0]), "c0": t[:, 2]}
    for i in range(1, (layout.size - 3) // 3 + 1):
        out |= {f"c{i}": t[:, 3 * i], f"d{i}": np.exp(t[:, 3 * i + 1]), f"f{i}": np.exp(t[:, 3 * i + 2])}
    return out


_VALUES: dict[str, Callable[[Array, Array, float, Layout], dict[str, Array]]] = {
    "chinchilla": _chinchilla,
    "kaplan": _kaplan,
    "repeated_data": _repeated_data,
    "learning_rate_annealing": _annealing,
    "broken_power_law": _broken,
}
