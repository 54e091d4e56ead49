"""A declaration that would be read as something else is refused where it is written."""

import pytest

from mixlaw.errors import ConfigError
from mixlaw.laws import Positive, ScaleLaw


def test_one_column_is_a_tuple_too():
    """The text was taken apart: "needs the columns ['t', 'o', 'k', 'e', 'n', 's']"."""
    with pytest.raises(ConfigError, match=r"Hestness: columns = 'tokens' is one text; .*columns = \('tokens',\)"):

        class Hestness(ScaleLaw):
            columns = "tokens"
            parameters = {"E": Positive(1.7, "irreducible loss, nats")}
