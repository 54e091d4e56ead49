"""``law.summary()``: what was fitted and how far to trust it, in a few readable lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

__all__ = ["summarize"]

_MOST = 8  # rows and columns shown before "... and n more"


class _Summarized(Protocol):
    """What a summary reads of a fitted law."""

    kind: Any
    formula: str
    source: Any
    parameters_: Mapping[str, Any]
    converged_: bool | None
    fit_report_: Mapping[str, Any] | None
    heldout_error_: Mapping[str, float] | None
    feature_names_in_: Any
    target_names_: Sequence[str]
    n_features_in_: int
    n_targets_: int
    runs_text: str
    identifiability_: Any

    @property
    def notes(self) -> list[str]: ...

    def meaning(self, parameter: str) -> str: ...

    @property
    def domain_names(self) -> list[str]: ...

    @property
    def training(self) -> Any: ...


def summarize(law: _Summarized) -> str:
    """The law's formula, how its fit ended, held-out error, parameters with 90% intervals where known, and notes.

    Example:
        >>> import numpy as np
        >>> from mixlaw.laws import M4
        >>> R = np.random.default_rng(0).dirichlet([1, 1], 12)
        >>> print(summarize(M4().fit(R, 2 + np.exp(-2 * R[:, 0]))).splitlines()[0])
        M4: 12 runs, 2 domains, 1 target
    """
    lines = [f"{type(law).__name__}: {law.runs_text}, {_inputs(law)}, {_count(law.n_targets_, 'target')}"]
    formula = law.formula
    if formula:
        lines.append(f"  {formula}")
    report = law.fit_report_
    if law.converged_ is not None:
        lines.append("  " + _ended(bool(law.converged_), report))
    lines += ["  " + text for text in _heldout(law)]
    lines += ["  " + row for row in _parameters(law)]
    found = vars(law).get("identifiability_")
    if found is None and law.training is not None:
        found = law.identifiability_
    if isinstance(found, dict):
        found = found.get("text", "")
    if found:
        lines += ["  Identifiability:", *("    " + row for row in str(found).splitlines())]
    notes = law.notes
    if notes:
        lines += ["  Notes:", *(f"    - {note}" for note in notes)]
    if law.source:
        lines.append(f"  Source: {law.source}")
    return "\n".join(lines)


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _inputs(law: _Summarized) -> str:
    if law.kind == "mixture":
        return _count(law.n_features_in_, "domain")
    names = [str(n) for n in law.feature_names_in_]
    return "inputs " + ", ".join(names[:_MOST]) + (f" and {len(names) - _MOST} more" if len(names) > _MOST else "")


def _ended(converged: bool, report: Any) -> str:
    """How a fit ended. It is a local search from many starts: "certified" is kept for global optima."""
    word = "converged" if converged else "NOT converged, best start kept"
    if not isinstance(report, dict):
        return word
    parts = []
    if "agreeing_starts" in report and "starts" in report:
        agree = np.atleast_1d(report["agreeing_starts"])
        low, high = int(agree.min()), int(agree.max())
        reached = f"{low}" if low == high else f"{low} to {high}"
        parts.append(f"{reached} of {report['starts']} starts agree{'' if low == high else ', by target'}")
    norm = report.get("gradient_norm")
    if norm is not None and np.size(norm):
        parts.append(f"gradient {float(np.max(norm)):.1e}")
    ridge = report.get("ridge")
    if ridge is not None and np.size(ridge):
        least, most = float(np.min(ridge)), float(np.max(ridge))
        parts.append(f"ridge {least:g}" if least == most else f"ridge {least:g} to {most:g}")
    return f"{word} ({'; '.join(parts)})" if parts else word


def _heldout(law: _Summarized) -> list[str]:
    stored = {k: v for k, v in (law.heldout_error_ or {}).items() if np.isfinite(v)}
    if not stored:
        return []
    values = np.array(list(stored.values()))
    text = f"held-out mean absolute error {values.mean():.4g}"
    if len(values) > 1:
        worst = max(stored, key=lambda k: stored[k])
        text += f" (worst {worst}: {stored[worst]:.4g})"
    return [text]


def _parameters(law: _Summarized) -> list[str]:
    parameters = law.parameters_
    intervals = vars(law).get("intervals_") or {}
    rows: list[str] = []
    targets, domains = list(law.target_names_), law.domain_names
    for key, value in parameters.items():
        if isinstance(value, str | bool) or value is None:
            rows.append(f"{key} = {value}")
            continue
        try:
            array = np.asarray(value, dtype=float)
        except (TypeError, ValueError):
            continue
        if array.shape == (len(domains),) and len(targets) == 1 and len(domains) > 1:  # of the one target
            shown = ", ".join(f"{d} {v:.4g}" for d, v in zip(domains[:_MOST], array))
            rows.append(f"{key} per domain: {shown}{_more(len(array))}")
        elif array.ndim == 0:
            ends = intervals.get(key)
            between = f"  [{float(ends[0]):.4g}, {float(ends[1]):.4g}]" if ends is not None else ""
            meaning = law.meaning(key)
            rows.append(f"{key} = {float(array):.6g}{between}{'  ' if meaning else ''}{meaning}")
        elif array.ndim == 1 and len(array) == len(targets):
            shown = ", ".join(f"{t} {v:.4g}" for t, v in zip(targets[:_MOST], array))
            rows.append(f"{key}: {shown}{_more(len(array))}")
        elif array.ndim == 2 and array.shape == (len(targets), len(domains)):
            rows.append(f"{key} (target x domain):")
            heads = [_fitted(d, 14) for d in domains[:_MOST]]
            width = max(9, *map(len, heads))
            rows.append("  " + " " * 24 + " ".join(h.rjust(width) for h in heads))
            for t, row in zip(targets[:_MOST], array):
                cells = " ".join(f"{v:.3g}".rjust(width) for v in row[:_MOST])
                rows.append(f"  {_fitted(t, 24):24s} {cells}{_more(len(row))}")
            if len(targets) > _MOST:
                rows.append(f"  ... and {len(targets) - _MOST} more targets")
        else:
            rows.append(f"{key}: array {array.shape}")
    return rows


def _fitted(name: str, width: int) -> str:
    """A long name without its middle: families of names differ at either end (``web:news:high``, ``loss_arxiv``)."""
    if len(name) <= width:
        return name
    front = (width - 1) // 2
    return f"{name[:front]}\u2026{name[front + 1 - width :]}"


def _more(number: int) -> str:
    return f" ... and {number - _MOST} more" if number > _MOST else ""
