"""A finished study with known numbers, built from data types only."""

import numpy as np
import pytest

from mixlaw.data.corpus import Corpus, Domain, ValidationSet
from mixlaw.data.ledger import Ledger
from mixlaw.data.mixture import Mixture, Schedule
from mixlaw.data.observations import Observations
from mixlaw.data.prediction import Prediction
from mixlaw.data.recipe import Certificate, Recipe
from mixlaw.data.verification import verdict
from mixlaw.kit.store import Store
from mixlaw.report.facts import ReportFacts, installed_versions
from mixlaw.verify.paired import paired_difference, steps_saved

DOMAINS = ("source", "docstrings", "pydoc", "readme", "arithmetic")
OBJECTIVE = {"docstrings": 0.5, "readme": 0.3, "arithmetic": 0.2}
SLOPES = -np.array(
    [
        [3.0, 0.6, 0.3, 0.1, 0.0],
        [0.5, 2.6, 1.2, 0.4, 0.0],
        [0.2, 1.1, 2.8, 0.3, 0.0],
        [0.1, 0.5, 0.4, 3.1, 0.0],
        [0.0, 0.0, 0.0, 0.1, 4.0],
    ]
)


def true_losses(X):
    """Losses (n, 5) of the truth: exponential in the mixture, one row of SLOPES per validation set."""
    floor = np.array([1.4, 1.9, 2.1, 2.4, 0.8])
    return floor + np.array([1.6, 1.5, 1.4, 1.5, 1.3]) * np.exp(np.asarray(X) @ SLOPES.T)


def make_observations(n=24, noise=0.004, seed=0):
    """``n`` runs with curves at ten steps."""
    rng = np.random.default_rng(seed)
    X = rng.dirichlet(np.full(5, 1.2), n)
    finals = true_losses(X)
    steps = np.arange(1, 11) * 60
    runs, values = [], []
    for i, weights in enumerate(X):
        runs.append({"run": f"r{i:02d}", "schedule": dict(zip(DOMAINS, weights)), "tokens": 1.2e6, "seed": i})
        for step in steps:
            for t, name in enumerate(DOMAINS):
                value = finals[i, t] + 4.0 * step**-0.6 + rng.normal(0, noise)
                values.append({"run": f"r{i:02d}", "step": int(step), "target": name, "value": value})
    runs.append({"run": "bad", "schedule": dict(zip(DOMAINS, X[0])), "status": "diverged"})
    return Observations.from_records(runs, values)


def make_verification(recipe, natural, gain, seeds=5, noise=0.004, seed=1):
    """What ``Study.verify`` writes, from simulated arms."""
    rng = np.random.default_rng(seed)
    steps = np.arange(1, 41) * 15.0
    weights = np.array(list(OBJECTIVE.values()))
    columns = [DOMAINS.index(t) for t in OBJECTIVE]
    finals = {n: true_losses([m.array(DOMAINS)])[0] for n, m in (("recipe", recipe), ("natural", natural))}
    if not gain:
        finals["recipe"] = finals["natural"]
    arms, sets, curves = {}, {}, {}
    for name, mixture in (("recipe", recipe), ("natural", natural)):
        curves[name], sets[name] = {}, {t: [] for t in DOMAINS}
        for k in range(seeds):
            drift = rng.normal(0, noise)
            wobble = np.cumsum(rng.normal(0, noise / 8, len(steps)))
            loss = finals[name][columns] @ weights + 4.0 * steps**-0.6 + drift + wobble - wobble[-1]
            curves[name][str(k)] = [[float(s), float(v)] for s, v in zip(steps, loss)]
            for t, value in zip(DOMAINS, finals[name]):
                sets[name][t].append(float(value + 4.0 * steps[-1] ** -0.6 + drift))
        losses = [c[-1][1] for c in curves[name].values()]
        arms[name] = {"weights": mixture.to_dict(), "losses": losses, "curves": curves[name]}
    difference = paired_difference(arms["recipe"]["losses"], arms["natural"]["losses"])
    measured = float(np.mean(arms["recipe"]["losses"]))
    predicted = Prediction(measured + 0.004, measured - 0.02, measured + 0.028)
    saved = steps_saved(
        {int(k): v for k, v in curves["recipe"].items()}, {int(k): v for k, v in curves["natural"].items()}, 0.9, 480.0
    )
    return {
        "arms": arms,
        "objective": {"predicted": predicted.to_dict(), "measured": measured, "standard_error": 0.0018},
        "inside_interval": True,
        "difference": {"vs natural": difference.to_dict()},
        "verdicts": {"vs natural": verdict(difference)},
        "verdict": verdict(difference),
        "steps_saved": {"natural": saved},
        "num_seeds": seeds,
        "prediction_entry": 1,
        "sets": sets,
    }


def make_facts(folder, gain=True):
    """A finished study."""
    from mixlaw.laws.mixture.m4 import M4

    counts = dict(zip(DOMAINS, (450_000, 480_000, 340_000, 230_000, 210_000)))
    corpus = Corpus(
        tuple(Domain(n, c, c * 3, c // 800, f"{i:016x}") for i, (n, c) in enumerate(counts.items(), start=1)),
        tuple(ValidationSet(n, 32768, 98304, f"{i:016x}", n) for i, n in enumerate(counts, start=17)),
        tokenizer="9f2a" * 4,
    )
    observations = make_observations()
    X, y = observations.table()
    law = M4(seed=0).fit(X, y)
    recipe_mixture = Mixture.from_array(DOMAINS, [0.03, 0.36, 0.17, 0.25, 0.19])
    verification = make_verification(recipe_mixture, corpus.natural, gain)
    measured = verification["sets"]["recipe"]
    predictions = {"objective": Prediction.from_dict(verification["objective"]["predicted"])}
    for shift, (name, losses) in zip((0.01, -0.012, 0.004, 0.035, -0.003), measured.items()):
        mean = float(np.mean(losses)) + shift
        predictions[name] = Prediction(mean, mean - 0.024, mean + 0.03)
    recipe = Recipe(
        Schedule.constant(recipe_mixture),
        1_200_000,
        corpus,
        objective=OBJECTIVE,
        predictions=predictions,
        reference=corpus.natural,
        difference=Prediction(-0.13, -0.16, -0.10),
        probability_better=0.998,
        shadow_prices=(
            {"limit": "epochs", "domain": "readme", "loss_per_billion_tokens": -41.2, "loss_per_extra_epoch": -0.0066},
        ),
        certificate=Certificate("certified", gap=3.1e-9, solver="newton"),
        near_optimal={d: (max(0.0, w - 0.05), w + 0.06) for d, w in recipe_mixture.to_dict().items()},
        baselines={"uniform": {"weights": {}, "prediction": Prediction(2.71, 2.69, 2.74).to_dict()}},
        law={"name": "M4"},
        law_hash="c0ffee0123456789",
        warnings=("Ranks are not shown to transfer to larger models: all runs have one size.",),
    )
    ledger = Ledger(Store(folder))
    ledger.append("prediction", {"objective": predictions["objective"].to_dict()})
    ledger.append("measurement", {"measured": verification["objective"]["measured"]})
    league = {
        "rows": [
            {"name": "M4", "mae": 0.0082, "spearman": 0.991, "coverage": 0.91, "seconds": 0.04},
            {"name": "LogLinear", "mae": 0.0121, "spearman": 0.982, "coverage": 0.88, "seconds": 0.002},
            {"name": "EffectiveTokens", "mae": 0.0097, "spearman": 0.986, "coverage": 0.93, "seconds": 0.06},
        ]
    }
    return ReportFacts(
        "quickstart",
        corpus,
        observations,
        law,
        league,
        None,
        recipe,
        tuple(ledger),
        verification,
        {"objective": OBJECTIVE, "design": {"seed": 7, "num": 24}},
        {},
        ("mixlaw tokenize quickstart", "mixlaw train quickstart", "mixlaw report quickstart"),
        "",
        installed_versions(),
        "2026-11-20T19:40:00+00:00",
    )


@pytest.fixture(scope="session")
def facts(tmp_path_factory):
    """A finished study in which the recipe wins."""
    return make_facts(tmp_path_factory.mktemp("gain"))


@pytest.fixture(scope="session")
def null_facts(tmp_path_factory):
    """A finished study in which the arms do not differ."""
    return make_facts(tmp_path_factory.mktemp("null"), gain=False)
