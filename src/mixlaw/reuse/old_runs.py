"""Old observations after the domains have changed: what stays valid, what is re-expressed, what must be run anew.

A run's losses stay true for the text it was trained on. So nothing is predicted into the observations: runs are
re-expressed over the **union** of old and new domains, where they hold exactly, and a law fitted there is restricted to
the new domains by setting the former ones to zero.

=============  ============================================================================================
added          old runs hold with weight zero on it; the law knows nothing of it until some runs use it
removed        old runs that drew from it hold too, with the domain as a *former* one: their losses are explained by old
               and new domains together, and the law is asked at zero of it from then on
split          old runs drew the parts in proportion to their tokens, so ``weight * share`` each is exact; the parts'
               difference is not identified until some runs vary it
re-filtered    runs without it hold; for the others the old version becomes a former domain, unless nearly all its
               tokens were kept (``kept >= same_above``): then its weights are carried over, which is approximate
=============  ============================================================================================

A loss holds for the text it was measured on, too: values on validation sets that the new corpus holds with other
content are left out, and corpora of different tokenizers cannot be joined. What to train next is
:mod:`mixlaw.reuse.new_runs`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mixlaw.data.budget import Budget
from mixlaw.data.corpus import Corpus
from mixlaw.data.mixture import Mixture, Schedule
from mixlaw.data.observations import Observations
from mixlaw.errors import ConfigError, DataError, did_you_mean
from mixlaw.laws.core.base import Law
from mixlaw.laws.core.restricted import Restricted
from mixlaw.reuse.new_runs import NewRuns, propose_runs

__all__ = ["NewRuns", "Restricted", "Reuse", "reuse"]


@dataclass(frozen=True)
class Reuse:
    """Old observations over old and new domains.

    Args:
        observations: re-expressed over ``domains`` + ``former``.
        domains: the new corpus' domains.
        former: domains that only old runs used; a law is to be restricted to zero of them.
        changes: ``{domain: what happened}``.
        unchanged, reexpressed, approximate: run ids: as they were, exact in other columns, carried over to a
            re-filtered domain.
        unidentified: new domains (or parts of a split one) whose own effect no old run shows.
        left_out: validation sets whose content changed: their old losses are not among ``observations``.

    Example:
        >>> old = Corpus.declared({"web": 9_000_000, "code": 1_000_000}, source="example")
        >>> new = Corpus.declared({"web": 9_000_000, "python": 600_000, "c": 400_000}, source="example")
        >>> weights = enumerate((0.2, 0.5, 0.8, 0.9))
        >>> runs = [{"run": f"r{i}", "schedule": {"web": w, "code": 1 - w}} for i, w in weights]
        >>> seen = Observations.from_records(runs, [{"run": "r0", "target": "all", "value": 3.0}])
        >>> found = reuse(seen, old, new, split={"code": ("python", "c")})
        >>> found.carried(Mixture({"web": 0.5, "code": 0.5})).to_dict()
        {'web': 0.5, 'python': 0.3, 'c': 0.2}
    """

    observations: Observations
    domains: tuple[str, ...]
    former: tuple[str, ...]
    changes: Mapping[str, str]
    unchanged: tuple[str, ...]
    reexpressed: tuple[str, ...]
    approximate: tuple[str, ...]
    unidentified: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    corpus: Corpus = field(repr=False, kw_only=True)
    rename: Mapping[str, Mapping[str, float]] = field(default_factory=dict, repr=False, kw_only=True)

    def restrict(self, law: Law) -> Restricted:
        """A law fitted to :attr:`observations`, as a law of the new domains only."""
        return Restricted.of(law, self.domains)

    def carried(self, mixture: Mixture) -> Mixture:
        """A mixture of the old domains over the new ones: parts of a split domain in proportion to their tokens, what
        is gone left out, what is new at zero.

        Raises:
            ConfigError: none of its weight is on a domain that is still there.
        """
        weights = dict.fromkeys(self.domains, 0.0)
        for domain, weight in mixture.to_dict().items():
            if domain in weights:  # a re-filtered one keeps its weight, though not what is known of it
                weights[domain] += weight
                continue
            for name, share in self.rename.get(domain, {}).items():
                if name in weights:
                    weights[name] += weight * share
        if sum(weights.values()) <= 0:
            raise ConfigError(f"Nothing of the mixture is left on the new domains {list(self.domains)}: {mixture}.")
        return Mixture.normalized(weights)

    def virtual(self, mixture: Mixture) -> Mixture:
        """The untouched domains' weights in ``mixture``, frozen relative to each other.

        Raises:
            ConfigError: the mixture has no weight on any untouched domain.
        """
        untouched = {d: mixture.get(d) for d in self.domains if d not in self.unidentified}
        if sum(untouched.values()) <= 0:
            raise ConfigError(f"The mixture puts no weight on the untouched domains {list(untouched)}: {mixture}.")
        return Mixture.normalized(untouched)

    def new_runs(
        self, mixture: Mixture, budget: Budget | None = None, max_runs: int = 32, tolerance: float = 0.02, seed: int = 0
    ) -> NewRuns:
        """The fewest further runs after which predictions are as sharp as they were before the change.

        The mixtures are distinct, differ from those already run, satisfy the budget, and are the same for the same
        seed; replicates are not among them. Untouched domains keep the ratios they have in ``mixture`` as far as the
        budget lets them.

        Args:
            mixture: today's or the last recommended mixture over the new domains (new ones may be missing); one that
                the budget forbids is replaced by the nearest that it allows.
            budget: of the target run, over the new domains; None for no limits.
            max_runs: most runs to propose.
            tolerance: relative width beyond the old one that counts as restored.

        Raises:
            ConfigError: the mixture has no weight on any untouched domain, or ``max_runs``, ``tolerance`` are negative.
            InfeasibleBudgetError: no mixture of the new domains satisfies the budget.

        Example:
            >>> old = Corpus.declared({"web": 9_000_000, "code": 1_000_000}, source="example")
            >>> new = Corpus.declared({"web": 9_000_000, "python": 600_000, "c": 400_000}, source="example")
            >>> weights = enumerate((0.2, 0.5, 0.8, 0.9))
            >>> runs = [{"run": f"r{i}", "schedule": {"web": w, "code": 1 - w}} for i, w in weights]
            >>> seen = Observations.from_records(runs, [{"run": "r0", "target": "all", "value": 3.0}])
            >>> found = reuse(seen, old, new, split={"code": ("python", "c")})
            >>> len(found.new_runs(Mixture({"web": 0.6, "python": 0.24, "c": 0.16}), max_runs=2).mixtures)
            1
        """
        order = [*self.domains, *self.former]
        diverged = {
            r for r, s in zip(*(self.observations.runs[c].to_pylist() for c in ("run", "status"))) if s == "diverged"
        }
        schedules = [s.mixture for r, s in self.observations.schedules().items() if r not in diverged]
        if not schedules:
            raise DataError("No run has a mixture, so there is nothing to reuse.")
        runs = np.array([[m.get(d) for d in order] for m in schedules])
        return propose_runs(runs, order, self.corpus, self.unidentified, mixture, budget, max_runs, tolerance, seed)

    def __str__(self) -> str:
        lines = [f"{name}: {what}" for name, what in self.changes.items()] or ["no domain changed"]
        lines.append(
            f"{len(self.unchanged)} runs stay as they are, {len(self.reexpressed)} are re-expressed exactly, "
            f"{len(self.approximate)} approximately"
        )
        if self.former:
            lines.append(f"former domains, zero from now on: {', '.join(self.former)}")
        if self.unidentified:
            lines.append(f"no old run shows the effect of: {', '.join(self.unidentified)}")
        if self.left_out:
            lines.append(
                f"validation sets with other content than before, old losses left out: {', '.join(self.left_out)}"
            )
        return "\n".join(lines)


def reuse(
    observations: Observations,
    old: Corpus,
    new: Corpus,
    *,
    split: Mapping[str, tuple[str, ...]] | None = None,
    kept: Mapping[str, float] | None = None,
    same_above: float = 0.95,
) -> Reuse:
    """Re-express observations made on ``old`` for ``new``.

    Added and removed domains are found by name; a domain whose content hash changed (or, where it was only declared,
    whose count changed) counts as re-filtered.

    Args:
        split: ``{old domain: its new parts}``.
        kept: ``{re-filtered domain: share of its tokens that is still there}``.
        same_above: share of kept tokens from which a re-filtered domain is treated as the same.

    Raises:
        ConfigError: a split names domains that are not there, or an old one that is also a new one; a share kept of a
            domain that did not change.
        DataError: the observations used domains the old corpus does not have, or the corpora have different tokenizers.

    Example:
        >>> old = Corpus.declared({"web": 9_000_000, "code": 1_000_000}, source="example")
        >>> new = Corpus.declared({"web": 9_000_000, "python": 600_000, "c": 400_000}, source="example")
        >>> weights = enumerate((0.2, 0.5, 0.8, 0.9))
        >>> runs = [{"run": f"r{i}", "schedule": {"web": w, "code": 1 - w}} for i, w in weights]
        >>> seen = Observations.from_records(runs, [{"run": "r0", "target": "all", "value": 3.0}])
        >>> found = reuse(seen, old, new, split={"code": ("python", "c")})
        >>> found.changes, len(found.reexpressed)
        ({'code': 'split into python 60.0%, c 40.0%'}, 4)
    """
    parts = {k: tuple(v) for k, v in (split or {}).items()}
    _check_corpora(observations, old, new)
    _check_split(parts, old, new)
    _check_kept(kept or {}, old, new)
    found = _compare(observations, old, new, parts, kept or {}, same_above)
    for name in kept or {}:
        if name not in found.changes:
            raise ConfigError(
                f"kept names {name!r}, which is the same in both corpora, so all of it is kept. Leave it out; "
                f"changed are {list(found.changes) or 'none'}."
            )
    runs, groups = _reexpressed(observations, found, [*new.names, *found.former])
    content = {v.name: v.hash for v in new.validation}
    values = observations.values.to_pylist()
    other = {v["target"] for v in values if _differ(v["target_hash"], content.get(v["target"]))}
    left_out = [t for t in observations.targets if t in other]
    return Reuse(
        Observations.from_records(runs, [v for v in values if v["target"] not in other]),
        new.names,
        tuple(found.former),
        found.changes,
        tuple(groups["unchanged"]),
        tuple(groups["reexpressed"]),
        tuple(groups["approximate"]),
        tuple(found.unidentified),
        tuple(left_out),
        corpus=new,
        rename=found.rename,
    )


@dataclass
class _Found:
    """What became of the domains: in words, old name to shares of new ones, those that are only approximately the
    same, those that are gone, and those of which the runs say nothing yet."""

    changes: dict[str, str] = field(default_factory=dict)
    rename: dict[str, dict[str, float]] = field(default_factory=dict)
    approximate: set[str] = field(default_factory=set)
    former: list[str] = field(default_factory=list)
    unidentified: list[str] = field(default_factory=list)


def _check_corpora(observations: Observations, old: Corpus, new: Corpus) -> None:
    if old.tokenizer and new.tokenizer and old.tokenizer != new.tokenizer:
        raise DataError(
            f"The corpora have different tokenizers ({old.tokenizer} and {new.tokenizer}), so their losses per token "
            f"do not compare. Tokenise the new text with the old tokenizer (corpus.tokenizer in study.yaml)."
        )
    strangers = [d for d in observations.domains if d not in old.names]
    if strangers:
        raise DataError(
            f"Observations use {strangers}, which the old corpus lacks.{did_you_mean(strangers[0], old.names)}"
        )


def _check_split(parts: Mapping[str, tuple[str, ...]], old: Corpus, new: Corpus) -> None:
    for name, pieces in parts.items():
        if name not in old.names:
            raise ConfigError(f"split names {name!r}, which the old corpus lacks.{did_you_mean(name, old.names)}")
        if name in new.names:
            raise ConfigError(f"{name!r} is split but still a domain of the new corpus; give the parts other names.")
        for piece in pieces:
            if piece not in new.names:
                raise ConfigError(
                    f"Part {piece!r} of {name!r} is not in the new corpus.{did_you_mean(piece, new.names)}"
                )


def _check_kept(kept: Mapping[str, float], old: Corpus, new: Corpus) -> None:
    for name, share in kept.items():
        if name not in new.names or name not in old.names:
            raise ConfigError(f"kept names {name!r}, which is not in both corpora.{did_you_mean(name, old.names)}")
        if not 0 <= share <= 1:
            raise ConfigError(f"kept[{name!r}] must be a share in [0, 1], got {share!r}.")


def _compare(
    observations: Observations,
    old: Corpus,
    new: Corpus,
    parts: Mapping[str, tuple[str, ...]],
    kept: Mapping[str, float],
    same_above: float,
) -> _Found:
    """Every domain that was split, removed, re-filtered or added."""
    found = _Found()
    schedules = observations.schedules()
    for domain in old.domains:
        name = domain.name
        if name in parts:
            total = sum(new[p].unique_tokens for p in parts[name])
            found.rename[name] = {p: new[p].unique_tokens / total for p in parts[name]}
            found.changes[name] = f"split into {', '.join(f'{p} {s:.1%}' for p, s in found.rename[name].items())}"
            found.unidentified += list(parts[name])
        elif name not in new.names:
            found.changes[name] = f"removed; {_drawn(name, schedules)}"
            found.former.append(name)
        elif not _same(domain, new[name]):
            _refiltered(found, name, kept.get(name), same_above)
    pieces = {p for names in parts.values() for p in names}
    for name in new.names:
        if name not in old.names and name not in pieces:
            found.changes[name] = "added"
            found.unidentified.append(name)
    return found


def _refiltered(found: _Found, name: str, still: float | None, same_above: float) -> None:
    """A domain of another content: nearly the same, or the old version is a former domain of its own."""
    if still is not None and still >= same_above:
        found.changes[name] = f"re-filtered, {still:.1%} of its tokens kept: weights carried over (approximate)"
        found.approximate.add(name)
        return
    label = f"{name} (before)"
    known = "an unknown share" if still is None else f"{still:.1%}"
    found.changes[name] = f"re-filtered, {known} of its tokens kept: the old version is a former domain"
    found.rename[name] = {label: 1.0}
    found.former.append(label)
    found.unidentified.append(name)


def _reexpressed(
    observations: Observations, found: _Found, names: Sequence[str]
) -> tuple[list[dict[str, Any]], dict[str, list[str]]]:
    """Rows of the runs over today's and former domains, and which runs are unchanged, re-expressed, approximate."""
    schedules = observations.schedules()
    realised, settings = observations.schedules(realised=True), observations.settings()
    runs: list[dict[str, Any]] = []
    groups: dict[str, list[str]] = {"unchanged": [], "reexpressed": [], "approximate": []}
    for row in observations.runs.to_pylist():
        schedule, drawn = schedules.get(row["run"]), realised.get(row["run"])
        phases = () if schedule is None else schedule.phases
        used = {d for p in phases for d, w in p.mixture.to_dict().items() if w > 0}
        kind = "approximate" if used & found.approximate else "reexpressed" if used & set(found.rename) else "unchanged"
        groups[kind].append(row["run"])
        row["epochs"] = dict(row["epochs"]) if row["epochs"] else None
        row["schedule"] = None if schedule is None else _rename(schedule, found.rename, names)
        row["realised"] = None if drawn is None else _rename(drawn, found.rename, names)
        row["settings"] = settings[row["run"]] or None
        runs.append(row)
    return runs, groups


def _drawn(name: str, schedules: Mapping[str, Schedule]) -> str:
    """In words, how many runs drew from a domain that is gone, and whether any shows what is without it."""
    shares = [s.mixture.get(name) for s in schedules.values()]
    used = sum(w > 0 for w in shares)
    if not used:
        return "no run drew from it"
    text = f"{used} of {len(shares)} runs drew from it and stay valid, with it as a former domain"
    if min(shares) > 0.01:
        text += f" (at least {min(shares):.1%} each: what is without it is an extrapolation)"
    return text


def _differ(a: str | None, b: str | None) -> bool:
    return bool(a and b and a != b)


def _same(a: Any, b: Any) -> bool:
    if a.hash and b.hash:
        return bool(a.hash == b.hash)
    return bool(a.unique_tokens == b.unique_tokens)


def _rename(schedule: Schedule, rename: Mapping[str, Mapping[str, float]], columns: Sequence[str]) -> Schedule:
    phases = []
    for phase in schedule.phases:
        weights = dict.fromkeys(columns, 0.0)
        for domain, weight in phase.mixture.to_dict().items():
            for name, share in rename.get(domain, {domain: 1.0}).items():
                weights[name] = weights.get(name, 0.0) + weight * share
        phases.append({"fraction": phase.fraction, "weights": weights})
    return Schedule.from_dict({"phases": phases})
