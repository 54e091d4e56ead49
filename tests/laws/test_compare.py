"""The league table."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from mixlaw import laws
from mixlaw.errors import ConfigError, FitError, TooFewRunsError
from mixlaw.laws.choose.league import League, LeagueRow, compare, spearman

import truths


def test_the_right_family_wins_and_the_table_can_be_read():
    surface = truths.exponential(k=4, targets=2, seed=0)
    X, Y = surface.sample(30, noise=0.003)
    league = laws.compare(["m3", "m4", laws.LogLinear(), laws.M2], X, Y, refit=True)
    assert league.best.name == "m4" and league.best.law.num_runs_ == 30
    assert [r.name for r in league.rows] == sorted([r.name for r in league.rows], key=lambda n: league[n].mae)
    text = str(league)
    assert "Spearman" in text and "5 folds" in text and all(n in text for n in ("m2", "m3", "m4", "log_linear"))
    assert 0.7 < league["m4"].coverage <= 1.0
    data = league.to_dict()
    assert data["rows"][0]["name"] == "m4" and set(data["rows"][0]["by_target"]) == {"y0", "y1"}
    assert "law" not in data["rows"][0]


def test_same_splits_same_scores():
    X, Y = truths.exponential(k=3, targets=1).sample(16, noise=0.01)
    a = laws.compare({"one": laws.M4(), "two": laws.M4()}, X, Y)
    assert a["one"].mae == a["two"].mae and a.splits == "leave-one-out, the same for every law"
    assert laws.compare(["m4"], X, Y)["m4"].mae == a["one"].mae


def test_held_out_errors_are_those_of_folds_fitted_by_hand():
    X, Y = truths.exponential(k=3, targets=1).sample(10, noise=0.01)
    league = laws.compare([laws.M4(ridge=1e-3)], X, Y)
    errors = []
    for i in range(10):
        rest = np.arange(10) != i
        errors.append(abs(laws.M4(ridge=1e-3).fit(X[rest], Y[rest]).predict(X[[i]])[0, 0] - Y[i, 0]))
    assert league["m4"].mae == pytest.approx(np.mean(errors), rel=1e-6)


def test_a_law_that_cannot_be_fitted_does_not_stop_the_rest():
    X, Y = truths.exponential(k=9, targets=1).sample(9, noise=0.01)
    league = laws.compare({"free": laws.M4(ridge=0.0), "held": laws.M4()}, X, Y)
    assert league.best.name == "held" and "TooFewRunsError" in league["free"].error
    assert "TooFewRunsError" in str(league)
    with pytest.raises(FitError, match="No law"):
        laws.compare([laws.M4(ridge=0.0)], X, Y).best
    with pytest.raises(TooFewRunsError):
        laws.compare(["m4"], X[:2], Y[:2])
    with pytest.raises(ConfigError, match="m4"):
        laws.compare(["m44"], X, Y)
    with pytest.raises(ConfigError, match="cv"):
        laws.compare(["m4"], X, Y, cv=1)


def test_spearman_agrees_with_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 6, 40).astype(float), rng.normal(size=40)
    assert spearman(a, b) == pytest.approx(spearmanr(a, b)[0], abs=1e-12)
    assert np.isnan(spearman(np.ones(4), np.arange(4.0)))


def test_a_league_shows_itself_as_a_table_and_escapes_what_others_wrote():
    league = League(
        [LeagueRow("<b>m4</b>", 0.01, 0.02, 0.9, 0.9, 0.1, 0.5), LeagueRow("x", 1.0, *[float("nan")] * 5, "no <runs>")],
        20, 5, 0.9, "5 folds",
    )  # fmt: skip
    html = league._repr_html_()
    assert "&lt;b&gt;m4&lt;/b&gt;" in html and "no &lt;runs&gt;" in html and "<b>" not in html
    assert html.count("<tr>") == 3 and "in 90%" in html and "0.01" in html


def test_a_row_that_is_not_there_is_told_in_words():
    X = np.random.default_rng(0).dirichlet([1, 1], 12)
    league = compare(["m4", "log_linear"], X, 2 + np.exp(-2 * X[:, 0]), cv=3)
    with pytest.raises(ConfigError, match=r"no row 'm3'.*'m4'"):
        league["m3"]
    with pytest.raises(ConfigError, match="Rows are found by name: m4, log_linear"):
        league[0]
    for text in (str(league), league._repr_html_()):
        assert "in the unit of the losses, s/fit is seconds" in text
