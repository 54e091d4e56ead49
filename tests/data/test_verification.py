import json
from pathlib import Path

import pytest

from mixlaw import Mixture, Prediction, Verification
from mixlaw.data.verification import Arm
from mixlaw.errors import DataError
from mixlaw.verify.paired import verification_text

EARLIER = json.loads((Path(__file__).parents[1] / "fixtures" / "v0_1_0" / "study" / "verification.json").read_text())
ARM = Arm(Mixture({"web": 1.0}), (2.5, 2.6), {"0": ((1.0, 2.5),), "1": ((1.0, 2.6),)})
PREDICTED = Prediction(2.5, 2.4, 2.6)


def test_what_the_first_version_wrote_comes_back_whole():
    check = Verification.from_dict(EARLIER)
    now = check.to_dict()
    assert {key: value for key, value in now.items() if key in EARLIER and key != "objective"} == {
        key: value for key, value in EARLIER.items() if key != "objective"
    }
    assert {key: now["objective"][key] for key in EARLIER["objective"]} == EARLIER["objective"]
    assert set(now) - set(EARLIER) == {"look", "false_gains"} and now["false_gains"] is None  # it did not adjust
    assert Verification.from_dict(now) == check
    assert check.verdict == "gain" and check.num_seeds == 3 and check.inside_interval
    assert check.arms["recipe"].sets["sums"][0] == EARLIER["sets"]["recipe"]["sums"][0]
    assert "a gain" in verification_text(check)


def test_the_ledger_gets_all_but_curves_and_weights():
    body = Verification.from_dict(EARLIER).measurement()
    assert "arms" not in body and body["finals"]["natural"] == EARLIER["arms"]["natural"]["losses"]


@pytest.mark.parametrize(
    "parts",
    [
        {"arms": {"natural": ARM}},
        {"arms": {"recipe": ARM, "natural": Arm(ARM.mixture, (2.5,), {})}},
        {"arms": {"recipe": ARM}, "differences": {"natural": PREDICTED}},
    ],
)
def test_arms_that_cannot_be_compared(parts):
    with pytest.raises(DataError):
        Verification(predicted=PREDICTED, measured=2.5, standard_error=0.01, **parts)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"arms": None}, "arms of a verification must be a mapping, got None"),
        ({"arms": {"recipe": 3}}, "Each arm of a verification must be of type Arm, got {'recipe': 3}"),
        ({"differences": {"recipe": 3}}, "Each difference of a verification must be of type Prediction"),
        ({"steps_saved": 3}, "steps_saved of a verification must be a mapping, got 3"),
        ({"predicted": None}, "compared with a Prediction of its objective, got None"),
        ({"measured": "2.5"}, "got measured='2.5', standard_error=0.01"),
        ({"measured": float("nan")}, "got measured=nan"),
        ({"standard_error": -0.1}, "standard_error=-0.1"),
        ({"look": 0}, "look of a verification cannot be 0"),
        ({"false_gains": "1,000"}, "false_gains of a verification cannot be '1,000'"),
        ({"prediction_entry": []}, "prediction_entry of a verification cannot be"),
        ({"predicted_first": None}, "predicted_first of a verification cannot be None"),
    ],
)
def test_parts_of_another_type_are_refused_in_words(parts, message):
    right = {"arms": {"recipe": ARM}, "predicted": PREDICTED, "measured": 2.5, "standard_error": 0.01}
    assert Verification(**right).num_seeds == 2
    with pytest.raises(DataError, match=message):
        Verification(**{**right, **parts})


@pytest.mark.parametrize("losses", [(), 2.5, ("2.5",), (float("nan"),)])
def test_an_arm_needs_measured_losses(losses):
    with pytest.raises(DataError, match="a tuple of finite numbers; got"):
        Arm(ARM.mixture, losses, {})
    with pytest.raises(DataError, match="is one Mixture that was trained, got 'web'"):
        Arm("web", (2.5,), {})


@pytest.mark.parametrize(
    "data", [{}, {"arms": []}, {**EARLIER, "arms": {"recipe": {}}}, {**EARLIER, "objective": None}]
)
def test_other_data_is_refused_in_words(data):
    with pytest.raises(DataError, match="not a verification written by mixlaw"):
        Verification.from_dict(data)


@pytest.mark.parametrize("value", [None, 1, ["a"], {"recipe": None}, {"recipe": "a"}])
@pytest.mark.parametrize("part", ["left_out", "steps_saved"])
def test_parts_of_a_file_that_are_none_are_refused(part, value):
    with pytest.raises(DataError, match="not a verification written by mixlaw"):
        Verification.from_dict({**EARLIER, part: value})
