"""Old observations after the domains have changed: what stays valid, what is re-expressed, what must be run anew.

A run's losses stay true for the text it was trained on. So nothing is predicted into the observations: runs are
re-expressed over the **union** of old and new domains, where they hold exactly, and a law fitted there is restricted to
the new domains by setting the former ones to zero.

=============  ============================================================================================
added          old runs hold with weight zero on it; the law knows nothing of it until some runs use it
removed        old runs hold; the domain becomes a *former* one
split          old runs drew the parts in proportion to their tokens, so ``weight * share`` each is exact; the parts'
               difference is not identified until some runs vary it
re-filtered    runs without it hold; for the others the old version becomes a former domain, unless nearly all its
               tokens were kept (``kept >= same_above``): then its weights are carried over, which is approximate
=============  ============================================================================================

New runs explore only what changed: the untouched domains are kept in frozen ratios as one *virtual* domain (mixture
reuse of Olmix, arXiv:2602.12237), so that their number grows with the changed domains, not with all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mixlaw.corpus import Corpus
from mixlaw.errors import ConfigError, DataError, did_you_mean
from mixlaw.laws.base import Atoms, Law
from mixlaw.mixture import Mixture, Schedule
from mixlaw.observations import Observations

__all__ = ["NewRuns", "Restricted", "Reuse", "reuse"]

Array = npt.NDArray[np.float64]


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
    """

    observations: Observations
    domains: tuple[str, ...]
    former: tuple[str, ...]
    changes: Mapping[str, str]
    unchanged: tuple[str, ...]
    reexpressed: tuple[str, ...]
    approximate: tuple[str, ...]
    unidentified: tuple[str, ...]
    corpus: Corpus = field(repr=False, kw_only=True)

    def restrict(self, law: Law) -> Restricted:
        """A law fitted to :attr:`observations`, as a law of the new domains only."""
        return Restricted.of(law, self.domains)

    def virtual(self, mixture: Mixture) -> Mixture:
        """The untouched domains' weights in ``mixture``, frozen relative to each other.

        Raises:
            ConfigError: the mixture has no weight on any untouched domain.
        """
        untouched = {d: mixture.get(d) for d in self.domains if d not in self.changes and d not in self.unidentified}
        if sum(untouched.values()) <= 0:
            raise ConfigError(f"The mixture puts no weight on the untouched domains {list(untouched)}: {mixture}.")
        return Mixture.normalized(untouched)

    def new_runs(self, mixture: Mixture, max_runs: int = 32, tolerance: float = 0.02, seed: int = 0) -> NewRuns:
        """The fewest further runs after which predictions near ``mixture`` are as sharp as they were before the change.

        Intervals grow with the leverage of a mixture among the runs; each run is the one that lowers it most around the
        target, among mixtures of the virtual domain and the changed ones.

        Args:
            mixture: today's or the last recommended mixture over the new domains (new ones may be missing).
            tolerance: relative width beyond the old one that counts as restored.
        """
        virtual = self.virtual(mixture)
        X, _ = self.observations.table(missing="keep")
        names = list(X.column_names)
        order = [*self.domains, *self.former]
        rows = np.column_stack([X.column(n).to_numpy() if n in names else np.zeros(len(X)) for n in order])
        changed = [d for d in self.domains if d not in virtual.domains or d in self.unidentified]
        rng = np.random.default_rng(seed)
        base = np.array([virtual.get(d) for d in order])
        shares = rng.dirichlet(np.ones(max(len(changed), 1)), size=400)
        amount = rng.uniform(0.02, 0.7, size=(400, 1))
        pool = (1 - amount) * base
        for i, name in enumerate(changed):
            pool[:, order.index(name)] += amount[:, 0] * shares[:, i]
        pool = pool / pool.sum(axis=1, keepdims=True)
        targets = pool[rng.choice(400, 40, replace=False)]  # the region the next optimum may lie in
        known = rows.copy()
        chosen: list[int] = []
        before = float(np.mean(np.sqrt(1 + _leverage(known, base[None]))))
        widths = [float(np.mean(np.sqrt(1 + _leverage(known, targets)))) / before]
        while changed and len(chosen) < max_runs and widths[-1] > 1 + tolerance:
            inverse, centre = _information(known)
            away = pool - centre
            reach = (targets - centre) @ inverse @ away.T  # (targets, pool)
            own = 1.0 + np.einsum("ij,jk,ik->i", away, inverse, away)
            gain = (reach**2 / own).mean(axis=0)
            best = int(np.argmax(gain))
            chosen.append(best)
            known = np.vstack([known, pool[best]])
            widths.append(float(np.mean(np.sqrt(1 + _leverage(known, targets)))) / before)
        mixtures = tuple(Mixture.normalized({d: float(pool[i, order.index(d)]) for d in self.domains}) for i in chosen)
        return NewRuns(mixtures, tuple(widths), widths[-1] <= 1 + tolerance)

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
        return "\n".join(lines)


@dataclass(frozen=True)
class NewRuns:
    """Mixtures to train next; ``widths``: the interval's width relative to before the change, after 0, 1, ... runs."""

    mixtures: tuple[Mixture, ...]
    widths: tuple[float, ...]
    restored: bool


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
        ConfigError: a split names domains that are not there, or an old one that is also a new one.
        DataError: the observations used domains the old corpus does not have.
    """
    strangers = [d for d in observations.domains if d not in old.names]
    if strangers:
        raise DataError(
            f"Observations use {strangers}, which the old corpus lacks.{did_you_mean(strangers[0], old.names)}"
        )
    parts = {k: tuple(v) for k, v in (split or {}).items()}
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
    for name, share in (kept or {}).items():
        if name not in new.names or name not in old.names:
            raise ConfigError(f"kept names {name!r}, which is not in both corpora.{did_you_mean(name, old.names)}")
        if not 0 <= share <= 1:
            raise ConfigError(f"kept[{name!r}] must be a share in [0, 1], got {share!r}.")
    pieces_of = {p for pieces in parts.values() for p in pieces}
    changes: dict[str, str] = {}
    rename: dict[str, dict[str, float]] = {}
    approximate_domains, former, unidentified = set(), [], []
    for domain in old.domains:
        name = domain.name
        if name in parts:
            total = sum(new[p].unique_tokens for p in parts[name])
            rename[name] = {p: new[p].unique_tokens / total for p in parts[name]}
            changes[name] = f"split into {', '.join(f'{p} {s:.1%}' for p, s in rename[name].items())}"
            unidentified += list(parts[name])
        elif name not in new.names:
            changes[name] = "removed"
            former.append(name)
        elif _same(domain, new[name]):
            continue
        else:
            still = (kept or {}).get(name)
            if still is not None and still >= same_above:
                changes[name] = f"re-filtered, {still:.1%} of its tokens kept: weights carried over (approximate)"
                approximate_domains.add(name)
            else:
                label = f"{name} (before)"
                known = "an unknown share" if still is None else f"{still:.1%}"
                changes[name] = f"re-filtered, {known} of its tokens kept: the old version is a former domain"
                rename[name] = {label: 1.0}
                former.append(label)
                unidentified.append(name)
    for name in new.names:
        if name not in old.names and name not in pieces_of:
            changes[name] = "added"
            unidentified.append(name)
    runs, groups = [], {"unchanged": [], "reexpressed": [], "approximate": []}  # type: ignore[var-annotated]
    schedules = observations.schedules()
    for row in observations.runs.to_pylist():
        schedule = schedules.get(row["run"])
        used = (
            set() if schedule is None else {d for p in schedule.phases for d, w in p.mixture.to_dict().items() if w > 0}
        )
        kind = "approximate" if used & approximate_domains else "reexpressed" if used & set(rename) else "unchanged"
        groups[kind].append(row["run"])
        row["epochs"] = dict(row["epochs"]) if row["epochs"] else None
        row["schedule"] = None if schedule is None else _rename(schedule, rename, [*new.names, *former])
        runs.append(row)
    return Reuse(
        Observations.from_records(runs, observations.values.to_pylist()),
        new.names,
        tuple(former),
        changes,
        tuple(groups["unchanged"]),
        tuple(groups["reexpressed"]),
        tuple(groups["approximate"]),
        tuple(unidentified),
        corpus=new,
    )


def _same(a: Any, b: Any) -> bool:
    if a.hash and b.hash:
        return bool(a.hash == b.hash)
    return bool(a.unique_tokens == b.unique_tokens)


def _rename(schedule: Schedule, rename: Mapping[str, Mapping[str, float]], columns: list[str]) -> Schedule:
    phases = []
    for phase in schedule.phases:
        weights = dict.fromkeys(columns, 0.0)
        for domain, weight in phase.mixture.to_dict().items():
            for name, share in rename.get(domain, {domain: 1.0}).items():
                weights[name] = weights.get(name, 0.0) + weight * share
        phases.append({"fraction": phase.fraction, "weights": weights})
    return Schedule.from_dict({"phases": phases})


def _information(rows: Array) -> tuple[Array, Array]:
    """Inverse information of the runs' weights (with a small ridge) and their centre: what leverage is measured by."""
    centre = rows.mean(axis=0)
    gram = (rows - centre).T @ (rows - centre)
    gram[np.diag_indices_from(gram)] += 1e-3 * np.trace(gram) / len(gram) + 1e-12
    return np.linalg.inv(gram), centre


def _leverage(rows: Array, points: Array) -> Array:
    inverse, centre = _information(rows)
    return np.einsum("ij,jk,ik->i", points - centre, inverse, points - centre)


class Restricted(Law):
    """A law with some of its domains held at zero: fitted on old and new domains, asked about the new ones."""

    name = "restricted"

    def __init__(self, law: Law | None = None) -> None:
        self.law = law

    @classmethod
    def of(cls, law: Law, domains: tuple[str, ...]) -> Restricted:
        """``law`` as a law of ``domains`` only.

        Raises:
            ConfigError: a domain the law was not fitted on.
        """
        features = [str(n) for n in law.feature_names_in_]
        for name in domains:
            if name not in features:
                raise ConfigError(f"The law was not fitted on {name!r}.{did_you_mean(name, features)}")
        out = cls(law)
        out.feature_names_in_ = np.array(domains, dtype=object)
        out.n_features_in_ = len(domains)
        out.target_names_ = list(law.target_names_)
        out.n_targets_ = law.n_targets_
        out.num_runs_ = law.num_runs_
        out.single_target_ = law.single_target_
        out.columns_ = np.array([features.index(d) for d in domains])
        return out

    def _fit(self, X: Array, Y: Array, sample_weight: Array) -> None:
        raise DataError("A restricted law is made from a fitted one: Restricted.of(law, domains).")

    def _whole(self, X: Array) -> dict[str, Array]:
        assert self.law is not None
        names = [str(n) for n in self.law.feature_names_in_]
        out = {n: np.zeros(len(X)) for n in names}
        for i, column in enumerate(self.columns_):
            out[names[column]] = X[:, i]
        return out

    def _predict(self, X: Array) -> Array:
        assert self.law is not None
        return np.asarray(self.law.predict(self._whole(X)), dtype=float).reshape(len(X), -1)

    def predict_interval(self, X: Any, level: float = 0.9) -> tuple[Array, Array]:
        """As the law's own, at zero of the former domains."""
        assert self.law is not None
        return self.law.predict_interval(self._whole(self._align(X)), level)

    def atoms(self) -> Atoms | None:
        from mixlaw.optimize.forms import align

        assert self.law is not None
        atoms = self.law.atoms()
        return None if atoms is None else align(atoms, self.columns_.tolist())
