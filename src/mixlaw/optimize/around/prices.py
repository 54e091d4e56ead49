"""Shadow prices: what each limit costs, in loss per billion tokens, per extra epoch, per unit of a further budget.

A price is the derivative of the best reachable objective with respect to the limit; negative means that relaxing
the limit by one unit lowers the objective by that much. They are the multipliers of the certified solve.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mixlaw.data.recipe import Recipe
from mixlaw.errors import ConfigError, did_you_mean
from mixlaw.laws.core.atoms import Atoms
from mixlaw.optimize.pose.forms import monotone
from mixlaw.optimize.pose.objective import Problem, row_scale
from mixlaw.optimize.pose.request import Request
from mixlaw.optimize.solve.convex import Solution

__all__ = ["price", "prices"]

NEGLIGIBLE = 1e-6
"""Multipliers (loss per unit of weight) below this are rounding of a limit that does not bind."""


def prices(q: Request, problem: Problem, atoms: Atoms, solution: Solution) -> list[dict[str, Any]]:
    """One dict per binding limit, the largest price first.

    ``loss_per_billion_tokens`` is per billion training tokens more allowed of that domain (or group) at the same
    total; ``loss_per_extra_epoch`` per further allowed epoch; ``loss_per_billion_unique_tokens`` per billion further
    unique tokens of the domain, read as often as the limit allows; ``loss_per_unit`` per unit of a further
    budget; ``loss_per_nat`` per nat of slack in a guard.

    Args:
        problem, atoms: what the certified solver was given.
        solution: its answer; the prices are its multipliers.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> from mixlaw.laws import LogLinear
        >>> from mixlaw.optimize.pose.request import Request
        >>> from mixlaw.optimize.pose.objective import mean
        >>> from mixlaw.optimize.solve.convex import solve
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> law = LogLinear().fit({"web": web, "code": 1 - web}, {"all": 4 - np.log(web + 0.1) - np.log(1.1 - web)})
        >>> corpus = Corpus.declared({"web": 9_000, "code": 1_000}, source="example")
        >>> q = Request.of(law, "all", Budget(tokens=10_000, max_epochs=4), corpus)  # code: at most 0.4
        >>> problem, atoms = mean(q.constraints, q.W), q.view.atoms()
        >>> row = prices(q, problem, atoms, solve(problem.program(atoms)))[0]
        >>> row["domain"], row["loss_per_extra_epoch"] < 0
        ('code', True)
    """
    tokens = q.budget.tokens
    c, r = problem.constraints, solution.z[0]
    per_billion = 1e9 / tokens
    out: list[dict[str, Any]] = []
    for j, name in enumerate(c.domains):
        down, up = float(solution.a[0, j]), float(solution.b[0, j])
        if up > NEGLIGIBLE and c.high[j] - r[j] < 1e-6 and c.high_kind[j] != "simplex":
            row = {"limit": c.labels_high[j], "domain": name, "loss_per_billion_tokens": -up * per_billion}
            row["loss_per_extra_epoch"] = -up * float(q.unique[j]) / tokens
            if c.high_kind[j] == "epochs":
                row["loss_per_billion_unique_tokens"] = -up * per_billion * float(q.epochs_cap[j])
            out.append(row | {"kind": c.high_kind[j]})
        elif down > NEGLIGIBLE and c.low[j] > 0 and r[j] - c.low[j] < 1e-6:
            row = {"limit": c.labels_low[j], "domain": name, "loss_per_billion_tokens": down * per_billion}
            row["loss_per_extra_epoch"] = down * float(q.unique[j]) / tokens
            out.append(row | {"kind": "floor"})
    scale = row_scale(problem.matrix, problem.upper)
    for i, label in enumerate(c.labels):
        multiplier = float(solution.y[0, i] * scale[i])
        if multiplier * max(1.0, 1.0 / scale[i]) <= NEGLIGIBLE:
            continue
        if label.startswith("group"):
            floor = " floor " in label
            sign = 1.0 if floor else -1.0
            out.append(
                {
                    "limit": label,
                    "domain": label.split(":")[0],
                    "loss_per_billion_tokens": sign * multiplier * per_billion,
                    "kind": "group floor" if floor else "group cap",
                }
            )
        else:
            out.append({"limit": label, "domain": label.split(":")[0], "loss_per_unit": -multiplier, "kind": "limit"})
    for i, function in enumerate(problem.functions[1:]):
        multiplier = float(solution.p[0, i])
        if multiplier > NEGLIGIBLE and function.label and not function.label.startswith("worst:"):
            unit = "loss_per_nat" if problem.functions[0].weights.any() else "share_of_tokens_per_nat"
            out.append({"limit": function.label, "domain": "", unit: -multiplier, "kind": "guard"})
    out += _repeated(q, problem, atoms, solution)
    return sorted(out, key=lambda row: -abs(next(v for k, v in row.items() if "_per_" in k)))


def _repeated(q: Request, problem: Problem, atoms: Atoms, solution: Solution) -> list[dict[str, Any]]:
    """What a billion more unique tokens of a repeated domain are worth where repetition is inside the law."""
    if problem.repetition is None:
        return []
    program, k = problem.program(atoms), problem.num_weights
    z = solution.z[:1]
    r = z[:, :k]
    falling = monotone(atoms)
    weights = np.stack([f.weights for f in problem.functions])
    p = np.concatenate([[1.0], solution.p[0]])
    direction = program.direction[0, :, :k]
    slope = program.phi(program.inner(z), 1)[0]
    pull = (p @ weights)[falling.target] * falling.scale * slope @ direction  # d Lagrangian / d effective share
    worth = pull * problem.repetition.slope_once(r)[0] * 1e9 / q.budget.tokens
    epochs = r[0] / problem.repetition.once
    return [
        {
            "limit": f"{name}: repeated {epochs[j]:.2f} times",
            "domain": name,
            "loss_per_billion_unique_tokens": float(worth[j]),
            "kind": "repetition",
        }
        for j, name in enumerate(q.domains)
        if epochs[j] > 1.0 and worth[j] < -NEGLIGIBLE * 1e-3
    ]


def price(recipe: Recipe, name: str) -> dict[str, Any]:
    """The shadow price of what limits ``name`` in a recipe.

    Args:
        name: a domain, or a group or further budget by its name. A domain without a binding limit of its own has the
            largest price of the binding groups and further budgets that count it.

    Raises:
        ConfigError: no such name, the recipe has no certificate (a local search has no prices), or nothing limits
            it there: its price is zero.

    Example:
        >>> from mixlaw import Budget, Corpus
        >>> from mixlaw.laws import EffectiveTokens
        >>> web = np.linspace(0.1, 0.9, 12)
        >>> losses = {"qa": 2 + (web + 0.1) ** -0.3, "bugs": 2 + (1.1 - web) ** -0.3}
        >>> law = EffectiveTokens().fit({"web": web, "code": 1 - web}, losses)
        >>> corpus = Corpus.declared({"web": 9_000, "code": 1_000}, source="example")
        >>> from mixlaw.optimize.optimum import optimize
        >>> recipe = optimize(law, "bugs", Budget(tokens=4_000, max_epochs=2), corpus)
        >>> found = price(recipe, "code")
        >>> found["limit"], found["loss_per_extra_epoch"] < 0
        ('code: cap 2.00k tokens (1.00k unique x 2 epochs)', True)
    """
    groups = {f"group {n}": set(g["domains"]) for n, g in (recipe.budget.get("groups") or {}).items()}
    limits = {f"limit {n}": set(x["cost_per_token"]) for n, x in (recipe.budget.get("limits") or {}).items()}
    shared = groups | limits
    known = [*recipe.corpus.names, *(label.partition(" ")[2] for label in shared)]
    if name not in known and name not in shared:
        raise ConfigError(f"No domain or limit {name!r} in this recipe.{did_you_mean(name, known)}")
    if recipe.certificate.kind != "certified":
        raise ConfigError(
            f"Prices come from the multipliers of a certified solve; this recipe is the {recipe.certificate}. "
            f"Compare optima under two budgets instead."
        )
    for wanted in ({name}, {n for n, domains in shared.items() if name in domains | {n.partition(" ")[2]}}):
        for row in recipe.shadow_prices:
            if row.get("domain") in wanted:
                return dict(row)
    priced = sorted({str(row["domain"]) for row in recipe.shadow_prices if row.get("domain")})
    at = ""
    if name in recipe.corpus.names:
        at = f" (weight {recipe.mixture[name]:.4f}, {recipe.epochs[name]:.2f} epochs)"
    raise ConfigError(
        f"No limit binds {name!r}{at}: relaxing one would change nothing, so its price is zero. What has a price: "
        f"{priced or 'nothing'}."
    )
