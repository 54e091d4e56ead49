"""The whole arrow at tiny size, with the real trainer, executor, laws and optimiser."""

import json
import random

import pytest

from mixlaw.data import formats
from mixlaw.data.mixture import Mixture
from mixlaw.errors import ConfigError, DataError, MixlawWarning
from mixlaw.study.steps.optimize import prediction_entry
from mixlaw.study.study import Study
from mixlaw.verify.paired import verification_text

pytest.importorskip("torch")

WORDS = {
    "digits": ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"],
    "colours": ["red", "green", "blue", "yellow", "black", "white", "orange", "violet", "brown", "grey"],
    "beasts": ["ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay"],
}


def write_corpus(folder):
    """Three tiny languages: in each, a word is mostly followed by the next of its list."""
    rng = random.Random(0)
    paths = {}
    for name, words in WORDS.items():
        path = folder / f"{name}.jsonl"
        with path.open("w") as handle:
            for _ in range(300):
                place, text = 0, []
                for _ in range(40):
                    place = place + 1 if rng.random() < 0.6 else rng.randrange(len(words))
                    text.append(words[place % len(words)])
                handle.write(json.dumps({"text": " ".join(text)}) + "\n")
        paths[name] = str(path)
    return paths


def config(folder, **changes):
    base = {
        "corpus": {"domains": write_corpus(folder), "vocab_size": 300, "validation_tokens": 512},
        "objective": {"digits": 0.8, "colours": 0.2},
        "budget": {"tokens": 8192, "max_epochs": 50},
        "training": {
            "model": {"layers": 1, "width": 16, "heads": 2},
            "tokens": 8192,
            "batch": 4,
            "context": 32,
            "learning_rate": {"name": "wsd", "peak": 1e-2, "warmup": 0.1, "decay": 0.2},
            "evaluations": 5,
        },
        "design": {"sampler": "dirichlet", "num": 10, "replicates": 2},
        "law": {"name": "loglinear"},
        "verify": {"seeds": 2, "arms": ["natural"]},
        "executor": {"workers": 1},
    }
    return {**base, **changes}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    study = Study.create(folder / "s", config(folder))
    study.tokenize()
    study.design()
    assert study.train() == {}
    study.fit()
    study.optimize()
    study.verify()
    study.report()
    return study


def test_the_arrow_ends_in_a_verified_recipe(finished):
    recipe, verification = finished.recipe(), finished.verification()
    assert recipe.mixture["digits"] > recipe.mixture["beasts"]
    assert recipe.certificate.kind == "certified"
    assert verification.num_seeds == 2
    assert set(verification.differences) == {"natural"}
    assert "<html" in (finished.folder / "report.html").read_text()[:500].lower()


def test_the_prediction_is_in_the_ledger_before_the_measurement(finished):
    kinds = [entry.kind for entry in finished.ledger]
    assert kinds == ["prediction", "measurement"]
    first, second = list(finished.ledger)
    assert second.body["prediction_entry"] == first.number
    assert first.body["predictions"]["objective"]["mean"] == finished.recipe().predictions["objective"].mean


def test_every_verb_is_safe_to_run_again(finished):
    before = {p: p.stat().st_mtime_ns for p in (finished.folder / "runs").rglob("*.parquet")}
    head = finished.ledger.head
    again = Study(finished.folder)
    again.tokenize()
    again.design()
    again.train()
    again.fit()
    again.optimize()
    again.verify()
    assert {p: p.stat().st_mtime_ns for p in (finished.folder / "runs").rglob("*.parquet")} == before
    assert again.ledger.head == head


def test_quickstart_on_a_finished_study_predicts_and_measures_nothing_anew(finished):
    """It fitted and optimised again, which wrote a new prediction and began a new count of looks."""
    from mixlaw.study.quickstart.plan import run

    head, said = finished.ledger.head, []
    law = finished.folder / "laws" / "loglinear.json"
    before = law.stat().st_mtime_ns
    run(finished.folder, say=said.append)
    assert law.stat().st_mtime_ns == before and finished.ledger.head == head
    assert "Fitting laws." not in said and any("later looks included" in line for line in said)


def test_study_yaml_says_how_many_seeds_were_run(tmp_path):
    """The quickstart planned 5 seeds, had time for 3, and left 5 in the file."""
    from mixlaw.study.quickstart.plan import _note_seeds

    study, said = Study.create(tmp_path / "s", config(tmp_path)), []
    noted = _note_seeds(study, 7, said.append)
    assert noted.config.verify.seeds == 7 and Study(study.folder).config.verify.seeds == 7
    assert noted.config.training == study.config.training and not said
    path = study.folder / "study.yaml"
    path.write_text("# mine\n" + path.read_text())
    assert _note_seeds(noted, 3, said.append).config.verify.seeds == 7
    assert path.read_text().startswith("# mine") and "asks for 7 seeds; the time allows 3" in said[0]


def test_own_domain_is_learned_best(finished):
    X, y = finished.observations().table()
    share, loss = X.column("digits").to_numpy(), y.column("digits").to_numpy()
    assert loss[share.argmax()] < loss[share.argmin()]


def test_predictions_name_unknown_domains(finished):
    assert set(finished.predict(Mixture.uniform(finished.corpus.names))) >= {"digits", "colours"}
    with pytest.raises(ConfigError, match="Did you mean 'digits'"):
        finished.predict({"digit": 1.0})


def test_status_knows_what_is_done(finished):
    assert all(done for _, done, _ in finished.status())


def test_verbs_out_of_order_say_which_comes_first(tmp_path):
    study = Study.create(tmp_path / "s", config(tmp_path))
    with pytest.raises(DataError, match="mixlaw tokenize"):
        study.design()
    study.tokenize()
    for verb, message in ((study.train, "mixlaw design"), (study.optimize, "mixlaw fit"), (study.verify, "optimize")):
        with pytest.raises(DataError, match=message):
            verb()
    assert [done for _, done, _ in study.status()][:3] == [True, False, False]


def test_another_study_is_not_overwritten(tmp_path):
    Study.create(tmp_path / "s", config(tmp_path))
    with pytest.raises(ConfigError, match="another study"):
        Study.create(tmp_path / "s", config(tmp_path, objective={"beasts": 1}))


def test_an_objective_nobody_measures_is_named(tmp_path):
    study = Study.create(tmp_path / "s", config(tmp_path, objective={"beast": 1}))
    with pytest.raises(ConfigError, match="Did you mean 'beasts'"):
        study.tokenize()


def test_a_design_for_other_text_is_refused(tmp_path):
    study = Study.create(tmp_path / "s", config(tmp_path))
    study.tokenize()
    study.design()
    data = formats.read(study.store, "design.json", "design")
    formats.write(study.store, "design.json", "design", {**data, "corpus_hash": "0" * 16})
    with pytest.raises(DataError, match="start a study in a new folder"):
        study.design()


def test_verification_with_two_names_for_one_mixture(finished):
    """The reference is natural here, so both arms are the same runs; the recipe is compared with each."""
    again = changed(finished, verify={"seeds": 2, "arms": ["natural", "reference"]})
    assert "verify" in again.stale()
    result = again.verify()
    assert result.arms["natural"].runs == result.arms["reference"].runs != result.arms["recipe"].runs
    assert result.differences["natural"] == result.differences["reference"]
    restore(finished).verify()


def changed(study, **changes):
    """The same folder under another study.yaml."""
    data = {**study.config.model_dump(mode="json"), **changes}
    study.store.write_bytes("study.yaml", json.dumps(data).encode())
    return Study(study.folder)


def restore(study):
    study.store.write_bytes("study.yaml", study.config.dump().encode())
    return Study(study.folder)


@pytest.mark.parametrize(
    ("section", "change", "verb", "words"),
    [
        ("corpus", {"vocab_size": 280}, "tokenize", "corpus section of study.yaml changed"),
        ("training", {"batch": 2}, "design", r"other settings \(batch\)"),
        ("training", {"evaluations": 3}, "design", r"other settings \(evaluate_at\)"),
        ("law", {"name": "loglinear", "options": {"own": None}}, "fit", "since the law was fitted"),
        ("budget", {"tokens": 8192, "max_epochs": 49}, "optimize", "since the recipe was found"),
        ("objective", {"digits": 0.5, "colours": 0.5}, "optimize", "since the recipe was found"),
    ],
)
def test_edits_of_study_yaml_make_what_rests_on_them_stale(finished, section, change, verb, words):
    data = finished.config.model_dump(mode="json")[section]
    edited = changed(finished, **{section: {**data, **change} if section != "objective" else change})
    try:
        assert verb in edited.stale() and edited.stale() != {}
        done = {v: (ok, detail) for v, ok, detail in edited.status()}
        assert not done[verb][0]
        following = {"tokenize": "train", "design": "train", "fit": "optimize", "optimize": None}[verb]
        if following:
            with pytest.raises(DataError, match=words):
                getattr(edited, following)()
        if section == "objective":
            with pytest.raises(DataError, match="predicted for the objective"):
                edited.verify()
    finally:
        assert restore(finished).stale() == {}


def test_workers_change_nothing(finished):
    assert changed(finished, executor={"name": "local", "workers": 2}).stale() == {}
    restore(finished)


def test_a_recipe_changed_after_its_prediction_is_refused(finished):
    text = finished.store.read_bytes("recipe.json")
    try:
        edited = json.loads(text)
        edited["tokens"] += 1
        finished.store.write_json("recipe.json", edited)
        for reader in (finished.recipe, finished.verify, finished.report, finished.status):
            with pytest.raises(DataError, match=r"recipe\.json was changed after mixlaw"):
                reader()
        for field in ("predictions", "tokens"):  # by a program that seals what it writes, or takes the seal off
            data = json.loads(text)
            del data["format"]
            if field == "tokens":
                data["tokens"] += 1
            else:
                data["predictions"]["objective"]["high"] += 1.0
            finished.store.write_json("recipe.json", data)
            with pytest.raises(DataError, match="no prediction for this recipe"):
                finished.verify()
            assert finished.verification() is None
            assert "verify" in finished.stale()
            page = finished.report().read_text()
            assert "Not verified yet" in page and "earlier recipe" in page
    finally:
        finished.store.write_bytes("recipe.json", text)
    assert finished.stale() == {}
    finished.report()


def test_a_prediction_written_after_its_runs_is_no_blind_check(finished):
    import dataclasses

    recipe, text = finished.recipe(), finished.store.read_bytes("recipe.json")
    p = recipe.predictions["objective"]
    wider = dataclasses.replace(p, low=p.low - 0.5, high=p.high + 0.5)
    later = dataclasses.replace(recipe, predictions={**recipe.predictions, "objective": wider})
    assert finished.verification().predicted_first
    try:
        finished.ledger.append("prediction", prediction_entry(finished, later))
        later.save(finished.folder / "recipe.json")
        result = finished.verify()
        assert not result.predicted_first
        assert "not a blind check" in verification_text(result)
    finally:
        finished.store.write_bytes("recipe.json", text)
    assert finished.verify().predicted_first


def test_another_command_is_another_trainer(tmp_path):
    corpus = config(tmp_path)
    training = {**corpus["training"], "trainer": "command", "command": "python a.py {spec} {metrics}"}
    study = Study.create(tmp_path / "s", {**corpus, "training": training})
    study.tokenize()
    spelled = changed(study, training={**training, "command": ["python", "a.py", "{spec}", "{metrics}"]})
    other = changed(study, training={**training, "command": "python b.py {spec} {metrics}"})
    slower = changed(study, training={**training, "timeout": 60})
    assert study.template().id == spelled.template().id == slower.template().id != other.template().id


def test_wrong_training_settings_stop_the_design(tmp_path):
    base = config(tmp_path)
    study = Study.create(tmp_path / "s", base)
    study.tokenize()
    for wrong, message in (
        ({"learning_rate": {"name": "wsd", "peek": 1e-3}}, "Did you mean 'peak'"),
        ({"tokens": 64}, "less than one step"),
        ({"model": {"preset": "d65"}}, "d65"),
    ):
        with pytest.raises(ConfigError, match=message):
            changed(study, training={**base["training"], **wrong}).design()
    assert not study.store.exists("design.json")


def test_domains_that_shrink_to_less_than_a_sequence_are_warned_about(tmp_path):
    study = Study.create(tmp_path / "s", config(tmp_path, budget={"tokens": "80M", "max_epochs": None}))
    study.tokenize()
    with pytest.warns(MixlawWarning, match="less than one sequence"):
        study.design()


def test_effects_power_and_reuse_from_the_command_line(finished, tmp_path):
    import json

    from typer.testing import CliRunner

    from mixlaw.cli.app import app
    from mixlaw.data.corpus import Corpus

    def said(*arguments):
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        assert result.exit_code == 0, result.output
        return result.output

    runs = len(finished.observations().schedules())
    assert "when a domain gets 1.0% more" in said("effects", finished.folder)
    power = said("power", finished.folder, "--runs", 6, "--worlds", 2, "--regret", 1e9)
    assert "Regret 1e+09: about 6 runs (80% interval: 6 to 6)." in power and "upper ends" in power
    assert "no domain changed" in said("reuse", finished.folder, finished.folder)
    counts = {**finished.corpus.unique_tokens, "fresh": 5_000}
    (tmp_path / "new.json").write_text(json.dumps(Corpus.declared(counts, source="test").to_dict()))
    out = said("reuse", finished.folder, tmp_path / "new.json")
    assert "fresh: added" in out
    assert f"{runs} runs" in out
