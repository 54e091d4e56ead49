"""What a column or a logged key means, from its name: weight of a domain, measured value, size, id, or none of them.

One rule holds for prefixes and suffixes: ``loss_web``, ``web_loss``, ``val/web/loss`` and ``eval_loss_web`` are the
loss on ``web``, and the same for bits per byte, accuracy and perplexity. Names that only say where (``val_web``,
``eval/web``) are read as losses where a file has no other, and never when they look like a setting (``val_batch_size``,
``eval_steps``) or another measure (``val_f1``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mixlaw.errors import ConfigError, did_you_mean

__all__ = [
    "ALIASES",
    "MEASURES",
    "Measure",
    "field_of",
    "find",
    "is_id",
    "looks_measured",
    "measured",
    "measured_values",
    "training_loss",
    "weight_columns",
    "weight_domain",
    "why_no_value",
]

ALIASES: Mapping[str, tuple[str, ...]] = {
    "run": ("run", "run_id", "run_name", "name", "index", "id", "model"),
    "params": (
        *("params", "non_embedding_params", "n_params", "num_params", "num_parameters", "n_parameters", "parameters"),
        *("nonembedding_params", "non_emb_params", "params_non_embedding", "num_non_embedding_params"),
        *("model_size", "model_params", "param_count", "parameter_count", "n"),
    ),
    "params_total": ("params_total", "total_params", "total_parameters", "n_params_total", "num_total_params"),
    "tokens": (
        *("tokens", "train_tokens", "n_tokens", "num_tokens", "total_tokens", "throughput/total_tokens"),
        *("training_tokens", "tokens_trained", "trained_tokens", "tokens_seen", "seen_tokens", "consumed_tokens"),
        *("num_train_tokens", "n_train_tokens", "total_train_tokens", "token_budget", "d"),
    ),
    "unique_tokens": ("unique_tokens", "n_unique_tokens", "num_unique_tokens"),
    "step": ("step", "steps", "global_step", "_step", "iteration", "iter", "train_step", "training_step"),
    "seed": ("seed", "random_seed", "data_seed"),
    "target": ("target", "validation_domain", "validation_set", "dataset", "domain", "task"),
    "value": ("value", "loss", "val_loss"),
    "metric": ("metric",),
    "unit": ("unit", "units"),
    "shots": ("shots", "num_fewshot"),
    "training_set": ("train_set", "training_set", "train_data", "training_data", "corpus"),
}
"""Field of mixlaw to the names files give it, in order of preference."""


@dataclass(frozen=True)
class Measure:
    """What a value is: the set it was measured on, the metric and unit it is kept in, and what the file holds.

    Args:
        target: validation set or task.
        kind: one of :data:`MEASURES`.

    Example:
        >>> round(Measure("web", "perplexity").value(20.0855369), 6)
        3.0
    """

    target: str
    kind: str

    @property
    def metric(self) -> str:
        """As it is kept: ``"loss"``, ``"bits_per_byte"``, ``"accuracy"`` or ``"score"``."""
        return MEASURES[self.kind][0]

    @property
    def unit(self) -> str:
        """As it is kept."""
        return MEASURES[self.kind][1]

    @property
    def note(self) -> str:
        """How the file's numbers are converted, in words; empty where they are kept."""
        return MEASURES[self.kind][2]

    def value(self, given: float) -> float:
        """The file's number in the unit it is kept in; NaN and infinity stay."""
        if math.isnan(given) or math.isinf(given):
            return given
        if self.kind == "perplexity":
            return math.log(given) if given > 0 else -math.inf
        if self.kind == "byte_perplexity":
            return math.log2(given) if given > 0 else -math.inf
        if self.kind == "bits_per_token":
            return given * math.log(2.0)
        return given / 100.0 if self.kind == "percent" else given

    @classmethod
    def of(cls, name: str, kind: str) -> Measure:
        """The measure that a user states of a column.

        Raises:
            ConfigError: an unknown kind, with the nearest known one.
        """
        short = {"nats": "loss", "bits": "bits_per_token", "bpb": "bits_per_byte", "ppl": "perplexity"}
        short |= {"acc": "accuracy", "up": "higher", "down": "lower", "%": "percent", "fraction": "accuracy"}
        kind = short.get(kind.lower(), kind.lower())
        if kind not in MEASURES:
            raise ConfigError(f"{name}={kind}: what the column holds is one of {', '.join(MEASURES)}."
                              f"{did_you_mean(kind, MEASURES)}")  # fmt: skip
        found = measured(name)
        return cls(found.target, kind) if found else cls(name, kind)


MEASURES: Mapping[str, tuple[str, str, str]] = {
    "loss": ("loss", "nats_per_token", ""),
    "bits_per_token": ("loss", "nats_per_token", "from bits per token, times ln 2"),
    "perplexity": ("loss", "nats_per_token", "ln of perplexity"),
    "bits_per_byte": ("bits_per_byte", "bits_per_byte", ""),
    "byte_perplexity": ("bits_per_byte", "bits_per_byte", "log2 of perplexity per byte"),
    "accuracy": ("accuracy", "fraction", "higher is better"),
    "percent": ("accuracy", "fraction", "percent divided by 100, higher is better"),
    "higher": ("score", "higher_is_better", ""),
    "lower": ("score", "lower_is_better", ""),
}
"""What a column of values may hold: the metric and unit that it is kept in, and how it is converted."""

_WEIGHT_WORDS = ("weight", "weights", "mix", "mixture", "ratio", "ratios", "domain_weights", "data_weights")
_WEIGHT = re.compile(rf"(?:.*?[/.])??(?:{'|'.join(_WEIGHT_WORDS)})[_/.](?P<domain>.+)", re.IGNORECASE)
_LATE_WEIGHT = re.compile(
    r"(?P<domain>.+)[_/.](?:weight|ratio|share|proportion)|(?:share|proportion)s?[_/.](?P<after>.+)", re.IGNORECASE
)
_WEAK_WEIGHT = re.compile(r"(?:train|w)[_/](?P<domain>.+)", re.IGNORECASE)
# settings of trainers that begin like a weight
_NO_DOMAIN = re.compile(
    r"(decay|tying|init(?:_\w+)?|initiali[sz]\w*|norm(?:_\w+)?|normali[sz]\w*|dtype|std|sum|seed|strategy|precision|"
    r"path|file|loss(?:es)?(?:_\w+)?|set|data|tokens|steps?|epochs?|batch(?:es|_\w+|size)?|time|seconds|runtime|"
    r"samples(?:_\w+)?|id|idx|index|name|hash)$",
    re.IGNORECASE,
)

_PLACE = r"(?:eval|evaluation|valid|validation|val|test|dev|heldout|held_out)"
_WORDS = {
    "loss": "cross_?entropy_?loss|ce_?loss|cross_?entropy|nll|loss",
    "bits_per_byte": "bits_per_byte|bpb",
    "bits_per_token": "bits_per_token|bpt",
    "byte_perplexity": "byte_perplexity|byte_ppl",
    "perplexity": "perplexity_score|perplexity|ppl",
    "accuracy": "accuracy|acc|acc_norm|len_norm",
}
_BEFORE = {kind: words for kind, words in _WORDS.items()} | {"loss": "loss", "accuracy": "accuracy|acc"}
_FORMS = [  # one after another; the first that fits decides
    *(
        (kind, re.compile(rf"(?:{_PLACE}[_/.])?(?:{words})[_/.](?P<target>.+)", re.IGNORECASE))
        for kind, words in _BEFORE.items()
    ),
    *(
        (kind, re.compile(rf"{_PLACE}[_/.](?:downstream\w*/)?(?P<target>.+?)[_/.](?:{words})", re.IGNORECASE))
        for kind, words in _WORDS.items()
    ),
    *(
        (kind, re.compile(rf"(?P<target>.+?)(?:[_/.]{_PLACE})?[_/.](?:{words})", re.IGNORECASE))
        for kind, words in _WORDS.items()
    ),
]
_LATE_FORMS = [form for _, form in _FORMS[-len(_WORDS) :]]
_ALONE = {kind: re.compile(rf"(?:{_PLACE}[_/.])?(?:{words})", re.IGNORECASE) for kind, words in _WORDS.items()}
_PLACED = re.compile(rf"{_PLACE}[_/.](?P<target>.+)", re.IGNORECASE)
_NO_TARGET = re.compile(r"scal\w*|weight\w*|coef\w*|fn|func\w*|type", re.IGNORECASE)  # loss_scale, loss_fn
_PART = re.compile(  # parts and summaries of a training loss: aux_loss, best_loss
    r"aux\w*|z|router\w*|balance\w*|load_balanc\w*|moe|reg\w*|kl|distill\w*|grad\w*|total|best|min|last|ema|"
    rf"smooth(?:ed)?|log|{_PLACE}",
    re.IGNORECASE,
)
_TRAINING = re.compile(r"(?:train|training)(?:[_/. ].*)?", re.IGNORECASE)
_END = r"(?:^|[_/. ])"
_SETTING = re.compile(
    rf"{_END}(?:mult|multiplier|size|steps?|tokens|interval|time|seconds|runtime|epochs?|count|num|batch\w*|freq\w*|"
    r"every|per_second|samples\w*|std|stddev|std_dev|stdev|stderr|soft|soft_log|set|path|split|ratio|iters?|lr|mfu)$",
    re.IGNORECASE,
)
_OTHER_MEASURE = re.compile(
    rf"{_END}(?:ppl|perplexity(?:_\w+)?|acc(?:uracy)?\w*|scores?|f1|em|exact_match|bleu|rouge\w*|auc|auroc|rewards?|"
    r"win_?rate|pass_?at_?\d*|pass@\d+|bits_per_char|bpc|prob|logprob)$",
    re.IGNORECASE,
)
_ID = re.compile(r"(?:unnamed: ?\d+|level_\d+|.*(?:^|[_/. ])(?:id|ids|uuid|guid|idx|index|hash))?", re.IGNORECASE)


def find(columns: Iterable[str], field: str) -> str | None:
    """The column that holds a field of :data:`ALIASES`, by its usual names.

    Example:
        >>> find(["Model_Size", "loss_web"], "params")
        'Model_Size'
    """
    lowered = {c.lower(): c for c in columns}
    return next((lowered[a] for a in ALIASES[field] if a in lowered), None)


def field_of(name: str) -> str | None:
    """The field of :data:`ALIASES` that a column's name stands for.

    Example:
        >>> field_of("_step"), field_of("lr")
        ('step', None)
    """
    return next((field for field, names in ALIASES.items() if name.lower() in names), None)


def is_id(name: str) -> bool:
    """Whether a name is that of an id or a row number: ``mixture_id``, ``Unnamed: 0``, no name at all.

    Example:
        >>> is_id("mixture_id"), is_id("Unnamed: 0"), is_id("hybrid")
        (True, True, False)
    """
    return _ID.fullmatch(name) is not None


def weight_domain(name: str, weak: bool = False) -> str | None:
    """Domain whose mixture weight ``name`` is; with ``weak`` also for ``train_X`` and ``w_X``.

    Example:
        >>> weight_domain("mixture.web"), weight_domain("data.mixture.web"), weight_domain("weight_decay")
        ('web', 'web', None)
    """
    match = _WEIGHT.fullmatch(name) or (_WEAK_WEIGHT.fullmatch(name) if weak else None)
    if match is None or _NO_DOMAIN.match(match["domain"]):
        return None
    return match["domain"]


def _late_domain(name: str) -> str | None:
    match = _LATE_WEIGHT.fullmatch(name)
    domain = None if match is None else match["domain"] or match["after"]
    return None if domain is None or _NO_DOMAIN.match(domain) or _TRAINING.fullmatch(domain) else domain


def weight_columns(columns: Sequence[str]) -> dict[str, str]:
    """``{column: domain}``; ``X_weight``, ``share_X``, then ``train_X`` and ``w_X`` count only where nothing is named a
    weight outright.

    Example:
        >>> weight_columns(["web_weight", "code_weight", "lr"])
        {'web_weight': 'web', 'code_weight': 'code'}
    """
    strong = {c: d for c in columns if (d := weight_domain(c))}
    if strong:
        return strong
    late = {c: d for c in columns if (d := _late_domain(c))}
    if len(late) > 1:
        return late
    return {c: d for c in columns if (d := weight_domain(c, weak=True))}


def measured(name: str) -> Measure | None:
    """Target and kind of a name that says outright what it measures, else None.

    Example:
        >>> measured("loss_web"), measured("loss_fn"), measured("val_web")
        (Measure(target='web', kind='loss'), None, None)
        >>> measured("web_loss") == measured("loss_web"), measured("val_web_ppl").kind
        (True, 'perplexity')
    """
    if training_loss(name):
        return None
    for kind, form in _FORMS:
        match = form.fullmatch(name)
        if match:
            target = match["target"]
            if _NO_TARGET.fullmatch(target) or (form in _LATE_FORMS and _PART.fullmatch(target)):
                continue
            if kind in ("perplexity", "byte_perplexity") and re.search(rf"{_END}word$", target, re.IGNORECASE):
                return None  # per word: of no tokenizer's unit
            return Measure(target, kind)
    return None


def training_loss(name: str) -> bool:
    """Whether a name is that of a loss on the training text, which is measured on each run's own mixture.

    Example:
        >>> training_loss("train/loss"), training_loss("train_loss"), training_loss("loss_web")
        (True, True, False)
    """
    return _TRAINING.fullmatch(name) is not None


def measured_values(names: Sequence[str]) -> dict[str, Measure]:
    """``{name: measure}`` of the names that are measured values; training losses are none.

    Example:
        >>> found = measured_values(["loss_web", "eval/code/bpb", "val_batch_size", "train/loss"])
        >>> {name: (m.target, m.metric, m.unit) for name, m in found.items()}
        {'loss_web': ('web', 'loss', 'nats_per_token'), 'eval/code/bpb': ('code', 'bits_per_byte', 'bits_per_byte')}
    """
    found = {n: m for n in names if (m := measured(n))}
    if not any(m.metric == "loss" for m in found.values()):
        found |= {
            n: Measure(match["target"], "loss")
            for n in names
            if n not in found
            and (match := _PLACED.fullmatch(n))
            and not _SETTING.search(match["target"])
            and not _OTHER_MEASURE.search(match["target"])
            and not any(alone.fullmatch(n) for alone in _ALONE.values())
        }
    if not any(m.metric == "loss" for m in found.values()):
        for kind in ("loss", "bits_per_token", "perplexity"):
            alone = [n for n in names if n not in found and _ALONE[kind].fullmatch(n)]
            if alone:
                found |= {n: Measure("loss", kind) for n in alone}
                break
    # a perplexity beside the loss of the same set says the same again
    losses = {m.target for m in found.values() if m.kind == "loss"}
    found = {
        n: m for n, m in found.items() if m.kind in ("loss", "accuracy") or m.metric != "loss" or m.target not in losses
    }
    return {n: found[n] for n in names if n in found}


def why_no_value(name: str, chosen: Mapping[str, Measure]) -> str:
    """Why a name that looks measured is not used, in words; empty where it does not look so.

    Example:
        >>> why_no_value("train/loss", {})
        'a training loss: on the mixture of its own run'
    """
    found = measured(name)
    if training_loss(name) and ("loss" in name.lower() or "ppl" in name.lower()):
        return "a training loss: on the mixture of its own run"
    if found is not None:
        same = next((n for n, m in chosen.items() if m.target == found.target and m.metric == found.metric), None)
        return f"{same} holds the same" if same else ""
    if re.search(rf"{_END}word_(?:ppl|perplexity)$", name, re.IGNORECASE):
        return "per word, which depends on no tokenizer; say --value NAME=lower to use it"
    if _OTHER_MEASURE.search(name) or (_PLACED.fullmatch(name) and not _SETTING.search(name)):
        return "looks measured; say --value NAME=KIND to use it, KIND loss, perplexity, accuracy, higher, ..."
    return ""


def looks_measured(name: str) -> bool:
    """Whether a name is that of a score whose direction and unit nobody can know from it: ``f1``, ``eval/reward``.

    Example:
        >>> looks_measured("f1"), looks_measured("my/metric")
        (True, False)
    """
    return _OTHER_MEASURE.search(name) is not None
