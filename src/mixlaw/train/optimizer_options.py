"""What a spec may say of its optimiser, checked without torch, so that a design can refuse it before any run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mixlaw.errors import ConfigError, did_you_mean

__all__ = ["OPTIMIZER_DEFAULTS", "optimizer_options"]

OPTIMIZER_DEFAULTS: dict[str, Any] = {
    "name": "adamw",
    "betas": (0.9, 0.95),
    "eps": 1e-8,
    "weight_decay": 0.1,
    "clip": 1.0,
    "moments": "keep",
    "precision": "auto",
}
"""``moments``: whether a run that starts from another's checkpoint keeps its Adam moments or resets them.
``precision`` of matrix products: ``auto`` (bf16 where the device multiplies it natively), ``bf16`` or ``fp32``."""


def optimizer_options(optimizer: Mapping[str, Any]) -> dict[str, Any]:
    """The spec's ``optimizer`` with defaults filled in.

    Raises:
        ConfigError: unknown field, or a value out of range.

    Example:
        >>> optimizer_options({"weight_decay": 0.0})["name"]
        'adamw'
        >>> optimizer_options({})["clip"]  # the largest norm of a gradient
        1.0
    """
    for key in optimizer:
        if key not in OPTIMIZER_DEFAULTS:
            raise ConfigError(f"Unknown optimizer field {key!r}.{did_you_mean(key, OPTIMIZER_DEFAULTS)}")
    options = {**OPTIMIZER_DEFAULTS, **optimizer}
    for key, choices in (
        ("name", ("adamw",)),
        ("moments", ("keep", "reset")),
        ("precision", ("auto", "bf16", "fp32")),
    ):
        if options[key] not in choices:
            raise ConfigError(f"Optimizer {key} {options[key]!r}.{did_you_mean(str(options[key]), choices)}")
    betas = tuple(options["betas"])
    if len(betas) != 2 or not all(0 <= b < 1 for b in betas):
        raise ConfigError(f"Optimizer betas must be two numbers in [0, 1), got {options['betas']!r}.")
    options["betas"] = betas
    if options["eps"] <= 0 or options["weight_decay"] < 0 or options["clip"] <= 0:
        raise ConfigError(f"Optimizer needs eps > 0, weight_decay >= 0 and clip > 0, got {dict(optimizer)!r}.")
    return options
