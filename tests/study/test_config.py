"""study.yaml: unknown keys are errors with a suggestion, numbers may be written as people write them."""

import pytest

from mixlaw.errors import ConfigError
from mixlaw.study.config import load_config, parse_config
from mixlaw.study.study import Study

GOOD = {
    "corpus": {"domains": {"web": "web.jsonl", "code": ["a", "b"]}},
    "objective": {"web": 3, "code": 1},
    "budget": {"tokens": "2.5B", "max_epochs": 4},
}


def test_a_minimal_study():
    config = parse_config(GOOD, "here")
    assert config.corpus.domains == {"web": ["web.jsonl"], "code": ["a", "b"]}
    assert config.make_budget().tokens == 2_500_000_000
    assert config.objective_weights() == {"web": 0.75, "code": 0.25}
    assert config.reference == "natural"


def test_yaml_round_trip(tmp_path):
    config = parse_config(GOOD, "here")
    (tmp_path / "study.yaml").write_text(config.dump())
    assert load_config(tmp_path / "study.yaml") == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objectiv": {"web": 1}}, "unknown key 'objectiv'.*Did you mean 'objective'"),
        ({"training": {"tokenz": 5}}, r"unknown key 'training\.tokenz'.*Did you mean 'tokens'"),
        ({"objective": {}}, "objective needs non-negative weights"),
        ({"objective": {"web": -1}}, "objective needs non-negative weights"),
        ({"budget": {"tokens": "many"}}, "'many' is not a non-negative number"),
        ({"budget": {"max_epochs": 2}}, "budget needs 'tokens'"),
        ({"budget": {"tokens": 5, "epochs": 2}}, "Unknown budget key 'epochs'"),
        ({"budget": {"tokens": 5, "max_epochs": -2}}, "max_epochs of .* must be a positive number"),
        ({"budget": {"tokens": 5, "max_epochs": "4x"}}, "here: max_epochs .*'4x'"),
        ({"budget": {"tokens": 5, "caps": {"web": "high"}}}, "here: The cap of 'web' .*'high'"),
        ({"budget": {"tokens": 5, "groups": {"a": ["web"]}}}, r"here: Group 'a' must be a table .* got \['web'\]"),
        ({"budget": {"tokens": 5, "groups": {"a": {"cap": 0.5}}}}, "here: Group 'a' lacks 'domains'"),
        ({"budget": {"tokens": 5, "groups": {"a": {"domains": "web"}}}}, "domains must be a list .* got 'web'"),
        ({"budget": {"tokens": 5, "limits": {"l": {"total": 3}}}}, "here: Limit 'l' lacks 'cost_per_token'"),
        (
            {"budget": {"tokens": 5, "limits": {"l": {"cost_per_tokn": {}, "total": 3}}}},
            "Did you mean 'cost_per_token'",
        ),
        ({"reference": "natrual"}, "reference: .*Did you mean 'natural'.*'natrual'"),
        ({"reference": {"web": "a"}}, "reference: must be natural, uniform, or weights .*'a'"),
        ({"corpus": {}}, "either 'domains'"),
        ({"design": {"trunk": {"shaer": 0.5}}}, r"unknown key 'design\.trunk\.shaer'.*Did you mean 'share'"),
        ({"design": {"trunk": "half"}}, r"trunk must be a share of the tokens, such as 0\.5.*'half'"),
        ({"training": {"update": 5}}, r"training\.update: must be full or lora.*got 5\)"),
        ({"training": {"update": {"nam": "lora"}}}, "update must be full, or .*'nam': 'lora'"),
        ({"training": {"start": ""}}, "start is empty"),
        ({"evaluators": ["minimal_pairs"]}, r"evaluators\.0: must be a section .*'minimal_pairs'"),
        (
            {"evaluators": [{"name": "loss", "tasks": {}}]},
            r"evaluators\.0\.tasks: must be names with one file each.*{}",
        ),
        ({"evaluators": [{"name": "loss", "tasks": "a.jsonl"}]}, r"names with one file each.*'a\.jsonl'"),
        ({"evaluators": [{"name": "loss", "tasks": {"a": ["b"]}}]}, r"names with one file each.*\['b'\]"),
        ({"evaluators": [{"name": "loss", "tasks": {"a": "b"}, "at": []}]}, r"at: must be fractions.*\[\]"),
    ],
)
def test_mistakes_are_named(change, message):
    with pytest.raises(ConfigError, match=message):
        parse_config({**GOOD, **change}, "here")


def test_settings_that_do_not_go_together_are_told_without_the_whole_section():
    training = {"update": "lora", "learning_rate": {"name": "wsd", "peak": 0.01}, "optimizer": {"name": "adamw"}}
    with pytest.raises(ConfigError, match=r"update: lora needs a start.*give training\.start") as caught:
        parse_config({**GOOD, "training": {**training, "tokens": 20_480, "batch": 4, "context": 32}}, "here")
    assert "adamw" not in str(caught.value)


def test_a_missing_file_says_how_to_make_one(tmp_path):
    with pytest.raises(ConfigError, match="mixlaw init"):
        load_config(tmp_path / "study.yaml")


@pytest.mark.parametrize("text", ["4e-3", "+4E-3", "0.4e-2", "4.e-3", ".4e-2"])
def test_numbers_with_exponents_are_numbers(tmp_path, text):
    """YAML 1.1 reads ``4e-3`` as a string, which is how nearly everybody writes a learning rate."""
    yaml = parse_config(GOOD, "here").dump()
    head = yaml.split("training:")[0]
    (tmp_path / "study.yaml").write_text(f"{head}training: {{learning_rate: {{peak: {text}}}, trainer: 'e5'}}\n")
    training = load_config(tmp_path / "study.yaml").training
    assert training.learning_rate["peak"] == pytest.approx(0.004)
    assert training.trainer == "e5"


class Dropping:
    """A trainer of the user's own, with an option that changes what a run measures."""

    version = "7"

    def __init__(self, corpus, tokens_root, dropout=0.0):
        self.corpus, self.dropout = corpus, dropout

    def run(self, spec, folder):
        raise NotImplementedError

    def check(self, spec):
        if spec.context > 512:
            raise ConfigError(f"a context of {spec.context} is too long for this trainer")


def test_a_registered_trainer_gets_its_options(tmp_path):
    from mixlaw.data.seams import TRAINERS
    from mixlaw.study.steps.train import trainer

    TRAINERS.register("dropping", Dropping)

    def study(name, **training):
        made = Study.create(
            tmp_path / name,
            {
                "corpus": {"counts": {"web": "3M", "code": "1M"}},
                "objective": {"web": 1.0},
                "budget": {"tokens": "1M"},
                "training": {"trainer": "dropping", **training},
                "design": {"num": 4, "replicates": 0},
            },
        )
        made.tokenize()
        return made

    plain, half = study("plain"), study("half", options={"dropout": 0.5})
    assert trainer(half).dropout == 0.5 and trainer(plain).dropout == 0.0
    assert plain.template().trainer_version == "7" != half.template().trainer_version
    assert len(half.design()) == 4  # it reads no tokens, so a declared corpus will do
    with pytest.raises(ConfigError, match=r"'dropping' has no option 'dropuot'.*Did you mean 'dropout'"):
        study("misspelt", options={"dropuot": 0.5}).template()
    with pytest.raises(ConfigError, match=r"training in study\.yaml: a context of 1024 is too long"):
        study("long", context=1024).design()
    with pytest.raises(ConfigError, match=r"'corpus' is the study's own"):
        study("bound", options={"corpus": 1})
    with pytest.raises(ConfigError, match=r"which needs training\.command"):
        study("no-command", trainer="command").template()


def written(folder, **changes):
    """study.yaml with sections replaced by lines of text."""
    sections = {
        "corpus": "{counts: {web: 3B, code: 1B}}",
        "objective": "{web: 1.0}",
        "budget": "{tokens: 2B}",
        **changes,
    }
    (folder / "study.yaml").write_text("".join(f"{key}: {value}\n" for key, value in sections.items()))
    return folder / "study.yaml"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": "{tokens: 1:30}"}, "'1:30' is not a non-negative number"),
        ({"budget": "{tokens: null}"}, "None is not a non-negative number"),
        ({"budget": "{tokens: .nan}"}, r"budget\.tokens is nan"),
        ({"budget": "{tokens: ２B}"}, "'２B' is not a non-negative number"),
        ({"budget": "{tokens: 2\u212a}"}, "is not a non-negative number"),  # the sign of kelvin, which is no k
        ({"budget": "{tokens: ٣}"}, "'٣' is not a non-negative number"),
        ({"budget": "{tokens: " + "9" * 400 + "}"}, "is not a non-negative number"),
        ({"budget": "{tokens: true}"}, "True is not a number"),
        ({"corpus": "{counts: null}"}, "corpus"),
        ({"corpus": "{counts: [1, 2]}"}, "corpus"),
        ({"corpus": "{counts: {web: null}}"}, "counts of web: None is not a non-negative number"),
        ({"corpus": "{counts: {web: 1:30}}"}, "counts of web: '1:30'"),
        ({"corpus": "{domains: null}"}, r"corpus\.domains"),
        ({"corpus": "{counts: {web: 1, web: 2}}"}, "the key 'web' is there twice"),
        ({"objective": "{web: .nan}"}, r"objective\.web is nan"),
        ({"objective": "{web: .inf}"}, r"objective\.web is inf"),
        ({"objective": "{web: true}"}, "true and false are no numbers"),
        ({"objective": "null"}, "objective"),
        ({"design": "{num: null}"}, r"design\.num"),
        ({"design": "{num: true}"}, "true and false are no numbers"),
        ({"design": "{num: 1:30}"}, r"design\.num"),
        ({"design": "{num: ²}"}, r"design\.num"),
        ({"design": "{sizes: [{num: ２, tokens: 1, model: {}}]}"}, "sizes"),
        ({"training": "{tokens: null}"}, "training tokens: None is not"),
        ({"law": "{level: .nan}"}, r"law\.level is nan"),
        ({"verify": "{seeds: null}"}, r"verify\.seeds"),
        ({"1": "2"}, "1 is no key of a study"),
        ({"training": "[" * 50_000}, "not readable YAML"),
    ],
)
def test_numbers_that_nobody_means_are_refused_in_words(tmp_path, changes, message):
    load_config(written(tmp_path))
    with pytest.raises(ConfigError, match=message):
        load_config(written(tmp_path, **changes))


def test_a_call_with_nan_is_refused_like_a_file():
    with pytest.raises(ConfigError, match=r"objective\.web is nan"):
        parse_config({**GOOD, "objective": {"web": float("nan")}}, "here")


@pytest.mark.parametrize("size", ["d128=²:8M", "d128=２:8M", "d128=8:８M", "d128=8:1:30"])
def test_sizes_of_the_command_line_are_plain_digits(size):
    from mixlaw.study.config import DesignConfig, design_changes

    with pytest.raises(ConfigError):
        design_changes(DesignConfig(), sizes=[size])


def test_a_table_given_as_a_study_is_told_the_verb_that_reads_it(tmp_path):
    table = tmp_path / "runs.csv"
    table.write_text("weight_web,loss_web\n1,3\n")
    with pytest.raises(ConfigError, match=r"runs\.csv is a file and no study folder.*mixlaw fit"):
        load_config(table / "study.yaml")


def test_a_fit_of_files_given_as_a_study_is_told_its_verbs(tmp_path):
    (tmp_path / "law.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"holds a fit of files and no study.*mixlaw optimize.*mixlaw export"):
        load_config(tmp_path / "study.yaml")


@pytest.mark.parametrize(
    ("executor", "words"),
    [
        ({"name": "locl"}, "executor: Unknown executor 'locl'.*local"),
        ({"options": {"grace": 3}}, "executor: The executor 'local' has no option 'grace'.*grace_seconds"),
        ({"options": {"grace_seconds": "long"}}, "executor: executor 'local': grace_seconds='long' must be a number"),
    ],
)
def test_an_executor_is_checked_when_the_study_is_read(executor, words):
    """It was checked when training started."""
    data = {"corpus": {"counts": {"web": 10}}, "objective": {"web": 1.0}, "budget": {"tokens": 10}}
    with pytest.raises(ConfigError, match=words):
        parse_config({**data, "executor": executor}, "study.yaml")
