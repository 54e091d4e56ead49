import pytest

from tiny_tokens import write_tokens


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """``(corpus, tokens_root)`` of two tiny domains."""
    root = tmp_path_factory.mktemp("tokens")
    return write_tokens(root), root
