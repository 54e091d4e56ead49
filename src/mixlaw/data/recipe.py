"""What to train on, and everything needed to believe it: self-contained for exporters and reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mixlaw.data import formats
from mixlaw.data.corpus import Corpus
from mixlaw.data.mixture import Mixture, Schedule
from mixlaw.data.prediction import Prediction
from mixlaw.data.recipe_text import compared_with, recipe_text
from mixlaw.data.seams import EXPORTERS
from mixlaw.errors import DataError, ExportError
from mixlaw.kit import html
from mixlaw.kit.hashing import content_hash
from mixlaw.kit.store import Store
from mixlaw.kit.units import format_count

__all__ = ["Certificate", "Recipe"]


@dataclass(frozen=True)
class Certificate:
    """How the optimum was obtained.

    Args:
        kind: ``"certified"`` (global optimum, ``gap`` bounds how far the objective can still fall) or ``"best_of"``
            (``starts`` local searches, no certificate).
        gap: duality gap in the objective's units; None without a certificate.
        starts: number of starts of a local search; None for a convex solve.
        solver: what solved it.

    Example:
        >>> print(Certificate("certified", gap=1e-9, solver="convex"))
        certified optimum (gap 1.0e-09)
        >>> print(Certificate("best_of", starts=20))
        best of 20 starts, no certificate
    """

    kind: str
    gap: float | None = None
    starts: int | None = None
    solver: str = ""

    def __str__(self) -> str:
        if self.kind == "certified":
            return f"certified optimum (gap {self.gap:.1e})"
        return f"best of {self.starts} starts, no certificate"


@dataclass(frozen=True, repr=False)
class Recipe:
    """A schedule with its predictions, limits and provenance.

    Args:
        schedule: what to train on.
        tokens: token budget of the target run.
        corpus: manifest of the corpus the weights refer to.
        objective: weight of each validation set in the objective (or its description).
        predictions: per validation set, plus ``"objective"``.
        reference: the mixture it is compared with (natural unless the user gave one).
        changes: per validation set ``{"reference": its loss at the reference}``, and of a set that gets worse
            ``"guard_costs"``: by how much the objective rises if it may not (None: it cannot be kept from it).
        difference: objective of the recipe minus that of the reference, with interval (negative is better).
        probability_better: probability that the recipe beats the reference.
        shadow_prices: one dict per binding limit: ``{"limit", "domain", "loss_per_billion_tokens",
            "loss_per_extra_epoch", ...}``.
        certificate: how the optimum was obtained.
        unconstrained: the optimum without epoch caps, caps and floors, for comparison.
        near_optimal: per domain ``[low, high]`` the weight may move to at 0.1% of loss.
        baselines: objective predictions of other mixtures ``{name: {"weights": ..., "prediction": ...}}``.
        law: name and held-out score of the law; ``law_hash`` its content hash.
        budget: the limits, as plain data.
        warnings: everything the reader must know (outside the hull, ranks not shown to transfer, ...).
        versions: mixlaw, numpy, ... versions.

    Example:
        >>> corpus = Corpus.declared({"web": 10_000, "wiki": 1_000}, source="example")
        >>> recipe = Recipe(Schedule.constant({"web": 0.75, "wiki": 0.25}), tokens=8_000, corpus=corpus)
        >>> recipe.domain_tokens, recipe.epochs
        ({'web': 6000.0, 'wiki': 2000.0}, {'web': 0.6, 'wiki': 2.0})
    """

    schedule: Schedule
    tokens: int
    corpus: Corpus
    objective: Mapping[str, Any] = field(default_factory=dict)
    predictions: Mapping[str, Prediction] = field(default_factory=dict)
    reference: Mixture | None = None
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    difference: Prediction | None = None
    probability_better: float | None = None
    shadow_prices: tuple[Mapping[str, Any], ...] = ()
    certificate: Certificate = field(default_factory=lambda: Certificate("best_of", starts=0))
    unconstrained: Mixture | None = None
    near_optimal: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    baselines: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    law: Mapping[str, Any] = field(default_factory=dict)
    law_hash: str = ""
    budget: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def mixture(self) -> Mixture:
        """Token share of each domain over the whole run."""
        return self.schedule.mixture

    @property
    def domain_tokens(self) -> dict[str, float]:
        """Tokens drawn from each domain."""
        return self.schedule.tokens(self.tokens)

    @property
    def epochs(self) -> dict[str, float]:
        """Epochs of each domain: tokens drawn / unique tokens."""
        return self.schedule.epochs(self.tokens, self.corpus.unique_tokens)

    @property
    def hash(self) -> str:
        """Content hash of everything that is claimed; versions and notes on how the text was read are not part."""
        claimed = self.to_dict()
        del claimed["versions"], claimed["corpus"]["extra"]
        return content_hash(claimed)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for ``recipe.json``."""
        return {
            "schedule": self.schedule.to_dict(),
            "tokens": self.tokens,
            "domain_tokens": self.domain_tokens,
            "epochs": self.epochs,
            "corpus": self.corpus.to_dict(),
            "objective": dict(self.objective),
            "predictions": {k: v.to_dict() for k, v in self.predictions.items()},
            "reference": self.reference.to_dict() if self.reference else None,
            # recipes of before have none, and keep the hash that the ledger holds
            **({"changes": {k: dict(v) for k, v in self.changes.items()}} if self.changes else {}),
            "difference": self.difference.to_dict() if self.difference else None,
            "probability_better": self.probability_better,
            "shadow_prices": [dict(p) for p in self.shadow_prices],
            "certificate": vars(self.certificate),
            "unconstrained": self.unconstrained.to_dict() if self.unconstrained else None,
            "near_optimal": {k: list(v) for k, v in self.near_optimal.items()},
            "baselines": {k: dict(v) for k, v in self.baselines.items()},
            "law": dict(self.law),
            "law_hash": self.law_hash,
            "budget": dict(self.budget),
            "warnings": list(self.warnings),
            "versions": dict(self.versions),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Recipe:
        """Inverse of :meth:`to_dict`.

        Raises:
            DataError: a field is missing or is not what a recipe holds.
        """
        try:
            return cls(
                schedule=Schedule.from_dict(data["schedule"]),
                tokens=int(data["tokens"]),
                corpus=Corpus.from_dict(data["corpus"]),
                objective=dict(data["objective"]),
                predictions={k: Prediction.from_dict(v) for k, v in data["predictions"].items()},
                reference=Mixture(data["reference"]) if data["reference"] else None,
                changes={k: dict(v) for k, v in (data.get("changes") or {}).items()},
                difference=Prediction.from_dict(data["difference"]) if data["difference"] else None,
                probability_better=data["probability_better"],
                shadow_prices=tuple(dict(price) for price in data["shadow_prices"]),
                certificate=Certificate(**data["certificate"]),
                unconstrained=Mixture(data["unconstrained"]) if data["unconstrained"] else None,
                near_optimal={k: (v[0], v[1]) for k, v in data["near_optimal"].items()},
                baselines={k: dict(v) for k, v in data["baselines"].items()},
                law=dict(data["law"]),
                law_hash=data["law_hash"],
                budget=dict(data["budget"]),
                warnings=tuple(data["warnings"]),
                versions=dict(data["versions"]),
            )
        except (AttributeError, LookupError, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"This is not a recipe written by mixlaw: {error!r}.") from None

    def save(self, path: str | Path) -> None:
        """Write as JSON, whole or not at all."""
        target = Path(path)
        formats.write(Store(target.parent), target.name, "recipe", self.to_dict())

    @classmethod
    def load(cls, path: str | Path) -> Recipe:
        """Read what :meth:`save` wrote, in this version or an earlier one.

        Raises:
            DataError: not there, no recipe, of a newer format, or changed after it was written.
        """

        def make(content: dict[str, Any]) -> Recipe:
            recipe = cls.from_dict(content)
            str(recipe), recipe.hash  # whatever cannot be shown or hashed is told here, with the file's name
            return recipe

        return formats.made("recipe", path, make, formats.load(path, "recipe"))

    def export(self, framework: str, path: str | Path, **options: Any) -> Path:
        """Write the configuration of a training framework; returns the file written. See :mod:`mixlaw.io.exporters`.

        Args:
            framework: a name in :data:`mixlaw.io.exporters.EXPORTERS`.
            path: the file to write.
            options: of the framework's exporter, such as ``packed=True`` or ``sequence_length=2048``.

        Raises:
            ConfigError: unknown framework or option, or a value that the option cannot have.
            ExportError: the recipe cannot be expressed there, drawing it as the framework does exceeds an epoch cap by
                more than 1%, or ``path`` is a folder.

        Example:
            ``recipe.export("megatron", "blend.json", sequence_length=2048)``
        """
        exporter, target = EXPORTERS.make(framework, options), Path(path)
        if target.is_dir():
            raise ExportError(f"{path} is a folder. Give the file to write, for example {target / framework}.")
        drawn, caps = exporter.simulate(self), self.budget.get("max_epochs")
        for domain, epochs in drawn.epochs.items():
            cap = caps.get(domain) if isinstance(caps, Mapping) else caps
            if cap is not None and epochs > cap * 1.01:
                raise ExportError(
                    f"{drawn.framework} would repeat {domain!r} {epochs:.3g} times, above its cap of {cap:g} epochs. "
                    f"Lower its weight with a cap in the budget and optimise again."
                )
        return Path(exporter.write(self, target))

    @property
    def how_found(self) -> str:
        """The certificate in words, with the law under which a certified optimum is one.

        Example:
            >>> corpus = Corpus.declared({"web": 10_000, "wiki": 1_000}, source="example")
            >>> proof = Certificate("certified", gap=1e-9)
            >>> recipe = Recipe(Schedule.constant({"web": 1.0}), 8_000, corpus, certificate=proof, law={"name": "M4"})
            >>> recipe.how_found
            'certified optimum (gap 1.0e-09) under the fitted M4 law'
        """
        name = self.law.get("name") if self.certificate.kind == "certified" else None
        return f"{self.certificate} under the fitted {name} law" if name else str(self.certificate)

    def __str__(self) -> str:
        return recipe_text(
            schedule=self.schedule,
            tokens=self.tokens,
            unique_tokens=self.corpus.unique_tokens,
            certificate=self.how_found,
            objective=self.objective,
            predictions=self.predictions,
            reference=self.reference,
            changes=self.changes,
            difference=self.difference,
            probability_better=self.probability_better,
            baselines=self.baselines,
            unconstrained=self.unconstrained,
            shadow_prices=self.shadow_prices,
            warnings=self.warnings,
        )

    def __repr__(self) -> str:
        """One line; :meth:`__str__` has it all, :meth:`to_dict` every field."""
        return f"<Recipe: {self.mixture}, {format_count(self.tokens)} tokens, {self.how_found}>"

    def _repr_html_(self) -> str:
        """The recipe as a notebook shows it: how it was found, the mixture, what it is predicted to do, warnings."""
        tokens, epochs, against = self.domain_tokens, self.epochs, compared_with(self.baselines)
        found = [self.how_found]
        if self.difference is not None:
            chance = self.probability_better
            better = "" if chance is None else f", better with probability {chance:.0%}"
            found.append(f"Objective minus {against}: {self.difference}{better}")
        headers = ["domain", "weight", "tokens", "epochs", *([against] if self.reference else [])]
        rows = []
        for domain, weight in self.mixture.to_dict().items():
            row = [domain, f"{weight:.4f}", format_count(round(tokens[domain])), f"{epochs[domain]:.2f}"]
            rows.append([*row, f"{self.reference.get(domain):.4f}"] if self.reference else row)
        parts = [html.lines(found), html.table(headers, rows, f"Of {format_count(self.tokens)} training tokens")]
        if self.schedule.num_phases > 1:
            heads = [f"phase {k + 1} ({p.fraction:.0%})" for k, p in enumerate(self.schedule.phases)]
            shares = [[d, *(f"{p.mixture[d]:.4f}" for p in self.schedule.phases)] for d in self.schedule.domains]
            parts.append(html.table(["domain", *heads], shares, "Shares of each phase's tokens"))
        if self.predictions:
            said = [[name, str(prediction)] for name, prediction in self.predictions.items()]
            parts.append(html.table(["predicted", "loss, nats per token"], said))
        return "".join([*parts, html.lines(f"Warning: {text}" for text in self.warnings)])
