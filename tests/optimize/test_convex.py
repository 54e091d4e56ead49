"""The certified solver against closed forms, brute force, an independent conic solver, and its own bound."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixlaw.data.budget import Budget, Group, Limit
from mixlaw.data.corpus import Corpus
from mixlaw.errors import ConvergenceError
from mixlaw.laws.core.atoms import Atoms
from mixlaw.optimize.pose.forms import Repetition, combine, monotone
from mixlaw.optimize.pose.objective import Function, least_change, mean, worst
from mixlaw.optimize.solve.convex import _solve_thin, _solve_whole, _Sum, lower_bound, solve

import truths


def atoms_of(surface: truths.Truth) -> Atoms:
    """The truth's own law in the library's form."""
    t, T = surface.parameters, surface.targets
    index = np.arange(T)
    if "t" in t and "k" in t:
        linear = t["t"] if t["t"].ndim == 2 else -np.diag(t["t"])
        return Atoms(t["c"], index, np.full(T, "exp"), t["k"], linear, np.zeros(T), np.zeros(T))
    if "w" in t:
        eps = np.full(T, float(t["eps"]))
        return Atoms(t["c"], index, np.full(T, "power"), t["A"], t["w"], eps, t["a"])
    if "g" in t:
        return Atoms(t["c"], index, np.full(T, "power"), t["b"], np.eye(T), np.zeros(T), t["g"])
    k = t["b"].shape[1]
    target = np.repeat(index, k)
    linear = np.tile(np.eye(k), (T, 1))
    return Atoms(t["c"], target, np.full(T * k, "log"), -t["b"].ravel(), linear, np.zeros(T * k), np.zeros(T * k))


def corpus(k: int, each: int = 1_000_000) -> Corpus:
    return Corpus.declared({f"d{j}": each for j in range(k)}, source="test")


def free(k: int):
    return Budget(tokens=1_000_000).check(corpus(k))


def lattice(k: int, steps: int, low=None, high=None) -> np.ndarray:
    points = [np.diff([-1, *cut, steps + k - 1]) - 1 for cut in itertools.combinations(range(steps + k - 1), k - 1)]
    grid = np.array(points) / steps
    if high is not None:
        grid = grid[(grid <= high + 1e-12).all(axis=1) & (grid >= low - 1e-12).all(axis=1)]
    return grid


@pytest.mark.parametrize("make", [truths.power, truths.log_linear, truths.separable_exponential])
def test_closed_form_optima(make):
    surface = make(5, seed=3)
    weights = np.random.default_rng(0).dirichlet(np.ones(surface.targets))
    atoms = atoms_of(surface)
    found = solve(mean(free(5), weights).program(atoms))
    expected = surface.optimum(weights)
    assert found.gap[0] < 1e-8
    assert found.value[0] == pytest.approx(float(surface.loss(expected[None])[0] @ weights), abs=1e-8)
    np.testing.assert_allclose(found.z[0], expected, atol=2e-4)


@pytest.mark.parametrize("make", [truths.exponential, truths.effective_tokens])
def test_one_target_goes_to_its_vertex(make):
    surface = make(4, 3, seed=1)
    found = solve(mean(free(4), np.array([0.0, 1.0, 0.0])).program(atoms_of(surface)))
    np.testing.assert_allclose(found.z[0], surface.optimum(np.array([0.0, 1.0, 0.0])), atol=1e-6)


def test_never_beaten_by_a_lattice():
    rng = np.random.default_rng(7)
    for trial in range(24):
        k = int(rng.integers(3, 5))
        surface = (truths.exponential, truths.effective_tokens)[trial % 2](k, 3, seed=trial)
        high = np.clip(rng.uniform(1.2 / k, 1.5, k), 0, 1)
        low = np.minimum(rng.uniform(0, 0.3 / k, k), high)
        weights = rng.dirichlet(np.ones(3))
        budget = Budget(
            tokens=1_000_000,
            floors={f"d{j}": float(low[j]) for j in range(k)},
            caps={f"d{j}": float(high[j]) for j in range(k)},
        )
        found = solve(mean(budget.check(corpus(k)), weights).program(atoms_of(surface)))
        grid = lattice(k, 30, low, high)
        best = (surface.loss(grid) @ weights).min() if len(grid) else np.inf
        assert found.gap[0] <= 1e-8
        assert found.value[0] <= best + 1e-6
        assert found.z[0].sum() == pytest.approx(1, abs=1e-12)
        assert (found.z[0] >= low).all() and (found.z[0] <= high).all()


def test_agrees_with_an_independent_conic_solver():
    import clarabel
    from scipy import sparse

    surface = truths.exponential(6, 4, seed=2)
    weights = np.full(4, 0.25)
    cap = 0.35
    found = solve(
        mean(Budget(tokens=10**6, caps={f"d{j}": cap for j in range(6)}).check(corpus(6)), weights).program(
            atoms_of(surface)
        )
    )
    # variables r (6), e (4): min sum w k e,  (t.r, 1, e) in the exponential cone
    t, amp = surface.parameters["t"], surface.parameters["k"]
    cost = np.concatenate([np.zeros(6), weights * amp])
    rows = [np.concatenate([np.ones(6), np.zeros(4)])[None]]
    rows += [np.hstack([-np.eye(6), np.zeros((6, 4))]), np.hstack([np.eye(6), np.zeros((6, 4))])]
    right = [np.ones(1), np.zeros(6), np.full(6, cap)]
    cones = [clarabel.ZeroConeT(1), clarabel.NonnegativeConeT(12)]
    for i in range(4):
        block = np.zeros((3, 10))
        block[0, :6], block[2, 6 + i] = -t[i], -1.0
        rows.append(block)
        right.append(np.array([0.0, 1.0, 0.0]))
        cones.append(clarabel.ExponentialConeT())
    settings_ = clarabel.DefaultSettings()
    settings_.verbose = False
    A = sparse.csc_matrix(np.vstack(rows))
    answer = clarabel.DefaultSolver(
        sparse.csc_matrix((10, 10)), cost, A, np.concatenate(right), cones, settings_
    ).solve()
    assert found.value[0] == pytest.approx(answer.obj_val + float(weights @ surface.parameters["c"]), abs=1e-6)


def test_bound_holds_for_any_multipliers():
    surface = truths.effective_tokens(5, 4, seed=0)
    program = mean(free(5), np.full(4, 0.25)).program(atoms_of(surface))
    optimum = solve(program).value[0]
    rng = np.random.default_rng(1)
    for _ in range(50):
        z = rng.dirichlet(np.ones(5))[None]
        v = rng.normal(size=(1, 1))
        assert lower_bound(program, z, np.zeros((1, 0)), np.zeros((1, 0)), v)[0] <= optimum + 1e-12


def test_groups_limits_and_equal_floor_and_cap():
    surface = truths.effective_tokens(5, 5, seed=4)
    budget = Budget(
        tokens=1_000_000,
        floors={"d0": 0.2},
        caps={"d0": 0.2, "d4": 0.5},
        groups={"g": Group(("d1", "d2"), 0.3, 0.3), "h": Group(("d3", "d4"), 0.0, 0.6)},
        limits={"fees": Limit({"d1": 2e-3, "d2": 1e-3}, 400.0)},
    )
    c = budget.check(corpus(5))
    found = solve(mean(c, np.full(5, 0.2)).program(atoms_of(surface)))
    r = found.z[0]
    assert r[0] == pytest.approx(0.2, abs=1e-12)
    assert r[1] + r[2] == pytest.approx(0.3, abs=1e-7)
    assert (c.matrix @ r <= c.upper + 1e-6 * np.abs(c.upper)).all()
    assert found.gap[0] < 1e-7
    # brute force on the two remaining degrees of freedom
    a = np.linspace(0, 0.3, 301)
    b = np.linspace(0, 0.5, 501)
    grid = np.array([[0.2, x, 0.3 - x, y, 0.5 - y] for x in a for y in b])
    ok = (grid @ c.matrix.T <= c.upper + 1e-9).all(axis=1) & (grid <= c.high + 1e-12).all(axis=1)
    assert ok.any()
    assert found.value[0] <= (surface.loss(grid[ok]) @ np.full(5, 0.2)).min() + 1e-6


def test_a_single_feasible_mixture_is_returned():
    surface = truths.exponential(3, 2, seed=0)
    budget = Budget(tokens=300, max_epochs=1)  # 3 x 100 unique: only the natural mixture
    found = solve(mean(budget.check(corpus(3, 100)), np.full(2, 0.5)).program(atoms_of(surface)))
    np.testing.assert_allclose(found.z[0], np.full(3, 1 / 3), atol=1e-9)
    assert found.gap[0] < 1e-8


def test_kl_objective_is_the_stationary_point():
    surface = truths.exponential(4, 3, seed=5)
    prior = np.array([0.4, 0.3, 0.2, 0.1])
    weights = np.full(3, 1 / 3)
    atoms = atoms_of(surface)
    found = solve(mean(free(4), weights, kl=0.3, prior=prior).program(atoms))
    r = found.z[0]
    slope = weights @ atoms.gradient(r[None])[0] + 0.3 * (np.log(r / prior) + 1)
    np.testing.assert_allclose(slope, slope.mean(), atol=1e-5)
    assert found.gap[0] < 1e-8


def test_worst_case_equalises_and_beats_a_lattice():
    surface = truths.effective_tokens(3, 3, seed=2)
    atoms = atoms_of(surface)
    best = np.array([solve(mean(free(3), np.eye(3)[t]).program(atoms)).value[0] for t in range(3)])
    found = solve(worst(free(3), np.full(3, 1 / 3), best).program(atoms))
    excess = (surface.loss(found.z[:, :3])[0] - best).max()
    grid = lattice(3, 120)
    assert found.value[0] == pytest.approx(excess, abs=1e-7)
    assert excess <= (surface.loss(grid) - best).max(axis=1).min() + 1e-6
    assert found.gap[0] < 1e-8


def test_least_change_moves_as_little_as_a_lattice_can():
    surface = truths.exponential(3, 3, seed=6)
    atoms, today = atoms_of(surface), np.array([0.8, 0.1, 0.1])
    weights = np.full(3, 1 / 3)
    target = float(surface.loss(today[None])[0] @ weights) - 0.01
    found = solve(least_change(free(3), today, (Function(weights, const=-target, label="gain"),)).program(atoms))
    r = found.z[0, :3]
    moved = 0.5 * np.abs(r - today).sum()
    grid = lattice(3, 200)
    ok = surface.loss(grid) @ weights <= target
    assert float(surface.loss(r[None])[0] @ weights) <= target + 1e-8
    assert found.value[0] == pytest.approx(moved, abs=1e-6)
    assert moved <= 0.5 * np.abs(grid[ok] - today).sum(axis=1).min() + 1e-6


def test_unreachable_constraint_raises():
    surface = truths.exponential(3, 2, seed=0)
    impossible = Function(np.array([1.0, 0.0]), const=100.0, label="never")
    with pytest.raises(ConvergenceError, match="No mixture satisfies"):
        solve(mean(free(3), np.full(2, 0.5), (impossible,)).program(atoms_of(surface)))


def test_batch_equals_one_by_one():
    surface = truths.effective_tokens(6, 4, seed=8)
    atoms = atoms_of(surface)
    W = np.random.default_rng(0).dirichlet(np.ones(4), 12)
    programs = [mean(free(6), w).program(atoms) for w in W]
    from dataclasses import replace

    batch = replace(
        programs[0],
        coef=np.concatenate([p.coef for p in programs]),
        const=np.concatenate([p.const for p in programs]),
    )
    together = solve(batch)
    np.testing.assert_allclose(together.value, [solve(p).value[0] for p in programs], atol=2e-9)
    assert (together.gap < 1e-8).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 12), st.integers(1, 6), st.integers(0, 10_000), st.floats(0.05, 1.0))
def test_always_feasible_and_certified(k, targets, seed, tightness):
    surface = truths.effective_tokens(k, targets, seed=seed)
    rng = np.random.default_rng(seed)
    high = np.minimum(1.0, rng.uniform(0.2, 2.0, k) * tightness)
    if high.sum() < 1.0:
        high = np.minimum(1.0, high / high.sum() * 1.01)
    budget = Budget(tokens=10**6, caps={f"d{j}": float(high[j]) for j in range(k)})
    c = budget.check(corpus(k))
    found = solve(mean(c, np.full(targets, 1 / targets)).program(atoms_of(surface)))
    assert found.gap[0] <= 1e-7
    assert (found.z[0] <= c.high).all() and (found.z[0] >= 0).all()
    assert abs(found.z[0].sum() - 1) < 1e-9


# ---- repeated data -----------------------------------------------------------------------------------
def test_effective_epochs_are_the_published_ones():
    curve = Repetition(np.array([0.01]))
    epochs = np.array([1, 2, 4, 8, 16, 40, 100]) * 0.01
    worth = curve.value(epochs[:, None])[:, 0] / 0.01
    np.testing.assert_allclose(worth, [1, 1.968, 3.726, 6.624, 10.58, 15.17, 16.36], rtol=5e-4)


def test_monotone_form_is_the_same_law_on_the_simplex():
    for surface in (truths.exponential(5, 4, seed=1), truths.effective_tokens(5, 4, seed=1)):
        atoms = atoms_of(surface)
        X = truths.mixtures(20, 5, seed=2)
        np.testing.assert_allclose(monotone(atoms).value(X), atoms.value(X), rtol=1e-12)
        assert (monotone(atoms).gradient(X) <= 1e-12).all()


def test_repetition_derivatives_and_optimum():
    surface = truths.exponential(3, 3, seed=3)
    atoms = atoms_of(surface)
    curve = Repetition(np.array([0.05, 0.2, 1.0]), 3.0)
    program = mean(free(3), np.full(3, 1 / 3), repetition=curve).program(atoms)
    z, h = np.array([[0.3, 0.3, 0.4]]), 1e-6
    J = program.jacobian(z)[0, 0]
    rows, curved, diagonal = program.curvature(z, np.ones((1, 1)))
    hessian = rows[0].T @ (curved[0][:, None] * rows[0]) + np.diag(diagonal[0])
    for j in range(3):
        up, down = z.copy(), z.copy()
        up[0, j] += h
        down[0, j] -= h
        assert J[j] == pytest.approx((program.functions(up) - program.functions(down))[0, 0] / (2 * h), rel=1e-6)
        slope = (program.jacobian(up) - program.jacobian(down))[0, 0] / (2 * h)
        np.testing.assert_allclose(hessian[j], slope, rtol=1e-4, atol=1e-8)
    found = solve(program)
    grid = lattice(3, 150)
    values = program.functions(grid)[:, 0] if program.batch == 1 else None
    assert found.value[0] <= values.min() + 1e-6
    assert found.gap[0] < 1e-8


def test_many_domains_are_solved_without_forming_their_matrix():
    """Newton's system of 300 domains through its 12 atoms and few rows, against the full one."""
    rng = np.random.default_rng(5)
    rows, weight = rng.normal(size=(2, 15, 300)), np.exp(rng.uniform(-5, 5, (2, 15)))
    system = _Sum(np.exp(rng.uniform(-9, 9, (2, 300))), rows, weight)
    assert system.thin
    R, E, T = rng.normal(size=(2, 300, 2)), np.ones((2, 1, 300)), rng.normal(size=(2, 1, 2))
    z, v = _solve_thin(system, R, E, T)
    np.testing.assert_allclose(system.whole() @ z + np.swapaxes(E, 1, 2) @ v, R, atol=1e-6)
    np.testing.assert_allclose(E @ z, T, atol=1e-9)
    whole, multipliers = _solve_whole(system.whole(), R, E, T)
    np.testing.assert_allclose(whole, z, rtol=1e-4, atol=1e-6 * np.abs(z).max())
    np.testing.assert_allclose(multipliers, v, rtol=1e-4)


@pytest.mark.parametrize("kind", ["exp", "power"])
def test_a_thousand_domains_are_certified_in_time(kind):
    import time

    K, T = 1000, 50
    rng = np.random.default_rng(0)
    linear = -rng.uniform(0.0, 0.8, (T, K)) if kind == "exp" else np.exp(rng.uniform(-4, -1.5, (T, K)))
    linear[np.arange(T), rng.permutation(K)[:T]] += -1.8 if kind == "exp" else 1.0
    scale, offset = rng.uniform(0.5, 1.0, T), np.full(T, 0.0 if kind == "exp" else 0.02)
    atoms = Atoms(np.ones(T), np.arange(T), np.full(T, kind), scale, linear, offset, np.full(T, 0.3))
    groups = {"half": Group(tuple(f"d{j}" for j in range(500)), 0.0, 0.3)}
    budget = Budget(tokens=10**8, max_epochs=4, groups=groups)
    program = mean(budget.check(corpus(K, 10**6)), np.full(T, 1 / T)).program(atoms)
    start = time.process_time()
    found = solve(program)
    assert time.process_time() - start < 2.0  # a tenth of it on a quiet machine; 5 s is promised
    assert found.gap[0] <= 1e-8 and found.violation[0] <= 1e-9


def test_combine_is_the_weighted_sum():
    atoms = atoms_of(truths.log_linear(4, 3, seed=0))
    X = truths.mixtures(10, 4, seed=1)
    w = np.array([0.2, 0.0, 0.8])
    np.testing.assert_allclose(combine(atoms, w).value(X)[:, 0], atoms.value(X) @ w, rtol=1e-12)
