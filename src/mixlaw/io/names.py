"""What a column or a logged key means, from its name: weight of a domain, measured value, or neither.

Names that say what they measure (``loss_web``, ``eval/web/CrossEntropyLoss``, ``bpb/code``) are believed. Names that
only say where (``val_web``, ``eval/web``) are read as losses where a file has no other, and never when they look like
a setting (``val_batch_size``, ``eval_steps``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

__all__ = ["ALIASES", "find", "measured", "measured_values", "weight_columns", "weight_domain"]

ALIASES: Mapping[str, tuple[str, ...]] = {
    "run": ("run", "run_id", "run_name", "name", "index", "id", "model"),
    "params": ("params", "non_embedding_params", "n_params", "num_params", "num_parameters", "n"),
    "params_total": ("params_total", "total_params"),
    "tokens": ("tokens", "train_tokens", "n_tokens", "num_tokens", "total_tokens", "throughput/total_tokens", "d"),
    "unique_tokens": ("unique_tokens", "n_unique_tokens"),
    "step": ("step", "steps", "global_step", "_step", "iteration"),
    "seed": ("seed",),
    "target": ("target", "validation_domain", "validation_set", "dataset", "domain", "task"),
    "value": ("value", "loss", "val_loss"),
    "metric": ("metric",),
    "unit": ("unit", "units"),
    "shots": ("shots", "num_fewshot"),
    "training_set": ("train_set", "training_set", "train_data", "training_data", "corpus"),
}
"""Field of mixlaw to the names files give it, in order of preference."""

_WEIGHT_WORDS = ("weight", "weights", "mix", "mixture", "ratio", "ratios", "domain_weights", "data_weights")
_WEIGHT = re.compile(rf"(?:{'|'.join(_WEIGHT_WORDS)})[_/.](?P<domain>.+)", re.IGNORECASE)
_WEAK_WEIGHT = re.compile(r"(?:train|w)[_/](?P<domain>.+)", re.IGNORECASE)
# settings of trainers that begin like a weight
_NO_DOMAIN = re.compile(
    r"(decay|tying|init\w*|norm\w*|dtype|std|sum|seed|strategy|precision|path|file|loss\w*|set|data|tokens|steps?|"
    r"epochs?|batch\w*|time|seconds|runtime|samples\w*)$",
    re.IGNORECASE,
)

_UNITS = {"loss": "nats_per_token", "bits_per_byte": "bits_per_byte", "accuracy": "fraction"}
_WORDS = {
    "loss": ("val_loss", "eval_loss", "valid_loss", "validation_loss", "test_loss", "loss"),
    "bits_per_byte": ("bits_per_byte", "bpb"),
    "accuracy": ("accuracy", "acc"),
}
_PLACES = r"(?:eval|evaluation|valid|validation|val|test)"
_MEASURES = {
    "loss": "cross_?entropy_?loss|ce_?loss|nll|loss",
    "bits_per_byte": "bits_per_byte|bpb",
    "accuracy": "accuracy|acc|acc_norm|len_norm",
}
_FORMS = [  # one after another; the first that fits decides
    *(
        (metric, re.compile(rf"(?:{_PLACES}[_/.])?(?:{'|'.join(words)})[_/.](?P<target>.+)", re.IGNORECASE))
        for metric, words in _WORDS.items()
    ),
    *(
        (metric, re.compile(rf"{_PLACES}[_/.](?:downstream\w*/)?(?P<target>.+)[_/.](?:{words})", re.IGNORECASE))
        for metric, words in _MEASURES.items()
    ),
]
_PLACED = re.compile(rf"{_PLACES}[_/.](?P<target>.+)", re.IGNORECASE)
_NO_TARGET = re.compile(r"scal\w*|weight\w*|coef\w*|fn|func\w*|type", re.IGNORECASE)  # loss_scale, loss_fn
_SETTING = re.compile(
    r"(mult|multiplier|size|steps?|tokens|interval|time|seconds|runtime|epochs?|count|num|batch\w*|freq\w*|every|"
    r"per_second|samples\w*|std\w*|stderr|ppl|perplexity|soft|soft_log|set|path|split|ratio)$",
    re.IGNORECASE,
)


def find(columns: Iterable[str], field: str) -> str | None:
    """The column that holds a field of :data:`ALIASES`, by its usual names."""
    lowered = {c.lower(): c for c in columns}
    return next((lowered[a] for a in ALIASES[field] if a in lowered), None)


def weight_domain(name: str, weak: bool = False) -> str | None:
    """Domain whose mixture weight ``name`` is; with ``weak`` also for ``train_X`` and ``w_X``.

    Example:
        >>> weight_domain("mixture.web"), weight_domain("weight_decay")
        ('web', None)
    """
    match = _WEIGHT.fullmatch(name) or (_WEAK_WEIGHT.fullmatch(name) if weak else None)
    if match is None or _NO_DOMAIN.match(match["domain"]):
        return None
    return match["domain"]


def weight_columns(columns: Sequence[str]) -> dict[str, str]:
    """``{column: domain}``; ``train_X`` and ``w_X`` count only where nothing is named a weight outright."""
    strong = {c: d for c in columns if (d := weight_domain(c))}
    return strong or {c: d for c in columns if (d := weight_domain(c, weak=True))}


def measured(name: str) -> tuple[str, str] | None:
    """Target and metric of a name that says outright what it measures, else None.

    Example:
        >>> measured("loss_web"), measured("loss_fn"), measured("val_web")
        (('web', 'loss'), None, None)
    """
    for metric, form in _FORMS:
        match = form.fullmatch(name)
        if match and not _NO_TARGET.fullmatch(match["target"]):
            return match["target"], metric
    return None


def measured_values(names: Sequence[str]) -> dict[str, tuple[str, str, str]]:
    """``{name: (target, metric, unit)}`` of the names that are measured values; training losses are none.

    Example:
        >>> measured_values(["loss_web", "eval/code/bpb", "val_batch_size", "train/loss"])
        {'loss_web': ('web', 'loss', 'nats_per_token'), 'eval/code/bpb': ('code', 'bits_per_byte', 'bits_per_byte')}
    """
    found = {n: m for n in names if (m := measured(n))}
    if not any(metric == "loss" for _, metric in found.values()):
        found |= {
            n: (match["target"], "loss")
            for n in names
            if n not in found and (match := _PLACED.fullmatch(n)) and not _SETTING.search(match["target"])
        }
    if not any(metric == "loss" for _, metric in found.values()):
        alone = {"loss": "loss", "val_loss": "loss", "eval_loss": "loss", "val/loss": "loss", "eval/loss": "loss"}
        found |= {n: ("loss", alone[n.lower()]) for n in names if n not in found and n.lower() in alone}
    return {n: (*found[n], _UNITS[found[n][1]]) for n in names if n in found}
