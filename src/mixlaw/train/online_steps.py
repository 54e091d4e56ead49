"""Steps of a run whose mixture a strategy chooses: measures what the strategy asks for, and trains with its weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mixlaw.data.corpus import Corpus
from mixlaw.data.mixture import Mixture, Schedule
from mixlaw.data.runspec import RunSpec
from mixlaw.errors import DataError, RunError
from mixlaw.tokens.online import OnlineLoader
from mixlaw.train.contract import is_done
from mixlaw.train.loop import Training
from mixlaw.train.strategies.contract import Need, Strategy
from mixlaw.train.strategy_of import TARGET_SEQUENCES, probe_size, probed_sets, strategy_of
from mixlaw.train.trained_weights import trained_weights
from mixlaw.train.validation_losses import Validation, evaluate

__all__ = ["OnlineSteps"]


class OnlineSteps:
    """What a strategy adds to a run.

    Args:
        spec: with a strategy.
        corpus, tokens_root: as the trainer has them.
        training: the model and its optimiser.
        validation: the sets that probes score a part of.
        runs: folder in which a reference run lies, for strategies that need one.

    Raises:
        ConfigError: an unknown strategy or option.
        RunError: the reference run is not finished, or is of another architecture.

    Example:
        >>> import tempfile
        >>> from mixlaw import Schedule, tokens
        >>> from mixlaw.models.architecture import architecture, build
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name, step in {"web": 3, "code": 5}.items():
        ...     np.save(folder / f"{name}.npy", np.arange(0, 2000 * step, step, dtype=np.uint16) % 64)
        >>> paths = {name: folder / f"{name}.npy" for name in ("web", "code")}
        >>> corpus = tokens.build(paths, folder, validation_tokens=0)
        >>> mixture = Schedule.constant({"web": 0.75, "code": 0.25})
        >>> spec = RunSpec(mixture, tokens=1024, batch=4, context=16, strategy={"name": "static"})
        >>> model = build(architecture({"width": 16, "layers": 1, "heads": 2, "mlp_width": 32}, corpus.vocab_size))
        >>> online = OnlineSteps(spec, corpus, folder / "tokens", Training(model, {}, "fp32"), {}, folder / "runs")
        >>> loss, norm = online.step(0, learning_rate=1e-3)
        >>> online.loader.tokens()
        {'web': 48, 'code': 16}
    """

    def __init__(
        self,
        spec: RunSpec,
        corpus: Corpus,
        tokens_root: Path,
        training: Training,
        validation: Validation,
        runs: Path,
    ) -> None:
        self.spec, self.training, self.validation = spec, training, validation
        self.strategy: Strategy = strategy_of(spec)
        self.loader = OnlineLoader(spec, corpus, tokens_root)
        self.domains = spec.schedule.domains
        self.probe_tokens = 0
        """Validation tokens that the strategy had scored or differentiated so far: they are part of its cost."""
        self._sampling: Mixture | None = getattr(self.strategy, "sampling", None) if self._weighs_losses() else None
        self._weights = np.zeros(len(self.domains))
        self._summed = np.zeros(len(self.domains))
        self._steps_summed = 0
        self._average = np.zeros(len(self.domains))
        self._losses: dict[str, float] = {}
        self._gradients: dict[str, npt.NDArray[np.float64]] = {}
        self._token_losses = torch.empty(spec.batch * spec.context, device=training.device)
        self._reference = self._read_reference(runs) if "reference" in self.strategy.needs else None

    def _weighs_losses(self) -> bool:
        return getattr(self.strategy, "weighs", "sampling") == "loss"

    def _read_reference(self, runs: Path) -> Training:
        from mixlaw.models.architecture import build

        assert self.spec.strategy is not None
        name = self.spec.strategy["options"]["reference"]
        if not is_done(runs / name):
            raise RunError(
                f"The strategy of run {self.spec.id} compares with the reference run {name}, which is not finished in "
                f"{runs / name}. Train that run first, with keep='full' or 'weights'.",
                self.spec,
            )
        training = Training(
            build(self.training.model.config).to(self.training.device), self.spec.optimizer, self.training.precision
        )
        weights = trained_weights(runs / name)
        training.load({f"model.{key}": tensor for key, tensor in weights.items()}, moments=False)
        return training

    # ---- one step --------------------------------------------------------------------------------------
    def step(self, step: int, learning_rate: float) -> tuple[float, float]:
        """Choose the weights of ``step`` (from 0), draw its batch and train; returns as :meth:`Training.step`."""
        weights = self._choose(step)
        given = {name: weights[name] for name in weights}
        self._weights = np.array([given.get(name, 0.0) for name in self.domains])
        self._summed += self._weights
        self._average += self._weights
        self._steps_summed += 1
        batch, who = self.loader.draw(step, self._sampling or weights)
        factors = self._factors(who) if self._weighs_losses() else None
        wanted = self.strategy.asks(step + 1) if step + 1 < self.spec.num_steps else frozenset[Need]()
        losses = self._token_losses if wanted & {"losses", "reference"} else None
        if "gradients" in wanted:
            value, norm = self._step_by_domain(batch, who, factors, learning_rate, losses)
        else:
            value, norm = self.training.step(batch, learning_rate, factors, losses)
        if losses is not None:
            self._losses = self._by_domain(batch, who, "reference" in wanted)
        return value, norm

    def _choose(self, step: int) -> Mixture:
        asked = self.strategy.asks(step)
        shown: dict[str, Any] = {}
        if "probes" in asked:
            shown["losses"] = self._probe()
        elif asked & {"losses", "reference"}:
            shown["losses"] = self._losses
        if "gradients" in asked:
            shown["gradients"] = self._gradients
        if "target" in asked:
            shown["target"] = self._target_gradient(step)
        return self.strategy.update(step, **shown)

    def _factors(self, who: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """(batch,) the weights of the sequences' losses over the weights with which they were drawn."""
        assert self._sampling is not None
        sampled = np.array([self._sampling[name] for name in self.domains])
        return np.asarray((self._weights / np.maximum(sampled, 1e-12))[who])

    def _step_by_domain(
        self,
        batch: npt.NDArray[np.int64],
        who: npt.NDArray[np.int64],
        factors: npt.NDArray[np.float64] | None,
        learning_rate: float,
        losses: torch.Tensor | None,
    ) -> tuple[float, float]:
        """One step whose gradient is put together from those of the domains, which are kept."""
        self._gradients = {}
        total, value, context = None, 0.0, self.spec.context
        for j in np.unique(who):
            rows = np.flatnonzero(who == j)
            each = torch.empty(len(rows) * context, device=self.training.device) if losses is not None else None
            mean = self.training.backward(batch[rows], None, each)
            gradient = self.training.gradient()
            share = len(rows) / len(who) * (1.0 if factors is None else float(factors[rows[0]]))
            total = gradient * share if total is None else total + gradient * share
            value += mean * share
            self._gradients[self.domains[j]] = gradient.double().cpu().numpy()
            if losses is not None and each is not None:
                losses.view(len(who), context)[torch.from_numpy(rows)] = each.view(len(rows), context)
        assert total is not None
        self.training.set_gradient(total)
        return self.training.update(value, learning_rate)

    def _by_domain(
        self, batch: npt.NDArray[np.int64], who: npt.NDArray[np.int64], against_reference: bool
    ) -> dict[str, float]:
        """Mean training loss of each domain of the batch, or mean of what it is above the reference's."""
        each = self._token_losses
        if against_reference:
            assert self._reference is not None
            theirs = torch.empty_like(each)
            tokens = torch.from_numpy(batch).to(self.training.device)
            with torch.no_grad():
                self._reference.loss(tokens[:, :-1], tokens[:, 1:], None, theirs)
            each = (each - theirs).clamp_min(0)
        sequences = each.view(len(who), self.spec.context).mean(1).double().cpu().numpy()
        return {self.domains[j]: float(sequences[who == j].mean()) for j in np.unique(who)}

    def _probe(self) -> dict[str, float]:
        """Loss of a part of each validation set that the strategy looks at: sequences at even distances, the same ones
        each time."""
        part = {}
        for name, (sequences, _) in probed_sets(self.strategy, self.validation).items():
            length = sequences.shape[1] - 1
            count = probe_size(self.strategy, length, len(sequences))
            rows = np.linspace(0, len(sequences) - 1, count).round().astype(int)
            part[name] = (sequences[rows], 0)
            self.probe_tokens += count * length
        return evaluate(self.training.model, part, self.spec.batch)

    def _target_gradient(self, step: int) -> npt.NDArray[np.float64]:
        """Gradient of the objective on a few validation sequences of each of its sets, others at each step."""
        objective: Mapping[str, float] = self.strategy.objective  # type: ignore[attr-defined]
        total = None
        for name, weight in objective.items():
            sequences, _ = self.validation[name]
            count = min(TARGET_SEQUENCES, len(sequences))
            rows = (step * count + np.arange(count)) % len(sequences)
            self.training.backward(sequences[rows])
            self.probe_tokens += 3 * count * (sequences.shape[1] - 1)  # a backward pass costs two forward ones
            gradient = self.training.gradient() * weight
            total = gradient if total is None else total + gradient
        assert total is not None
        return np.asarray(total.double().cpu().numpy())

    # ---- what it leaves --------------------------------------------------------------------------------
    def record(self, step: int) -> list[dict[str, Any]]:
        """Rows of the values table: the mean weight of each domain since the last call."""
        if not self._steps_summed:
            return []
        means = self._summed / self._steps_summed
        self._summed, self._steps_summed = np.zeros(len(self.domains)), 0
        return self._rows(step, "mixture_weight", means)

    def average(self, step: int) -> list[dict[str, Any]]:
        """Rows of the values table: the mean weight of each domain over all steps."""
        return self._rows(step, "average_mixture_weight", self._average / max(self._average.sum(), 1e-12))

    def _rows(self, step: int, metric: str, weights: npt.NDArray[np.float64]) -> list[dict[str, Any]]:
        tokens = float(step * self.spec.batch * self.spec.context)
        common = {"run": self.spec.id, "step": step, "tokens": tokens, "metric": metric, "unit": "fraction"}
        return [{**common, "target": name, "value": float(w)} for name, w in zip(self.domains, weights)]

    def schedule(self) -> Schedule:
        """What was drawn: for such a run the only schedule there is."""
        return self.loader.realised() or self.spec.schedule

    def settings(self) -> dict[str, Any]:
        """Facts for the runs table: the strategy's name, and what it had scored to choose its weights."""
        assert self.spec.strategy is not None
        return {"strategy": self.spec.strategy["name"], "probe_tokens": float(self.probe_tokens)}

    def state(self) -> dict[str, Any]:
        """All that a continued run needs, as plain data for JSON."""
        return {
            "loader": self.loader.state(),
            "strategy": self.strategy.state(),
            "probe_tokens": self.probe_tokens,
            "summed": self._summed.tolist(),
            "steps_summed": self._steps_summed,
            "average": self._average.tolist(),
            "losses": self._losses,
        }

    def tensors(self) -> dict[str, torch.Tensor]:
        """The part of the state that is large: the domains' last gradients, by ``online.<domain>``."""
        return {f"online.{name}": torch.from_numpy(vector) for name, vector in self._gradients.items()}

    def load(self, state: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
        """Inverse of :meth:`state` and :meth:`tensors`; of ``tensors`` it takes its own.

        Raises:
            DataError: it is not the state of such a run.
        """
        try:
            self.loader.load(state["loader"])
            self.strategy.load(state["strategy"])
            self.probe_tokens = int(state["probe_tokens"])
            self._summed = np.array(state["summed"], float)
            self._steps_summed = int(state["steps_summed"])
            self._average = np.array(state["average"], float)
            self._losses = dict(state["losses"])
            own = {name: tensors.get(f"online.{name}") for name in self.domains}
            self._gradients = {name: kept.double().numpy() for name, kept in own.items() if kept is not None}
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"The checkpoint of run {self.spec.id} does not say where its strategy stands ({error!r}). Delete it "
                f"to train the run from its beginning."
            ) from None
