"""The built-in trainer: one decoder per spec, on one CPU core or a GPU."""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from mixlaw.data.corpus import Corpus
from mixlaw.data.learning_rate import LearningRate
from mixlaw.data.observations import Observations
from mixlaw.data.runspec import RunSpec
from mixlaw.errors import ConfigError, RunError, RunStopped
from mixlaw.kit.extras import require_extra
from mixlaw.kit.hashing import content_hash
from mixlaw.kit.store import Store
from mixlaw.models.architecture import architecture, build, is_published
from mixlaw.models.hugging_face.decoder_config import DecoderConfig
from mixlaw.models.published import opened
from mixlaw.train import checkpoint
from mixlaw.train.claim import Claim
from mixlaw.train.contract import Progress, ShouldStop, finish, is_done, refuse
from mixlaw.train.optimizer_options import optimizer_options
from mixlaw.train.published_start import checked_start
from mixlaw.train.run_evaluators import RunEvaluators, check_evaluators
from mixlaw.train.strategy_of import strategy_of
from mixlaw.train.trained_weights import check_update, low_rank_update, starting_weights, trained_weights
from mixlaw.train.validation_losses import evaluate, logits_at_once, value_rows

__all__ = ["TorchTrainer", "evaluation_steps"]

EXPLODED_LOSS = 2.0
"""A training loss above this many times ``ln(vocabulary)``, the loss of a uniform guess, has exploded."""

EXPLODED_STEPS = 5
"""So many exploded steps in a row end the run as diverged."""

_losses_at_start: dict[tuple[str, str, int, str], dict[str, float]] = {}
"""Validation losses of published models before any step, by content of model and sets, context and device."""


def evaluation_steps(spec: RunSpec) -> list[int]:
    """Steps (from 1) after which validation losses are measured: ``evaluate_at`` of the run, rounded, at least 1.

    Example:
        >>> from mixlaw.data.mixture import Schedule
        >>> spec = RunSpec(Schedule.constant({"web": 1.0}), tokens=20_480, evaluate_at=(0.25, 1.0))
        >>> evaluation_steps(spec)
        [2, 10]
    """
    return sorted({max(1, round(fraction * spec.num_steps)) for fraction in spec.evaluate_at})


@dataclass(frozen=True)
class TorchTrainer:
    """Trains a decoder on the mixture a spec describes, and measures its validation losses.

    What can change a run's numbers is in the spec; what cannot is here. On a CPU a run uses one thread and is
    deterministic: a killed run that continues gives the uninterrupted curve bit for bit.

    Args:
        corpus: the domains and validation sets.
        tokens_root: folder of token shards that :func:`mixlaw.tokens.build` wrote.
        checkpoint_seconds: wall-clock between checkpoints.
        curve_points: points of the training-loss curve (metric ``train_loss``), each a mean over the steps between.
        evaluation_batch: sequences per forward pass of the evaluation.
        device: ``"auto"`` (a GPU where there is one), ``"cpu"``, ``"cuda"``, ``"cuda:1"``...
        keep: what a finished run's checkpoint holds: ``"full"`` (another run can start from it with its Adam
            moments), ``"weights"``, or ``"none"``.

    Raises:
        ConfigError: ``checkpoint_seconds`` that are not positive, a negative ``curve_points``, ``evaluation_batch``
            below 1, or an unknown ``keep``.

    Example:
        >>> corpus = Corpus.declared({"web": 9_000}, source="example")
        >>> trainer = TorchTrainer(corpus, "study/tokens", device="cpu")
        >>> trainer.name, trainer.keep
        ('torch', 'full')
        >>> trainer.run(spec, Path("study/runs") / spec.id)        # doctest: +SKIP
    """

    corpus: Corpus
    tokens_root: str | Path
    checkpoint_seconds: float = 30.0
    curve_points: int = 40
    evaluation_batch: int = 8
    device: str = "auto"
    keep: Literal["full", "weights", "none"] = "full"

    name: ClassVar[str] = "torch"
    version: ClassVar[str] = "1"
    needs_tokens: ClassVar[bool] = True

    @classmethod
    def version_with(cls, options: Mapping[str, Any]) -> str:
        """Of all options the same: what can change a run's numbers is in the spec."""
        return cls.version

    def __post_init__(self) -> None:
        if self.checkpoint_seconds <= 0 or self.curve_points < 0 or self.evaluation_batch < 1:
            raise ConfigError(
                f"TorchTrainer needs checkpoint_seconds > 0, curve_points >= 0 and evaluation_batch >= 1, got "
                f"{self.checkpoint_seconds}, {self.curve_points}, {self.evaluation_batch}."
            )
        if self.keep not in ("full", "weights", "none"):
            raise ConfigError(f"TorchTrainer keep must be 'full', 'weights' or 'none', got {self.keep!r}.")

    def check(self, spec: RunSpec) -> None:
        """Everything that can be wrong with a spec before it trains; without torch.

        Raises:
            ConfigError: model, optimiser or learning-rate fields are off, the run has no whole step, it asks for
                what this trainer does not do (tuning, ...), its strategy is unknown or lacks what it needs, its start
                is a checkpoint of another architecture, tokenizer or content, or its low-rank update does not fit
                the model.
            DataError: a checkpoint to start from that is missing or damaged.
            RunError: the spec was made for another corpus, or other validation sets.
        """
        refuse(spec, self.name, can=("checkpoint", "evaluators", "strategy", "update"))
        if spec.strategy is not None:
            strategy_of(spec, [v.name for v in self.corpus.validation])
        config = architecture(spec.model, self.corpus.vocab_size)
        if isinstance(config, DecoderConfig) and spec.context > config.longest:
            raise ConfigError(
                f"The model was made for sequences of at most {config.longest} tokens, and context is {spec.context}. "
                f"Lower context."
            )
        if is_published(spec.model) and spec.start is None:
            raise ConfigError(
                "A published architecture is trained from a checkpoint only: give the run a start "
                "(mixlaw.models.hugging_face.starting_from), or train a proxy from scratch (model: {preset: d64})."
            )
        if spec.start is not None and spec.start_run is None:
            checked_start(spec, config, self.corpus.tokenizer, Path(self.tokens_root) / "tokenizer.json")
        check_update(spec, config)
        optimizer_options(spec.optimizer)
        LearningRate(spec.learning_rate, max(spec.num_steps, 1))
        if spec.num_steps < 1:
            raise ConfigError(
                f"{spec.tokens} tokens are less than one step of {spec.batch} x {spec.context} tokens. "
                f"Raise tokens, or lower batch or context."
            )
        for what, wanted, ours in (
            ("corpus", spec.corpus_hash, self.corpus.hash),
            ("validation sets", spec.evaluation_hash, self.corpus.evaluation_hash),
        ):
            if wanted and wanted != ours:
                raise RunError(f"The spec was made for {what} {wanted}, but the trainer has {ours}.", spec)
        check_evaluators(spec, self.corpus, self.tokens_root)

    def run(
        self,
        spec: RunSpec,
        folder: Path,
        progress: Progress | None = None,
        should_stop: ShouldStop | None = None,
    ) -> None:
        """Train ``spec`` in ``folder`` (``runs/<spec.id>``); a done run returns at once, a cut-off one continues.

        Writes ``spec.json``, ``machine.json`` (precision, device, versions, speed), ``checkpoint.safetensors``,
        ``log.txt``, ``runs.parquet``, ``values.parquet``, and ``DONE`` last.

        Raises:
            ConfigError, RunError: see :meth:`check`; the checkpoint to start from is missing, or is not of that run's
                end; another process took the run over.
            DataError: a checkpoint or token files that are damaged.
            RunStopped: ``should_stop`` said so; a checkpoint was published.
        """
        folder = Path(folder)
        if is_done(folder):
            return
        self.check(spec)
        torch = require_extra("torch", "train")
        require_extra("safetensors", "train")
        from mixlaw.train.loop import choose_device

        device = choose_device(self.device)
        claim = Claim(folder)
        spec.save(folder / "spec.json")
        with _one_thread(torch, device.type == "cpu"), open(folder / "log.txt", "a", buffering=1) as log:
            _Run(self, spec, folder, device, log, claim).train(progress, should_stop)


class _Run:
    """One run's state while it trains."""

    def __init__(self, trainer: TorchTrainer, spec: RunSpec, folder: Path, device: Any, log: Any, claim: Claim) -> None:
        from mixlaw.tokens.loader import Loader, validation
        from mixlaw.train.loop import Training, choose_precision
        from mixlaw.train.online_steps import OnlineSteps

        self.trainer, self.spec, self.folder, self.log, self.claim = trainer, spec, folder, log, claim
        root = Path(trainer.tokens_root)
        self.loader = Loader(spec, trainer.corpus, root) if spec.strategy is None else None
        self.validation = validation(trainer.corpus, root, spec.context)
        self.hashes = {v.name: v.hash for v in trainer.corpus.validation}
        self.config = architecture(spec.model, trainer.corpus.vocab_size)
        self.rate = LearningRate(spec.learning_rate, spec.num_steps)
        self.evaluators = RunEvaluators(spec, folder, root, self.config, claim)
        options = optimizer_options(spec.optimizer)
        found = checkpoint.load(folder)
        if found is not None and found[0].spec != spec.id:
            raise RunError(
                f"{folder} holds a checkpoint of run {found[0].spec}, not {spec.id}. Use a folder per run.", spec
            )
        if found is not None and not 0 <= found[0].step <= spec.num_steps:
            raise RunError(
                f"The checkpoint in {folder} is of step {found[0].step}, and the run has {spec.num_steps}. Delete it "
                f"to train the run from its beginning.",
                spec,
            )
        # A continued run keeps the precision it began with, whatever machine it is on now.
        precision = found[0].precision if found else choose_precision(options["precision"], device)
        self.state = found[0] if found else checkpoint.Progressed(spec.id, precision=precision, device=device.type)
        model_seed = int(content_hash({"model": spec.seed})[:15], 16)
        model = build(self.config, model_seed).to(device)
        self.update = low_rank_update(spec, self.config)
        if self.update is not None:
            from mixlaw.models.lora import add_low_rank

            if spec.start_run is not None:
                self.finished(folder.parent / spec.start_run)
            add_low_rank(model, starting_weights(spec, folder), self.update, model_seed)
        self.training = Training(model, spec.optimizer, precision)
        self.online: OnlineSteps | None = None
        if spec.strategy is not None:
            self.online = OnlineSteps(spec, trainer.corpus, root, self.training, self.validation, folder.parent)
        if found is not None:
            self.training.load(found[1])
            if self.online is not None:
                self.online.load(self.state.online, found[1])
            self.write(f"continue at step {self.state.step} of {spec.num_steps}")
        elif spec.start_run is not None and self.update is not None:
            self.write(f"start from run {spec.start_run}, beside whose weights low-rank factors are trained")
        elif spec.start_run is not None:
            given = spec.start.get("moments") if isinstance(spec.start, Mapping) else None
            self.start_from(folder.parent / spec.start_run, (given or options["moments"]) == "keep")
        elif spec.start is not None:
            self.start_published()
        store = Store(folder)
        store.write_json(
            "machine.json",
            {
                "precision": precision,
                "device": torch_device_name(device),
                "threads": 1 if device.type == "cpu" else None,
                "torch": torch_version(),
                "python": platform.python_version(),
                "platform": platform.platform(),
            },
        )

    def write(self, text: str) -> None:
        self.log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    def finished(self, folder: Path) -> dict[str, Any]:
        """Tensors of the run in ``folder``, which is the one to start from and has reached its end."""
        found = checkpoint.load(folder)
        if found is None or not is_done(folder):
            raise RunError(
                f"Run {self.spec.id} starts from run {self.spec.start_run}, which has no finished checkpoint in "
                f"{folder}. Train that run first, with keep='full' or 'weights'.",
                self.spec,
            )
        self.check_end(folder, found[0])
        return found[1]

    def start_from(self, folder: Path, moments: bool) -> None:
        tensors = self.finished(folder)
        if "model.embedding" not in tensors:  # low-rank factors, whose moments are none of the weights
            if moments:
                raise RunError(
                    f"Run {self.spec.id} starts from {folder} with its Adam moments, and there only low-rank factors "
                    f"were trained, which have others. Set optimizer moments to 'reset'.",
                    self.spec,
                )
            tensors = {f"model.{name}": values for name, values in trained_weights(folder).items()}
        if moments and "updates" not in tensors:
            raise RunError(
                f"Run {self.spec.id} starts from {folder} with its Adam moments, but only weights were kept there. "
                f"Set optimizer moments to 'reset', or train {self.spec.start_run} again with keep='full'.",
                self.spec,
            )
        self.training.load(tensors, moments)
        self.write(f"start from run {self.spec.start_run} ({'with' if moments else 'without'} its Adam moments)")

    def start_published(self) -> None:
        """Begin from a checkpoint folder's weights, and record the losses that they have before any step."""
        assert isinstance(self.spec.start, Mapping)
        path = self.spec.start["checkpoint"]
        if self.update is None:
            weights = opened(path).weights()
            self.training.load({f"model.{name}": tensor for name, tensor in weights.items()}, moments=False)
        # The same for every run that continues the model, and of a large one minutes of work: once per process.
        key = (
            self.spec.start["hash"],
            self.trainer.corpus.evaluation_hash,
            self.spec.context,
            str(self.training.device),
        )
        losses = _losses_at_start.get(key) or self.losses()
        _losses_at_start[key] = losses
        rows = value_rows(self.spec.id, 0, 0, losses, self.validation, self.hashes)
        self.state.values += [{**row, "metric": f"start_{row['metric']}"} for row in rows]
        shown = ", ".join(f"{name} {value:.4f}" for name, value in losses.items())
        self.write(f"start from the checkpoint {path}; validation loss before the first step: {shown}")

    def losses(self) -> dict[str, float]:
        """Validation losses of the model as it is now."""
        at_once = logits_at_once(self.spec.context, self.config.vocab_size)
        return evaluate(self.training.model, self.validation, min(self.trainer.evaluation_batch, at_once))

    def check_end(self, folder: Path, reached: checkpoint.Progressed) -> None:
        """The checkpoint to start from is that of the run it should be, and of that run's end."""
        status = Observations.load(folder).runs["status"].to_pylist()
        last = RunSpec.load(folder / "spec.json").num_steps
        if reached.spec != self.spec.start_run or (reached.step != last and status != ["diverged"]):
            raise RunError(
                f"Run {self.spec.id} starts from the end of run {self.spec.start_run}, and the checkpoint in {folder} "
                f"is of step {reached.step} of run {reached.spec}; the end is step {last}. Delete {folder} and train "
                f"that run again.",
                self.spec,
            )

    def train(self, progress: Progress | None, should_stop: ShouldStop | None) -> None:
        spec, state = self.spec, self.state
        num_steps, per_step = spec.num_steps, spec.batch * spec.context
        evaluations = set(evaluation_steps(spec))
        points = self.trainer.curve_points
        curve = {round(i * num_steps / points) for i in range(1, points + 1)} if points else set()
        exploded = EXPLODED_LOSS * math.log(self.config.vocab_size)
        began = published = time.monotonic()
        before = state.seconds
        trained = self.config.params if self.update is None else self.update.num_parameters
        self.write(f"train {trained} parameters for {num_steps} steps in {self.training.precision}")
        while state.step < num_steps:
            loss, norm = self.step(state.step)
            state.step += 1
            state.over = state.over + 1 if loss > exploded else 0
            if not math.isfinite(loss) or not math.isfinite(norm) or state.over >= EXPLODED_STEPS:
                return self.diverged(loss, norm)
            state.loss_sum += loss
            state.loss_count += 1
            if state.step in curve:
                self.record_curve()
            if state.step in evaluations:
                losses = self.losses()
                if not all(math.isfinite(value) for value in losses.values()):
                    return self.diverged(loss, norm)
                state.values += value_rows(
                    spec.id, state.step, state.step * per_step, losses, self.validation, self.hashes
                )
                shown = ", ".join(f"{name} {value:.4f}" for name, value in losses.items())
                self.write(f"step {state.step} validation loss: {shown}")
            if shown := self.evaluators.measure(state.step, self.training.model):
                self.write(f"step {state.step} evaluators: {shown}")
            if progress is not None:
                progress(state.step, num_steps)
            now = time.monotonic()
            state.seconds = before + now - began
            stop = should_stop is not None and should_stop()
            if state.step < num_steps and (stop or now - published > self.trainer.checkpoint_seconds):
                self.publish()
                published = now
                if stop:
                    self.write(f"stopped at step {state.step} of {num_steps}; run again to continue")
                    raise RunStopped(
                        f"Run {spec.id} was stopped at step {state.step} of {num_steps}; a checkpoint was published.",
                        spec,
                    )
        self.close("done")

    def step(self, step: int) -> tuple[float, float]:
        """One optimiser step: its mean loss in nats per token and its gradient's norm."""
        if self.online is not None:
            return self.online.step(step, self.rate(step))
        assert self.loader is not None
        return self.training.step(self.loader.batch(step), self.rate(step))

    def publish(self) -> None:
        """Write a checkpoint from which the run continues bit for bit."""
        tensors = self.training.tensors()
        if self.online is not None:
            self.state.online = self.online.state()
            tensors |= self.online.tensors()
        checkpoint.save(self.folder, self.state, tensors, self.claim)

    def record_curve(self) -> None:
        state, spec = self.state, self.spec
        if self.online is not None:
            state.values += self.online.record(state.step)
        state.values.append(
            {
                "run": spec.id,
                "step": state.step,
                "tokens": float(state.step * spec.batch * spec.context),
                "target": "train",
                "metric": "train_loss",
                "unit": "nats_per_token",
                "value": state.loss_sum / state.loss_count,
            }
        )
        state.loss_sum, state.loss_count = 0.0, 0

    def diverged(self, loss: float, norm: float) -> None:
        """Record the run as diverged: its curve so far, and for every set "worse than a uniform guess"."""
        state, spec = self.state, self.spec
        self.write(f"diverged at step {state.step}: loss {loss}, gradient norm {norm}")
        if state.loss_count:
            self.record_curve()
        bound = {name: math.log(self.config.vocab_size) for name in self.validation}
        tokens = state.step * spec.batch * spec.context
        state.values += value_rows(spec.id, state.step, tokens, bound, self.validation, self.hashes, "right")
        self.close("diverged")

    def close(self, status: str) -> None:
        state, spec, trainer = self.state, self.spec, self.trainer
        seconds = max(state.seconds, 1e-9)
        tokens = state.step * spec.batch * spec.context
        if self.online is not None:
            epochs, realised = self.online.loader.epochs(), self.online.loader.realised()
        else:
            assert self.loader is not None
            epochs, realised = self.loader.epochs(), self.loader.realised(state.step)
        row = {
            "run": spec.id,
            "schedule": spec.schedule if self.online is None else self.online.schedule(),
            "params": float(self.config.params),
            "params_total": float(self.config.params_total),
            "tokens": float(spec.num_steps * spec.batch * spec.context),
            "learning_rate": json.dumps(dict(spec.learning_rate), sort_keys=True),
            "batch_tokens": float(spec.batch * spec.context),
            "seed": spec.seed,
            "replicate_group": spec.replicate_group or None,
            "epochs": epochs,
            "start": spec.start_run or (spec.start["hash"] if isinstance(spec.start, Mapping) else None),
            "trainer": f"{trainer.name}-{trainer.version} {state.device} {state.precision}",
            "corpus_hash": spec.corpus_hash or trainer.corpus.hash,
            "status": status,
            "settings": {
                **self.config.settings(),
                **({} if self.online is None else self.online.settings()),
                **({} if self.update is None else self.update.settings()),
            },
            "realised": realised,
        }
        if self.online is not None:
            state.values += self.online.average(state.step)
            state.online = self.online.state()
        if trainer.keep == "none":
            with self.claim.publishing():
                (self.folder / checkpoint.NAME).unlink(missing_ok=True)
        else:
            tensors = self.training.tensors()
            if trainer.keep == "weights":
                tensors = {name: t for name, t in tensors.items() if name.startswith("model.")}
            checkpoint.save(self.folder, state, tensors, self.claim)
        self.write(f"{status} after {state.step} steps, {tokens / seconds:.0f} tokens/s")
        measured = self.evaluators.added_to(Observations.from_records([row], state.values), state.step)
        finish(self.folder, measured, self.claim)
        self.evaluators.clear()


def torch_version() -> str:
    """The version of torch that trains, as machine.json states it."""
    import torch

    return str(torch.__version__)


def torch_device_name(device: Any) -> str:
    """The device as machine.json states it."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu ({platform.machine()})"


@contextmanager
def _one_thread(torch: Any, on_cpu: bool) -> Iterator[None]:
    """One thread and no denormals while a CPU run trains: faster for many runs, and the same result everywhere."""
    if not on_cpu:
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    # Adam moments of rare tokens decay into denormals, on which a CPU is slow.
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(False)
