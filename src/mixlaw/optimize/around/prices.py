"""Shadow prices: what each limit costs, in loss per billion tokens, per extra epoch, per unit of a further budget.

A price is the derivative of the best reachable objective when that one limit is relaxed and all others stay; negative
means that relaxing it by one unit lowers the objective by that much. It is the multiplier of the certified solve; where
limits meet, with one another or with the simplex, multipliers are not unique, and the derivative is the smallest of
them (Rockafellar 1970, Convex Analysis, section 29).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mixlaw.data.recipe import Recipe
from mixlaw.errors import ConfigError, did_you_mean
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.atoms import Atoms
from mixlaw.optimize.pose.forms import monotone
from mixlaw.optimize.pose.objective import Problem, row_scale
from mixlaw.optimize.pose.request import Request
from mixlaw.optimize.solve.convex import Solution

__all__ = ["price", "prices"]

NEGLIGIBLE = 1e-6
"""Multipliers (loss per unit of weight) below this are rounding of a limit that does not bind."""

REACHED = 1e-5
"""A limit that is this close (in weight, or in nats) is reached: a limit that another one replaces so soon has no price
of its own."""


def prices(q: Request, problem: Problem, atoms: Atoms, solution: Solution) -> list[dict[str, Any]]:
    """One dict per binding limit, the largest price first. A limit that cannot bind (an epoch cap above the whole
    budget, a cap that the floors of the others imply) has none.

    ``loss_per_billion_tokens`` is per billion training tokens more allowed of that domain (or group) at the same
    total; ``loss_per_extra_epoch`` per further allowed epoch; ``loss_per_billion_unique_tokens`` per billion further
    unique tokens of the domain, read as often as the limit allows; ``loss_per_unit`` per unit of a further
    budget; ``loss_per_nat`` per nat of slack in a guard. For a floor they say what a higher one costs. For ``kind``
    ``"worst"`` the losses that each set could reach are held at what they are under the budget as given; beside a KL
    term, which falls infinitely fast from a weight of zero, a weight that limits hold there is held.

    Args:
        problem, atoms: what the certified solver was given.
        solution: its answer.

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
    at = _Multipliers.of(problem, atoms, solution)
    repeated = _repeated(q, problem, atoms, solution)
    rows = _of_weights(q, problem, at, repeated) + _of_rows(q, problem, at) + _of_guards(problem, at)
    bound = {row["domain"] for row in rows if "loss_per_billion_unique_tokens" in row}
    rows += [row for name, row in repeated.items() if name not in bound]
    return sorted(rows, key=lambda row: -abs(next(v for k, v in row.items() if "_per_" in k)))


@dataclass(frozen=True)
class _Multipliers:
    """The limits that an optimum reaches, and what relaxing each of them alone is worth.

    Rows ``slopes`` (A, n) are the derivatives of the reached limits, ``kinds`` (A) what they are: ("high", j),
    ("low", j), ("row", i) or ("function", i); ``found`` (A,) the solver's multipliers; ``left`` (A,) how far each
    limit still is; ``pull`` (n,) the slope of the objective; ``equal`` (q, n) the equalities; ``alone`` whether the
    multipliers are unique.
    """

    slopes: Array
    kinds: tuple[tuple[str, int], ...]
    found: Array
    left: Array
    pull: Array
    equal: Array
    alone: bool

    @classmethod
    def of(cls, problem: Problem, atoms: Atoms, solution: Solution) -> _Multipliers:
        program, z = problem.program(atoms), solution.z[:1]
        F, J = program.functions(z)[0], program.jacobian(z)[0]
        matrix, n = program.matrix[0], z.shape[1]
        left = {
            "high": program.high[0] - z[0],
            "low": z[0] - program.low[0],
            "row": program.upper[0] - matrix @ z[0],
            "function": -F[1:],
        }
        held = np.zeros(n, dtype=bool)  # a KL term falls infinitely fast from a weight of zero: it counts as held there
        held[: problem.num_weights] = program.kl.any() and z[0, : problem.num_weights] < REACHED
        kinds = [
            (kind, i)
            for kind, room in left.items()
            for i in range(len(room))
            if room[i] < REACHED or (kind == "high" and held[i])
        ]
        slope = {"high": np.eye(n), "low": -np.eye(n), "row": matrix, "function": J[1:]}
        multiplier = {"high": solution.b[0], "low": solution.a[0], "row": solution.y[0], "function": solution.p[0]}
        slopes = np.array([slope[kind][i] for kind, i in kinds]).reshape(-1, n)
        found = np.array([multiplier[kind][i] for kind, i in kinds])
        room = np.array([left[kind][i] for kind, i in kinds])
        every = np.vstack([program.equal, slopes])
        size = np.maximum(np.linalg.norm(every, axis=1, keepdims=True), 1e-300)
        singular = np.linalg.svd(every / size, compute_uv=False)
        alone = len(every) <= n and bool(singular[-1] > 1e-9)
        return cls(slopes, tuple(kinds), found, room, J[0], program.equal, alone)

    def worth(self, kind: str, index: int) -> float:
        """By how much the optimum falls per unit of one limit, relaxed alone; 0 where it is not reached."""
        if (kind, index) not in self.kinds:
            return 0.0
        here = self.kinds.index((kind, index))
        # at a limit that binds, the multiplier is what is not small; at one that is only near, it is the distance
        if self.found[here] <= max(NEGLIGIBLE, self.left[here]):
            return 0.0
        return float(self.found[here]) if self.alone else self._least(here)

    def _least(self, here: int) -> float:
        """The smallest multiplier of one limit among all that make the optimum stationary."""
        from scipy.optimize import linprog

        both = np.vstack([self.slopes, self.equal])
        start = -(self.pull + self.found @ self.slopes)
        free = np.linalg.lstsq(self.equal.T, start, rcond=None)[0]
        off = np.abs(self.pull + np.concatenate([self.found, free]) @ both) + 1e-9  # what the solver left, allowed here
        cost = np.zeros(len(both))
        cost[here] = 1.0
        result = linprog(
            cost,
            A_ub=np.vstack([both.T, -both.T]),
            b_ub=np.concatenate([off - self.pull, off + self.pull]),
            bounds=[(0, None)] * len(self.slopes) + [(None, None)] * len(self.equal),
            method="highs",
            options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
        )
        return float(result.fun) if result.status == 0 else float(self.found[here])


def _of_weights(
    q: Request, problem: Problem, at: _Multipliers, repeated: dict[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    """Prices of caps, epoch caps and floors."""
    c, tokens = problem.constraints, q.budget.tokens
    per_billion = 1e9 / tokens
    out: list[dict[str, Any]] = []
    for j, name in enumerate(c.domains):
        up = at.worth("high", j) if _can_bind(q, problem, j) else 0.0
        down = at.worth("low", j) if c.low[j] > 0 else 0.0
        if up > NEGLIGIBLE:
            row = {"limit": c.labels_high[j], "domain": name, "loss_per_billion_tokens": -up * per_billion}
            row["loss_per_extra_epoch"] = -up * float(q.unique[j]) / tokens
            if c.high_kind[j] == "epochs":
                worth = -up * per_billion * float(q.epochs_cap[j])
                # more unique tokens are also repeated less: where the law counts that, it is part of their worth
                worth += repeated[name]["loss_per_billion_unique_tokens"] if name in repeated else 0.0
                row["loss_per_billion_unique_tokens"] = worth
            out.append(row | {"kind": c.high_kind[j]})
        if down > NEGLIGIBLE:
            row = {"limit": c.labels_low[j], "domain": name, "loss_per_billion_tokens": down * per_billion}
            row["loss_per_extra_epoch"] = down * float(q.unique[j]) / tokens
            out.append(row | {"kind": "floor"})
    return out


def _can_bind(q: Request, problem: Problem, j: int) -> bool:
    """Whether relaxing the upper bound of domain j alone allows anything."""
    c, name = problem.constraints, problem.constraints.domains[j]
    held = problem.high[j] < c.high[j] or (c.high[j] < REACHED and any(f.kl for f in problem.functions))
    if c.high_kind[j] == "simplex" or held:
        return False
    epochs = float(q.epochs_cap[j] * q.unique[j]) / q.budget.tokens
    cap = float(q.budget.caps.get(name, np.inf))
    return max(epochs, cap) > c.high[j] + REACHED  # a cap and an epoch cap at the same weight hold each other


def _of_rows(q: Request, problem: Problem, at: _Multipliers) -> list[dict[str, Any]]:
    """Prices of groups and further budgets."""
    c, per_billion = problem.constraints, 1e9 / q.budget.tokens
    scale = row_scale(problem.matrix, problem.upper)
    out: list[dict[str, Any]] = []
    for i, label in enumerate(c.labels):
        worth = at.worth("row", i)  # per unit of the row as the solver scales it
        if worth <= NEGLIGIBLE:
            continue
        row = {"limit": label, "domain": label.rpartition(": ")[0]}
        if label.startswith("group "):
            floor = c.matrix[i].min() < 0
            row["loss_per_billion_tokens"] = (1.0 if floor else -1.0) * worth * scale[i] * per_billion
            out.append(row | {"kind": "group floor" if floor else "group cap"})
        else:
            out.append(row | {"loss_per_unit": -worth * float(scale[i]), "kind": "limit"})
    return out


def _of_guards(problem: Problem, at: _Multipliers) -> list[dict[str, Any]]:
    """Prices of guards, of a wanted gain and of a limit on the KL divergence."""
    moved = problem.rows is not None  # the objective is the share of the tokens that is moved
    unit = "share_of_tokens_per_nat" if moved else "loss_per_nat"
    out: list[dict[str, Any]] = []
    for i, function in enumerate(problem.functions[1:]):
        if not function.label or function.label.startswith("worst:"):
            continue
        worth = at.worth("function", i)
        if worth > NEGLIGIBLE:
            out.append({"limit": function.label, "domain": "", unit: -worth, "kind": "guard"})
    return out


def _repeated(q: Request, problem: Problem, atoms: Atoms, solution: Solution) -> dict[str, dict[str, Any]]:
    """By domain, what a billion more unique tokens are worth where its repetition is inside the law."""
    if problem.repetition is None:
        return {}
    program, k = problem.program(atoms), problem.num_weights
    z = solution.z[:1]
    r = z[:, :k]
    falling = monotone(atoms)
    weights = np.stack([f.weights for f in problem.functions])
    p = np.concatenate([[1.0], solution.p[0]])
    direction = program.direction[0, :, :k]
    slope = program.phi(program.inner(z), 1)[0]
    pull = (p @ weights)[falling.target] * falling.scale * slope @ direction  # d Lagrangian / d effective share
    worth = pull * problem.repetition.slope_once(r)[0]  # per unit of unique tokens / budget
    epochs = r[0] / problem.repetition.once
    return {
        name: {
            "limit": f"{name}: repeated {epochs[j]:.2f} times",
            "domain": name,
            "loss_per_billion_unique_tokens": float(worth[j]) * 1e9 / q.budget.tokens,
            "kind": "repetition",
        }
        for j, name in enumerate(q.domains)
        if epochs[j] > 1.0 and worth[j] < -NEGLIGIBLE
    }


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
