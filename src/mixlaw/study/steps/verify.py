"""Verification of a recipe: train it and the references with paired seeds, and score the prediction in the ledger."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mixlaw.data import formats
from mixlaw.data.learning_rate import undecayed_fraction
from mixlaw.data.ledger import Entry
from mixlaw.data.mixture import Mixture, Schedule
from mixlaw.data.observations import Observations
from mixlaw.data.prediction import Prediction
from mixlaw.data.recipe import Recipe
from mixlaw.data.runspec import RunSpec
from mixlaw.data.verification import Arm, Verification
from mixlaw.errors import ConfigError, DataError, MixlawWarning, did_you_mean
from mixlaw.study.folder import StudyFolder
from mixlaw.study.freshness import need
from mixlaw.study.progress import check_trainable
from mixlaw.study.seeds import SEEDS, VERIFY_SEED
from mixlaw.study.steps.train import train
from mixlaw.study.templates import template
from mixlaw.verify.paired import (
    adjusted_level,
    false_gains,
    looks_before,
    lost_runs_text,
    measurement_of,
    objective_curves,
    paired_difference,
    prediction_of,
    steps_saved,
    trained_before,
)

__all__ = ["Verifier"]


class Verifier:
    """Verifies the recipe of a study.

    Args:
        study: with a recipe whose prediction is in the ledger.
    """

    def __init__(self, study: StudyFolder) -> None:
        self.study = study
        self.config, self.store, self.folder, self.ledger = study.config, study.store, study.folder, study.ledger

    def arms(self) -> dict[str, Schedule]:
        """The mixtures that verification trains: the recipe first, then the references."""
        corpus, recipe = self.study.corpus, self.study.recipe()
        known = {
            "natural": corpus.natural,
            "uniform": Mixture.uniform(corpus.names),
            "reference": self.study.reference,
        }
        arms = {"recipe": recipe.schedule}
        for name in self.config.verify.arms:
            if name not in known:
                raise ConfigError(f"verify.arms names {name!r}.{did_you_mean(name, known)}")
            arms[name] = Schedule.constant(known[name])
        return arms

    def specs(self, seeds: int | None = None) -> dict[tuple[str, int], RunSpec]:
        """Runs of each arm with paired seeds: ``{(arm, seed): spec}``."""
        base, result = template(self.study), dict[tuple[str, int], RunSpec]()
        for k in range(self.config.verify.seeds if seeds is None else seeds):
            for arm, schedule in self.arms().items():
                seed = SEEDS * self.config.design.seed + VERIFY_SEED + k
                result[arm, seed] = base.replace(schedule=schedule, seed=seed, replicate_group=f"verify {arm}")
        return result

    def run(self, seeds: int | None = None) -> Verification:
        """Train the recipe and the references with paired seeds, compare with the ledger: ``verification.json``.

        Args:
            seeds: runs per arm; default ``verify.seeds`` of study.yaml.

        Raises:
            DataError: the recipe's prediction is not in the ledger, or too few runs succeeded for an interval.
            ConfigError: there is no text to train on.
        """
        recipe, level = self.study.recipe(), self.config.law.level
        prediction = self._predicted_first(recipe)
        check_trainable(self.study)
        need(self.study, "tokenize", "design")
        specs = self.specs(self._seeds_so_far() if seeds is None else seeds)
        train(self.study, list(specs.values()), what="verify")
        names = list(self.arms())
        done = [s for s in specs.values() if self.study.is_done(s)]
        observed = self.study.observations(done) if done else Observations.empty()
        curves = objective_curves(observed.values.to_pylist(), self.config.objective_weights())
        status = dict(zip(observed.runs["run"].to_pylist(), observed.runs["status"].to_pylist()))
        usable = {key: curves[s.id] for key, s in specs.items() if curves.get(s.id) and status.get(s.id) == "done"}
        paired = [k for k in sorted({seed for _, seed in specs}) if all((arm, k) in usable for arm in names)]
        if len(paired) < 2:
            raise DataError(
                f"Only {len(paired)} seeds have all of the arms {names} trained; an interval needs two. "
                f"See {self.folder / 'failures.json'}, then run `mixlaw verify {self.folder}` again."
            )
        left_out = self._left_out(specs, status)
        runs = {arm: [specs[arm, k].id for k in paired] for arm in names}
        look = 1 + looks_before(self.ledger, prediction, len(paired), runs["recipe"])
        each = adjusted_level(level, len(names) - 1, look)
        compared = self._compare({k: v for k, v in usable.items() if k[1] in paired}, names, paired, each)
        finals = [usable["recipe", k][-1][1] for k in paired]
        sets = self._measured_sets(observed, specs, names, paired)
        result = Verification(
            arms={
                name: Arm(
                    mixture=schedule.mixture,
                    losses=tuple(usable[name, k][-1][1] for k in paired),
                    curves={str(k): tuple((step, loss) for step, loss in usable[name, k]) for k in paired},
                    runs=tuple(runs[name]),
                    sets=sets[name],
                )
                for name, schedule in self.arms().items()
            },
            predicted=self._predicted_mean(recipe),
            measured=float(np.mean(finals)),
            standard_error=float(np.std(finals, ddof=1) / np.sqrt(len(paired))),
            differences=compared[0],
            steps_saved=compared[1],
            prediction_entry=prediction.number,
            predicted_first=not trained_before(self.ledger, prediction, runs["recipe"]),
            left_out=left_out,
            look=look,
            false_gains=false_gains(level),
        )
        formats.write(self.store, "verification.json", "verification", result.to_dict())
        measurement = json.loads(json.dumps(result.measurement()))
        last = measurement_of(self.ledger, prediction)
        if last is None or last.body != measurement:  # the last one is what verification.json must agree with
            self.ledger.append("measurement", measurement)
        return result

    def _predicted_first(self, recipe: Recipe) -> Entry:
        """The ledger's prediction for exactly this recipe, this corpus and this objective."""
        written = prediction_of(self.ledger, recipe)
        if written is None:
            raise DataError(
                f"The ledger holds no prediction for this recipe; it must be written before the runs. "
                f"Run `mixlaw optimize {self.folder}`."
            )
        self._same_size(recipe)
        for what, then, now in (
            ("objective", written.body["objective"], self.config.objective_weights()),
            ("corpus", written.body["corpus_hash"], self.study.corpus.hash),
            ("validation sets", written.body["evaluation_hash"], self.study.corpus.evaluation_hash),
        ):
            if then != now:
                raise DataError(
                    f"The recipe was predicted for the {what} {then}, today's is {now}. "
                    f"Run `mixlaw optimize {self.folder}`."
                )
        return written

    def _same_size(self, recipe: Recipe) -> None:
        """A law over sizes predicts the target run; runs of another length cannot score that."""
        tokens = self.config.training.tokens
        if recipe.law.get("kind") == "joint" and recipe.tokens != tokens:
            raise DataError(
                f"The recipe predicts the target run of {recipe.tokens} tokens, and verification would train runs of "
                f"{tokens}, which cannot score it. Verify with training.model and training.tokens of the target, or "
                f"optimise a law of the mixture alone (law.name)."
            )

    def _seeds_so_far(self) -> int:
        """``verify.seeds``, or as many as are trained already: what was measured is never dropped."""
        most = self.config.verify.seeds
        while all(self.study.is_done(s) for s in self.specs(most + 1).values()):
            most += 1
        return most

    def _left_out(
        self, specs: Mapping[tuple[str, int], RunSpec], status: Mapping[str, str]
    ) -> dict[str, dict[str, int]]:
        """Runs per arm that gave no final loss. Leaving their seeds out flatters an arm that diverges: said aloud."""
        found: dict[str, dict[str, int]] = {}
        for (arm, _), spec in specs.items():
            word = "diverged" if status.get(spec.id) == "diverged" else "failed"
            if status.get(spec.id) != "done":
                counts = found.setdefault(arm, {"diverged": 0, "failed": 0})
                counts[word] += 1
        for arm, counts in found.items():
            warnings.warn(
                f"Verification of {arm}: {lost_runs_text(counts)}. These seeds are left out of every arm.",
                MixlawWarning,
                stacklevel=3,
            )
        return found

    def _compare(
        self,
        usable: Mapping[tuple[str, int], Sequence[tuple[float, float]]],
        names: Sequence[str],
        seeds: Sequence[int],
        level: float,
    ) -> tuple[dict[str, Prediction], dict[str, dict[str, Any]]]:
        """The recipe against every reference: paired difference of final losses, and steps saved."""
        finals = {name: [usable[name, k][-1][1] for k in seeds] for name in names}
        differences, saved = {}, {}
        last = max(step for curve in usable.values() for step, _ in curve)
        horizon = last * undecayed_fraction(self.config.training.learning_rate)
        for name in names[1:]:
            differences[name] = paired_difference(finals["recipe"], finals[name], level)
            saved[name] = steps_saved(
                {k: usable["recipe", k] for k in seeds}, {k: usable[name, k] for k in seeds}, level, horizon
            )
        return differences, saved

    def _predicted_mean(self, recipe: Recipe) -> Prediction:
        """Prediction of what is measured here, the weighted mean of the losses.

        Where the recipe minimised something else (its worst set), its interval is the sum of the sets' own, which is
        wide because it lets all of them err together.
        """
        if recipe.objective.get("kind") != "worst":
            return recipe.predictions["objective"]
        weights = self.config.objective_weights()
        mean, low, high = (
            sum(w * getattr(recipe.predictions[t], side) for t, w in weights.items())
            for side in ("mean", "low", "high")
        )
        return Prediction(mean, low, high, self.config.law.level)

    def _measured_sets(
        self,
        observed: Observations,
        specs: Mapping[tuple[str, int], RunSpec],
        names: Sequence[str],
        seeds: Sequence[int],
    ) -> dict[str, dict[str, tuple[float, ...]]]:
        """Final loss of every validation set, per arm: ``{arm: {set: (loss per seed)}}``."""
        table = observed.table(missing="keep")
        y, rows = table.y, {run: i for i, run in enumerate(table.runs)}
        return {
            arm: {t: tuple(float(y.column(t)[rows[specs[arm, k].id]].as_py()) for k in seeds) for t in y.column_names}
            for arm in names
        }
