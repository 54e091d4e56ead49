"""What training costs: floating-point operations by formula, tokens per second by trying."""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import dataclass
from typing import Any

from mixlaw.data.runspec import RunSpec
from mixlaw.errors import RunError
from mixlaw.kit.cores import cores, worker_environment
from mixlaw.models.architecture import architecture, build
from mixlaw.models.hugging_face.decoder_config import DecoderConfig
from mixlaw.models.proxy.presets import ModelConfig
from mixlaw.train.trained_weights import low_rank_update

__all__ = ["Throughput", "checkpoint_bytes", "default_workers", "flops", "measure", "measure_parts"]


def default_workers() -> int:
    """Worker processes the local executor starts by default: one per core.

    Example:
        >>> default_workers() >= 1
        True
    """
    return cores()


def flops_per_token(config: ModelConfig | DecoderConfig, context: int) -> float:
    """Training operations per token: ``6`` per parameter of a matrix product, the unembedding's included (it is most
    of a small model), and causal attention ``6 * layers * width of all heads * context``, of layers with a window
    too."""
    products = config.params + config.vocab_size * config.width
    return 6.0 * products + 6.0 * config.layers * config.attention_width * context


def flops(spec: RunSpec, vocab_size: int | None = None) -> float:
    """Floating-point operations that training ``spec`` takes; its evaluations come on top (see :func:`measure_parts`).

    Args:
        vocab_size: of the corpus, where ``spec.model`` does not say.

    Raises:
        ConfigError: a model that is not one of mixlaw, or whose vocabulary is not known.

    Example:
        >>> from mixlaw import RunSpec, Schedule
        >>> model = {"width": 32, "layers": 1, "heads": 2, "mlp_width": 64}
        >>> spec = RunSpec(Schedule.constant({"web": 1.0}), tokens=8192, model=model, batch=4, context=64)
        >>> flops(spec, vocab_size=256)
        1011351552.0
    """
    config = architecture(spec.model, vocab_size)
    per_token = flops_per_token(config, spec.context)
    if (update := low_rank_update(spec, config)) is not None:  # of frozen weights no gradient is made
        products = config.params + config.vocab_size * config.width
        per_token += 6.0 * update.num_parameters - 2.0 * products
    return per_token * spec.num_steps * spec.batch * spec.context


def checkpoint_bytes(spec: RunSpec, vocab_size: int | None = None) -> int:
    """Bytes of disk that the run's checkpoint takes: what is trained (the weights, or low-rank factors) and two Adam
    moments in fp32.

    Raises:
        ConfigError: a model that is not one of mixlaw, or whose vocabulary is not known.

    Example:
        >>> from mixlaw import RunSpec, Schedule
        >>> model = {"width": 32, "layers": 1, "heads": 2, "mlp_width": 64}
        >>> spec = RunSpec(Schedule.constant({"web": 1.0}), tokens=8192, model=model, batch=4, context=64)
        >>> checkpoint_bytes(spec, vocab_size=256) % 12
        0
    """
    config = architecture(spec.model, vocab_size)
    update = low_rank_update(spec, config)
    return 12 * (config.params_total if update is None else update.num_parameters)


@dataclass(frozen=True)
class Throughput:
    """Measured speed of this machine with ``workers`` processes at once.

    Args:
        train: training tokens per second, of all workers together.
        evaluate: validation tokens per second, of all workers together.
        workers: processes that ran at the same time.
        start_seconds: until a worker process was ready to train.

    Example:
        >>> Throughput(train=2000.0, evaluate=8000.0, workers=2, start_seconds=1.5).seconds(10_000, 4_000)
        5.5
    """

    train: float
    evaluate: float
    workers: int
    start_seconds: float

    def seconds(self, train_tokens: float, evaluated_tokens: float = 0.0) -> float:
        """Seconds for all workers together to train and evaluate so many tokens (``train_tokens``,
        ``evaluated_tokens``).
        """
        return train_tokens / self.train + evaluated_tokens / self.evaluate


def measure(
    spec: RunSpec,
    vocab_size: int | None = None,
    workers: int | None = None,
    seconds: float = 3.0,
    evaluation_tokens: float = 0.0,
) -> float:
    """Tokens per second this machine trains with ``workers`` processes at once, all together.

    Args:
        spec: its model, batch and context are timed, on random tokens.
        vocab_size: of the corpus, where the model does not say.
        workers: default one per core.
        seconds: how long to time.
        evaluation_tokens: validation tokens (all sets together) scored at each of ``spec.evaluate_at``; their time is
            counted in, so that ``tokens / measure(...)`` is what whole runs take.

    Raises:
        ConfigError: a model that is not one of mixlaw, or whose vocabulary is not known.
        RunError: a timing process failed.

    Example:
        >>> from mixlaw import RunSpec, Schedule
        >>> model = {"width": 32, "layers": 1, "heads": 2, "mlp_width": 64}
        >>> spec = RunSpec(Schedule.constant({"web": 1.0}), tokens=8192, model=model, batch=4, context=64)
        >>> measure(spec, vocab_size=256, workers=1, seconds=0.1) > 0  # doctest: +SKIP
        True
    """
    parts = measure_parts(spec, vocab_size, workers, seconds)
    evaluated = evaluation_tokens * len(spec.evaluate_at)
    return spec.tokens / parts.seconds(spec.tokens, evaluated)


def measure_parts(
    spec: RunSpec, vocab_size: int | None = None, workers: int | None = None, seconds: float = 3.0
) -> Throughput:
    """Speed of training and of evaluation, timed in ``workers`` processes at the same time.

    Raises:
        RunError: a timing process failed; its message is on stderr.

    Example:
        >>> from mixlaw import RunSpec, Schedule
        >>> model = {"width": 32, "layers": 1, "heads": 2, "mlp_width": 64}
        >>> spec = RunSpec(Schedule.constant({"web": 1.0}), tokens=8192, model=model, batch=4, context=64)
        >>> measure_parts(spec, vocab_size=256, workers=1, seconds=0.1).workers  # doctest: +SKIP
        1
    """
    architecture(spec.model, vocab_size)
    count = workers or default_workers()
    context = multiprocessing.get_context("spawn")
    began = time.monotonic()
    processes = []
    try:
        with worker_environment():
            for _ in range(count):
                ours, theirs = context.Pipe()
                process = context.Process(target=_time, args=(theirs, spec, vocab_size, seconds), daemon=True)
                process.start()
                theirs.close()
                processes.append((process, ours))
        _exchange(processes)  # all are warm
        start_seconds = time.monotonic() - began
        speeds = _exchange(processes)
    finally:
        for process, pipe in processes:
            pipe.close()
            process.join(1.0)
            if process.is_alive():
                process.kill()
                process.join()
    train, evaluate = (sum(part) for part in zip(*speeds, strict=True))
    return Throughput(train, evaluate, count, start_seconds)


def _exchange(processes: list[tuple[Any, Any]]) -> list[Any]:
    """Wait until every process has said something, then let them all go on."""
    answers = []
    for process, pipe in processes:
        try:
            answers.append(pipe.recv())
        except EOFError:
            process.join()
            raise RunError(
                f"A process timing this machine ended with exit code {process.exitcode}; its message is above."
            ) from None
    for _, pipe in processes:
        pipe.send("go")
    return answers


def _time(pipe: Any, spec: RunSpec, vocab_size: int | None, seconds: float) -> None:
    try:
        _time_steps(pipe, spec, vocab_size, seconds)
    except (EOFError, ConnectionError):
        return  # who asked has ended and wants no answer


def _time_steps(pipe: Any, spec: RunSpec, vocab_size: int | None, seconds: float) -> None:
    """Time training steps, then evaluation, while the other processes do the same."""
    import numpy as np
    import torch

    from mixlaw.train.loop import Training, choose_device, choose_precision
    from mixlaw.train.optimizer_options import optimizer_options
    from mixlaw.train.validation_losses import evaluate

    torch.set_num_threads(1)
    device = choose_device("auto")
    config = architecture(spec.model, vocab_size)
    precision = choose_precision(optimizer_options(spec.optimizer)["precision"], device)
    model = build(config)
    if isinstance(config, DecoderConfig):  # it holds nothing before weights are loaded, and any weights take as long
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.02)
    if (update := low_rank_update(spec, config)) is not None:
        from mixlaw.models.lora import add_low_rank

        add_low_rank(model, model.state_dict(), update, seed=0)
    training = Training(model.to(device), spec.optimizer, precision)
    shape = (spec.batch, spec.context + 1)
    batches = np.random.default_rng(0).integers(0, config.vocab_size, (8, *shape), dtype=np.int64)
    sets = {"random": (batches[0], 0)}
    for batch in batches[:3]:
        training.step(batch, 1e-3)
    evaluate(training.model, sets)
    pipe.send("warm")
    pipe.recv()
    # Both parts run until the time is up, so that every process is loaded by the others throughout.
    rates = []
    for part in ("train", "evaluate"):
        done, began = 0, time.monotonic()
        limit = seconds * (0.75 if part == "train" else 0.25)
        while (elapsed := time.monotonic() - began) < limit or done == 0:
            if part == "train":
                training.step(batches[done % len(batches)], 1e-3)
            else:
                evaluate(training.model, sets)
            done += 1
        rates.append(done * spec.batch * spec.context / elapsed)
    pipe.send(tuple(rates))
    pipe.recv()
