"""Sizing a quickstart, and continuing one: arithmetic only, nothing is trained."""

import pytest

from mixlaw.errors import ConfigError, DataError
from mixlaw.study.quickstart.plan import MIN_TOKENS, plan, run
from mixlaw.study.study import Study


def test_a_plan_spends_the_time_it_has():
    sized = plan(5, tokens_per_second=100_000, seconds=240, workers=2)
    assert sized.enough
    assert 0.9 * 240 <= (sized.runs + 1) * sized.tokens / 100_000 <= 240


def test_too_little_time_is_said():
    assert not plan(5, tokens_per_second=100_000, seconds=10, workers=2).enough
    assert plan(5, tokens_per_second=100_000, seconds=10, workers=2).tokens <= MIN_TOKENS


def test_little_text_makes_short_runs_that_fit_its_epochs():
    sized = plan(3, 1e6, 3600, workers=2, unique_tokens=60_000)
    assert sized.tokens <= 2 * 60_000 and not sized.enough
    with pytest.raises(DataError, match="Give more text"):
        plan(3, 1e6, 3600, workers=2, unique_tokens=100)


def test_a_study_of_other_text_is_not_continued(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "mine" / name).mkdir(parents=True)
    config = {"corpus": {"domains": {"x": "x.txt", "y": "y.txt"}}, "objective": {"x": 1}, "budget": {"tokens": "1M"}}
    Study.create(tmp_path / "s", config)
    with pytest.raises(ConfigError, match="holds a study of other text"):
        run(tmp_path / "s", corpus=tmp_path / "mine")
    with pytest.raises(ConfigError, match="holds a study for the objective"):
        run(tmp_path / "s", objective={"y": 1.0})
