"""The folder of a study: what is in it, read back as data types. It knows none of the steps that write it.

```
study.yaml  corpus.json  tokens/  design.json  runs/<run-id>/  experts/<run-id>.npz  laws/<name>.json  ledger/
recipe.json  verification.json  report.html  made-from.json
```
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from mixlaw.data import formats
from mixlaw.data.budget import Budget
from mixlaw.data.corpus import Corpus
from mixlaw.data.ledger import Ledger
from mixlaw.data.mixture import Mixture
from mixlaw.data.observations import Observations
from mixlaw.data.recipe import Recipe
from mixlaw.data.runspec import RunSpec
from mixlaw.errors import ConfigError, DataError, MixlawWarning, did_you_mean
from mixlaw.kit.store import Store
from mixlaw.study.config import StudyConfig, load_config, parse_config

__all__ = ["Progress", "SharedRuns", "StudyFolder"]

Progress = Callable[[str, float, float], None]
"""``progress(what, done, total)``, called often; the command line draws it."""


def _silent(what: str, done: float, total: float) -> None:
    """No progress shown."""


@dataclass(frozen=True)
class SharedRuns:
    """Ids of the runs of a design that are no mixtures of its swarm.

    Args:
        trunk: the run that others start from; None: there is none.
        experts: domain to the run that was trained on it alone.

    Example:
        >>> SharedRuns().experts
        {}
    """

    trunk: str | None = None
    experts: Mapping[str, str] = field(default_factory=dict)


class StudyFolder:
    """One folder with one ``study.yaml``, and readers of everything that the steps of a study write.

    Args:
        folder: holds ``study.yaml``.
        progress: called with (what, done, total) during long work.

    Raises:
        ConfigError: no ``study.yaml``, or it is wrong.

    Example:
        >>> import tempfile
        >>> config = {
        ...     "corpus": {"counts": {"web": "3B", "code": "1B"}},
        ...     "objective": {"web": 1.0},
        ...     "budget": {"tokens": "2B"},
        ... }
        >>> study = StudyFolder.create(tempfile.mkdtemp(), config)
        >>> study.budget.tokens
        2000000000
        >>> study.designed()
        []
    """

    def __init__(self, folder: str | Path, progress: Progress | None = None) -> None:
        self.folder = Path(folder)
        self.store = Store(self.folder)
        self.config: StudyConfig = load_config(self.folder / "study.yaml")
        self.ledger = Ledger(self.store)
        self.progress = progress or _silent

    @classmethod
    def create(cls, folder: str | Path, config: Mapping[str, Any], progress: Progress | None = None) -> Self:
        """Write ``study.yaml`` into a new folder.

        Raises:
            ConfigError: the configuration is wrong, or the folder holds another study already.
        """
        root = Path(folder)
        checked = parse_config(dict(config), "the configuration")
        existing = root / "study.yaml"
        if existing.exists():
            if load_config(existing) != checked:
                raise ConfigError(f"{root} holds another study already. Choose another folder, or edit {existing}.")
        else:
            Store(root).write_bytes("study.yaml", checked.dump().encode())
        return cls(root, progress)

    def resolve(self, paths: Sequence[str]) -> list[str]:
        """Paths of ``study.yaml`` as paths from here: relative ones are relative to the study folder's parent, so that
        a study can be moved together with its text."""
        return [p if "://" in p or Path(p).is_absolute() else str(self.folder.parent / p) for p in paths]

    # ---- corpus and target run -----------------------------------------------------------------------
    @property
    def corpus(self) -> Corpus:
        """The measured corpus.

        Raises:
            DataError: not tokenised yet.
        """
        if not self.store.exists("corpus.json"):
            raise DataError(f"{self.folder} has no corpus.json yet. Run `mixlaw tokenize {self.folder}` first.")
        return Corpus.load(self.folder / "corpus.json")

    @property
    def budget(self) -> Budget:
        """Limits of the target run."""
        return self.config.make_budget()

    @property
    def reference(self) -> Mixture:
        """The mixture used today.

        Raises:
            ConfigError: it names a domain that the corpus lacks.
            DataError: not tokenised yet.
        """
        corpus, reference = self.corpus, self.config.reference
        if reference == "natural":
            return corpus.natural
        if reference == "uniform":
            return Mixture.uniform(corpus.names)
        if not isinstance(reference, dict):
            raise ConfigError(f"reference must be 'natural', 'uniform' or weights, got {reference!r}.")
        unknown = [name for name in reference if name not in corpus.names]
        if unknown:
            raise ConfigError(f"reference names {unknown[0]!r}.{did_you_mean(unknown[0], corpus.names)}")
        return Mixture({name: reference.get(name, 0.0) for name in corpus.names})

    def own_domains(self) -> dict[str, str]:
        """Which training domain each validation set was split from."""
        return {v.name: v.domain for v in self.corpus.validation if v.domain}

    def check_objective(self, corpus: Corpus) -> None:
        """Check that the objective names sets that are measured. Before the first run of a declared corpus nothing is
        checked, because what will be measured is not known.

        Raises:
            ConfigError: names the set, and the nearest one that is measured.
        """
        sets = [v.name for v in corpus.validation]
        if not sets:
            if not self.config.runs and not any(map(self.is_done, self.designed())):
                return
            sets = self.observations().targets
        for name in self.config.objective:
            if name not in sets:
                raise ConfigError(f"objective names {name!r}, which is not a validation set.{did_you_mean(name, sets)}")

    # ---- runs ----------------------------------------------------------------------------------------
    def specs(self) -> list[RunSpec]:
        """The designed runs.

        Raises:
            DataError: nothing designed yet.
        """
        if not self.store.exists("design.json"):
            raise DataError(f"{self.folder} has no design.json yet. Run `mixlaw design {self.folder}` first.")
        return formats.made(
            "design",
            self.folder / "design.json",
            lambda design: [RunSpec.from_dict(spec) for spec in design["specs"]],
            formats.read(self.store, "design.json", "design"),
        )

    def designed(self) -> list[RunSpec]:
        """The designed runs; none where nothing is designed yet."""
        return self.specs() if self.store.exists("design.json") else []

    def shared(self) -> SharedRuns:
        """The designed runs that are no mixtures of the swarm: the trunk, and the expert of each domain."""
        if not self.store.exists("design.json"):
            return SharedRuns()
        content = formats.read(self.store, "design.json", "design")
        return SharedRuns(content.get("trunk"), dict(content.get("experts") or {}))

    def mixtures(self) -> list[RunSpec]:
        """The designed runs that laws of mixtures are fitted to: all but trunk and experts; the experts, which are runs
        of one domain each, where there are no others."""
        shared, specs = self.shared(), self.designed()
        others = [s for s in specs if s.id != shared.trunk and s.id not in shared.experts.values()]
        return others or [s for s in specs if s.id in shared.experts.values()]

    def is_done(self, spec: RunSpec) -> bool:
        """Whether a run was trained to its end."""
        return self.store.exists("runs", spec.id, "DONE")

    def observations(self, specs: Sequence[RunSpec] | None = None) -> Observations:
        """What was measured in the designed :meth:`mixtures` that are done, and in imported runs (or in ``specs``
        alone).

        Raises:
            DataError: no run is done yet.
        """
        if specs is None and self.config.runs:
            imported = [self._imported(paths) for paths in self.config.run_files()]
            trained = [s.id for s in self.mixtures() if self.is_done(s)]
            return Observations.concat([*imported, Observations.load_runs(self.folder / "runs", trained)])
        if specs is None:
            self.specs()  # says so where nothing is designed yet
        done = dict.fromkeys(s.id for s in (self.mixtures() if specs is None else specs) if self.is_done(s))
        if not done:
            raise DataError(f"No run of {self.folder} is done yet. Run `mixlaw train {self.folder}` first.")
        return Observations.load_runs(self.folder / "runs", list(done))

    def _imported(self, paths: Sequence[str]) -> Observations:
        from mixlaw.io.importers import read, takes

        resolved = self.resolve(paths)
        if not all(Path(p).exists() for p in resolved):
            return read(resolved)
        options = {name: value for name, value in self.config.run_options.items() if takes(resolved, name)}
        if isinstance(options.get("mixtures"), str):
            options["mixtures"] = self.resolve([options["mixtures"]])[0]
        if self.config.repair and takes(resolved, "repair"):
            options["repair"] = True
        return read(resolved, **options)

    # ---- law and recipe --------------------------------------------------------------------------------
    def has_joint_law(self) -> bool:
        """Whether the configured law explains sizes and tokens beside the mixture."""
        from mixlaw.laws import LAWS

        return bool(LAWS[self.config.law.name].kind == "joint")

    def law(self) -> Any:
        """The fitted law, as it was fitted.

        Raises:
            DataError: nothing fitted yet.
        """
        from mixlaw.laws.core.base import Law

        name = f"laws/{self.config.law.name}.json"
        if not self.store.exists(name):
            raise DataError(f"{self.folder} has no {name} yet. Run `mixlaw fit {self.folder}` first.")
        return Law.from_json(self.store.read_bytes(name), str(self.folder / name))

    def law_here(self) -> Any:
        """The fitted law as a law of today's domains: those that only imported runs drew from are held at zero.

        Raises:
            ConfigError: the corpus has a domain that no run names.
            DataError: nothing fitted yet.
        """
        from mixlaw.data.columns import SIZES
        from mixlaw.laws.core.restricted import Restricted

        law, names = self.law(), self.corpus.names
        former = [str(n) for n in law.feature_names_in_ if n not in names and n not in SIZES]
        if not former:
            return law
        restricted = Restricted.of(law, names)
        warnings.warn(
            f"Runs drew from {former}, which the corpus lacks: they count as former domains, held at zero.",
            MixlawWarning,
            stacklevel=3,
        )
        return restricted

    def recipe(self, schedule: bool = False) -> Recipe:
        """The recipe, or the one with phases (``recipe-schedule.json``).

        Raises:
            DataError: nothing optimised yet.
        """
        name, verb = ("recipe-schedule.json", "schedule") if schedule else ("recipe.json", "optimize")
        if not self.store.exists(name):
            raise DataError(f"{self.folder} has no {name} yet. Run `mixlaw {verb} {self.folder}` first.")
        return Recipe.load(self.folder / name)
