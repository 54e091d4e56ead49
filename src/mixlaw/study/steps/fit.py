"""Laws of the runs: writes ``laws/<name>.json`` and ``laws/league.json``, and answers what the law predicts."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from mixlaw.data import formats
from mixlaw.data.mixture import Mixture
from mixlaw.data.prediction import Prediction
from mixlaw.errors import ConfigError, DataError, FitError, MixlawWarning, did_you_mean
from mixlaw.study.equal_inputs import warn_unexplained
from mixlaw.study.folder import StudyFolder
from mixlaw.study.freshness import law_inputs, made_from, need
from mixlaw.study.runs import rows, table
from mixlaw.study.steps.experts import expert_scores

__all__ = ["equal_tokens_text", "fit", "predict", "predictions_at", "rivals"]


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
    name = study.config.law.name
    experts = expert_scores(study).packed() if study.shared().experts else None
    if experts is not None and laws.LAWS.canonical(name) == "auto":
        law, league = _with_experts(study, X, y, experts)
    else:
        law = _law(study, name, experts).fit(X, y)
        league = law.league_
        if league is None:
            league = laws.compare({name: _law(study, name, experts), **{r: r for r in rivals(name)}}, X, y)
    if experts is not None:
        _write_equal_tokens(study, X, y, experts)
    law.calibrate()  # while it has its runs, so that the saved law knows of its held-out errors
    with made_from(study, f"laws/{name}.json", inputs):
        study.store.write_bytes(f"laws/{name}.json", law.to_json().encode())
        if league is not None:
            formats.write(study.store, "laws/league.json", "league", league.to_dict())
    return law


def _law(study: StudyFolder, name: str, experts: Mapping[str, Any] | None) -> Any:
    """The law of that name with study.yaml's options and what the study knows, not fitted."""
    from mixlaw.laws import LAWS

    options = dict(study.config.law.options) if name == study.config.law.name else {}
    law = LAWS[name](**options)
    known = law.get_params(deep=False)
    if "own" in known and "own" not in options:
        law.set_params(own=study.own_domains())
    if "experts" in known and "experts" not in options and experts is not None:
        law.set_params(experts=experts)
    return law


def _with_experts(study: StudyFolder, X: Any, y: Any, experts: Mapping[str, Any]) -> tuple[Any, Any]:
    """The best law of a study with experts, fitted, and the league: MixMin where mixtures are too few to fit anything
    to, else whatever has the least held-out error of it, MDE and the law that the mixtures alone would have."""
    from mixlaw import laws

    plain = _law(study, "mixmin", experts).fit(X, y)
    if not plain.calibrated:
        return plain, None
    found = {"mixmin": plain}
    for name in ("mde", study.config.law.name):
        try:
            found[name] = _law(study, name, experts).fit(X, y)
        except FitError as error:
            warnings.warn(f"{name} was not fitted beside the experts: {error}", MixlawWarning, stacklevel=4)
    league = laws.compare(
        {name: _law(study, name, experts) for name in ("mixmin", "mde")} | {r: r for r in rivals("auto")}, X, y
    )
    return min(found.values(), key=_heldout_error), league


def _heldout_error(law: Any) -> float:
    """Mean absolute held-out error over the runs of more than one domain."""
    rows = law.known_runs
    mixed = (rows.X > 1e-6).sum(axis=1) > 1
    return float(np.nanmean(np.abs(law.heldout - rows.Y)[mixed]))


def _write_equal_tokens(study: StudyFolder, X: Any, y: Any, experts: Mapping[str, Any]) -> None:
    """``laws/equal-tokens.json``: experts against the mixtures at equal tokens, where there are mixtures enough."""
    from mixlaw.laws.choose.equal_tokens import at_equal_tokens

    name, shared = "laws/equal-tokens.json", study.shared()
    ids = {*shared.experts.values(), shared.trunk}
    tokens = float(sum(s.tokens for s in study.designed() if s.id in ids))
    runs = [s.tokens for s in study.mixtures() if s.id not in ids]
    try:
        found = at_equal_tokens(
            X, y, experts, run_tokens=float(np.mean(runs or [1])), expert_tokens=tokens, own=study.own_domains()
        )
    except DataError:  # too few mixtures to hold some out: there is nothing to compare
        return
    formats.write(study.store, name, "equal tokens", found.to_dict())


def equal_tokens_text(study: StudyFolder) -> str:
    """How experts and mixtures predict at equal training tokens, in words; empty where a study has not both."""
    from mixlaw.laws.choose.equal_tokens import EqualTokens

    name = "laws/equal-tokens.json"
    if not study.shared().experts or not study.store.exists(name):
        return ""
    return str(EqualTokens.from_dict(formats.read(study.store, name, "equal tokens")))


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
