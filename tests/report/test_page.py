import dataclasses
import json
import re
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest

from mixlaw import report
from mixlaw.data.mixture import Mixture, Phase, Schedule
from mixlaw.data.prediction import Prediction
from mixlaw.data.verification import interval_of_mean
from mixlaw.errors import MixlawError
from mixlaw.report.answer import answer, describe_mixture, digits_for, interval_text
from mixlaw.report.facts import ReportFacts
from mixlaw.report.tables import table

VOID = {"meta", "link", "br", "input", "use", "path", "rect"}


class Checker(HTMLParser):
    """Balanced tags, unique ids, no reference that leaves the page."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.words = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if "id" in attrs:
            self.ids.append(attrs["id"])
        self.links += [v for k, v in attrs.items() if k in ("href", "src", "xlink:href", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "script"):
            self.words.append(data)


def check(html):
    checked = Checker(html)
    assert not checked.open
    assert len(set(checked.ids)) == len(checked.ids)
    assert all(link.startswith(("#", "data:")) for link in checked.links), checked.links
    assert "http://" not in html.replace("http://www.w3.org", "") and "https://" not in html
    return " ".join(" ".join(checked.words).split())


@pytest.fixture(scope="module")
def html(facts):
    return report.page(facts)


def test_the_page_is_well_formed_and_self_contained(html):
    check(html)


def test_the_answer_comes_first_with_its_numbers(html, facts):
    text = check(html)
    d = Prediction.from_dict(facts.verification["difference"]["vs natural"])
    assert f"It ends {-d.mean:.4f} [{-d.high:.4f}, {-d.low:.4f}] nats per token below the natural mixture." in text
    assert "Train on 36% docstrings, 25% readme, 19% arithmetic, 17% pydoc and 3% source." in text
    p = facts.recipe.predictions["objective"]
    measured = facts.verification["objective"]["measured"]
    assert f"Predicted loss {p.mean:.3f} [{p.low:.3f}, {p.high:.3f}] nats per token" in text
    assert f"measured {measured:.3f} over 5 seeds, inside the interval for such a mean" in text
    assert text.index("Train on") < text.index("Recommended mixture")


def test_every_part_of_the_study_is_on_the_page(html, facts):
    text = check(html)
    assert facts.ledger_head in text and facts.corpus.hash in text and facts.recipe.law_hash in text
    for entry in facts.entries:
        assert entry.hash[:16] in text
    for domain in facts.corpus.names:
        assert domain in text
    assert "certified optimum (gap 3.1e-09)" in text
    assert "Ranks are not shown to transfer" in text and "1 run diverged" in text
    assert "−41.2" in text and "loss per billion tokens" in text  # shadow prices keep their name
    assert "false discoveries are held at 5%" in text  # the heat map of effects
    assert "mixlaw tokenize quickstart" in text and "numpy" in text
    assert f"{facts.recipe.epochs['readme']:.2f}" in text
    assert html.count('<figure class="chart">') >= 7 and html.count("<svg ") == 2 * html.count('<figure class="chart">')


def test_steps_saved_are_said_both_ways(facts):
    saved = {
        "recipe_reaches_reference_at": {"mean": 0.71, "low": 0.65, "high": 0.78},
        "reference_needs": {"mean": 1.5, "low": 1.3, "high": 1.8},
    }
    said = answer(dataclasses.replace(facts, verification={**facts.verification, "steps_saved": {"natural": saved}}))
    assert (
        "It reaches the loss of the natural mixture in 71% [65%, 78%] of the steps; the natural mixture needs "
        "1.50 [1.30, 1.80] times the steps for this loss." in said.sentences
    )
    assert ("Steps needed", "71%", "to reach natural's loss; 65% to 78%") in said.tiles


def test_a_null_is_a_null(null_facts):
    said = answer(null_facts)
    assert null_facts.verification["verdict"] == "null" and said.verdict == "null"
    assert said.headline == "No difference shown between the proposed mixture and the natural mixture."
    assert any("holds zero, so 5 seeds per arm cannot tell them apart" in s for s in said.sentences)
    text = check(report.page(null_facts))
    assert "no difference shown" in text and "verified gain" not in text


def test_a_loss_says_do_not_switch(facts):
    worse = {
        **facts.verification,
        "verdict": "loss",
        "difference": {"vs natural": Prediction(0.05, 0.03, 0.07).to_dict()},
        "inside_interval": False,
    }
    said = answer(dataclasses.replace(facts, verification=worse))
    assert said.headline == "Stay with the natural mixture: the proposed mixture did worse."
    assert "It ends 0.050 [0.030, 0.070] nats per token above the natural mixture." in said.sentences
    assert any("outside the interval" in s for s in said.sentences)


def test_a_prediction_is_not_sold_as_a_result(facts):
    said = answer(dataclasses.replace(facts, verification=None, next_step="mixlaw verify quickstart"))
    assert said.verdict == "open" and "Not verified yet: nothing was trained on this mixture." in said.sentences
    unsure = dataclasses.replace(facts.recipe, difference=Prediction(-0.01, -0.05, 0.03))
    said = answer(dataclasses.replace(facts, verification=None, recipe=unsure))
    assert any("so no gain is promised" in s for s in said.sentences)


@pytest.mark.parametrize("missing", [("verification",), ("verification", "recipe", "law")])
def test_unfinished_studies_have_a_page_that_says_what_is_missing(facts, missing):
    part = dataclasses.replace(facts, **dict.fromkeys(missing), next_step="mixlaw next quickstart")
    text = check(report.page(part))
    if "recipe" in missing:
        assert "No recommendation yet." in text and "mixlaw next quickstart" in text
    elif "verification" in missing:
        assert "not verified yet" in text
    if "law" in missing:
        assert "No law is fitted yet" in text


def test_a_schedule_is_on_the_page_and_is_the_answer_where_it_is_alone(facts):
    recipe = facts.recipe
    first, second = dict(recipe.mixture.to_dict()), recipe.corpus.natural.to_dict()
    phases = (Phase(0.8, Mixture(first)), Phase(0.2, Mixture(second)))
    constant = {"weights": second, "prediction": Prediction(2.6, 2.5, 2.7).to_dict(), "feasible": False}
    schedule = dataclasses.replace(
        recipe,
        schedule=Schedule(phases),
        objective={"kind": "mean", "weights": recipe.objective},
        baselines={"best constant": constant},
        near_optimal={},
        shadow_prices=(),
        warnings=("of the schedule alone",),
    )
    text = check(report.page(dataclasses.replace(facts, schedule=schedule)))
    for words in ("Recommended schedule", "phase 2 (20%)", "not computed for schedules", "of the schedule alone"):
        assert words in text
    assert "best constant mixture: tokens" in text and "within the budget" in text
    alone = dataclasses.replace(facts, recipe=None, verification=None, schedule=schedule)
    said = answer(alone)
    assert "for 80% of the tokens; then" in said.headline and "below the best constant mixture" in said.sentences[1]
    assert "Recommended schedule" not in check(report.page(facts))


def test_what_was_asked_and_the_unlimited_optimum_are_on_the_page(facts):
    asked = {"kind": "worst", "weights": facts.objective, "robust": "cvar"}
    recipe = dataclasses.replace(facts.recipe, objective=asked, unconstrained=Mixture.uniform(list(facts.corpus.names)))
    text = check(report.page(dataclasses.replace(facts, recipe=recipe, verification=None)))
    assert "the lowest worst case" in text and "the worse half of refitted laws" in text
    assert "without limits" in text and "largest excess over the best reachable, not a loss" in text


def test_an_empty_study_has_a_page():
    text = check(report.page(ReportFacts("empty <study>")))
    assert "empty <study>" in text and "No run is trained yet" in text and "0" * 64 in text


def test_a_study_folder_has_a_report_from_its_first_verb(tmp_path):
    from mixlaw.study.study import Study

    config = {"corpus": {"domains": {"a": ["a.txt"]}}, "objective": {"a": 1.0}, "budget": {"tokens": "1M"}}
    study = Study.create(tmp_path / "mine", config)
    assert study.facts().next_step == "mixlaw tokenize mine"
    text = check(study.report().read_text(encoding="utf-8"))
    assert "mine" in text and "No recommendation yet." in text and "Next: mixlaw tokenize mine" in text
    assert '"tokens": "1M"' in text


def test_names_cannot_break_the_page(facts):
    nasty = "<script>alert(1)</script>"
    corpus = dataclasses.replace(facts.corpus, domains=(dataclasses.replace(facts.corpus.domains[0], source=nasty),))
    html = report.page(ReportFacts(nasty, corpus, commands=(nasty,), config={"a": nasty}))
    assert nasty not in html and check(html).count("<script>alert(1)</script>") >= 4


def test_mixture_in_words():
    assert describe_mixture({"a": 0.62, "b": 0.21, "c": 0.17}) == "62% a, 21% b and 17% c"
    assert describe_mixture({"a": 1.0, "b": 0.0}) == "100% a"
    many = {f"d{j}": 0.1 for j in range(9)} | {"small": 0.005, "big": 0.095}
    words = describe_mixture(many)
    assert words.startswith("10% d0, 10% d1") and words.endswith("from 7 other domains")


def test_decimals_follow_the_interval():
    assert [digits_for(w) for w in (0.5, 0.05, 0.004, 0.0004, 0.00004, 0.0)] == [2, 3, 4, 4, 6, 3]
    assert interval_text(Prediction(-0.05, -0.07, -0.03), sign=True) == "−0.050 [−0.070, −0.030]"


def test_tables_align_numbers_and_escape():
    html = table(["name", "loss", "hash"], [["<a>", "−0.1 ± 0.2", "0123"], ["b", "–", "4567"]], "c")
    assert "&lt;a&gt;" in html and html.count('<td class="num">') == 2 and 'tabindex="0"' in html


def test_the_configuration_is_shown_whole():
    config = {"objective": {"docstrings": 1.0}, "note": "ä < b"}
    html = report.page(ReportFacts("study", config=config))
    shown = re.search(r"<details>.*?<pre>(.*?)</pre>", html, re.S).group(1)
    assert json.loads(shown.replace("&lt;", "<").replace("&quot;", '"')) == config


def test_steering_needs_linear_forms(facts):
    from mixlaw.data.budget import Budget
    from mixlaw.laws.core.base import Law

    class Opaque(Law):
        beside = None

        @property
        def certifiable_(self):
            return self.beside

        def _fit(self, X, Y, sample_weight):
            self.mean_ = Y.mean(0)

        def _predict(self, X):
            return np.tile(self.mean_, (len(X), 1))

    law = Opaque().fit(*facts.observations.table())
    with pytest.raises(MixlawError, match=r"Opaque is not a sum of .* M4"):
        report.steer.page(law, facts.corpus, Budget(tokens=1000))
    law.beside = facts.law
    html = report.steer.page(law, facts.corpus, Budget(tokens=1000))
    assert "M4 (the best parametric member of Opaque)" in check(html)


def test_a_study_writes_its_steering_page(facts, tmp_path):
    from mixlaw.study.study import Study

    config = {
        "corpus": {"domains": {d: ["x.txt"] for d in facts.corpus.names}},
        "objective": facts.objective,
        "budget": {"tokens": "1.2M", "max_epochs": 2},
        "law": {"name": "M4"},
    }
    study = Study.create(tmp_path / "mine", config)
    facts.corpus.save(study.folder / "corpus.json")
    study.store.write_bytes("laws/M4.json", facts.law.to_json().encode())
    html = study.steer().read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="data">(.*?)</script>', html, re.S).group(1))
    assert data["weights"] == pytest.approx([0, 0.5, 0, 0.3, 0.2]) and data["tokens"] == 1_200_000
    assert data["reference"] == pytest.approx(facts.corpus.natural.array()) and data["half"]


def test_every_law_that_is_said_to_be_steerable_is(facts):
    from mixlaw import laws
    from mixlaw.data.budget import Budget
    from mixlaw.report.steer import _STEERABLE

    X, y = facts.observations.table(["docstrings"])
    for name in _STEERABLE.split(", "):
        law = getattr(laws, name)().fit(X, y)
        assert name in check(report.steer.page(law, facts.corpus, Budget(tokens=1000)))


def test_steering_refuses_unknown_names(facts):
    from mixlaw.data.budget import Budget

    budget = Budget(tokens=1000)
    with pytest.raises(MixlawError, match="Did you mean 'docstrings'"):
        report.steer.page(facts.law, facts.corpus, budget, {"docstring": 1.0})
    with pytest.raises(MixlawError, match="Did you mean 'readme'"):
        report.steer.page(facts.law, facts.corpus, budget, None, {"readm": 1.0})
    with pytest.raises(MixlawError, match="positive weight"):
        report.steer.page(facts.law, facts.corpus, budget, {"readme": 0.0})


def first_screen(facts):
    """The band and the caution box, without markup."""
    return re.sub("<[^>]*>", " ", unescape(report.page(facts).partition("<section")[0]))


def test_the_first_screen_names_every_set_that_gets_worse_and_every_missed_interval(facts):
    """A gain of the objective hid a set that became 4.4 nats worse and lay far outside its interval."""
    sets = {arm: dict(v) for arm, v in facts.verification["sets"].items()}
    natural = sets["natural"]
    sets["recipe"]["source"] = [x + 4.4 for x in natural["source"]]
    sets["recipe"]["pydoc"] = [x + 0.07 for x in natural["pydoc"]]
    hidden = dataclasses.replace(facts, verification={**facts.verification, "sets": sets})
    text = first_screen(hidden)
    worse = text.partition("Worse than at the natural mixture (measured, nats per token): ")[2].partition(".  ")[0]
    assert worse.startswith("source by 4.4, pydoc by 0.07")
    assert "Worse than at the natural mixture: source by 4.4 nats, pydoc by 0.07 nats" in " ".join(
        answer(hidden).sentences
    )
    missed = text.partition("Measured outside the predicted interval (nats per token): ")[2]
    of_mean = interval_of_mean(facts.recipe.predictions["source"], sets["recipe"]["source"])
    assert missed.startswith(f"source by {np.mean(sets['recipe']['source']) - of_mean.high:.2g} above")
    assert text.index("Worse than at the natural mixture (measured") < text.index("Ranks are not shown to transfer")


def test_what_is_not_measured_yet_is_named_as_predicted(facts):
    predictions = facts.recipe.predictions
    beside = {t: {"reference": predictions[t].mean - d} for t, d in (("source", 0.3), ("pydoc", 1.2), ("readme", -0.1))}
    recipe = dataclasses.replace(facts.recipe, changes=beside)
    text = first_screen(dataclasses.replace(facts, recipe=recipe, verification=None))
    assert "Worse than at the reference (predicted, nats per token): pydoc by 1.2, source by 0.3." in text


def test_blank_columns_of_the_heat_map_are_named(facts):
    shown = np.ones((5, 5), dtype=bool)
    shown[:, [1, 3]] = False
    names = list(facts.corpus.names)
    effects = {"effect": np.full((5, 5), -0.1), "domains": names, "targets": names, "significant": shown}
    text = first_screen(dataclasses.replace(facts, effects=effects))
    assert f"No domain is shown to help or hurt {names[1]}, {names[3]}: what the mixture does" in text


def test_cautions_that_are_none_are_left_out(facts):
    """Nothing worse, nothing missed, nothing blank; and a rank transfer that is not needed is no warning."""
    sets = {arm: dict(v) for arm, v in facts.verification["sets"].items()}
    sets["natural"] = {t: [x + 0.5 for x in v] for t, v in sets["recipe"].items()}
    predictions = {t: Prediction(np.mean(v), np.mean(v) - 0.1, np.mean(v) + 0.1) for t, v in sets["recipe"].items()}
    predictions["objective"] = facts.recipe.predictions["objective"]
    old = ("Rank transfer: not needed, the target run is as long as the swarm's runs and of their model.",)
    recipe = dataclasses.replace(facts.recipe, warnings=old, predictions=predictions)
    names = list(facts.corpus.names)
    effects = {
        "effect": np.full((5, 5), -0.1),
        "domains": names,
        "targets": names,
        "significant": np.ones((5, 5), bool),
    }
    verification = {**facts.verification, "sets": sets}
    text = first_screen(dataclasses.replace(facts, recipe=recipe, verification=verification, effects=effects))
    for words in ("Worse than", "outside the predicted", "No domain is shown", "Rank transfer"):
        assert words not in text
