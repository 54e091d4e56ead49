"""YAML is read as it looks, in bounded time and memory."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixlaw.errors import ConfigError
from mixlaw.kit.yaml_text import dump_yaml, load_yaml

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi")
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4e-3", 0.004),
        ("1e9", 1e9),
        (".5", 0.5),
        ("-1_000", -1000),
        ("1:30", "1:30"),
        ("010", "010"),
        ("0x10", "0x10"),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("", None),
        ("~", None),
        ("2026-01-01", "2026-01-01"),
        ("١٢", "١٢"),
        ("３", "３"),
        ("{a: &x 1, b: *x}", {"a": 1, "b": 1}),
        ("{<<: {a: 1, b: 2}, b: 3}", {"a": 1, "b": 3}),
    ],
)
def test_scalars_are_what_they_look_like(text, value):
    found = load_yaml(text, "x.yaml")
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "more than 100000 values"),
        ("&a [*a]", "holds itself"),
        ("a: 1\nb: 2\na: 3", "line 3: the key 'a' is there twice"),
        ("x: {a: 1, a: 1}", "the key 'a' is there twice"),
        ("a: .nan", "a is nan"),
        ("a: {b: [1, -.inf]}", r"a\.b\.1 is -inf"),
        ("a: 1e999", "a is inf"),
        ("[" * 100_000, "not readable YAML"),
        ("a: !!python/object/apply:os.system ['true']", "not readable YAML"),
        ("? [1, 2]\n: 3", "a key must be a text"),
        ("a: " + "9" * 5000, "not readable YAML"),
        ("a: [", "not readable YAML"),
        ("a: \x1f", "not readable YAML: unacceptable character"),
        ("a: !!omap [b: 1]", "line 1: tag:yaml.org,2002:omap is no tag of plain data"),
        ("a: !!bool 7", "not readable YAML"),
        ("a: !!int ''", "not readable YAML"),
        ("a: !!binary aGk=", "is no tag of plain data"),
        ("x" * 5_000_000, "a configuration has at most"),
    ],
)
def test_bombs_and_what_nobody_means_are_refused_in_words(text, message):
    with pytest.raises(ConfigError, match=message):
        load_yaml(text, "x.yaml")


# The library of YAML itself loses characters that end lines or control terminals.
words = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=8)
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)


@given(plain)
def test_what_is_dumped_is_read_back(data):
    assert load_yaml(dump_yaml(data), "x.yaml") == data


@given(st.text(alphabet="0123456789.eE+-_:", max_size=8))
def test_numbers_agree_with_python_or_are_text(text):
    try:
        found = load_yaml(text, "x.yaml")
    except ConfigError:
        return
    if isinstance(found, int | float) and not isinstance(found, bool):
        assert math.isclose(found, float(text), rel_tol=1e-12)


def test_a_bomb_in_a_trackers_file_is_told(tmp_path):
    from mixlaw import Observations
    from mixlaw.errors import DataError

    folder = tmp_path / "mlruns" / "0" / "0123456789abcdef"
    (folder / "metrics").mkdir(parents=True)
    (folder / "metrics" / "loss").write_text("1 3.0 1\n")
    for text in (BOMB, "run_id: a\nrun_id: b", "[" * 100_000):
        (folder / "meta.yaml").write_text(text)
        with pytest.raises(DataError, match=r"meta\.yaml cannot be read"):
            Observations.read(tmp_path / "mlruns", format="mlflow")


@pytest.mark.parametrize("mark", ["\r", "\x85", "\u2028", "\u2029", "\ufeff"])
def test_what_yaml_takes_for_the_end_of_a_line_is_kept_in_keys_and_texts(mark):
    for text in (mark, f"a{mark}b", f"{mark} {mark}"):
        data = {text: None, "a": {text: [text]}}
        assert load_yaml(dump_yaml(data), "written") == data
