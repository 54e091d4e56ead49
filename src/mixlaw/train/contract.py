"""What every trainer promises, in one place and without torch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from mixlaw.data.observations import Observations
from mixlaw.data.runspec import RunSpec
from mixlaw.data.seams import STRATEGIES
from mixlaw.errors import ConfigError, RunError, did_you_mean
from mixlaw.kit.hashing import content_hash
from mixlaw.kit.store import Store
from mixlaw.train.claim import Claim

__all__ = ["Progress", "ShouldStop", "Trainer", "finish", "is_done", "needs_tokens", "refuse", "version_of"]

Progress = Callable[[int, int], None]
"""``progress(step, num_steps)``, called now and then while a run trains."""

ShouldStop = Callable[[], bool]
"""Asked after every step; True means: publish a checkpoint and raise :class:`~mixlaw.errors.RunStopped`."""


@runtime_checkable
class Trainer(Protocol):
    """Trains one run. Must be picklable: it is sent to worker processes.

    A trainer may also accept the keywords ``progress`` (:data:`Progress`) and ``should_stop``
    (:data:`ShouldStop`); the executor passes those that ``run`` names.

    A study makes its trainer as ``MyTrainer(corpus=..., tokens_root=..., **options)``, with ``training.options`` of
    study.yaml. What a study needs to know before it makes one, the class may declare:

    * ``version`` (text, default ""): written into every spec, so that runs of another version are other runs;
    * ``version_with(options)`` (class method): the version under these options, where not every option changes the
      result of a run; by default every given option makes another version;
    * ``needs_tokens`` (default False): it reads the study's token shards, so it cannot train on a declared corpus;
    * ``check(spec)``: a method that raises ConfigError for a spec it could not train; called before any run starts.

    Example:
        >>> class Mine:
        ...     def run(self, spec, folder):
        ...         ...  # train, then finish(folder, observations)
        >>> isinstance(Mine(), Trainer)
        True
    """

    def run(self, spec: RunSpec, folder: Path) -> None:
        """Train ``spec`` in ``folder``; return at once if it is done, continue it if it was cut off.

        Raises:
            RunError: the run failed; carries the spec and the log's tail.
        """


def needs_tokens(trainer: Any) -> bool:
    """Whether the class ``trainer`` declares that it reads the study's token shards.

    Example:
        >>> class Remote:
        ...     needs_tokens = True
        >>> needs_tokens(Remote), needs_tokens(object)
        (True, False)
    """
    return bool(getattr(trainer, "needs_tokens", False))


def version_of(trainer: Any, options: Mapping[str, Any]) -> str:
    """What a spec says of the class ``trainer`` and its options: ``RunSpec.trainer_version``.

    Example:
        >>> class Mine:
        ...     version = "2"
        >>> version_of(Mine, {}), version_of(Mine, {"dropout": 0.1})
        ('2', '2 c5a7869709b73003')
    """
    if hasattr(trainer, "version_with"):
        return str(trainer.version_with(options))
    version = str(getattr(trainer, "version", ""))
    return f"{version} {content_hash(dict(options))}" if options else version


def refuse(spec: RunSpec, trainer: str, can: Collection[str] = ()) -> None:
    """Refuse a spec that asks for more than a trainer does, so that nothing it asks for is silently left out.

    Args:
        spec: the run.
        trainer: the trainer's name, for the message.
        can: later fields of the spec that this trainer does as they say, among ``strategy``, ``stage``, ``update``,
            ``loss_on``, ``examples``, ``evaluators`` and ``checkpoint`` (a start from a checkpoint elsewhere).

    Raises:
        ConfigError: names every field that the trainer does not know.

    Example:
        >>> from mixlaw import RunSpec, Schedule
        >>> refuse(RunSpec(Schedule.constant({"web": 1.0}), tokens=1000, loss_on="answer"), "torch")
        Traceback (most recent call last):
            ...
        mixlaw.errors.ConfigError: The trainer 'torch' cannot do what this run asks for: loss_on='answer'. ...
    """
    asked = {name: getattr(spec, name) for name in spec.changed()}
    if spec.start is not None and spec.start_run is None:
        asked["checkpoint"] = spec.start
    if spec.stage == "continue":
        del asked["stage"]  # training goes on from `start` as it began; every trainer that takes a start does that
    beyond = ", ".join(f"{name}={value!r}" for name, value in asked.items() if name not in can)
    if beyond:
        raise ConfigError(
            f"The trainer {trainer!r} cannot do what this run asks for: {beyond}. Leave these fields at their "
            f"defaults, or train with a trainer that does them (TRAINERS.register).{_unknown_strategy(spec)}"
        )


def _unknown_strategy(spec: RunSpec) -> str:
    name = (spec.strategy or {}).get("name")
    if name is None or name in STRATEGIES:
        return ""
    return f" There is no strategy {name!r}.{did_you_mean(name, STRATEGIES.names())}"


def is_done(folder: Path) -> bool:
    """Whether a run was finished in ``folder``.

    Example:
        >>> is_done(Path("a folder that nobody trained in"))
        False
    """
    return (Path(folder) / "DONE").exists()


def finish(folder: Path, observations: Observations, claim: Claim | None = None) -> None:
    """Publish a run's observations and, after them, ``DONE``.

    Args:
        claim: what the trainer claimed the run with; without one, only a run that is done already is refused.

    Raises:
        RunError: another process trains the run now, or has finished it: what that one wrote stays.

    Example:
        >>> import tempfile
        >>> row, value = {"run": "r", "schedule": {"web": 1.0}}, {"run": "r", "step": 1, "target": "web", "value": 3.0}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     finish(Path(folder), Observations.from_records([row], [value]))
        ...     is_done(Path(folder))
        True
    """
    held = Claim(folder) if claim is None and not is_done(folder) else claim
    if held is None:
        raise RunError(f"The run in {folder} was finished by another process; what it wrote there stays.")
    with held.publishing():
        observations.save(folder)
        Store(folder).write_bytes("DONE", b"")
    held.release()
