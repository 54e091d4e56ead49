"""Counts and durations, as people write and read them ("2.5B" tokens, "3 min 20 s")."""

from __future__ import annotations

import math
import re

from mixlaw.errors import ConfigError

__all__ = ["bits_per_byte", "format_bytes", "format_count", "format_seconds", "parse_count"]

_SUFFIX = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}


def parse_count(value: int | float | str, what: str = "count") -> int:
    """``"2.5B"`` -> 2500000000. Accepts plain numbers, ``1e9``, underscores and the suffixes k, M, B, T.

    Raises:
        ConfigError: not a non-negative, finite number.
    """
    if isinstance(value, bool):
        raise ConfigError(f"{what}: {value!r} is not a number. Write for example 2500000, '2.5M' or '2.5B'.")
    if isinstance(value, int | float):
        number = float(value)
    else:
        match = re.fullmatch(r"\s*([0-9._]+(?:e[+-]?[0-9]+)?)\s*([kmbgt]?)\s*", str(value).lower())
        try:
            number = float(match.group(1).replace("_", "")) * _SUFFIX[match.group(2)] if match else math.nan
        except ValueError:
            number = math.nan
    if not math.isfinite(number) or number < 0:
        raise ConfigError(
            f"{what}: {value!r} is not a non-negative number. Write for example 2500000, '2.5M' or '2.5B'."
        )
    return round(number)


def format_count(count: float) -> str:
    """2500000000 -> ``"2.50B"``."""
    if not math.isfinite(count):
        return str(count)
    for limit, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(count) >= (limit if limit == 1e3 else 0.9995 * limit):  # 999.7M rounds to 1.00B
            return f"{count / limit:.{0 if abs(count) >= 99.995 * limit else 2}f}{suffix}"
    return f"{count:g}"


def format_bytes(count: float) -> str:
    """1500000 -> ``"1.5 MB"`` (decimal units)."""
    for limit, suffix in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= limit:
            return f"{count / limit:.1f} {suffix}"
    return f"{count:.0f} B"


def format_seconds(seconds: float) -> str:
    """200.4 -> ``"3 min 20 s"``."""
    if not math.isfinite(seconds):
        return "unknown"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def bits_per_byte(loss_nats: float, tokens: float, num_bytes: float) -> float:
    """Loss in nats per token over ``tokens`` tokens that spell ``num_bytes`` bytes, as bits per byte."""
    return loss_nats * tokens / (num_bytes * math.log(2))
