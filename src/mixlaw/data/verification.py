"""What a check of a recipe measured: its runs and the references', paired by seed, beside what was predicted.

The statistics (differences, steps saved) are computed in :mod:`mixlaw.verify.paired`; here is what they are written as.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import NormalDist, stdev
from typing import Any, Literal

from mixlaw.data.mixture import Mixture
from mixlaw.data.prediction import Prediction
from mixlaw.errors import DataError
from mixlaw.kit.hashing import content_hash

__all__ = ["Arm", "Verification", "agrees", "interval_of_mean", "verdict"]

Verdict = Literal["gain", "loss", "null"]


def verdict(difference: Prediction) -> Verdict:
    """What an interval of a difference of losses says: ``"gain"`` below zero, ``"loss"`` above, else ``"null"``.

    Example:
        >>> verdict(Prediction(-0.02, -0.03, -0.01))
        'gain'
    """
    return "gain" if difference.high < 0 else "loss" if difference.low > 0 else "null"


def interval_of_mean(predicted: Prediction, losses: Sequence[float]) -> Prediction:
    """The predicted interval for the mean of several seeds: that for one run, less the noise that averages out.

    A prediction is for one run, so its interval holds the noise of a seed. The mean of m seeds has only 1/m of that
    variance: with the whole interval, a wrong prediction would too often pass as right. What the seeds scatter is
    measured from ``losses``.

    Args:
        predicted: of one run. losses: (m,) of the seeds, in nats per token; with fewer than two nothing is known of
            their scatter, and the interval is that for one run.

    Example:
        >>> found = interval_of_mean(Prediction(2.50, 2.46, 2.54), [2.49, 2.51, 2.53, 2.51])
        >>> round(found.low, 3), round(found.high, 3)
        (2.467, 2.533)
    """
    if len(losses) < 2:
        return predicted
    noise = NormalDist().inv_cdf((1 + predicted.level) / 2) * stdev(losses)
    least = noise / math.sqrt(len(losses))

    def side(reach: float) -> float:
        return math.sqrt(max(reach**2 - noise**2 * (1 - 1 / len(losses)), least**2))

    mean = predicted.mean
    return replace(
        predicted,
        low=mean - min(side(mean - predicted.low), mean - predicted.low),
        high=mean + min(side(predicted.high - mean), predicted.high - mean),
    )


def agrees(data: Mapping[str, Any], measurement: Mapping[str, Any]) -> bool:
    """Whether ``verification.json`` says what the ledger recorded when it was written.

    Args:
        data: the content of ``verification.json``.
        measurement: the body of an entry of the ledger, see :meth:`Verification.measurement`.

    Example:
        >>> arm = Arm(Mixture({"web": 1.0}), (2.50, 2.52), {"0": ((100.0, 2.50),), "1": ((100.0, 2.52),)})
        >>> check = Verification({"recipe": arm}, Prediction(2.5, 2.4, 2.6), 2.51, 0.01)
        >>> agrees(check.to_dict(), check.measurement()), agrees({**check.to_dict(), "measured": 2.4}, {"measured": 2})
        (True, False)
    """
    arms = data.get("arms")
    if not isinstance(arms, Mapping) or not all(isinstance(arm, Mapping) for arm in arms.values()):
        return False
    try:
        digest = content_hash(arms)
    except ValueError:  # NaN, which no measurement holds
        return False
    said = {**data, "finals": {name: arm.get("losses") for name, arm in arms.items()}, "arms_hash": digest}
    return bool(measurement) and all(key in said and said[key] == value for key, value in measurement.items())


@dataclass(frozen=True)
class Arm:
    """One mixture that was trained, with one run per seed.

    Args:
        mixture: token shares.
        losses: final objective per seed, in nats per token, in the order of the seeds.
        curves: objective along training, ``{seed: ((step, loss), ...)}``.
        runs: id of the run of each seed.
        sets: final loss of each validation set per seed, ``{set: (loss, ...)}``, in nats per token.

    Example:
        >>> arm = Arm(Mixture({"web": 1.0}), losses=(2.51, 2.53), curves={"0": ((10, 3.1), (20, 2.51))})
        >>> round(sum(arm.losses) / len(arm.losses), 2)
        2.52
    """

    mixture: Mixture
    losses: tuple[float, ...]
    curves: Mapping[str, tuple[tuple[float, float], ...]]
    runs: tuple[str, ...] = ()
    sets: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.mixture, Mixture):
            raise DataError(f"An arm of a verification is one Mixture that was trained, got {self.mixture!r}.")
        if not isinstance(self.losses, tuple) or not self.losses or not all(_number(loss) for loss in self.losses):
            raise DataError(
                f"An arm needs the final loss of each seed, a tuple of finite numbers; got {self.losses!r}."
            )


@dataclass(frozen=True)
class Verification:
    """The recipe and its references, trained with the same seeds, and the prediction they were compared with.

    Args:
        arms: the mixtures that were trained, ``"recipe"`` first.
        predicted: the objective that was predicted for the recipe.
        measured, standard_error: mean of the recipe's final objective over the seeds, and its standard error, in
            nats per token.
        differences: recipe minus each reference, ``{arm: interval}``; below zero the recipe is better.
        steps_saved: what :func:`mixlaw.verify.paired.steps_saved` gives for each reference.
        prediction_entry: number of the prediction in the ledger.
        predicted_first: whether the prediction was written before any of the recipe's runs were measured.
        look: 1 for the first check of this prediction, 2 after more seeds were added, and so on. Intervals of
            differences are wider the more often one looks and the more references there are
            (:func:`mixlaw.verify.paired.adjusted_level`).
        false_gains: the share of verifications, over all looks and references, that would claim a gain where there is
            none; None in files of earlier versions, which did not adjust.
        left_out: ``{arm: {"diverged": count, "failed": count}}`` of runs whose seeds are left out of every arm.

    Raises:
        DataError: a part of another type, a number that is not finite, no arm called ``"recipe"``, arms with different
            numbers of seeds, or a difference to no arm.

    Example:
        >>> arm = Arm(Mixture({"web": 1.0}), (2.50, 2.52), {"0": ((100.0, 2.50),), "1": ((100.0, 2.52),)})
        >>> check = Verification({"recipe": arm}, Prediction(2.5, 2.4, 2.6), 2.51, 0.01)
        >>> check.inside_interval, check.num_seeds, check.verdict
        (True, 2, 'null')
        >>> Verification.from_dict(check.to_dict()) == check
        True
    """

    arms: Mapping[str, Arm]
    predicted: Prediction
    measured: float
    standard_error: float
    differences: Mapping[str, Prediction] = field(default_factory=dict)
    steps_saved: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    prediction_entry: int | None = None
    predicted_first: bool = True
    left_out: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    look: int = 1
    false_gains: float | None = None

    def __post_init__(self) -> None:
        wrong = [name for name in ("arms", "differences", "steps_saved", "left_out") if not _mapping(self, name)]
        if wrong:
            raise DataError(f"{wrong[0]} of a verification must be a mapping, got {getattr(self, wrong[0])!r}.")
        for what, parts, kind in [("arm", self.arms, Arm), ("difference", self.differences, Prediction)]:
            strange = {name: part for name, part in parts.items() if not isinstance(part, kind)}
            if strange:
                raise DataError(f"Each {what} of a verification must be of type {kind.__name__}, got {strange!r}.")
        if not isinstance(self.predicted, Prediction):
            raise DataError(f"A verification is compared with a Prediction of its objective, got {self.predicted!r}.")
        if not _number(self.measured) or not _number(self.standard_error) or self.standard_error < 0:
            raise DataError(
                f"A verification needs the measured mean and its standard error, finite numbers in nats per token; got "
                f"measured={self.measured!r}, standard_error={self.standard_error!r}."
            )
        wrong = [name for name in ("prediction_entry", "false_gains") if not _number_or_none(getattr(self, name))]
        wrong += ["look"] if not (isinstance(self.look, int) and self.look >= 1) else []
        wrong += ["predicted_first"] if not isinstance(self.predicted_first, bool) else []
        if wrong:
            raise DataError(f"{wrong[0]} of a verification cannot be {getattr(self, wrong[0])!r}.")
        if "recipe" not in self.arms:
            raise DataError(f"A verification compares the arm 'recipe' with others; its arms are {list(self.arms)}.")
        counts = {name: len(arm.losses) for name, arm in self.arms.items()}
        if len(set(counts.values())) > 1:
            raise DataError(f"The arms of a verification share their seeds; these have {counts} seeds.")
        unknown = [name for name in (*self.differences, *self.steps_saved) if name not in self.arms]
        if unknown:
            raise DataError(f"The verification compares the recipe with {unknown}; its arms are {list(self.arms)}.")

    @property
    def num_seeds(self) -> int:
        """Seeds that every arm was trained with."""
        return len(self.arms["recipe"].losses)

    @property
    def predicted_mean(self) -> Prediction:
        """The predicted interval for the mean of the seeds, see :func:`interval_of_mean`."""
        return interval_of_mean(self.predicted, self.arms["recipe"].losses)

    @property
    def inside_interval(self) -> bool:
        """Whether the mean of the seeds lies in the interval that was predicted for such a mean."""
        return self.predicted_mean.covers(self.measured)

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """Gain, loss or null against each reference."""
        return {name: verdict(difference) for name, difference in self.differences.items()}

    @property
    def verdict(self) -> Verdict:
        """The verdict against the first reference; null where there is none."""
        return next(iter(self.verdicts.values()), "null")

    def to_dict(self) -> dict[str, Any]:
        """Plain data for ``verification.json``, in the shape of the first version (``docs/plots.md``)."""
        return {
            "arms": {
                name: {
                    "weights": arm.mixture.to_dict(),
                    "losses": list(arm.losses),
                    "curves": {seed: [list(point) for point in curve] for seed, curve in arm.curves.items()},
                }
                for name, arm in self.arms.items()
            },
            "objective": {
                "predicted": self.predicted.to_dict(),
                "predicted_mean": self.predicted_mean.to_dict(),
                "measured": self.measured,
                "standard_error": self.standard_error,
            },
            "inside_interval": self.inside_interval,
            "difference": {f"vs {name}": d.to_dict() for name, d in self.differences.items()},
            "verdicts": {f"vs {name}": word for name, word in self.verdicts.items()},
            "verdict": self.verdict,
            "steps_saved": {name: dict(saved) for name, saved in self.steps_saved.items()},
            "num_seeds": self.num_seeds,
            "prediction_entry": self.prediction_entry,
            "runs": {name: list(arm.runs) for name, arm in self.arms.items()},
            "predicted_first": self.predicted_first,
            "left_out": {name: dict(counts) for name, counts in self.left_out.items()},
            "look": self.look,
            "false_gains": self.false_gains,
            "sets": {name: {t: list(v) for t, v in arm.sets.items()} for name, arm in self.arms.items()},
        }

    def measurement(self) -> dict[str, Any]:
        """What the ledger records of it: everything but the arms, of which only the final losses and a hash."""
        data = self.to_dict()
        arms = data.pop("arms")
        return {**data, "finals": {name: arm["losses"] for name, arm in arms.items()}, "arms_hash": content_hash(arms)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Verification:
        """Inverse of :meth:`to_dict`; reads what every earlier version wrote.

        Raises:
            DataError: it is no verification.
        """
        try:
            runs, sets = data.get("runs", {}), data.get("sets", {})
            arms = {
                name: Arm(
                    mixture=Mixture(arm["weights"]),
                    losses=tuple(arm["losses"]),
                    curves={
                        seed: tuple((float(step), float(loss)) for step, loss in curve)
                        for seed, curve in arm["curves"].items()
                    },
                    runs=tuple(runs.get(name, ())),
                    sets={t: tuple(v) for t, v in sets.get(name, {}).items()},
                )
                for name, arm in data["arms"].items()
            }
            objective = data["objective"]
            return cls(
                arms=arms,
                predicted=Prediction.from_dict(objective["predicted"]),
                measured=objective["measured"],
                standard_error=objective["standard_error"],
                differences={k.removeprefix("vs "): Prediction.from_dict(v) for k, v in data["difference"].items()},
                steps_saved={name: dict(saved) for name, saved in data["steps_saved"].items()},
                prediction_entry=data.get("prediction_entry"),
                predicted_first=data.get("predicted_first", True),
                left_out={name: dict(counts) for name, counts in data.get("left_out", {}).items()},
                look=data.get("look", 1),
                false_gains=data.get("false_gains"),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"This is not a verification written by mixlaw: {error!r}. Run `mixlaw verify` again."
            ) from None


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _number_or_none(value: Any) -> bool:
    return value is None or _number(value)


def _mapping(part: Any, name: str) -> bool:
    return isinstance(getattr(part, name), Mapping)
