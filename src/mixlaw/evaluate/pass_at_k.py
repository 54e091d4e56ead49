"""pass@k: the chance that one of k programs written by a model passes the tests of its problem."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields as fields_of
from typing import Any, Literal

import numpy as np

from mixlaw.errors import ConfigError, did_you_mean
from mixlaw.evaluate.contract import Evaluation, Record
from mixlaw.evaluate.programs.runner import Limits, run_programs
from mixlaw.evaluate.tasks import fields, scores, sequences
from mixlaw.evaluate.tasks.written import Prompted, checked_length, checked_stops, prompted, written
from mixlaw.models.contract import Model, Tokenizer

__all__ = ["PassAtK", "pass_at_k"]


class PassAtK:
    """The unbiased estimate of pass@k (Chen et al. 2021, arXiv:2107.03374), by running what the model writes.

    Records have ``prompt`` (the beginning of a program), ``test`` (which defines ``check``) and ``entry_point``, as
    HumanEval's do. A program is the prompt, what the model writes after it, the test, and a call of ``check`` with the
    entry point; it passes by reaching its end. The metrics ``timed_out`` and ``raised`` are the shares of programs that
    ran out of time, and that raised something else than a failed assertion or were killed.

    Args:
        run_code: must be true. The programs run on this machine, shut in as
            :mod:`mixlaw.evaluate.programs.runner` says.
        k: programs of which one has to pass.
        samples: programs per problem, at least ``k``; by default ``k``.
        temperature: of the draws; 0 writes the same program each time, so it needs one sample.
        max_tokens: of what is written.
        stop: texts before which it ends.
        limits: of :class:`~mixlaw.evaluate.programs.runner.Limits`, such as ``{"seconds": 3}``.

    Raises:
        ConfigError: no ``run_code``, more than ``samples`` as ``k``, or limits that are none.

    Example:
        >>> from mixlaw.data.seams import EVALUATORS
        >>> EVALUATORS.make("pass_at_k", {"run_code": True, "k": 10, "samples": 20, "temperature": 0.8}).metric
        'pass@10'
    """

    unit = "fraction"
    direction: Literal["higher"] = "higher"
    floor = 0.0

    def __init__(
        self,
        run_code: bool = False,
        k: int = 1,
        samples: int | None = None,
        temperature: float = 0.0,
        max_tokens: int = 256,
        stop: Sequence[str] = ("\nclass ", "\ndef ", "\n#", "\nif ", "\nprint("),
        limits: Mapping[str, Any] | None = None,
    ) -> None:
        self.samples = k if samples is None else samples
        if not run_code:
            raise ConfigError(
                f"pass_at_k would run {self.samples} Python program(s) for each record on this machine, written by the "
                f"model that is evaluated. Each gets a process of its own without network, with limits on time, "
                f"memory, files and processes; it could still read what its user can read. Set run_code: true to "
                f"allow it."
            )
        if k < 1 or not isinstance(self.samples, int) or isinstance(self.samples, bool) or self.samples < k:
            raise ConfigError(
                f"pass@{k} is estimated from at least {max(k, 1)} programs per problem, got samples={self.samples!r}. "
                f"k must be at least 1 and samples at least k."
            )
        if temperature < 0 or (self.samples > 1 and temperature == 0):
            raise ConfigError(
                f"{self.samples} programs per problem need a temperature above 0, or they are all the same; got "
                f"{temperature}. Chen et al. use 0.2 for pass@1 and 0.8 for pass@100."
            )
        known = [field.name for field in fields_of(Limits)]
        for name in limits or {}:
            if name not in known:
                raise ConfigError(f"Programs have no limit {name!r}.{did_you_mean(name, known)}")
        self.k, self.temperature, self.limits = k, temperature, Limits(**dict(limits or {}))
        self.metric = f"pass@{k}"
        self.max_tokens, self.stop = checked_length(max_tokens), checked_stops(stop)

    def prepare(
        self, records: Sequence[Record], tokenizer: Tokenizer | None, context: int | None = None
    ) -> list[Prompted]:
        """The prompt of each problem; see :class:`~mixlaw.evaluate.contract.Evaluator`."""
        read = sequences.from_records(records, _problem)
        return prompted(records, [prompt for prompt, _, _ in read], tokenizer, context, self.max_tokens)

    def __call__(self, model: Model, targets: Mapping[str, Sequence[Prompted]]) -> Evaluation:
        """Measure every target; see :class:`~mixlaw.evaluate.contract.Evaluator`."""
        scores.refuse_empty(targets)
        found = {}
        for target, questions in targets.items():
            programs = []
            for sample in range(self.samples):  # of one seed, equal prompts would be continued alike
                texts = written(model, questions, self.max_tokens, self.stop, self.temperature, seed=sample)
                programs += [program(question.record, text) for question, text in zip(questions, texts)]
            kinds = np.array([outcome.kind for outcome in run_programs(programs, self.limits)])
            kinds = kinds.reshape(self.samples, len(questions))
            found[target] = {
                self.metric: np.array(
                    [pass_at_k(self.samples, passed, self.k) for passed in (kinds == "passed").sum(0).tolist()]
                ),
                "timed_out": (kinds == "timed out").mean(0),
                "raised": (kinds == "error").mean(0),
            }
        return scores.evaluation(targets, found, dict.fromkeys((self.metric, "timed_out", "raised"), self.unit))


def _problem(record: Record) -> tuple[str, str, str]:
    return (
        fields.text(record, ("prompt",), "the beginning of a program"),
        fields.text(record, ("test",), "tests that define check()"),
        fields.text(record, ("entry_point",), "the name of the function to check"),
    )


def program(record: Record, text: str) -> str:
    """The whole program of a problem.

    Args:
        record: of the problem.
        text: what the model wrote after the prompt.

    Example:
        >>> print(program({"prompt": "def f():\\n", "test": "def check(f):\\n    assert f() == 4", "entry_point": "f"},
        ...               "    return 4"))
        def f():
            return 4
        def check(f):
            assert f() == 4
        check(f)
    """
    prompt, test, entry = _problem(record)
    return f"{prompt}{text}\n{test}\ncheck({entry})"


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """``1 - C(samples - passed, k) / C(samples, k)``: the chance that one of ``k`` drawn from the samples passes.

    As the product of ``1 - k / i`` over ``i`` from ``samples - passed + 1`` to ``samples``, which needs no large
    numbers.

    Raises:
        ConfigError: ``k`` is above ``samples``.

    Example:
        >>> round(pass_at_k(5, 2, 1), 12), round(pass_at_k(5, 2, 3), 12)
        (0.4, 0.9)
    """
    if not 1 <= k <= samples or not 0 <= passed <= samples:
        raise ConfigError(f"pass@{k} of {samples} programs, {passed} of which passed: k must be from 1 to {samples}.")
    if samples - passed < k:
        return 1.0
    return 1.0 - float(np.prod(1.0 - k / np.arange(samples - passed + 1, samples + 1)))
