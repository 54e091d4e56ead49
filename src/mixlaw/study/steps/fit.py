"""Laws of the runs: writes ``laws/<name>.json`` and ``laws/league.json``, and answers what the law predicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mixlaw.data import formats
from mixlaw.data.mixture import Mixture
from mixlaw.data.prediction import Prediction
from mixlaw.errors import ConfigError, did_you_mean
from mixlaw.study.equal_inputs import warn_unexplained
from mixlaw.study.folder import StudyFolder
from mixlaw.study.freshness import law_inputs, made_from, need
from mixlaw.study.runs import rows, table

__all__ = ["fit", "predict", "predictions_at", "rivals"]


def fit(study: StudyFolder) -> Any:
    """Fit the configured law and compare it with others by held-out error.

    Returns:
        The fitted :class:`~mixlaw.laws.core.base.Law`.

    Raises:
        ConfigError: the objective names a set that was not measured, or the law has no such option.
        DataError: no run is done yet, or text or settings changed since.
        FitError: too few runs for this law.
    """
    from mixlaw import laws

    inputs = law_inputs(study)
    study.check_objective(study.corpus)
    X, y = found = rows(study)
    warn_unexplained(study.observations(), found)
    need(study, "tokenize", "design")
    name, options = study.config.law.name, dict(study.config.law.options)
    law = laws.LAWS[name](**options)
    if "own" in law.get_params() and "own" not in options:
        law.set_params(own=study.own_domains())
    law.fit(X, y)
    league = law.league_
    if league is None:
        league = laws.compare([name, *rivals(name)], X, y)
    law.calibrate()  # while it has its runs, so that the saved law knows of its held-out errors
    with made_from(study, f"laws/{name}.json", inputs):
        study.store.write_bytes(f"laws/{name}.json", law.to_json().encode())
        formats.write(study.store, "laws/league.json", "league", league.to_dict())
    return law


def rivals(name: str) -> list[str]:
    """The laws that every other is compared with: those whose class declares ``rival``, without the law itself.

    Example:
        >>> "log_linear" in rivals("m4"), "m4" in rivals("m4")
        (True, False)
    """
    from mixlaw.laws import LAWS

    return [rival for rival in LAWS if LAWS[rival].rival and rival != LAWS.canonical(name)]


def predict(study: StudyFolder, mixture: Mixture | Mapping[str, float]) -> dict[str, Prediction]:
    """Predicted loss of each validation set for a mixture, at the swarm's size and tokens (a joint law: at the
    target's). The intervals allow for a wrong form of the law (:func:`mixlaw.laws.interval_with_form`).

    Raises:
        ConfigError: the mixture names a domain that the corpus lacks, or the target's size is not known.
        DataError: nothing fitted yet, or runs or settings changed since.
    """
    corpus = study.corpus
    if not isinstance(mixture, Mixture):
        unknown = [d for d in mixture if d not in corpus.names]
        if unknown:
            raise ConfigError(f"The mixture names {unknown[0]!r}.{did_you_mean(unknown[0], corpus.names)}")
        mixture = Mixture(mixture)
    law, level = study.law_here(), study.config.law.level
    need(study, "fit")
    X = {d: [w] for d, w in zip(corpus.names, mixture.array(corpus.names).tolist())}
    if study.has_joint_law():
        if study.budget.params is None:
            raise ConfigError("The law depends on the model's size: give budget.params, that of the target.")
        X |= {"params": [float(study.budget.params)], "tokens": [float(study.budget.tokens)]}
    return predictions_at(law, X, level, table(study))


def predictions_at(law: Any, X: Mapping[str, Any], level: float, runs: tuple[Any, Any]) -> dict[str, Prediction]:
    """Predictions of a law at one row, with intervals at ``level``: ``{target: prediction}``.

    Args:
        runs: ``(X, y)`` that the law was fitted to; intervals allow for a wrong form of the law as those tell.

    Example:
        >>> from mixlaw.laws import LogLinear
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> runs = {"web": web, "code": 1 - web}, {"exam": 3 - np.log(web + 0.1)}
        >>> found = predictions_at(LogLinear().fit(*runs), {"web": [0.5], "code": [0.5]}, 0.9, runs)["exam"]
        >>> found.low < found.mean < found.high
        True
    """
    from mixlaw.laws import interval_with_form

    mean = np.atleast_2d(law.predict(X))[0]
    low, high = (np.atleast_2d(side)[0] for side in interval_with_form(law, X, level, runs))
    return {
        t: Prediction(float(m), float(min(a, m)), float(max(b, m)), level)
        for t, m, a, b in zip(law.target_names_, mean, low, high)
    }
