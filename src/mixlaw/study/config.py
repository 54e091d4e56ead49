"""``study.yaml``: what the user writes, checked at the border. Unknown keys are errors with a suggestion."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from mixlaw.data.budget import Budget
from mixlaw.data.seams import EVALUATORS, EXECUTORS, TRAINERS
from mixlaw.errors import ConfigError, did_you_mean
from mixlaw.kit.units import parse_count
from mixlaw.kit.yaml_text import check_plain, dump_yaml, load_yaml

__all__ = [
    "CorpusConfig",
    "DesignConfig",
    "EvaluatorConfig",
    "ExecutorConfig",
    "LawConfig",
    "SizeConfig",
    "StudyConfig",
    "TrainingConfig",
    "TrunkConfig",
    "VerifyConfig",
    "design_changes",
    "load_config",
]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_are_no_truth_values(cls, value: Any, info: ValidationInfo) -> Any:
        kind = cls.model_fields[str(info.field_name)].annotation
        given = value.values() if isinstance(value, dict) and kind == dict[str, float] else [value]
        if kind is not bool and any(isinstance(one, bool) for one in given):
            raise ValueError("true and false are no numbers, texts or settings here")
        return value


def _paths(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: [v] if isinstance(v, str | Path) else v for k, v in value.items()}
    return value


class CorpusConfig(_Section):
    """Where the text is. Paths are relative to the study folder's parent unless absolute; any fsspec URL works."""

    domains: dict[str, list[str]] = Field(default_factory=dict)
    """Training domains: one path, or a list of files and folders, per domain."""
    counts: dict[str, int] = Field(default_factory=dict)
    """Instead of ``domains``: declared unique tokens per domain, where the runs are imported."""
    counts_source: str = "study.yaml"
    """Who counted them."""
    validation: dict[str, list[str]] = Field(default_factory=dict)
    """Validation-only sets beside the held-out part of every training domain."""
    text_field: str = "text"
    tokenizer: str | None = None
    """A tokenizer.json; without it a byte-level BPE is trained on the corpus."""
    vocab_size: int = 2048
    validation_tokens: int = 32_768
    """Tokens of each validation set."""

    _as_lists = field_validator("domains", "validation", mode="before")(_paths)
    _counts = field_validator("validation_tokens", "vocab_size", mode="before")(
        lambda v: parse_count(v, "corpus counts")
    )
    _declared = field_validator("counts", mode="before")(
        lambda v: {k: parse_count(n, f"counts of {k}") for k, n in v.items()} if isinstance(v, dict) else v
    )

    @model_validator(mode="after")
    def _either(self) -> CorpusConfig:
        if bool(self.domains) == bool(self.counts):
            raise ValueError("give either 'domains' (paths of text) or 'counts' (declared tokens), not both or neither")
        return self


_PROXY = {"preset": "d64"}
_PROXY_RATE = {"name": "wsd", "peak": 4e-3}


class TrainingConfig(_Section):
    """One proxy run."""

    trainer: str = "torch"
    """``torch`` (built in), ``command`` (your own) or a registered name."""
    command: list[str] | str | None = None
    """For ``command``: the template; ``{spec}``, ``{metrics}`` and ``{folder}`` are replaced."""
    timeout: float | None = None
    """For ``command``: seconds after which a run counts as failed."""
    options: dict[str, Any] = Field(default_factory=dict)
    """The trainer's own, such as ``device`` of ``torch`` or those of a trainer that you registered."""
    start: str | None = None
    """A checkpoint folder of a published model (Llama, GPT-NeoX, Gemma 3), or a GGUF file (Llama, Gemma 3), that every
    run continues, instead of a proxy trained from scratch; relative to the study folder's parent, like text."""
    update: dict[str, Any] | str = "full"
    """What is trained of the start: ``full`` (every weight), or low-rank factors beside its matrices, ``{name: lora,
    options: {rank: 8}}``."""
    model: dict[str, Any] = Field(default_factory=lambda: dict(_PROXY))
    tokens: int = 2_000_000
    batch: int = 8
    context: int = 256
    learning_rate: dict[str, Any] = Field(default_factory=lambda: dict(_PROXY_RATE))
    optimizer: dict[str, Any] = Field(default_factory=lambda: {"name": "adamw"})
    evaluations: int = 10
    """How many times along a run the validation losses are measured."""
    simulated_epoching: bool = True
    """Repeat each domain in the proxies as often as the target run will (by subsampling it)."""

    _counts = field_validator("tokens", mode="before")(lambda v: parse_count(v, "training tokens"))

    @field_validator("update", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        if not isinstance(value, str | dict):
            raise ValueError("must be full or lora, or {name: lora, options: {rank: 8}}")
        return value

    @field_validator("options")
    @classmethod
    def _from_the_study(cls, value: dict[str, Any]) -> dict[str, Any]:
        """A trainer is bound to the study's own corpus and tokens."""
        for name in ("corpus", "tokens_root"):
            if name in value:
                raise ValueError(f"{name!r} is the study's own and no option of a trainer; leave it out")
        return value

    @model_validator(mode="after")
    def _of_the_start(self) -> TrainingConfig:
        if self.start == "":
            raise ValueError("start is empty: give a checkpoint folder or a GGUF file, or leave start out")
        if self.start is not None and self.model != _PROXY:
            raise ValueError("start brings its own model; leave out training.model")
        if self.start is not None and self.learning_rate == _PROXY_RATE:
            raise ValueError(
                f"start needs a learning_rate of its own: the default, {_PROXY_RATE}, is that of a small proxy from "
                f"scratch. Give for example {{name: cosine, peak: 1e-4}}, below the peak the model was trained with"
            )
        name = self.update if isinstance(self.update, str) else self.update.get("name")
        if name not in ("full", "lora"):
            raise ValueError(
                f"update must be full, or {{name: lora, options: {{rank: 8}}}}; {self.update!r} names neither."
                f"{did_you_mean(str(name), ('full', 'lora'))}"
            )
        if self.start is None and name != "full" and self.trainer == "torch":
            raise ValueError(f"update: {name} needs a start, whose weights it adds to; give training.start")
        return self

    def trainer_options(self) -> dict[str, Any]:
        """The options that the trainer is made with: ``options``, and ``command`` and ``timeout`` where it has them.

        Raises:
            ConfigError: an unknown trainer or option, or one that the trainer cannot do without is missing.
        """
        shorthand = {"command": self.command, "timeout": self.timeout}
        known = TRAINERS.options(self.trainer)
        given = {k: v for k, v in shorthand.items() if v is not None and k in known} | self.options
        TRAINERS.check(self.trainer, given)
        for name, parameter in known.items():
            bound = parameter.default is not parameter.empty or name in ("corpus", "tokens_root")
            if not bound and parameter.kind is not parameter.VAR_POSITIONAL and name not in given:
                where = f"training.{name}" if name in shorthand else f"training.options.{name}"
                raise ConfigError(f"training.trainer is {self.trainer!r}, which needs {where}. Give it in study.yaml.")
        return given


class SizeConfig(_Section):
    """A further size at which some of the swarm's mixtures are trained: whether ranks transfer is measured there."""

    num: int = Field(ge=1)
    """How many of the mixtures; not more than at the size before."""
    tokens: int
    model: dict[str, Any]
    learning_rate: dict[str, Any] = Field(default_factory=dict)
    """Where they differ from ``training``."""
    optimizer: dict[str, Any] = Field(default_factory=dict)
    batch: int | None = None

    _counts = field_validator("tokens", mode="before")(lambda v: parse_count(v, "tokens of design.sizes"))


class TrunkConfig(_Section):
    """A run that others start from: trained once, for all of them."""

    share: float = Field(gt=0, lt=1)
    """Its part of the tokens of a whole run."""
    mixture: dict[str, float] | Literal["natural", "uniform"] = "natural"
    """What it is trained on."""

    @field_validator("mixture", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        names = ("natural", "uniform")
        if isinstance(value, str) and value not in names:
            raise ValueError(f"no mixture of that name.{did_you_mean(value, names)} Or give weights: {{web: 0.7, ...}}")
        return value


class DesignConfig(_Section):
    """Which mixtures are tried."""

    sampler: str = "dirichlet"
    options: dict[str, Any] = Field(default_factory=dict)
    """The sampler's own, for instance ``levels`` of ``hierarchical`` or ``fractions`` of ``phases``."""
    num: int = 24
    replicates: int = Field(default=2, ge=0)
    """Extra runs of the reference mixture under other seeds: they measure the noise."""
    seed: int = Field(default=0, ge=0)
    sizes: list[SizeConfig] = Field(default_factory=list)
    """Larger sizes than that of ``training``, cheapest first, for fewer and fewer of the mixtures."""
    trunk: TrunkConfig | None = None
    """What the runs start from: ``{share: 0.5, mixture: natural}``, or the share alone; 0: every run from scratch.
    With ``sampler: experts`` it is the experts' and half of the tokens where not given."""

    @property
    def experts(self) -> bool:
        """Whether one expert per domain is trained, beside ``num`` mixtures."""
        return self.sampler == "experts"

    @model_validator(mode="before")
    @classmethod
    def _of_experts(cls, data: Any) -> Any:
        """Experts alone need no mixture beside them and have a trunk; a trunk may be given by its share."""
        if not isinstance(data, dict):
            return data
        data = dict(data)
        if data.get("sampler") == "experts":
            data = {"num": 0, "replicates": 0, "trunk": 0.5} | data
        trunk = data.get("trunk")
        if isinstance(trunk, int | float) and not isinstance(trunk, bool):
            data["trunk"] = {"share": trunk} if trunk != 0 else None
        elif isinstance(trunk, str | list):
            raise ValueError(
                f"trunk must be a share of the tokens, such as 0.5, or {{share: 0.5, mixture: natural}}, got {trunk!r}"
            )
        return data

    @model_validator(mode="after")
    def _ladder(self) -> DesignConfig:
        if self.sizes and (self.trunk is not None or self.experts):
            raise ValueError("sizes are of runs from scratch at one size after the other; leave out trunk and experts")
        counts = [self.num, *(size.num for size in self.sizes)]
        if any(b > a for a, b in pairwise(counts)):
            raise ValueError(f"num must not grow from size to size, got {counts}")
        return self


class LawConfig(_Section):
    """Which law explains the runs."""

    name: str = "auto"
    level: float = 0.9
    options: dict[str, Any] = Field(default_factory=dict)


class VerifyConfig(_Section):
    """Which mixtures are trained to check the recipe, and how often."""

    seeds: int = 5
    arms: list[str] = Field(default_factory=lambda: ["natural"])
    """References beside the recipe: ``natural``, ``uniform``, ``reference``."""


class ExecutorConfig(_Section):
    """Where runs are trained."""

    name: str = "local"
    workers: int | None = Field(default=None, ge=1)
    """Runs trained at once; None: as many as there is room for."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Of the executor, such as ``grace_seconds`` of ``local``."""

    @field_validator("options")
    @classmethod
    def _workers_stand_beside(cls, value: dict[str, Any]) -> dict[str, Any]:
        if "workers" in value:
            raise ValueError("workers stands beside options: {name: ..., workers: 2, options: {...}}")
        return value

    @model_validator(mode="after")
    def _known(self) -> ExecutorConfig:
        """Told when the study is read, not when days of training are to start."""
        try:
            EXECUTORS.check(self.name, self.options)
        except ConfigError as error:
            raise ConfigError(f"executor: {error}") from None
        return self


class EvaluatorConfig(_Section):
    """What is measured of every run's model beside its validation losses."""

    name: str
    """``minimal_pairs``, ``multiple_choice``, ... or a registered name."""
    tasks: dict[str, str]
    """``{name of the task: file of its records}``, relative to the study folder's parent, like text."""
    options: dict[str, Any] = Field(default_factory=dict)
    """The evaluator's own, such as ``shots`` of ``multiple_choice``."""
    at: list[float] = Field(default_factory=lambda: [1.0])
    """Fractions of the run, in (0, 1]."""

    _one = field_validator("at", mode="before")(lambda v: [v] if isinstance(v, int | float) else v)

    @field_validator("tasks", mode="before")
    @classmethod
    def _files(cls, value: Any) -> Any:
        if not isinstance(value, dict) or not value or not all(isinstance(file, str) for file in value.values()):
            raise ValueError("must be names with one file each, such as {pairs: tasks/pairs.jsonl}")
        return value

    @field_validator("at")
    @classmethod
    def _fractions(cls, value: list[float]) -> list[float]:
        if not value or any(not 0 < f <= 1 for f in value):
            raise ValueError("must be fractions of the run in (0, 1], such as [0.5, 1.0]")
        return value

    @model_validator(mode="after")
    def _known(self) -> EvaluatorConfig:
        """Told when the study is read; what an option's value does is told before a run starts."""
        try:
            EVALUATORS.check(self.name, self.options)
        except ConfigError as error:
            raise ConfigError(f"evaluators: {error}") from None
        return self


class StudyConfig(_Section):
    """The whole of study.yaml."""

    corpus: CorpusConfig
    runs: list[str | list[str]] = Field(default_factory=list)
    """Imported runs (CSV, Parquet, RegMix, olmix, W&B, ...), used instead of, or beside, runs trained here. Files that
    are read together, such as RegMix's weights and losses, are a list of their own."""
    repair: bool = False
    """Rescale weights of imported runs that do not sum to one."""
    run_options: dict[str, Any] = Field(default_factory=dict)
    """How imported runs are read where their columns' names do not tell: ``weights: {web: COLUMN}``, ``values: {COLUMN:
    loss}``, ``ignore: [COLUMN]``, ``mixtures: weights.csv``; see docs/io.md."""
    objective: dict[str, float]
    """Weight of each validation set in what is minimised."""
    budget: dict[str, Any]
    """The target run: ``tokens`` and limits, see :class:`mixlaw.data.budget.Budget`."""
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    design: DesignConfig = Field(default_factory=DesignConfig)
    law: LawConfig = Field(default_factory=LawConfig)
    reference: dict[str, float] | Literal["natural", "uniform"] = "natural"
    """The mixture used today; gains are counted against it."""
    verify: VerifyConfig = Field(default_factory=VerifyConfig)
    executor: ExecutorConfig = Field(default_factory=ExecutorConfig)
    evaluators: list[EvaluatorConfig] = Field(default_factory=list)
    """What is measured of every run beside its validation losses; see docs/skills.md."""

    @field_validator("run_options")
    @classmethod
    def _known_options(cls, value: dict[str, Any]) -> dict[str, Any]:
        """Each import takes those of these options that its format has; what no format has is refused."""
        known = ("weights", "values", "ignore", "mixtures", "metric")
        for name in value:
            if name not in known:
                raise ValueError(f"imported runs have no option {name!r}.{did_you_mean(name, known)}")
        return value

    @field_validator("reference", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        """Both forms of ``reference`` in one message, instead of one complaint per form."""
        names = ("natural", "uniform")
        if isinstance(value, str) and value not in names:
            raise ValueError(f"no mixture of that name.{did_you_mean(value, names)} Or give weights: {{web: 0.7, ...}}")
        weights = list(value.values()) if isinstance(value, dict) else [value]
        if not isinstance(value, str) and not all(isinstance(w, int | float) for w in weights):
            raise ValueError("must be natural, uniform, or weights such as {web: 0.7, code: 0.3}")
        return value

    @model_validator(mode="after")
    def _meaningful(self) -> StudyConfig:
        if not self.objective or any(w < 0 for w in self.objective.values()) or sum(self.objective.values()) <= 0:
            raise ValueError(f"objective needs non-negative weights with a positive sum, got {self.objective}")
        self.make_budget()
        if self.training.start is not None and self.design.sizes:
            raise ValueError("design.sizes are proxies of other sizes, and training.start is one model; leave one out")
        return self

    def make_budget(self) -> Budget:
        """The target run's budget."""
        if "tokens" not in self.budget:
            raise ConfigError(f"budget needs 'tokens' (of the target run); it has {sorted(self.budget)}.")
        return Budget.from_dict(self.budget)

    def run_files(self) -> list[list[str]]:
        """The paths of each import: one, or several that are read together."""
        return [[entry] if isinstance(entry, str) else entry for entry in self.runs]

    def objective_weights(self) -> dict[str, float]:
        """The objective's weights, summing to one."""
        total = sum(self.objective.values())
        return {k: v / total for k, v in self.objective.items() if v > 0}

    def dump(self) -> str:
        """As YAML."""
        return dump_yaml(self.model_dump(mode="json"))


def parse_config(data: Any, where: str) -> StudyConfig:
    """Checked configuration from plain data; ``where`` is named in errors."""
    if not isinstance(data, dict):
        raise ConfigError(f"{where} must hold a mapping with corpus, objective and budget, got {type(data).__name__}.")
    check_plain(data, where)
    if odd := [key for key in data if not isinstance(key, str)]:
        raise ConfigError(
            f"{where}: {odd[0]!r} is no key of a study.{did_you_mean(str(odd[0]), StudyConfig.model_fields)}"
        )
    try:
        return StudyConfig(**data)
    except ValidationError as error:
        raise ConfigError(f"{where}: " + "; ".join(_explain(e) for e in error.errors())) from None
    except ConfigError as error:  # pydantic lets ours through as they are: without the file's name
        raise ConfigError(f"{where}: {error}") from None


def design_changes(
    design: DesignConfig,
    sampler: str | None = None,
    num: int | None = None,
    replicates: int | None = None,
    options: Sequence[str] = (),
    sizes: Sequence[str] = (),
    trunk: float | None = None,
) -> DesignConfig | None:
    """A design's settings with those of the command line in their place; None where nothing was given there.

    Args:
        options: ``"NAME=VALUE"``, the value as in study.yaml.
        sizes: ``"PRESET=NUM:TOKENS"``.
        trunk: share of the tokens that all runs have in common; 0: none. Its mixture is that of study.yaml.

    Raises:
        ConfigError: a text of another form, or settings that do not go together.

    Example:
        >>> design_changes(DesignConfig(), num=16, sizes=["d128=4:8M"]).sizes[0].tokens
        8000000
    """
    given: dict[str, Any] = {"sampler": sampler, "num": num, "replicates": replicates}
    changes = {name: value for name, value in given.items() if value is not None}
    if sampler is not None and sampler != design.sampler:
        changes["options"] = {}  # those of study.yaml are of its own sampler
        if sampler == "experts":  # and so are its numbers of mixtures and replicates
            changes = {"num": 0, "replicates": 0, "trunk": design.trunk or 0.5, **changes}
    for text in options:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise ConfigError(f"--option {text!r} must look like NAME=VALUE, for example fractions=[.8, .2].")
        changes["options"] = {**changes.get("options", design.options), name: _value(value, f"--option {text!r}")}
    if sizes:
        changes["sizes"] = [_size(text) for text in sizes]
    if trunk is not None:
        kept = {} if design.trunk is None else {"mixture": design.trunk.mixture}
        changes["trunk"] = {**kept, "share": trunk} if trunk != 0 else 0
    if not changes:
        return None
    try:
        return DesignConfig(**{**design.model_dump(mode="json"), **changes})
    except ValidationError as error:
        raise ConfigError("The design: " + "; ".join(_explain(e, DesignConfig) for e in error.errors())) from None


def _value(text: str, where: str) -> Any:
    try:
        return load_yaml(text, where)
    except ConfigError as error:
        if text.startswith(("[", "{")):
            raise ConfigError(f"{where}: {text!r} is not a value that study.yaml could hold: {error}") from None
        return text  # such as ':'


def _size(text: str) -> dict[str, Any]:
    preset, _, rest = text.partition("=")
    count, _, tokens = rest.partition(":")
    if not preset or not (count.isascii() and count.isdigit()) or not tokens:
        raise ConfigError(f"--size {text!r} must look like PRESET=NUM:TOKENS, for example d128=8:8M.")
    return {"num": int(count), "tokens": parse_count(tokens, f"--size {text}"), "model": {"preset": preset}}


def load_config(path: Path) -> StudyConfig:
    """Read and check ``study.yaml``."""
    try:
        data = load_yaml(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        if (path.parent / "law.json").exists():
            raise ConfigError(
                f"{path.parent} holds a fit of files and no study: of the verbs, `mixlaw predict`, `mixlaw optimize` "
                f"and `mixlaw export` work on it. The others need a study (`mixlaw init`, with the files as `runs:` in "
                f"its study.yaml)."
            ) from None
        raise ConfigError(
            f"{path} is not there. Is the folder's name right? A study is made by `mixlaw init {path.parent} --domain "
            f"NAME=PATH ...`, a fit of a table of runs by `mixlaw fit runs.csv`."
        ) from None
    except NotADirectoryError:
        raise ConfigError(
            f"{path.parent} is a file and no study folder. If it is a table of runs, `mixlaw fit {path.parent}` makes "
            f"a folder of it."
        ) from None
    except (UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path} is not readable YAML: {error}") from None
    return parse_config(data, str(path))


def _explain(error: Any, section: Any = StudyConfig) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        for part in error["loc"][:-1]:
            if isinstance(part, int):  # in a list, whose entries are sections
                section = section.__args__[0]
            else:
                section = section.model_fields[part].annotation
            if isinstance(section, UnionType):  # a section that may be left out
                section = next(kind for kind in section.__args__ if kind is not NoneType)
        key = error["loc"][-1]
        return f"unknown key {where!r}.{did_you_mean(str(key), section.model_fields)}"
    if error["type"] == "missing":
        return f"{where!r} is missing"
    if error["type"] in ("model_type", "model_attributes_type"):
        return f"{where}: must be a section of keys and values, such as {{name: ...}} (got {error.get('input')!r})"
    words = f"{where}: {error['msg'].removeprefix('Value error, ')}"
    given = repr(error.get("input"))
    if error["type"] == "value_error" and isinstance(error.get("input"), dict) and len(given) > 120:
        return words  # settings that do not go together: they are named, and the whole section says no more
    return f"{words} (got {given})"
