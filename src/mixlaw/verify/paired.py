"""What the verification runs say: gain as loss, as an interval on the paired difference, and as steps, both ways."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.data.ledger import Entry
from mixlaw.data.prediction import Prediction
from mixlaw.data.recipe import Recipe
from mixlaw.data.verification import Verification
from mixlaw.errors import DataError
from mixlaw.kit.arrays import Array

__all__ = [
    "adjusted_level",
    "false_gains",
    "looks_before",
    "lost_runs_text",
    "measurement_of",
    "objective_curves",
    "paired_difference",
    "prediction_of",
    "rate_text",
    "steps_saved",
    "trained_before",
    "verification_text",
]
Curve = Sequence[tuple[float, float]]


def prediction_of(entries: Iterable[Entry], recipe: Recipe) -> Entry | None:
    """The last prediction that was written down for exactly this recipe; None where it was changed afterwards."""
    schedule, predictions = recipe.schedule.to_dict(), {k: v.to_dict() for k, v in recipe.predictions.items()}
    found = None
    for entry in entries:
        if entry.kind == "prediction":
            said = entry.body
            same = said.get("schedule") == schedule and said.get("predictions") == predictions
            if same and said.get("recipe", recipe.hash) == recipe.hash:
                found = entry
    return found


def measurement_of(entries: Iterable[Entry], prediction: Entry) -> Entry | None:
    """The last measurement that the ledger holds of ``prediction``; None where it was never checked."""
    found = None
    for entry in entries:
        if entry.kind == "measurement" and entry.body.get("prediction_entry") == prediction.number:
            found = entry
    return found


_FIRST_LOOK = 0.75
"""Share of the error rate that the first look spends; each later one spends as much of what is left."""


def looks_before(entries: Iterable[Entry], prediction: Entry, seeds: int, runs: Iterable[str] = ()) -> int:
    """How many measurements the ledger holds of ``prediction``, or with any of the recipe's ``runs``, with fewer seeds
    than ``seeds``: earlier looks. A prediction that is written anew does not make the same runs a first look."""
    ours = set(runs)
    counts = {
        entry.body.get("num_seeds")
        for entry in entries
        if entry.kind == "measurement"
        and (
            entry.body.get("prediction_entry") == prediction.number
            or ours & set(entry.body.get("runs", {}).get("recipe", ()))
        )
    }
    return sum(1 for count in counts if isinstance(count, int) and count < seeds)


def adjusted_level(level: float, references: int, look: int) -> float:
    """Level of the interval of each difference such that all of them, over all looks, hold together at ``level``.

    Whoever adds seeds until a gain shows, or compares with several references, finds false gains more often than one
    interval says: with nothing to gain, 90% intervals looked at after each of 3 to 10 seeds claim one in 15% of cases,
    not in 5%. The error rate ``1 - level`` is spent over the looks (three quarters on the first, three quarters of the
    rest on the second, ...), however many will follow, and shared equally by the references of a look (Bonferroni; Lan
    and DeMets 1983, Biometrika 70:659-663, for spending).

    Args:
        references: how many mixtures the recipe is compared with.
        look: 1 for the first.

    Example:
        >>> round(adjusted_level(0.9, references=1, look=1), 4), round(adjusted_level(0.9, references=2, look=2), 4)
        (0.925, 0.9906)
    """
    spent = (1 - level) * _FIRST_LOOK * (1 - _FIRST_LOOK) ** (look - 1)
    return 1 - spent / max(references, 1)


def false_gains(level: float) -> float:
    """How often a verification at ``level`` claims a gain where there is none, at most: a gain is one end of the
    intervals, so half of the error rate.

    Example:
        >>> round(false_gains(0.9), 3)
        0.05
    """
    return (1 - level) / 2


def trained_before(entries: Iterable[Entry], prediction: Entry, runs: Iterable[str]) -> list[str]:
    """Which of ``runs`` a measurement in the ledger had used before ``prediction`` was written: not blind checks."""
    earlier: set[str] = set()
    for entry in entries:
        if entry.kind == "measurement" and entry.number < prediction.number:
            earlier.update(run for ids in entry.body.get("runs", {}).values() for run in ids)
    return [run for run in runs if run in earlier]


def objective_curves(
    values: Sequence[Mapping[str, Any]], objective: Mapping[str, float]
) -> dict[str, list[tuple[float, float]]]:
    """Objective along training: ``{run: [(step, loss), ...]}`` from rows of the values table.

    Steps at which some set of the objective was not measured are left out.
    """
    table: dict[tuple[str, int], dict[str, float]] = {}
    for row in values:
        if row["metric"] == "loss" and row["target"] in objective and row["censored"] == "none":
            table.setdefault((row["run"], row["step"]), {})[row["target"]] = row["value"]
    curves: dict[str, list[tuple[float, float]]] = {}
    for (run, step), losses in sorted(table.items(), key=lambda item: item[0][1]):
        if len(losses) == len(objective):
            curves.setdefault(run, []).append((float(step), sum(objective[t] * v for t, v in losses.items())))
    return curves


def paired_difference(a: Sequence[float], b: Sequence[float], level: float = 0.9) -> Prediction:
    """Mean of ``a - b`` over paired seeds with a Student-t interval.

    Raises:
        DataError: fewer than two pairs, which give no interval.
    """
    from scipy.stats import t

    if len(a) != len(b) or len(a) < 2:
        raise DataError(f"A paired difference needs two or more pairs of seeds, got {len(a)} and {len(b)}.")
    difference = np.asarray(a) - np.asarray(b)
    mean = float(difference.mean())
    half = float(t.ppf((1 + level) / 2, len(a) - 1) * difference.std(ddof=1) / np.sqrt(len(a)))
    return Prediction(mean, mean - half, mean + half, level)


def _reach(curve: Array, loss: float) -> float:
    """First step (interpolated) at which a curve (m, 2), made monotone, is at or below ``loss``; inf if never."""
    best = np.minimum.accumulate(curve[:, 1])
    below = np.flatnonzero(best <= loss)
    if not len(below):
        return float("inf")
    i = below[0]
    if i == 0 or best[i - 1] == best[i]:
        return float(curve[i, 0])
    share = (best[i - 1] - loss) / (best[i - 1] - best[i])
    return float(curve[i - 1, 0] + share * (curve[i, 0] - curve[i - 1, 0]))


def steps_saved(
    recipe: Mapping[int, Curve],
    reference: Mapping[int, Curve],
    level: float = 0.9,
    horizon: float | None = None,
) -> dict[str, Any]:
    """How many steps the recipe saves, both ways, with intervals from a jackknife over pairs of seeds.

    Args:
        recipe, reference: objective curves ``{seed: [(step, loss), ...]}`` of the two arms.
        horizon: last step to compare at. Losses measured while the learning rate decays do not lie on the curve
            of a shorter run, so callers pass the end of the constant part.

    Returns:
        ``recipe_reaches_reference_at``: share of the horizon after which the recipe has the loss the reference
        has at the horizon (below 1 is a gain). ``reference_needs``: multiple of the horizon the reference would need
        for the recipe's loss there, ``E + A step^-b`` fitted to the second half of its curve (an extrapolation).
        Each is ``{"mean", "low", "high"}``, or None with one seed, or where leaving out some seed it is not reached.
    """
    from scipy.stats import t

    seeds = sorted(set(recipe) & set(reference))
    if not seeds:
        raise DataError("No seed was trained in both arms; nothing to compare.")
    steps = sorted(set.intersection(*({s for s, _ in arm[seed]} for seed in seeds for arm in (recipe, reference))))
    steps = [s for s in steps if horizon is None or s <= horizon + 1e-9]
    if len(steps) < 3:
        return {"recipe_reaches_reference_at": None, "reference_needs": None, "horizon_steps": None}
    grid = np.array(steps)
    a, b = (
        np.array([[dict(arm[seed])[s] for s in steps] for seed in seeds]) for arm in (recipe, reference)
    )  # (seeds, steps)
    end = grid[-1]

    def both(index: npt.NDArray[np.int64]) -> tuple[float, float]:
        mean_a, mean_b = (np.column_stack([grid, x[index].mean(0)]) for x in (a, b))
        reaches = _reach(mean_a, mean_b[-1, 1])
        if not np.isfinite(reaches):  # the recipe is behind: extrapolate its own curve
            reaches = _extrapolate(mean_a, mean_b[-1, 1])
        needs = _reach(mean_b, mean_a[-1, 1])
        if not np.isfinite(needs):
            needs = _extrapolate(mean_b, mean_a[-1, 1])
        return reaches / end, needs / end

    n = len(seeds)
    center = np.array(both(np.arange(n)))
    without = np.array([both(np.delete(np.arange(n), k)) for k in range(n)] if n > 1 else np.full((1, 2), np.inf))

    def interval(k: int) -> dict[str, float] | None:
        """Student's t around the log, with the jackknife's standard error: percentiles of a bootstrap over five seeds
        that claim 90% cover 77%."""
        if not (np.isfinite(center[k]) and np.isfinite(without[:, k]).all()):
            return None
        logs = np.log(without[:, k])
        error = np.sqrt((n - 1) / n * ((logs - logs.mean()) ** 2).sum())
        factor = float(np.exp(t.ppf((1 + level) / 2, n - 1) * error))
        return {"mean": float(center[k]), "low": float(center[k] / factor), "high": float(center[k] * factor)}

    return {
        "recipe_reaches_reference_at": interval(0),
        "reference_needs": interval(1),
        "horizon_steps": float(end),
        "level": level,
    }


def _extrapolate(curve: Array, loss: float) -> float:
    """Step at which ``E + A step^-b`` (least squares on the second half, b on a grid) reaches ``loss``; inf if never.

    Beyond four times the curve's length the answer is not believed and is infinite.
    """
    tail = curve[len(curve) // 2 :] if len(curve) >= 8 else curve[-4:]
    best: tuple[float, float, float, float] | None = None
    for b in np.linspace(0.05, 1.5, 30):
        x = tail[:, 0] ** -b
        design = np.column_stack([np.ones_like(x), x])
        (e, scale), *_ = np.linalg.lstsq(design, tail[:, 1], rcond=None)
        error = float(((design @ [e, scale] - tail[:, 1]) ** 2).sum())
        if scale > 0 and (best is None or error < best[0]):
            best = (error, float(e), float(scale), float(b))
    if best is None or loss <= best[1]:
        return float("inf")
    step = ((loss - best[1]) / best[2]) ** (-1 / best[3])
    return float(step) if step <= 4 * curve[-1, 0] else float("inf")


def verification_text(result: Verification) -> str:
    """A verification in a few lines for the terminal."""
    inside = "inside" if result.inside_interval else "OUTSIDE"
    low, high = result.predicted_mean.low, result.predicted_mean.high
    lines = [
        f"Predicted loss {result.predicted} nats per token; measured {result.measured:.4f} (standard error "
        f"{result.standard_error:.4f}): {inside} the interval for a mean of {result.num_seeds} seeds, "
        f"[{low:.4f}, {high:.4f}]."
    ]
    if not result.predicted_first:
        lines.append("These runs were trained before this prediction was written: not a blind check.")
    for arm, counts in result.left_out.items():
        lines.append(f"{arm}: {lost_runs_text(counts)}; those seeds are left out of every arm.")
    words = {"gain": "a gain", "loss": "a loss", "null": "a null: the runs do not tell the two apart"}
    for arm, difference in result.differences.items():
        lines.append(f"Recipe minus {arm}: {difference}: {words[result.verdicts[arm]]}.")
        saved = result.steps_saved[arm]
        reaches, needs = saved["recipe_reaches_reference_at"], saved["reference_needs"]
        if reaches:
            lines.append(
                f"  The recipe has {arm}'s loss after {reaches['mean']:.0%} "
                f"[{reaches['low']:.0%}, {reaches['high']:.0%}] of the steps"
                + (
                    f"; {arm} needs {needs['mean']:.2f} [{needs['low']:.2f}, {needs['high']:.2f}] times as many "
                    f"for the recipe's loss."
                    if needs
                    else f"; {arm} does not reach the recipe's loss within four times as many."
                )
            )
    if result.false_gains is not None:
        lines.append(rate_text(len(result.differences), result.look, result.false_gains))
    return "\n".join(lines)


def rate_text(references: int, look: int, rate: float) -> str:
    """How often a gain is claimed where there is none, and what that does to the intervals, in words.

    Example:
        >>> print(rate_text(1, 1, 0.05).replace(". ", ".\\n"))
        Where there is nothing to gain, at most 5.0% of verifications claim a gain, later looks included.
        For that, the intervals of differences are 92.5% ones instead of 90% ones (looks that may follow).
    """
    level = 1 - 2 * rate
    several = [f"{references} references"] if references > 1 else []
    several += [f"look number {look}"] if look > 1 else []
    several += ["looks that may follow"]
    return (
        f"Where there is nothing to gain, at most {rate:.1%} of verifications claim a gain, later looks included. "
        f"For that, the intervals of differences are {adjusted_level(level, references, look):.1%} ones instead of "
        f"{level:.0%} ones ({', '.join(several)})."
    )


def lost_runs_text(counts: Mapping[str, int]) -> str:
    """``{"diverged": 2, "failed": 1}`` in words."""
    return " and ".join(f"{n} run{'s' if n > 1 else ''} {word}" for word, n in counts.items() if n)
