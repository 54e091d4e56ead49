"""Concave atoms: branch and bound against lattices and random points."""

import numpy as np
import pytest

from mixlaw.data.budget import Budget
from mixlaw.data.corpus import Corpus
from mixlaw.laws.core.atoms import Atoms
from mixlaw.optimize.pose.objective import Function, mean, pooled
from mixlaw.optimize.solve.branch import branchable, solve_branching

import truths


def hurting(k, targets, seed):
    """Log-linear atoms of which some have the wrong sign: a domain that hurts a target."""
    rng = np.random.default_rng(seed)
    b = rng.uniform(0.02, 0.3, (targets, k))
    b[rng.random(b.shape) < 0.3] *= -0.7
    target = np.repeat(np.arange(targets), k)
    offset = rng.uniform(0.005, 0.05, targets * k)
    linear = np.tile(np.eye(k), (targets, 1))
    return Atoms(
        np.ones(targets), target, np.full(targets * k, "log"), -b.ravel(), linear, offset, np.zeros(len(target))
    )


def budget_of(k, cap=1.0):
    corpus = Corpus.declared({f"d{j}": 10**6 for j in range(k)}, source="test")
    return Budget(tokens=10**6, caps={f"d{j}": cap for j in range(k)}).check(corpus)


@pytest.mark.parametrize("seed", range(6))
def test_never_beaten_and_gap_is_valid(seed):
    k = 3 + seed % 2
    atoms, c = hurting(k, 2, seed), budget_of(k, 0.8)
    problem = mean(c, np.array([0.6, 0.4]))
    assert branchable(problem, atoms)
    found = solve_branching(*pooled(problem, atoms))
    points = truths.mixtures(20_000, k, seed, strength=0.4)
    points = points[(points <= 0.8).all(axis=1)]
    best = float((atoms.value(points) @ [0.6, 0.4]).min())
    assert found.value[0] <= best + 1e-9
    assert found.value[0] - found.gap[0] <= best + 1e-9
    assert found.gap[0] <= 1e-6


def test_amplitude_of_the_wrong_sign():
    atoms = Atoms(
        np.zeros(2), np.array([0, 1]), np.array(["exp", "exp"]), np.array([1.0, -0.4]),
        np.array([[-2.0, 0.5, 0.0], [0.3, -1.0, 0.8]]), np.zeros(2), np.zeros(2),
    )  # fmt: skip
    found = solve_branching(mean(budget_of(3), np.array([0.5, 0.5])), atoms)
    points = truths.mixtures(40_000, 3, 1, strength=0.5)
    assert found.value[0] <= (atoms.value(points) @ [0.5, 0.5]).min() + 1e-9
    assert found.gap[0] <= 1e-6


def test_equal_atoms_merge_into_convex_ones():
    k = 4
    b = np.array([[0.3, 0.2, 0.1, 0.2], [-0.1, 0.3, 0.2, -0.1]])
    target = np.repeat([0, 1], k)
    atoms = Atoms(
        np.ones(2),
        target,
        np.full(2 * k, "log"),
        -b.ravel(),
        np.tile(np.eye(k), (2, 1)),
        np.full(2 * k, 0.01),
        np.zeros(2 * k),
    )
    problem = mean(budget_of(k), np.array([0.5, 0.5]))
    assert not problem.certifiable(atoms)
    merged, together = pooled(problem, atoms)
    assert merged.certifiable(together)
    X = truths.mixtures(10, k, 0)
    np.testing.assert_allclose(together.value(X)[:, 0], atoms.value(X) @ [0.5, 0.5], rtol=1e-12)


def test_concave_guards_are_left_to_the_general_search():
    atoms = hurting(3, 2, 0)
    guard = Function(np.array([0.0, 1.0]), const=-2.0, label="guard")
    assert not branchable(mean(budget_of(3), np.array([1.0, 0.0]), (guard,)), atoms)
