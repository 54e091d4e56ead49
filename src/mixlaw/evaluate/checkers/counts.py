"""A count against the bounds that an instruction gives."""

from __future__ import annotations

from mixlaw.errors import DataError

__all__ = ["within"]


def within(count: int, at_least: int | None, at_most: int | None) -> bool:
    """Whether a count keeps its bounds; both belong to what is allowed.

    Raises:
        DataError: neither is given, or none can be kept.

    Example:
        >>> within(3, at_least=3, at_most=None), within(3, at_least=None, at_most=2)
        (True, False)
    """
    low = 0 if at_least is None else at_least
    if (at_least is None and at_most is None) or (at_most is not None and at_most < low):
        raise DataError(f"needs at_least, at_most or both, and no less as the second; got {at_least} and {at_most}.")
    return low <= count and (at_most is None or count <= at_most)
