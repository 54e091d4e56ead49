"""From ``mixlaw fit runs.csv`` to a recipe: the law in the folder of a fit, token counts, and nothing fitted again.

``runs-fit`` holds ``law.json`` and ``observations``; a recipe needs the tokens of the target run and the unique tokens
of each domain beside them. There is no text, so nothing is tokenised.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mixlaw.data.budget import Budget, Limit
from mixlaw.data.columns import SIZES
from mixlaw.data.corpus import Corpus
from mixlaw.data.mixture import Mixture
from mixlaw.data.observations import Observations
from mixlaw.data.prediction import Prediction
from mixlaw.data.recipe import Recipe
from mixlaw.errors import ConfigError, did_you_mean
from mixlaw.kit.store import Store
from mixlaw.kit.units import parse_count
from mixlaw.study.fit_files import fitted_rows
from mixlaw.study.steps.fit import predictions_at
from mixlaw.study.steps.task import task_laws
from mixlaw.verify.transfer import rank_evidence

__all__ = ["is_fit", "next_command", "optimize_fit", "predict_fit"]


def is_fit(folder: str | Path) -> bool:
    """Whether a folder is what ``mixlaw fit FILES`` wrote, and no study.

    Example:
        >>> is_fit("nowhere")
        False
    """
    return (Path(folder) / "law.json").exists() and not (Path(folder) / "study.yaml").exists()


def next_command(folder: str | Path, law: Any) -> str:
    """The command that makes a recipe of a law fitted to files, with its domains to be filled in; empty for a law that
    knows no mixtures.

    Example:
        >>> from mixlaw.laws import LogLinear
        >>> web = [0.1, 0.3, 0.5, 0.7, 0.9]
        >>> law = LogLinear().fit({"web": web, "code": [1 - w for w in web]}, {"all": [3, 2.9, 2.7, 2.6, 2.6]})
        >>> next_command("runs-fit", law)
        'mixlaw optimize runs-fit --tokens TOKENS --counts web=TOKENS --counts code=TOKENS'
    """
    domains = _domains(law)
    counts = " ".join(f"--counts {shlex.quote(f'{d}=TOKENS')}" for d in domains)
    return f"mixlaw optimize {shlex.quote(str(folder))} --tokens TOKENS {counts}" if domains else ""


def optimize_fit(
    folder: str | Path,
    *,
    tokens: int | str,
    counts: Mapping[str, int | str],
    objective: Mapping[str, float] | None = None,
    reference: Mapping[str, float] | None = None,
    params: int | str | None = None,
    max_epochs: float | None = None,
    limits: Mapping[str, Limit] | None = None,
    task_files: Mapping[str, Path | None] | None = None,
    **options: Any,
) -> Recipe:
    """The best mixture under the law in ``folder``; writes ``recipe.json`` there.

    Args:
        tokens: of the target run.
        counts: unique tokens of each domain of the law, such as ``{"web": "3T"}``.
        objective: weight of each validation set; default all equal.
        reference: today's mixture; default natural (in proportion to ``counts``).
        params: parameters of the target model, for a law over sizes.
        max_epochs: largest number of epochs of any domain.
        limits: further budgets, each a cost per token and a total.
        task_files: for each set whose accuracy counts a CSV of pairs, see :func:`mixlaw.study.steps.task.task_laws`.
        options: of :func:`mixlaw.optimize.optimize`.

    Raises:
        ConfigError: a domain without a count, a count of no domain, or a law that knows no mixtures.
        DataError: the folder's law or observations cannot be read.
        InfeasibleBudgetError: no mixture satisfies the budget.

    Example:
        ``optimize_fit("runs-fit", tokens="300B", counts={"web": "3T", "code": "400B"}, max_epochs=4)``
    """
    from mixlaw.optimize import optimize

    folder = Path(folder)
    law, domains = _law_of_mixtures(folder, "nothing to optimise")
    for name in counts:
        if name not in domains:
            raise ConfigError(f"--counts names {name!r}, which is no domain of the law.{did_you_mean(name, domains)}")
    missing = [d for d in domains if d not in counts]
    if missing:
        raise ConfigError(
            f"--counts lacks {', '.join(missing)}: unique tokens of each domain, for example --counts "
            f"{shlex.quote(f'{missing[0]}=3T')}. They say how often each would be repeated."
        )
    corpus = Corpus.declared(
        {d: parse_count(counts[d], f"--counts {d}") for d in domains}, source="given on the command line"
    )
    observations = Observations.load(folder / "observations")
    size = None if params is None else float(parse_count(params, "--params"))
    found = rank_evidence(observations, objective)
    ranks = None if not found.tables else "" if found.reassures(size) else found.sentence(size)
    recipe = optimize(
        law,
        objective or dict.fromkeys(law.target_names_, 1.0),
        Budget(tokens=tokens, params=params, max_epochs=max_epochs, limits=limits or {}),  # type: ignore[arg-type]
        corpus,
        None if reference is None else Mixture({d: reference.get(d, 0.0) for d in domains} | dict(reference)),
        runs=fitted_rows(observations, law),
        task=task_laws(lambda: observations, task_files or {}) or None,
        rank_transfer=ranks,
        **options,
    )
    recipe.save(folder / "recipe.json")
    return recipe


def predict_fit(
    folder: str | Path,
    mixture: Mapping[str, float],
    *,
    params: int | str | None = None,
    tokens: int | str | None = None,
) -> dict[str, Prediction]:
    """Predicted loss of each validation set for a mixture, by the law in ``folder``, with 90% intervals.

    Args:
        mixture: weight of each domain; those that are left out are 0.
        params, tokens: size and length of the run, for a law over sizes; a law of mixtures predicts for the size and
            length of its runs.

    Raises:
        ConfigError: a domain that the law lacks, or a size or length that it needs or does not know.

    Example:
        ``predict_fit("runs-fit", {"web": 0.7, "code": 0.3})``
    """
    law, domains = _law_of_mixtures(Path(folder), "no mixture to predict for")
    for name in mixture:
        if name not in domains:
            raise ConfigError(f"The mixture names {name!r}, no domain of the law.{did_you_mean(name, domains)}")
    row: dict[str, Any] = {d: [w] for d, w in Mixture({d: mixture.get(d, 0.0) for d in domains}).to_dict().items()}
    sizes: dict[str, Any] = {"params": params, "tokens": tokens}
    asked = [str(name) for name in law.feature_names_in_ if name in SIZES]
    for name, value in sizes.items():
        if value is None and name in asked:
            raise ConfigError(f"The law in {folder} depends on {name}: add --{name}, for example --{name} 1B.")
        if value is not None and name not in asked:
            raise ConfigError(
                f"The law in {folder} does not know {name}; it predicts for the size and length of its runs. Leave "
                f"--{name} out."
            )
    row |= {name: [float(parse_count(sizes[name], f"--{name}"))] for name in asked if name in sizes}
    return predictions_at(law, row, 0.9, fitted_rows(Observations.load(Path(folder) / "observations"), law))


def _law_of_mixtures(folder: Path, otherwise: str) -> tuple[Any, list[str]]:
    """The law in a folder, and its domains.

    Raises:
        ConfigError: it has none.
    """
    from mixlaw.laws.core.base import Law

    law = Law.from_json(Store(folder).read_bytes("law.json"), str(folder / "law.json"))
    domains = _domains(law)
    if not domains:
        raise ConfigError(
            f"The law in {folder} ({type(law).__name__}) knows no mixtures, so there is {otherwise}. Fit runs of "
            f"different mixtures."
        )
    return law, domains


def _domains(law: Any) -> list[str]:
    """The domains of a law of mixtures; none of a law of size alone."""
    if law.kind not in ("mixture", "joint"):
        return []
    return [str(name) for name in law.feature_names_in_ if name not in SIZES]
