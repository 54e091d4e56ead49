"""Hiding a part of what was measured."""

import numpy as np
import pytest

from mixlaw.data.backtest import Corpora, Mixtures, Sizes, Steps, hide
from mixlaw.data.observations import Observations
from mixlaw.errors import ConfigError, DataError
from mixlaw.laws import Chinchilla

SIZES = (1e6, 1e7, 1e8, 1e9)
STEPS = (100, 200, 400)
SHARES = (0.1, 0.3, 0.5, 0.7)


def study(**changes):
    """Four mixtures at four sizes, two seeds each, on two corpora, with a curve each and derived values."""
    runs, values, items = [], [], []
    for n in SIZES:
        for share in SHARES:
            for seed in (0, 1):
                run = f"{n:g}-{share}-{seed}"
                web = {"web": share, "code": 1 - share}
                weights = web if seed else dict(reversed(web.items()))  # the order of domains is nothing
                schedule = {"phases": [{"fraction": 1.0, "weights": weights}]}
                corpus = "first" if share < 0.4 else "second"
                runs.append(
                    {"run": run, "schedule": schedule, "params": n, "tokens": 4e8, "corpus_hash": corpus, **changes}
                )
                for step in STEPS:
                    loss = 1.5 + 400 * n**-0.3 + 300 * (step * 1e6) ** -0.3 + 0.1 * share
                    there = {"run": run, "step": step, "target": "web"}
                    values.append({**there, "tokens": step * 1e6, "metric": "loss", "value": loss})
                    items.append({**there, "item": "a", "metric": "loss", "value": loss + 0.1})
                derived = [{"run": run, "step": s, "target": "web", "metric": "loss"} for s in STEPS]
                values.append(
                    {
                        "run": run,
                        "step": 0,
                        "target": "web",
                        "metric": "area",
                        "value": 1.0,
                        "source": "derived:area",
                        "derived_from": derived,
                    }
                )
    return Observations.from_records(runs, values, items=items)


def keys(observations):
    names = ("run", "step", "target", "metric")
    return {tuple(row[n] for n in names) for row in observations.values.select(names).to_pylist()}


@pytest.mark.parametrize("rule", [Sizes(2), Steps(0.5), Mixtures(3), Mixtures(50), Corpora()])
def test_nothing_hidden_is_shown(rule):
    observations = study()
    folds = hide(observations, rule)
    assert folds
    for fold in folds:
        shown, hidden = keys(fold.shown), keys(fold.hidden)
        assert shown and hidden
        assert not shown & hidden
        assert shown | hidden <= keys(observations)
        for part in (fold.shown, fold.hidden):  # no run without values, no value or item without its run
            assert set(part.runs["run"].to_pylist()) == {run for run, *_ in keys(part)}
            assert part.items.num_rows == len([k for k in keys(part) if k[3] == "loss"])
        for row in fold.shown.values.to_pylist():
            for origin in row["derived_from"] or ():
                assert (origin["run"], origin["step"], origin["target"], origin["metric"]) not in hidden


def test_sizes_show_only_smaller_ones():
    folds = hide(study(), Sizes(2))
    assert [f.name for f in folds] == ["params 1e+09", "params 1e+08"]
    assert set(folds[0].hidden.runs["params"].to_pylist()) == {1e9}
    assert set(folds[0].shown.runs["params"].to_pylist()) == {1e6, 1e7, 1e8}
    assert set(folds[1].shown.runs["params"].to_pylist()) == {1e6, 1e7}


def test_steps_hide_the_end_of_every_run():
    (fold,) = hide(study(), Steps(0.5))
    assert {s for _, s, _, m in keys(fold.shown) if m == "loss"} == {100, 200}
    assert {s for _, s, _, m in keys(fold.hidden) if m == "loss"} == {400}
    assert "area" not in {m for *_, m in keys(fold.shown)}  # computed from the end too


def test_each_mixture_is_hidden_once_with_its_replicates_and_sizes():
    folds = hide(study(), Mixtures(3))
    assert len(folds) == 3
    hidden = [{run.split("-")[1] for run, *_ in keys(f.hidden)} for f in folds]
    assert sorted(share for shares in hidden for share in shares) == [str(s) for s in SHARES]
    for fold, shares in zip(folds, hidden):
        assert len(fold.hidden) == len(shares) * len(SIZES) * 2
    assert len(hide(study(), Mixtures(50))) == len(SHARES)
    others = [{run.split("-")[1] for run, *_ in keys(f.hidden)} for f in hide(study(), Mixtures(2, seed=1))]
    assert any(
        others != [{run.split("-")[1] for run, *_ in keys(f.hidden)} for f in hide(study(), Mixtures(2, seed=s))]
        for s in range(2, 8)
    )


def test_folds_do_not_depend_on_the_order_of_runs():
    observations = study()
    order = np.random.default_rng(0).permutation(len(observations))
    shuffled = Observations(observations.runs.take(order), observations.values, observations.items)
    for one, two in zip(hide(observations, Mixtures(3)), hide(shuffled, Mixtures(3))):
        assert keys(one.hidden) == keys(two.hidden)


def test_corpora():
    folds = hide(study(), Corpora())
    assert [f.name for f in folds] == ["corpus first", "corpus second"]
    assert set(folds[0].hidden.runs["corpus_hash"].to_pylist()) == {"first"}
    assert set(folds[0].shown.runs["corpus_hash"].to_pylist()) == {"second"}


def test_a_law_fitted_to_what_is_shown_predicts_what_is_hidden():
    """The way through: hide the largest size, fit the smaller ones' curves, compare."""
    (fold,) = hide(study(), Sizes(1))

    def points(part):
        rows = [r for r in part.values.to_pylist() if r["metric"] == "loss" and "-0.3-" in r["run"]]
        params = dict(zip(part.runs["run"].to_pylist(), part.runs["params"].to_pylist()))
        X = {"params": [params[r["run"]] for r in rows], "tokens": [r["tokens"] for r in rows]}
        return {k: np.array(v) for k, v in X.items()}, np.array([r["value"] for r in rows])

    X, y = points(fold.shown)
    law = Chinchilla().fit(X, y)
    X, y = points(fold.hidden)
    assert np.abs(law.predict(X).ravel() - y).max() < 0.02


def test_what_cannot_be_hidden_is_explained():
    with pytest.raises(DataError, match=r"Sizes\(num=4\) needs runs of at least 5 sizes"):
        hide(study(), Sizes(4))
    with pytest.raises(DataError, match="at least two corpora"):
        hide(study(corpus_hash="one"), Corpora())
    with pytest.raises(DataError, match="needs params of every run; 32 have none"):
        hide(study(params=None), Sizes(1))
    with pytest.raises(DataError, match="at least two mixtures"):
        hide(study(schedule={"phases": [{"fraction": 1.0, "weights": {"web": 1.0}}]}), Mixtures())
    with pytest.raises(DataError, match="to show"):
        hide(study(), Steps(0.1))
    for rule, value in [(Sizes, 0), (Sizes, "1"), (Mixtures, 1), (Mixtures, "5"), (Steps, 1.0), (Steps, "half")]:
        with pytest.raises(ConfigError, match=repr(value)):
            rule(value)
    with pytest.raises(ConfigError, match="seed='x' must be a whole number of at least 0"):
        Mixtures(seed="x")
    with pytest.raises(ConfigError, match=r"takes a rule such as Sizes\(\) or Mixtures\(\), got None"):
        hide(study(), None)
    with pytest.raises(DataError, match="takes Observations, got NoneType"):
        hide(None, Sizes())
