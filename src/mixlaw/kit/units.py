"""Counts and durations, as people write and read them ("2.5B" tokens, "3 min 20 s")."""

from __future__ import annotations

import math
import re

from mixlaw.errors import ConfigError

__all__ = ["bits_per_byte", "format_bytes", "format_count", "format_seconds", "parse_count", "parse_number"]

_SUFFIX = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}


def parse_count(value: int | float | str, what: str = "count") -> int:
    """``"2.5B"`` -> 2500000000. Accepts plain numbers, ``1e9``, underscores and the suffixes k, M, B, T.

    Raises:
        ConfigError: not a non-negative, finite number.
    """
    if isinstance(value, bool):
        raise ConfigError(f"{what}: {value!r} is not a number. Write for example 2500000, '2.5M' or '2.5B'.")
    if isinstance(value, int | float):
        number = float(value) if abs(value) < 1e300 else math.inf
    else:
        match = re.fullmatch(r"\s*([0-9._]+(?:e[+-]?[0-9]+)?)\s*([kmbgt]?)\s*", str(value), re.IGNORECASE | re.ASCII)
        try:
            number = float(match.group(1).replace("_", "")) * _SUFFIX[match.group(2).lower()] if match else math.nan
        except ValueError:
            number = math.nan
    if not math.isfinite(number) or number < 0:
        raise ConfigError(
            f"{what}: {value!r} is not a non-negative number. Write for example 2500000, '2.5M' or '2.5B'."
        )
    return round(number)


def parse_number(text: str, what: str = "number") -> float:
    """``"-1.5e-3"`` -> -0.0015: a finite number in plain digits.

    Raises:
        ConfigError: anything else, such as ``nan``, ``inf``, ``1_000`` or digits of another script.

    Example:
        >>> parse_number("-1.5e-3")
        -0.0015
        >>> parse_number("nan", "--gain")
        Traceback (most recent call last):
            ...
        mixlaw.errors.ConfigError: --gain: 'nan' is not a finite number. Write for example 0.01 or 1e-3.
    """
    plain = re.fullmatch(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?\s*", text, re.IGNORECASE | re.ASCII)
    number = float(text) if plain else math.nan
    if not math.isfinite(number):
        raise ConfigError(f"{what}: {text!r} is not a finite number. Write for example 0.01 or 1e-3.")
    return number


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
