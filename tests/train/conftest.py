import functools

import pytest

from tiny_tokens import tiny_spec


@pytest.fixture(params=["bf16", "fp32"])
def precision(request):
    """Both precisions, whatever the processor: one without native bf16 computes it too, only slower."""
    return request.param


@pytest.fixture
def spec_of(precision):
    """:func:`tiny_tokens.tiny_spec` in each precision, for every test whose numbers or checkpoints depend on it."""
    return functools.partial(tiny_spec, optimizer={"precision": precision})
