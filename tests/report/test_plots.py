import io
import re
import subprocess
import sys

import matplotlib
import numpy as np
import pytest

from mixlaw import laws
from mixlaw.data.mixture import Mixture
from mixlaw.data.observations import Observations
from mixlaw.data.prediction import Prediction
from mixlaw.errors import ConfigError, DataError
from mixlaw.report import plots
from mixlaw.report.plots.effects import along
from mixlaw.report.style import Chart, grid_shape, styled

import truths


@pytest.fixture(scope="module")
def law_of_three():
    from mixlaw.laws.mixture.m4 import M4

    surface = truths.exponential(3, 2)
    X, Y = surface.sample(30, noise=0.003)
    return M4(seed=0).fit(dict(zip("abc", X.T)), dict(zip(["s", "t"], Y.T))), X, Y


SCORES = Observations.from_records(
    [{"run": "a"}, {"run": "b"}],
    [
        {"run": run, "step": step, "target": target, "metric": "accuracy", "value": value, "std": 0.02, "num_items": 9}
        for run, start in (("a", 0.5), ("b", 0.6))
        for step, value in ((10, start), (20, start + 0.1))
        for target in ("pairs", "pairs/islands", "sums")
    ]
    + [{"run": "a", "step": 20, "target": "web", "value": 3.0}],
)


WEIGHTS = Observations.from_records(
    [
        {
            "run": "a",
            "tokens": 2000.0,
            "realised": {"web": 0.5, "code": 0.5},
            "settings": {"strategy": "odm", "probe_tokens": 0.0},
        }
    ],
    [
        {"run": "a", "step": k, "tokens": 1000.0 * k, "target": d, "metric": "mixture_weight", "value": w}
        for k in (1, 2)
        for d, w in (("web", 0.4 + 0.1 * k), ("code", 0.6 - 0.1 * k))
    ],
)


@pytest.fixture(scope="module")
def charts(facts, law_of_three):
    """One chart of every registered plot."""
    X, y = facts.observations.table()
    triangle = law_of_three[0]
    scale = truths.chinchilla()
    N, D = np.repeat([1e7, 1e8, 1e9], 4), np.tile([2e8, 2e9, 2e10, 2e11], 3)
    from mixlaw.laws.scale.chinchilla import Chinchilla

    loss = scale.loss(N, D) if callable(getattr(scale, "loss", None)) else 1.69 + 406 / N**0.34 + 410 / D**0.28
    chinchilla = Chinchilla(seed=0).fit(np.c_[N, D], loss)
    effects = np.array([[0.1, -0.2], [0.01, 0.3]])
    curves = {n: a["curves"] for n, a in facts.verification["arms"].items()}
    return {
        "fit_vs_observed": plots.fit_vs_observed(facts.law, X, y),
        "residuals": plots.residuals(facts.law, X, y, folds=3),
        "predicted_vs_measured": plots.predicted_vs_measured(
            facts.recipe.predictions, facts.verification["sets"]["recipe"]
        ),
        "parameter_intervals": plots.parameter_intervals(facts.law),
        "profile": plots.profile(chinchilla.profile("alpha")),
        "league_table": plots.league_table(facts.league),
        "effect_curves": plots.effect_curves(facts.law, X=X, objective=facts.objective),
        "effects_heatmap": plots.effects_heatmap(
            {"effect": effects, "low": effects - 0.05, "high": effects + 0.05, "domains": "ab", "targets": "st"}
        ),
        "ternary": plots.ternary(triangle, objective={"s": 1.0}),
        "extrapolation_fan": plots.extrapolation_fan(chinchilla, {"params": 1e8}, X=np.c_[N, D], y=loss),
        "rank_transfer": plots.rank_transfer({"70M": [1.0, 2.0, 3.0], "410M": [1.5, 1.2, 3.0]}),
        "learning_curves": plots.learning_curves(curves),
        "skills": plots.skills(SCORES),
        "weights_along_training": plots.weights_along_training(WEIGHTS),
        "mixture_bars": plots.mixture_bars({"recipe": facts.recipe.mixture, "natural": facts.corpus.natural}),
        "swarm": plots.swarm(X),
        "pareto": plots.pareto([[1.0, 2.0], [1.5, 1.5]], ["a", "b"]),
    }


def test_every_registered_plot_is_a_figure_that_saves_as_png(charts):
    assert sorted(charts) == plots.PLOTS.names()
    for chart in charts.values():
        assert isinstance(chart, Chart) and isinstance(chart, matplotlib.figure.Figure)
    buffer = io.BytesIO()
    charts["mixture_bars"].savefig(buffer, format="png", dpi=60)
    assert buffer.getvalue().startswith(b"\x89PNG")


def test_every_plot_embeds_as_svg_with_words_and_text_that_stays_text(charts):
    for name, chart in charts.items():
        svg = chart.to_svg(name)
        assert svg.startswith('<svg role="img" aria-label="') and svg.endswith("</svg>")
        assert chart.alt and "<text" in svg and "<metadata>" not in svg
        assert "DejaVu" not in svg  # the page's own font
        ids = re.findall(r'\bid="([^"]+)"', svg)
        assert ids and all(i.startswith(f"{name}-") for i in ids)
        used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', svg))
        assert used <= set(ids)


def test_the_same_plot_is_the_same_bytes(facts):
    bars = [plots.mixture_bars({"recipe": facts.recipe.mixture}).to_svg("x") for _ in range(2)]
    assert bars[0] == bars[1]


def test_the_callers_matplotlib_settings_survive(facts):
    before = dict(matplotlib.rcParams)
    plots.mixture_bars({"recipe": facts.recipe.mixture}).to_svg()
    assert dict(matplotlib.rcParams) == before


def test_names_under_the_pointer_belong_to_their_points():
    with styled():
        chart = Chart(3, 3)
        axis = chart.subplots()
        chart.tip(axis.scatter([1, 2, 3], [1, 2, 3]), ["one", "two", "<three>"])
        chart.tip(axis.plot([1, 3], [3, 1])[0], "a line")
    svg = chart.to_svg()
    assert re.findall(r'<use data-tip="([^"]*)"', svg) == ["one", "two", "&lt;three&gt;"]
    assert 'data-tip="a line"' in svg


def test_points_that_are_not_drawn_take_all_names_with_them():
    with styled():
        chart = Chart(3, 3)
        chart.tip(chart.subplots().scatter([1, 2, np.nan], [1, 2, 3]), ["one", "two", "three"])
    assert "data-tip" not in chart.to_svg()  # two points for three names: no name rather than a wrong one


def test_mixture_bars_write_weights_and_epochs():
    chart = plots.mixture_bars(
        {"recipe": {"web": 0.4, "code": 0.6}, "natural": Mixture({"web": 0.9, "code": 0.1})},
        tokens=1000,
        unique_tokens={"web": 900, "code": 100},
    )
    svg = chart.to_svg()
    assert "60.0% · 6.00 epochs" in svg and "40.0% · 0.44 epochs" in svg
    assert "natural: web 90.0%, 900 tokens, 1.00 epochs" in svg


def test_along_keeps_the_other_domains_in_proportion():
    base = np.array([0.2, 0.6, 0.2])
    mixtures = along(base, 0, [0.0, 0.2, 0.6, 1.0])
    assert np.allclose(mixtures.sum(1), 1) and np.allclose(mixtures[1], base)
    assert np.allclose(mixtures[:3, 1] / mixtures[:3, 2], 3) and np.allclose(mixtures[3], [1, 0, 0])
    assert np.allclose(along(np.array([1.0, 0.0, 0.0]), 0, [0.5]), [[0.5, 0.25, 0.25]])


def test_effect_curves_are_the_laws_predictions(law_of_three):
    law = law_of_three[0]
    base = np.array([0.5, 0.3, 0.2])
    chart = plots.effect_curves(law, dict(zip("abc", base)), objective={"s": 0.5, "t": 0.5})
    axis = chart.axes[1]  # domain b
    assert axis.get_title(loc="left") == "b"
    lines = [line for line in axis.get_lines() if len(line.get_xdata()) == 101]
    expected = law.predict(along(base, 1, np.linspace(0, 1, 101))) - law.predict(base[None])
    assert np.allclose(lines[0].get_ydata(), expected[:, 0])
    assert any(np.allclose(line.get_ydata(), expected.mean(1)) for line in lines)


def test_effect_curves_are_dashed_where_nothing_was_observed(law_of_three):
    law = law_of_three[0]
    X = np.array([[0.5, 0.3, 0.2], [0.2, 0.6, 0.2], [0.4, 0.4, 0.2]])
    axis = plots.effect_curves(law, X=dict(zip("abc", X.T))).axes[1]
    solid, left, right = (line.get_ydata() for line in axis.get_lines()[1:4])
    shares = np.linspace(0, 1, 101)
    assert shares[np.isfinite(solid)][[0, -1]] == pytest.approx([0.29, 0.61])
    assert shares[np.isfinite(left)][[0, -1]] == pytest.approx([0, 0.29])
    assert shares[np.isfinite(right)][[0, -1]] == pytest.approx([0.61, 1])


def test_fit_vs_observed_shows_the_worst_target_first_and_held_out_predictions(law_of_three):
    law, X, Y = law_of_three
    worse = Y.copy()
    worse[:, 1] += np.random.default_rng(0).normal(0, 0.2, len(Y))
    chart = plots.fit_vs_observed(law, X, worse)
    assert [a.get_title(loc="left") for a in chart.axes[:2]] == ["t", "s"]
    shown = chart.axes[1].collections[0].get_offsets().data
    assert np.allclose(shown, np.c_[law.predict(X)[:, 0], Y[:, 0]])
    own = plots.fit_vs_observed(law, X, Y, folds="own", targets=["s"]).axes[0].collections[0].get_offsets().data
    assert np.allclose(own, np.c_[law.heldout_[:, 0], Y[:, 0]]) and not np.allclose(own, shown)
    with pytest.raises(DataError, match="holds no held-out predictions of 29 runs"):
        plots.fit_vs_observed(law, X[1:], Y[1:], folds="own")
    held_out = plots.fit_vs_observed(law, X, Y, folds=5, targets=["s"])
    points = held_out.axes[0].collections[0].get_offsets().data
    assert not np.allclose(points[:, 0], law.predict(X)[:, 0]) and np.abs(points[:, 0] - Y[:, 0]).mean() < 0.05


def test_predicted_vs_measured_marks_what_fell_outside():
    predictions = {
        "a": Prediction(2.0, 1.9, 2.1),
        "b": Prediction(3.0, 2.9, 3.1),
        "never measured": Prediction(1, 1, 1),
    }
    chart = plots.predicted_vs_measured(predictions, {"a": [2.0, 2.1], "b": 3.5})
    words = [t.get_text() for t in chart.legends[0].get_texts()]
    assert "measured, inside" in words and "measured, outside" in words
    assert [t.get_text() for t in chart.axes[0].get_yticklabels()] == ["a", "b"]
    with pytest.raises(DataError, match="Nothing was both"):
        plots.predicted_vs_measured(predictions, {"c": 1.0})


def test_learning_curves_show_the_paired_difference():
    curves = {
        "recipe": {"1": [[1, 3.0], [2, 2.0], [3, 1.5]], "2": [[1, 3.2], [2, 2.2], [3, 1.7]]},
        "natural": {"1": [[1, 3.5], [2, 2.6], [3, 2.0]], "2": [[1, 3.6], [2, 2.8], [3, 2.4]]},
    }
    chart = plots.learning_curves(curves)
    difference = chart.axes[1].get_lines()[1]
    assert np.allclose(difference.get_ydata(), [np.mean([-0.5, -0.4]), -0.6, np.mean([-0.5, -0.7])])
    with pytest.raises(DataError, match="two points"):
        plots.learning_curves({"recipe": {"1": [[1, 3.0]]}})


def test_learning_curves_of_observations_follow_the_objective(facts):
    chart = plots.learning_curves(facts.observations, target=facts.objective)
    assert len(chart.axes) == 1
    X, y = facts.observations.table(list(facts.objective))
    expected = sum(w * y.column(t).to_numpy() for t, w in facts.objective.items())
    ends = sorted(line.get_ydata()[-1] for line in chart.axes[0].get_lines())
    assert np.allclose(ends, np.sort(expected)) and X.num_rows == len(ends)


def test_skills_show_the_mean_over_runs_and_not_losses():
    chart = plots.skills(SCORES)
    assert chart.alt == "Scores along training: pairs accuracy, sums accuracy."
    assert "mean of 2 runs: 0.6500 ± 0.0400 at step 20" in chart.to_svg()
    assert "pairs/islands accuracy" in plots.skills(SCORES, tasks=["pairs/islands"]).alt
    with pytest.raises(DataError, match=r"No score of a task 'pear'.*Did you mean 'pairs'"):
        plots.skills(SCORES, tasks=["pear"])
    with pytest.raises(DataError, match="No task was scored"):
        plots.skills(Observations.from_records([{"run": "a"}], []))


def test_rank_transfer_says_where_the_best_small_mixture_ends():
    chart = plots.rank_transfer({"70M": [1.0, 2.0, 3.0, 4.0], "410M": [3.0, 1.0, 2.0, 4.0]})
    words = [t.get_text() for t in chart.legends[0].get_texts()]
    assert words == ["best at 70M: rank 3 at 410M", "best at 410M: rank 2 at 70M"]
    with pytest.raises(DataError, match="same mixtures"):
        plots.rank_transfer({"70M": [1.0, 2.0], "410M": [1.0]})


def test_frontiers_and_rank_transfers_of_other_rooms_are_drawn_as_they_come(facts):
    from mixlaw import laws
    from mixlaw.optimize.around.pareto import Frontier

    frontier = Frontier(
        ("docs", "code"),
        ("web", "git"),
        np.array([[0.8, 0.2], [0.3, 0.7]]),
        np.array([[2.0, 3.0], [2.4, 2.5]]),
        np.array([[1.0, 0.0], [0.0, 1.0]]),
        np.zeros(2),
    )
    svg = plots.pareto(frontier).to_svg()
    assert "docs 2.0000, code 3.0000 (web 80%, git 20%)" in svg
    rng = np.random.default_rng(0)
    mixtures = np.tile(rng.dirichlet(np.ones(3), 6), (2, 1))
    params = np.repeat([7e7, 4.1e8], 6)
    X = {**dict(zip("abc", mixtures.T)), "params": params, "tokens": 1e9 + 0 * params}
    loss = mixtures[:, 0] + 0.1 * (params < 1e8) + rng.normal(0, 0.01, 12)
    chart = plots.rank_transfer(laws.rank_transfer(X, loss))
    assert [t.get_text() for t in chart.axes[0].get_xticklabels()] == ["70M", "410M"]


def test_ternary_finds_the_lowest_mixture(law_of_three):
    law = law_of_three[0]
    chart = plots.ternary(law, objective={"s": 0.5, "t": 0.5})
    x, y = next(c for c in chart.axes[0].collections if c.get_label() == "lowest").get_offsets().data[0]
    r = np.array([0.0, 0.0, y / (np.sqrt(3) / 2)])
    r[1] = x - 0.5 * r[2]
    r[0] = 1 - r[1] - r[2]
    grid = np.random.default_rng(0).dirichlet(np.ones(3), 4000)
    assert law.predict(r[None]).mean() <= law.predict(grid).mean(1).min() + 1e-3
    with pytest.raises(DataError, match="three of the law's domains"):
        plots.ternary(law, ["a", "b"], objective={"s": 1.0})


def test_extrapolation_fan_wants_every_other_column_and_marks_what_was_not_observed(charts):
    texts = [t.get_text() for t in charts["extrapolation_fan"].axes[0].texts]
    assert texts == ["extrapolated →"]
    from mixlaw.laws.scale.chinchilla import Chinchilla

    N, D = np.repeat([1e7, 1e8, 1e9], 4), np.tile([2e8, 2e9, 2e10, 2e11], 3)
    law = Chinchilla(seed=0).fit(np.c_[N, D], 1.69 + 406 / N**0.34 + 410 / D**0.28)
    with pytest.raises(ConfigError, match="lacks \\['params'\\]"):
        plots.extrapolation_fan(law, {})
    with pytest.raises(ConfigError, match="Did you mean 'tokens'"):
        plots.extrapolation_fan(law, {"params": 1e8}, vary="token")


def test_heatmap_shows_what_the_law_found(law_of_three):
    from mixlaw.laws import effects

    found = effects(law_of_three[0])
    for given in (found, found.to_dict()):
        chart = plots.effects_heatmap(given)
        image = np.ma.masked_invalid(chart.axes[0].get_images()[0].get_array()).filled(np.nan)
        assert np.allclose(image, np.where(found.significant, found.effect, np.nan), equal_nan=True)
        assert found.significant.any() and "by 1.0% of all tokens" in chart.axes[1].get_xlabel()


def test_heatmap_leaves_blank_what_is_not_shown():
    effects = {"effect": [[-0.2, 0.1]], "low": [[-0.3, -0.1]], "high": [[-0.1, 0.3]], "domains": "a", "targets": "st"}
    image = plots.effects_heatmap(effects).axes[0].get_images()[0].get_array()
    assert np.ma.getmaskarray(np.ma.masked_invalid(image)).tolist() == [[False, True]]
    with pytest.raises(DataError, match="1 domains x 2 targets"):
        plots.effects_heatmap({**effects, "effect": [[1.0], [2.0]]})


def test_league_table_puts_the_best_first_and_reads_what_studies_store(facts):
    chart = plots.league_table({"rows": facts.league, "runs": 24})  # studies nest the league's own plain data
    assert [t.get_text() for t in chart.axes[0].get_yticklabels()] == ["M4", "EffectiveTokens", "LogLinear"]
    with pytest.raises(DataError, match="no rows"):
        plots.league_table({"rows": []})


def test_all_plots_of_a_law_are_written_as_files(law_of_three, tmp_path):
    law, X, Y = law_of_three
    written = plots.save_all(law, dict(zip("abc", X.T)), Y, tmp_path / "plots", dpi=40)
    names = [
        "fit_vs_observed",
        "residuals",
        "effect_curves",
        "effects_heatmap",
        "swarm",
        "ternary",
        "parameter_intervals",
    ]
    assert [p.stem for p in written] == names
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in written)
    N, D = np.repeat([1e7, 1e8, 1e9], 4), np.tile([2e8, 2e9, 2e10, 2e11], 3)
    from mixlaw.laws.scale.chinchilla import Chinchilla

    loss = 1.69 + 406 / N**0.34 + 410 / D**0.28
    scale = Chinchilla(seed=0).fit(np.c_[N, D], loss)
    written = plots.save_all(scale, np.c_[N, D], loss, tmp_path / "scale", dpi=40)
    assert {"extrapolation_params", "extrapolation_tokens"} <= {p.stem for p in written}


def test_many_domains_fit(law_of_three):
    names = [f"domain-{j:02d}" for j in range(19)]
    X = np.random.default_rng(0).dirichlet(np.ones(19), 64)
    assert len(plots.swarm(dict(zip(names, X.T)), X[:, 0]).axes[0].get_yticks()) == 19
    assert grid_shape(19, 10.4, 2.3) == (5, 4) and grid_shape(5, 10.4, 2.3) == (2, 3) and grid_shape(1, 3, 4) == (1, 1)


def test_nothing_heavy_is_imported_before_it_is_used():
    code = (
        "import sys, mixlaw.report as r, mixlaw.report.plots; r.__all__;"
        "print([m for m in ('matplotlib', 'plotly', 'scipy', 'sklearn', 'torch', 'pyarrow') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_the_heat_map_names_its_unit_and_says_where_colours_end():
    effect = np.full((3, 20), 0.001)
    effect[0, 0] = -0.5
    chart = plots.effects_heatmap(
        {"effect": effect, "domains": list("abc"), "targets": [f"t{i}" for i in range(20)], "unit": "nats per token"}
    )
    bar = chart.axes[1]
    assert bar.get_xlabel().startswith("change in nats per token as the domain grows")
    assert len([p for p in bar.patches if p.get_visible()]) == 2  # the arrows at both ends


def test_held_out_predictions_have_not_seen_replicates():
    """Every mixture was run twice: a fold with one of the two runs would look better than the law is."""
    rng = np.random.default_rng(0)
    X = np.repeat(rng.dirichlet(np.ones(3), 26), 2, axis=0)
    y = 2 + np.repeat(rng.normal(size=26), 2) + 0.05 * rng.normal(size=52)  # a run is told by its replicate alone
    chart = plots.fit_vs_observed(laws.GaussianProcess().fit(X, y), X, y, folds=5)
    points = chart.axes[0].collections[0].get_offsets().data
    assert np.abs(points[:, 0] - points[:, 1]).mean() > 0.5
