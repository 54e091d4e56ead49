"""Prices of limits against finite differences: relax one limit a little, solve again, compare.

A price is the derivative of the best reachable objective when that one limit is relaxed and all others stay. Where
limits meet (with one another, or with the simplex) multipliers are not unique and only this derivative is right.
"""

from dataclasses import replace

import numpy as np
import pytest

from mixlaw import Budget, Corpus
from mixlaw.data.budget import Group, Limit
from mixlaw.errors import MixlawError
from mixlaw.laws import EffectiveTokens, LogLinear
from mixlaw.optimize import optimize
from mixlaw.optimize.around.prices import price, prices
from mixlaw.optimize.pose.problem import pose, snap, solve_certified
from mixlaw.optimize.pose.request import Request

NUM = 8
"""Random budgets per kind of objective."""
TOKENS = 10_000
UNIQUE = {"web": 9_000, "code": 1_500, "wiki": 700, "books": 2_500}
NAMES = tuple(UNIQUE)


def law_of(seed, family=LogLinear, targets=2):
    """A convex law over four domains, each set with its own best mixture."""
    rng = np.random.default_rng(seed)
    R = rng.dirichlet(np.full(4, 0.8), 40)
    gain, eps = rng.uniform(0.01, 0.3, (targets, 4)), rng.uniform(0.02, 0.3, (targets, 4))
    losses = np.stack([2.5 - (g * np.log(R + e)).sum(1) for g, e in zip(gain, eps)], axis=1)
    named = {f"set{t}": losses[:, t] for t in range(targets)}
    return family().fit(dict(zip(NAMES, R.T)), named)


def solved(law, objective, budget, corpus, **options):
    """The request, its problem, atoms and certified solution, as :func:`optimize` makes them."""
    q = Request.of(law, objective, budget, corpus, dict.fromkeys(NAMES, 0.25), num_bootstrap=0, **options)
    posed = pose(q, q.view.atoms(), [], warnings=[])
    assert posed.convex
    return q, posed, snap(posed.exact, posed.atoms, solve_certified(q, posed.exact, posed.atoms))


def derivative(value, step):
    """One-sided derivative of value(step) at 0 from two steps (Richardson)."""
    zero, half, full = value(0.0), value(step / 2), value(step)
    return 2 * (half - zero) / (step / 2) - (full - zero) / step


def perturbed(budget, corpus, row, x):
    """Budget and corpus with the limit that a row prices relaxed by x, and by how many of the row's units that is:
    ``[(key, units)]``."""
    kind, name = row["kind"], row["domain"]
    per_billion = x * TOKENS / 1e9
    if kind == "cap":
        return (
            replace(budget, caps={**budget.caps, name: min(1.0, budget.caps[name] + x)}),
            corpus,
            [("loss_per_billion_tokens", per_billion), ("loss_per_extra_epoch", x * TOKENS / UNIQUE[name])],
        )
    if kind == "epochs":
        more = x * TOKENS / UNIQUE[name]
        epochs = {n: e + more if n == name else e for n, e in budget.max_epochs.items()}
        units = [("loss_per_billion_tokens", per_billion), ("loss_per_extra_epoch", more)]
        return replace(budget, max_epochs=epochs), corpus, units
    if kind == "floor":  # its price is what raising it costs; relaxing it is the other way
        return (
            replace(budget, floors={**budget.floors, name: max(0.0, budget.floors[name] - x)}),
            corpus,
            [("loss_per_billion_tokens", -per_billion), ("loss_per_extra_epoch", -x * TOKENS / UNIQUE[name])],
        )
    if kind in ("group cap", "group floor"):
        key = name.removeprefix("group ")
        group, up = budget.groups[key], kind == "group cap"
        looser = replace(group, cap=min(1.0, group.cap + x)) if up else replace(group, floor=max(0.0, group.floor - x))
        units = [("loss_per_billion_tokens", per_billion if up else -per_billion)]
        return replace(budget, groups={**budget.groups, key: looser}), corpus, units
    assert kind == "limit"
    key = name.removeprefix("limit ")
    more = x * TOKENS * max(budget.limits[key].cost_per_token.values())
    looser = replace(budget.limits[key], total=budget.limits[key].total + more)
    return replace(budget, limits={**budget.limits, key: looser}), corpus, [("loss_per_unit", more)]


def every_limit(budget, c):
    """A row for every limit of a budget, priced or not: what a missing row claims is a price of zero."""
    for j, name in enumerate(NAMES):
        if name in budget.caps:
            yield {"kind": "cap", "domain": name, "limit": f"{name}: cap"}
        if isinstance(budget.max_epochs, dict) and name in budget.max_epochs:
            yield {"kind": "epochs", "domain": name, "limit": f"{name}: epochs"}
        if c.low[j] > 0:
            yield {"kind": "floor", "domain": name, "limit": f"{name}: floor"}
    for key, group in budget.groups.items():
        if group.cap < 1:
            yield {"kind": "group cap", "domain": f"group {key}", "limit": f"group {key}: cap"}
        if group.floor > 0:
            yield {"kind": "group floor", "domain": f"group {key}", "limit": f"group {key}: floor"}
    for key in budget.limits:
        yield {"kind": "limit", "domain": f"limit {key}", "limit": f"limit {key}: at most"}


def check_all(law, objective, budget, corpus, step=2e-4, **options):
    """Every limit's price, given or not, against the derivative; how many had one."""
    q, posed, solution = solved(law, objective, budget, corpus, **options)
    rows = prices(q, posed.exact, posed.atoms, solution)
    known = {(row["kind"], row["domain"]): row for row in rows}
    assert len(known) == len([r for r in rows if r["kind"] not in ("guard", "repetition")]) + len(
        {(r["kind"], r["domain"]) for r in rows if r["kind"] in ("guard", "repetition")}
    )
    priced = 0
    for limit in every_limit(budget, q.constraints):

        def value(x, limit=limit):
            if x == 0:
                return float(solution.value[0])
            other, changed, _ = perturbed(budget, corpus, limit, x)
            return objective_at(law, objective, other, changed, posed, **options)

        slope = derivative(value, step)  # per unit of weight
        row = known.get((limit["kind"], limit["domain"]), {})
        for key, units in perturbed(budget, corpus, limit, 1.0)[2]:
            said = row.get(key, 0.0) * units
            assert said == pytest.approx(slope, rel=0.05, abs=2e-3), (limit, key, said, slope, rows)
        priced += bool(row)
    return priced


def objective_at(law, objective, budget, corpus, posed, **options):
    """The best reachable objective under a budget; for the worst case against the same yardstick as in ``posed``."""
    q, other, solution = solved(law, objective, budget, corpus, **options)
    if options.get("kind") == "worst":
        yardstick = {f.label: f for f in posed.exact.functions if f.label.startswith("worst:")}
        same = replace(other.exact, functions=tuple(yardstick.get(f.label, f) for f in other.exact.functions))
        return float(solve_certified(q, same, posed.atoms).value[0])
    return float(solution.value[0])


def random_budget(rng, least=0.0):
    """Floors, caps, epochs, a group and a further limit around a mixture that satisfies all of them; many meet."""
    inside = least + (1 - 4 * least) * rng.dirichlet(np.full(4, 1.0))
    if rng.random() < 0.5:  # round numbers: limits meet one another and the simplex
        inside = np.array([0.5 - least, 0.25, least, 0.25])[rng.permutation(4)]
    share = dict(zip(NAMES, inside))
    room = float(rng.choice([0.0, 0.1, 0.25]))
    some = lambda: [n for n in NAMES if rng.random() < 0.5]  # noqa: E731
    floors = {n: max(0.0, share[n] - room) for n in some()}
    caps = {n: min(1.0, share[n] + room) for n in some()}
    epochs = {n: min(1.0, share[n] + 1.5 * room) * TOKENS / UNIQUE[n] for n in some() if share[n] + room > 0}
    groups, limits = {}, {}
    if rng.random() < 0.6:
        total = share["web"] + share["code"]
        groups["g"] = Group(("web", "code"), max(0.0, total - room), min(1.0, total + room))
    if rng.random() < 0.6:
        cost = {n: float(rng.choice([0.0, 0.5, 2.0])) for n in NAMES}
        limits["fees"] = Limit({**cost, "web": 1.0}, TOKENS * (sum({**cost, "web": 1.0}[n] * share[n] for n in NAMES)))
    return Budget(tokens=TOKENS, floors=floors, caps=caps, max_epochs=epochs or None, groups=groups, limits=limits)


@pytest.mark.parametrize(
    "options", [{}, {"kind": "worst"}, {"kl_weight": 0.02, "kl_to": "uniform"}, {"repetition": True}]
)
def test_the_price_of_every_limit_is_the_derivative_of_the_optimum(options):
    """Random budgets, half of them with limits that meet: a price where the derivative is not zero, none elsewhere."""
    corpus = Corpus.declared(UNIQUE, source="test")
    laws = [law_of(seed, EffectiveTokens if options.get("repetition") else LogLinear) for seed in range(3)]
    rng, priced = np.random.default_rng(len(str(options))), 0
    for i in range(NUM):
        budget = random_budget(rng, least=0.05 if "kl_weight" in options else 0.0)  # at 0 a KL term has no derivative
        priced += check_all(laws[i % 3], {"set0": 0.7, "set1": 0.3}, budget, corpus, **options)
    assert priced >= NUM // 2


def test_an_epoch_cap_that_allows_the_whole_budget_has_no_price():
    """The optimum is web alone, of which 9 epochs are allowed: no epoch more would change anything."""
    R = np.random.default_rng(0).dirichlet(np.ones(3), 30)
    law = EffectiveTokens().fit(dict(zip(("web", "code", "wiki"), R.T)), {"all": 2 + (R[:, 0] + 0.05) ** -0.3})
    corpus = Corpus.declared({"web": 9_000, "code": 1_500, "wiki": 700}, source="test")
    recipe = optimize(law, "all", Budget(tokens=TOKENS, max_epochs=9), corpus, num_bootstrap=0)
    assert recipe.mixture["web"] == pytest.approx(1.0)
    assert recipe.shadow_prices == ()
    with pytest.raises(MixlawError, match="price is zero"):
        price(recipe, "web")


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"kind": "guard", "guard": {"set1": 0.0}}, "loss_per_nat"),
        ({"kind": "worst", "guard": {"set0": -0.012}}, "loss_per_nat"),
        ({"kl_limit": 0.01, "kl_to": "uniform"}, "loss_per_nat"),
        ({"kind": "least_change", "gain": 0.01}, "share_of_tokens_per_nat"),
    ],
)
def test_the_price_of_a_nat_of_slack_is_the_derivative_of_the_optimum(options, key):
    """Guards, a limit on the KL divergence, and the gain that the fewest moved tokens must bring."""
    corpus = Corpus.declared(UNIQUE, source="test")
    budget = Budget(tokens=TOKENS, max_epochs={"code": 4})
    objective = {"set0": 1.0} if "guard" in options and options["kind"] == "guard" else {"set0": 0.8, "set1": 0.2}
    law = law_of(5)
    q, posed, solution = solved(law, objective, budget, corpus, **options)
    rows = [r for r in prices(q, posed.exact, posed.atoms, solution) if r["kind"] == "guard"]
    assert len(rows) == 1, rows

    def value(x):
        looser = dict(options)
        if "guard" in looser:
            looser["guard"] = {name: slack + x for name, slack in options["guard"].items()}
        elif "gain" in looser:
            looser["gain"] = 0.01 - x
        else:
            looser["kl_limit"] = 0.01 + x
        return objective_at(law, objective, budget, corpus, posed, **looser)

    assert rows[0][key] < 0
    assert rows[0][key] == pytest.approx(derivative(value, 2e-4), rel=0.03)


def test_a_limit_that_is_only_near_has_no_price():
    """The KL divergence of the free optimum is 0.04999 nats; a limit of 0.05 does not bind."""
    corpus, law = Corpus.declared(UNIQUE, source="test"), law_of(5)
    budget, objective = Budget(tokens=TOKENS, max_epochs={"code": 4}), {"set0": 0.8, "set1": 0.2}
    free = optimize(law, objective, budget, corpus, num_bootstrap=0).mixture.array(NAMES)
    just = float((free * np.log(4 * free)).sum()) + 8e-6
    recipe = optimize(law, objective, budget, corpus, kl_limit=just, kl_to="uniform", num_bootstrap=0)
    assert recipe.shadow_prices == ()


@pytest.mark.parametrize("epochs", [None, {"code": 3.0}])
def test_more_unique_tokens_are_worth_what_the_optimum_gains(epochs):
    """With repetition inside the law; under an epoch cap they both raise the cap and are repeated less."""
    law, budget = law_of(1, EffectiveTokens), Budget(tokens=TOKENS, max_epochs=epochs, caps={"web": 0.2, "books": 0.1})

    def at(x):
        corpus = Corpus.declared({**UNIQUE, "code": round(UNIQUE["code"] * (1 + x))}, source="test")
        return solved(law, {"set0": 0.7, "set1": 0.3}, budget, corpus, repetition=True)

    q, posed, solution = at(0.0)
    rows = [r for r in prices(q, posed.exact, posed.atoms, solution) if "loss_per_billion_unique_tokens" in r]
    mine = [r["loss_per_billion_unique_tokens"] for r in rows if r["domain"] == "code"]
    slope = derivative(lambda x: float(at(x)[2].value[0]), 0.02)
    assert len(mine) == 1, rows  # one number for one thing
    assert mine[0] * 0.02 * UNIQUE["code"] / 1e9 == pytest.approx(0.02 * slope, rel=0.05)


def test_groups_are_told_by_what_they_do_and_not_by_their_name():
    """A cap of a group that is called 'floor tiles: web' is no floor, and is found by its whole name."""
    law, corpus = law_of(0), Corpus.declared(UNIQUE, source="test")
    groups = {"a floor : web": Group(("web", "code"), cap=0.3)}
    recipe = optimize(law, {"set0": 0.7, "set1": 0.3}, Budget(tokens=TOKENS, groups=groups), corpus, num_bootstrap=0)
    found = price(recipe, "a floor : web")
    assert found["kind"] == "group cap"
    assert found["loss_per_billion_tokens"] < 0


def test_two_limits_at_the_same_weight_hold_each_other():
    """A cap of 0.3 and an epoch cap at 0.3: relaxing one alone allows nothing, so neither has a price."""
    law, corpus = law_of(0), Corpus.declared(UNIQUE, source="test")
    free = optimize(law, "set0", Budget(tokens=TOKENS), corpus, num_bootstrap=0).mixture
    name = max(free, key=lambda n: free[n])
    half = free[name] / 2
    alone = optimize(law, "set0", Budget(tokens=TOKENS, caps={name: half}), corpus, num_bootstrap=0)
    assert price(alone, name)["loss_per_billion_tokens"] < 0
    both = Budget(tokens=TOKENS, caps={name: half}, max_epochs={name: half * TOKENS / UNIQUE[name]})
    assert optimize(law, "set0", both, corpus, num_bootstrap=0).shadow_prices == ()
