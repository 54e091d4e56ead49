"""Optional packages, imported where they are used, with a message that says what to install."""

from __future__ import annotations

from typing import Any

from mixlaw.errors import MissingExtraError
from mixlaw.kit.lazy import load

__all__ = ["require_extra"]


def require_extra(module: str, extra: str) -> Any:
    """The module of an optional package.

    Args:
        module: what to import, ``"lightgbm"``.
        extra: the extra of mixlaw that brings it, ``"trees"``.

    Raises:
        MissingExtraError: it cannot be imported; says how to install it.

    Example:
        >>> require_extra("math", "train").sqrt(4.0)
        2.0
    """
    try:
        return load(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{module!r} is needed here and cannot be imported ({error}). "
            f"Install it with: pip install 'mixlaw[{extra}]'"
        ) from error
