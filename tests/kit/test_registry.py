"""A room's file is its registry entry: found by listing, loaded when asked for, never by a file's word."""

import subprocess
import sys
import textwrap

import pytest

from mixlaw.errors import ConfigError
from mixlaw.kit.lazy import attach, load
from mixlaw.kit.registry import Registry


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package ``house<n>`` with a room of classes and a room of functions, on the path for one test."""
    name = f"house_{tmp_path.name.replace('-', '_')}"
    files = {
        "__init__.py": "",
        "rooms/__init__.py": "",
        "rooms/base.py": "class Base: ...",
        "rooms/log_linear.py": "class LogLinear:\n    def __init__(self, eps=0.1, ridge=0):\n        self.eps = eps\n",
        "rooms/gp.py": "class GP:\n    name = 'gaussian'\n",
        "rooms/empty.py": "x = 1",
        "rooms/_private.py": "raise RuntimeError('never imported')",
        "makers/__init__.py": "",
        "makers/grid.py": "def propose(num, *, step=1):\n    return num\n",
        "makers/torch_trainer.py": "class TorchTrainer: ...",
        "makers/loop.py": "raise RuntimeError('not an entry, never imported')",
    }
    for path, text in files.items():
        file = tmp_path / name / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def test_files_are_entries_and_are_loaded_when_asked_for(package):
    laws = Registry("law", rooms=(f"{package}.rooms",))
    assert laws.names() == ["empty", "gp", "log_linear"]
    assert f"{package}.rooms.log_linear" not in sys.modules
    assert laws["log_linear"].__name__ == "LogLinear"
    assert laws.class_named("LogLinear") is laws["log_linear"]
    assert laws.class_named("loglinear") is None  # a class is found by its own name only
    assert sorted(laws.class_names()) == ["GP", "LogLinear"]
    assert laws.name_of(laws["log_linear"]) == "log_linear" and laws.name_of(int) is None


def test_a_file_without_its_class_is_an_error_that_says_what_it_must_hold(package):
    with pytest.raises(ConfigError, match=r"rooms\.empty must hold a class whose name in lower case is 'empty'"):
        Registry("law", rooms=(f"{package}.rooms",))["empty"]
    with pytest.raises(ConfigError, match=r"rooms\.gp must hold 'propose'"):
        Registry("sampler", rooms=(f"{package}.rooms",), attribute="propose")["gp"]


def test_aliases_and_names_that_classes_state_are_accepted_and_not_listed(package):
    laws = Registry("law", rooms=(f"{package}.rooms",), aliases={"loglinear": "log_linear", "root": "math:sqrt"})
    assert laws["loglinear"] is laws["log_linear"] and laws["gaussian"] is laws["gp"]
    assert laws["root"](9.0) == 3.0
    assert "loglinear" in laws and "loglinear" not in laws.names()
    assert laws.canonical("gaussian") == "gp"


def test_only_files_with_the_suffix_are_entries(package):
    trainers = Registry("trainer", rooms=(f"{package}.makers",), suffix="_trainer")
    assert trainers.names() == ["torch"] and trainers["torch"].__name__ == "TorchTrainer"


def test_unknown_names_and_options_are_refused_with_the_nearest_known_one(package):
    laws = Registry("law", rooms=(f"{package}.rooms",))
    with pytest.raises(ConfigError, match=r"Unknown law 'log_liner'.*log_linear"):
        laws["log_liner"]
    with pytest.raises(ConfigError, match=r"law 'log_linear' has no option 'epps'; it has eps, ridge.*'eps'"):
        laws.make("log_linear", {"epps": 1})
    assert laws.make("log_linear", {"eps": 0.5}).eps == 0.5
    samplers = Registry("sampler", {"grid": f"{package}.makers.grid:propose"})
    samplers.check("grid", {"step": 2})
    with pytest.raises(ConfigError, match=r"sampler 'grid' has no option 'num'"):
        samplers.check("grid", {"num": 2})  # an argument that the caller fills is no option


def test_options_of_another_kind_and_missing_ones_are_refused():
    class Patient:
        def __init__(self, schedule, seconds: float = 1.0):
            self.seconds = seconds

    executors = Registry("executor")
    executors.register("patient", Patient)
    assert executors.make("patient", {"schedule": 1, "seconds": 2}).seconds == 2
    with pytest.raises(ConfigError, match=r"executor 'patient': seconds='long' must be a number, for example 1\.0"):
        executors.make("patient", {"schedule": 1, "seconds": "long"})
    with pytest.raises(ConfigError, match=r"executor 'patient' needs the option 'schedule'; got \['seconds'\]"):
        executors.make("patient", {"seconds": 2})


def test_a_name_is_given_once(package):
    laws = Registry("law", rooms=(f"{package}.rooms",))
    laws.register("mine", int)
    laws.register("mine", int)
    with pytest.raises(ConfigError, match=r"law 'mine' is registered already"):
        laws.register("mine", float)
    with pytest.raises(ConfigError, match=r"law 'gp' is registered already"):
        laws.register("gp", float)


@pytest.mark.parametrize(
    ("name", "target", "message"),
    [
        (3, int, "registered under a name, a text that is not empty; got 3"),
        ("", int, "registered under a name, a text that is not empty; got ''"),
        ("mine", 3, "law 'mine': 3 is neither a class nor a function. Give the class itself"),
        ("mine", "theirs", "law 'mine': 'theirs' must look like 'package.module:Name'"),
        ("mine", dict, "law 'mine': <class 'dict'> has no fit\\(\\), so it is no law"),
    ],
)
def test_what_cannot_be_an_entry_is_refused_where_it_is_registered(name, target, message):
    laws = Registry("law", methods=("fit",))
    with pytest.raises(ConfigError, match=message):
        laws.register(name, target)
    assert laws.names() == []


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("no.such.module:Law", "registered as 'no.such.module:Law', which cannot be imported: No module named 'no'"),
        ("math:Law", "registered as 'math:Law', which cannot be imported: module 'math' has no attribute 'Law'"),
        ("math:pi", "law 'mine': 3.14.* is neither a class nor a function"),
        ("builtins:dict", "law 'mine': <class 'dict'> has no fit"),
    ],
)
def test_what_cannot_be_loaded_is_said_when_it_is_asked_for(target, message):
    laws = Registry("law", methods=("fit",))
    laws.register("mine", target)
    with pytest.raises(ConfigError, match=message):
        laws["mine"]


def test_a_plugin_that_cannot_be_imported_is_named_with_its_package(tmp_path):
    (tmp_path / "broken_plugin.py").write_text("import no_such_module_of_theirs")
    info = tmp_path / "broken_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[mixlaw.laws]\ntheirs = broken_plugin:Law\ngp = broken_plugin:GP\n")
    code = f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        from mixlaw.errors import ConfigError
        from mixlaw.laws import LAWS
        assert "theirs" in LAWS.names() and LAWS["gp"].__name__ == "GaussianProcess"  # an alias of ours stays ours
        try:
            LAWS["theirs"]
        except ConfigError as error:
            print(error)
    """
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout == (
        "law 'theirs' comes from the entry point 'broken_plugin:Law' of broken-plugin, which cannot be imported: "
        "ModuleNotFoundError: No module named 'no_such_module_of_theirs'. Mend or uninstall that package.\n"
    )


def test_another_installed_package_joins_by_an_entry_point(tmp_path):
    (tmp_path / "theirs.py").write_text("class Theirs:\n    write = simulate = print\n")
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[mixlaw.exporters]\ntheirs = theirs:Theirs\n")
    code = """
        import sys
        from mixlaw.data.seams import EXPORTERS
        assert "theirs" in EXPORTERS.names() and "theirs" not in sys.modules
        assert EXPORTERS["theirs"].__name__ == "Theirs"
        assert EXPORTERS.name_of(EXPORTERS["theirs"]) == "theirs"
    """
    result = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n" + textwrap.dedent(code)],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr


def test_lazy_names_load_when_used_and_unknown_ones_get_a_hint():
    get, listed, public = attach("math", {"root": "math:sqrt", "Fraction": "fractions"})
    assert public == ["Fraction", "root"] and "root" in listed()
    assert get("Fraction")(1, 2) == load("fractions:Fraction")(1, 2)
    with pytest.raises(AttributeError, match=r"no attribute 'rot'.*root"):
        get("rot")


def test_the_optimize_room_can_be_called_whatever_was_imported_before():
    code = "import mixlaw.optimize.solve.convex, mixlaw as ml; assert callable(ml.optimize) and ml.optimize.frontier"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
