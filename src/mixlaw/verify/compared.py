"""What strategies were worth beside one another, as a table with intervals."""

from __future__ import annotations

import math

from mixlaw.data.comparison import Comparison
from mixlaw.data.prediction import Prediction
from mixlaw.errors import DataError
from mixlaw.kit.units import format_count
from mixlaw.verify.paired import paired_difference

__all__ = ["comparison_text", "difference"]


def difference(found: Comparison, a: str, b: str, level: float = 0.9) -> Prediction:
    """Objective of arm ``a`` minus that of ``b``, in nats per token, over their common seeds.

    Raises:
        DataError: fewer than two seeds that both have.

    Example:
        >>> from mixlaw.data.comparison import StrategyArm
        >>> one = StrategyArm("stratified", {}, {}, {0: 3.30, 1: 3.40}, 2e6)
        >>> two = StrategyArm("odm", {}, {}, {0: 3.24, 1: 3.36}, 2e6)
        >>> round(difference(Comparison({"stratified": one, "odm": two}, 2_000_000), "odm", "stratified").mean, 3)
        -0.05
    """
    pairs = found.pairs(a, b)
    return paired_difference([x for x, _ in pairs], [y for _, y in pairs], level)


def comparison_text(found: Comparison, level: float = 0.9) -> str:
    """A table: objective, difference to the first arm with its interval, the worst set, and what was spent.

    Args:
        found: what was measured.
        level: of the intervals.

    Example:
        >>> from mixlaw.data.comparison import StrategyArm
        >>> arm = StrategyArm("stratified", {}, {"web": {0: 3.3}}, {0: 3.3}, 2e6)
        >>> print(comparison_text(Comparison({"stratified": arm}, 2_000_000)))
        strategy    objective  minus stratified  worst set  tokens, all runs  before the final run
        stratified     3.3000                 -  web 3.300             2.00M                     0
        Losses in nats per token; one seed, so no differences can be told from noise (--seeds 3).
    """
    first = next(iter(found.arms))
    rows = [
        ["strategy", "objective", f"minus {first}", "worst set", "tokens, all runs", "before the final run"],
    ]
    for label, arm in found.arms.items():
        if not arm.objective:
            rows.append([label, "lost", "-", "-", format_count(arm.tokens), format_count(arm.search)])
            continue
        try:
            gap = difference(found, label, first, level) if label != first else None
            against = "-" if gap is None else f"{gap.mean:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]"
        except DataError:  # fewer than two common seeds
            pairs = found.pairs(label, first)
            against = f"{pairs[0][0] - pairs[0][1]:+.4f}" if pairs else "-"
        worst = {name: sum(one.values()) / len(one) for name, one in arm.losses.items()}
        name = max(worst, key=worst.__getitem__)
        row = [label, f"{arm.mean:.4f}", against, f"{name} {worst[name]:.3f}"]
        rows.append([*row, format_count(arm.tokens), format_count(arm.search)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(r, widths))) for r in rows
    ]
    seeds = max(len(arm.objective) for arm in found.arms.values())
    note = (
        "one seed, so no differences can be told from noise (--seeds 3)."
        if seeds < 2
        else f"{seeds} seeds, the same for every strategy; intervals of {level:.0%} of the paired difference."
    )
    lines.append(f"Losses in nats per token; {note}")
    if not found.charged:
        lines.append("Runs before the final one and probes are not paid from the budget: see the last two columns.")
    for label, arm in found.arms.items():
        lines += [f"{label}: seed {seed} is lost: {why}" for seed, why in arm.lost.items()]
    over = [k for k, arm in found.arms.items() if arm.tokens > 1.02 * found.tokens and math.isfinite(arm.tokens)]
    if over and found.charged:
        lines.append(f"Over the budget of {format_count(found.tokens)} tokens: {', '.join(over)}.")
    return "\n".join(lines)
