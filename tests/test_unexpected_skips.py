"""A run in CI fails where a test skips for a reason that nobody expects."""

import os
import subprocess
import sys
import textwrap

import pytest

from processes import child_environment


def outcome(folder, body, *options, **environment):
    """Exit status and output of a pytest run over one test file."""
    (folder / "conftest.py").write_text("from unexpected_skips import pytest_configure\n")
    (folder / "test_some.py").write_text(textwrap.dedent(body))
    kept = {k: v for k, v in child_environment().items() if k not in ("CI", "MIXLAW_CORE_ONLY", "PYTEST_ADDOPTS")}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", os.devnull, str(folder), *options]
    ended = subprocess.run(command, cwd=folder, env={**kept, **environment}, capture_output=True, text=True)
    return ended.returncode, ended.stdout


MISSING_MODULE = """
    import pytest
    pytest.importorskip("no_such_module_anywhere")
"""
MISSING_IN_A_TEST = """
    import pytest
    def test_passes():
        pass
    def test_skips():
        pytest.skip("the moon is not full")
"""
MISSING_DATA = """
    import pytest
    def test_skips():
        pytest.skip("/x/y is not here; set MIXLAW_SHARED to the folder with experiments/ and corpora/")
    @pytest.mark.xfail
    def test_known():
        assert False
"""


@pytest.mark.parametrize("options", [(), ("-n", "1")], ids=["one process", "xdist"])
@pytest.mark.parametrize(
    ("body", "named"),
    [
        (MISSING_MODULE, "test_some.py: could not import 'no_such_module_anywhere'"),
        (MISSING_IN_A_TEST, "test_some.py::test_skips: the moon is not full"),
    ],
)
def test_an_unexpected_skip_fails_the_run_and_is_named(tmp_path, body, named, options):
    status, said = outcome(tmp_path, body, *options, CI="true")
    assert status == 1 and "unexpected skips" in said and named in said


def test_a_failure_stays_a_failure_and_a_user_error_a_user_error(tmp_path):
    assert outcome(tmp_path, MISSING_IN_A_TEST + "\n    def test_fails():\n        assert 0\n", CI="true")[0] == 1
    assert outcome(tmp_path, MISSING_IN_A_TEST, "--no-such-option", CI="true")[0] == 4


def test_expected_skips_pass(tmp_path):
    assert outcome(tmp_path, MISSING_DATA, CI="true")[0] == 0


def test_outside_ci_a_skip_is_a_skip(tmp_path):
    status, said = outcome(tmp_path, MISSING_IN_A_TEST)
    assert status == 0 and "unexpected" not in said


def test_packages_that_are_left_out_on_purpose(tmp_path):
    body = """
        import pytest
        def test_skips():
            pytest.skip("could not import 'torch': No module named 'torch'")
    """
    assert outcome(tmp_path, body, CI="true")[0] == 1
    assert outcome(tmp_path, body, CI="true", MIXLAW_CORE_ONLY="1")[0] == 0
