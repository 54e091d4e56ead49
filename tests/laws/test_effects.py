"""Effects of domains: known signs and sizes, false discoveries controlled."""

import json

import numpy as np
import pytest

from mixlaw.data.multiplicity import benjamini_hochberg
from mixlaw.errors import ConfigError
from mixlaw.laws.mixture.gaussian_process import GaussianProcess
from mixlaw.laws.mixture.log_linear import LogLinear
from mixlaw.laws.read.effects import Effects, effects


def simulated(n, seed=0, noise=0.01):
    """web helps itself and code; books and noise sets touch nothing by themselves."""
    rng = np.random.default_rng(seed)
    r = rng.dirichlet(np.ones(4), n)
    y = {"loss_web": 2 + (0.05 + r[:, 0]) ** -0.3, "loss_code": 2 - 0.5 * np.log(0.1 + r[:, 1] + 0.4 * r[:, 0])}
    return dict(zip(["web", "code", "books", "junk"], r.T, strict=True)), {
        k: v + noise * rng.standard_normal(n) for k, v in y.items()
    }


@pytest.fixture(scope="module")
def found():
    return effects(
        GaussianProcess(members=("bc/log",)).fit(*simulated(60)), reference=dict.fromkeys(simulated(1)[0], 0.25)
    )


def test_known_signs_and_sizes(found):
    names = found.domains, found.targets
    assert names == (["web", "code", "books", "junk"], ["loss_web", "loss_code"])
    assert found.verdict[0, 0] == "helps" and found.verdict[1, 1] == "helps"
    assert found.effect[0, 0] == pytest.approx((0.31) ** -0.3 - 0.3**-0.3, rel=0.2)
    assert found.effect[1, 0] > 0  # code takes web's place
    assert (found.low <= found.effect).all() and (found.effect <= found.high).all()
    truth = (0.05 + 0.25 * (1 - 0.01 / 0.75)) ** -0.3 - 0.3**-0.3
    assert found.low[2, 0] <= truth <= found.high[2, 0]


def test_table_and_plain_data(found):
    data = json.loads(json.dumps(found.to_dict()))
    assert data["reference"] == {"web": 0.25, "code": 0.25, "books": 0.25, "junk": 0.25}
    assert np.array(data["significant"]).sum() == found.significant.sum()
    assert "false discoveries <= 5%" in str(found)


def test_the_table_has_units_intervals_and_whole_names_in_100_columns():
    rng = np.random.default_rng(0)
    domains = [f"the_first_of_long_domain_names_{k}_ends_here" for k in range(12)]
    targets = [f"Validation_set_number_{t}" for t in range(22)]
    effect = rng.normal(0, 0.02, (12, 22))
    p = np.full((12, 22), 0.5)
    verdict = np.where(np.abs(effect) < 0.02, "unrelated", np.where(effect < 0, "helps", "hurts"))
    table = Effects(
        domains,
        targets,
        effect,
        effect - 0.004,
        effect + 0.004,
        p,
        verdict,
        {},
        0.01,
        0.9,
        0.05,
        "m",
        False,
        "nats per token",
    )
    lines = str(table).splitlines()
    assert max(map(len, lines)) <= 100
    assert "Change in nats per token" in lines[0]
    assert all(t in lines for t in targets)
    i, t = np.unravel_index(np.argmin(effect), effect.shape)
    e = effect[i, t]
    assert f"  helps  {domains[i]}  {e:+.4f}  [{e - 0.004:+.4f}, {e + 0.004:+.4f}]" in lines
    shown = "\n".join(lines[lines.index(targets[0]) : lines.index(targets[1])])
    assert [shown.count(d) for d in domains] == [1] * 12
    assert shown.index("no effect shown") > shown.rindex("hurts")


def test_pure_noise_is_called_unrelated():
    rng = np.random.default_rng(3)
    X, _ = simulated(40)
    law = LogLinear(ridge=0.01).fit(X, {f"y{t}": 3 + 0.1 * rng.standard_normal(40) for t in range(6)})
    assert effects(law).significant.mean() <= 0.1


def test_scores_turn_the_verdict_around():
    X, y = simulated(40)
    law = LogLinear(ridge=0.001).fit(X, {"accuracy": 5 - y["loss_web"]})
    assert effects(law, higher_is_better=True).verdict[0, 0] == "helps"


def test_benjamini_hochberg_by_hand():
    assert benjamini_hochberg(np.array([0.01, 0.02, 0.03, 0.5])).tolist() == pytest.approx([0.04, 0.04, 0.04, 0.5])


def test_refusals(found):
    law = LogLinear(ridge=0.01).fit(*simulated(20))
    with pytest.raises(ConfigError, match="cannot gain"):
        effects(law, reference={"web": 1.0})
    with pytest.raises(ConfigError, match="wob"):
        effects(law, reference={"wob": 1.0})
