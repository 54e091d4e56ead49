"""A page of sliders: push one skill or one cap, and see the new optimum and what else moves. Works offline.

The browser solves the same problem as :func:`mixlaw.optimize.optimize` (weighted mean, floors, caps, groups and
limits), over the law's :class:`~mixlaw.laws.core.base.Atoms`, by a log-barrier Newton method (``solver.js``).
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from mixlaw.data.budget import Budget
from mixlaw.data.corpus import Corpus
from mixlaw.data.mixture import Mixture
from mixlaw.errors import ConfigError, DataError, MixlawError, did_you_mean
from mixlaw.report.document import asset, shell

__all__ = ["page"]

_STEERABLE = "M1, M2, M4, LogLinear, EffectiveTokens, Implicit, AutoScale"


def page(
    law: Any,
    corpus: Corpus,
    budget: Budget,
    objective: Mapping[str, float] | None = None,
    reference: Mixture | Mapping[str, float] | None = None,
    *,
    level: float = 0.9,
    title: str = "Steer the mixture",
) -> str:
    """The page as HTML text.

    Args:
        law: a fitted mixture law that is a sum of exponentials, powers or logarithms of linear forms, or
            ``laws.Auto``, whose best such member is taken (and named).
        corpus: the domains and their unique tokens.
        budget: tokens, floors, caps, epochs, groups and limits; the sliders start at its caps.
        objective: where the sliders of the validation sets start (all alike without).
        reference: the mixture that changes are counted from (natural without).
        level: of the intervals drawn around the changes.

    Raises:
        MixlawError: the law has no such form; names the laws that have.
        ConfigError: names that the law or the corpus do not know.
        InfeasibleBudgetError: no mixture satisfies the budget.

    Example:
        >>> html = page(law, corpus, Budget(tokens="20B", max_epochs=4))  # doctest: +SKIP
    """
    from mixlaw.optimize.pose.view import LawView

    constraints = budget.check(corpus)
    member, view = _steerable(law, lambda one: LawView(one, corpus, budget))
    atoms = view.atoms()
    targets = view.targets
    weights = _weights(objective, targets)
    mixture = corpus.natural if reference is None else reference
    if not isinstance(mixture, Mixture):
        unknown = [d for d in mixture if d not in corpus.names]
        if unknown:
            raise ConfigError(f"reference names {unknown[0]!r}.{did_you_mean(unknown[0], corpus.names)}")
        mixture = Mixture({d: float(mixture.get(d, 0.0)) for d in corpus.names})
    start = mixture.array(corpus.names)
    unique = corpus.unique_tokens
    data = {
        "domains": list(corpus.names),
        "targets": targets,
        "reference": start.tolist(),
        "referenceName": "natural" if reference is None else "reference",
        "low": constraints.low.tolist(),
        "high": constraints.high.tolist(),
        "rows": constraints.matrix.tolist(),
        "upper": constraints.upper.tolist(),
        "labels": list(constraints.labels),
        "tokens": budget.tokens,
        "unique": [unique[d] for d in corpus.names],
        "weights": weights,
        "half": _half_widths(view, start, level),
        "atoms": {k: np.asarray(v).tolist() for k, v in vars(atoms).items()},
    }
    if not np.isfinite(atoms.value(start[None])).all():
        raise DataError(
            f"The law predicts no finite loss at the reference mixture {mixture}; choose another reference."
        )
    return shell(
        title, _body(title, member, law, data, level), asset("solver.js") + asset("steer.js"), asset("steer.css")
    )


def _steerable(law: Any, view: Any) -> tuple[Any, Any]:
    """The law, or the member of an ensemble, that a browser can optimise, and its view."""
    from mixlaw.laws.core.base import Law

    for one in (law, law.certifiable_) if isinstance(law, Law) and law.fitted else ():
        if one is not None and one.atoms() is not None:
            return one, view(one)
    view(law)  # wrong names or an unfitted law are the better explanation
    raise MixlawError(
        f"{type(law).__name__} is not a sum of exponentials, powers or logarithms of linear forms, so a browser "
        f"cannot optimise it. Laws that can be steered: {_STEERABLE}; or laws.Auto where one of these is a member."
    )


def _weights(objective: Mapping[str, float] | None, targets: list[str]) -> list[float]:
    given = {t: 1.0 for t in targets} if objective is None else {str(k): float(v) for k, v in objective.items()}
    for name, weight in given.items():
        if name not in targets:
            raise ConfigError(f"objective names {name!r}.{did_you_mean(name, targets)}")
        if not (np.isfinite(weight) and weight >= 0):
            raise ConfigError(f"The objective's weight of {name!r} must be finite and non-negative, got {weight!r}.")
    total = sum(given.values())
    if total <= 0:
        raise ConfigError(f"An objective needs a positive weight somewhere, got {given}.")
    return [given.get(t, 0.0) / total for t in targets]


def _half_widths(view: Any, start: Any, level: float) -> list[float] | None:
    """Half the prediction interval of each validation set at the reference, or None where the law knows none."""
    try:
        low, high = view.interval(start[None], level)
    except MixlawError:  # a law read without its runs may have no interval; the page then draws none, and says so
        return None
    half = (np.asarray(high)[0] - np.asarray(low)[0]) / 2
    return half.tolist() if np.isfinite(half).all() else None


def _body(title: str, member: Any, law: Any, data: Mapping[str, Any], level: float) -> str:
    name = type(member).__name__
    if member is not law:
        name = f"{name} (the best parametric member of {type(law).__name__})"
    interval = (
        f'<span><i class="thin"></i>{level:.0%} interval of one new run at mixtures like '
        f"those that were run; a recipe's allows for more</span>"
        if data["half"]
        else "<span>this law states no interval</span>"
    )
    limits = f"<p class='note'>Also held: {html.escape('; '.join(data['labels']))}.</p>" if data["labels"] else ""
    payload = json.dumps(data, allow_nan=False).replace("<", "\\u003c")
    return f"""<header class="band open"><div>
<p class="study"><span class="badge">predicted, not measured</span><span>{html.escape(title)}</span>
<span>law: {html.escape(name)}</span></p>
<h1 id="answer" aria-live="polite"></h1><p class="lead" id="how"></p></div></header>
<main class="columns"><div class="controls">
<section aria-labelledby="w"><h2 id="w">What counts</h2><div id="weights"></div></section>
<section aria-labelledby="c"><h2 id="c">At most of each domain</h2><div id="caps"></div>{limits}</section>
<section><button type="button" id="reset">Back to the budget</button></section>
</div><div class="results" id="result">
<section aria-labelledby="m"><h2 id="m">The best mixture</h2>
<p class="key"><span><i></i>best mixture</span>
<span><i class="line"></i>{html.escape(data["referenceName"])} mixture</span></p>
<div id="mixture"></div></section>
<section aria-labelledby="v"><h2 id="v">What moves</h2>
<p class="key"><span><i></i>lower loss</span><span><i class="worse"></i>higher loss</span>{interval}</p>
<div id="moves"></div></section>
<section aria-labelledby="p"><h2 id="p">What the caps cost</h2><ul id="prices"></ul>
<p class="key">Slopes as this page's solver meets them at the optimum, for caps alone. Where a cap and another limit
bind together, the recipe of <code>mixlaw optimize</code> has the exact derivative for each.</p></section>
</div></main>
<script type="application/json" id="data">{payload}</script>"""
