"""What a newcomer writes for a mixture law, and the hooks that a family may override.

::

    class ExponentialLaw(MixtureLaw):
        '''``L_t(r) = c_t + k_t exp(sum_j t_tj r_j)``. Source: Ye et al. 2024, arXiv:2403.16952.'''

        parameters = {
            "c": Free(2.0, "loss where the exponential has died out, nats"),
            "k": Positive(1.0, "amplitude, nats"),
            "t": Free((-2.0, 0.5, -1.0), "rate of each domain", per="domain", low=-30.0, high=30.0),
        }
        intercept = "c"
        amplitudes = ("k",)
        source = "Ye et al. 2024, arXiv:2403.16952"

        def loss(self, p, R):                       # p.c, p.k (B, 1), p.t (B, K), R (n, K)  ->  (B, n)
            return p.c + p.k * np.exp(p.t @ R.T)

        def slopes(self, p, R):                     # d loss / d parameter: (B, n), or (B, n, K) per domain
            curve = np.exp(p.t @ R.T)
            return {"c": 1.0, "k": curve, "t": (p.k * curve)[:, :, None] * R}

Everything else follows from the declaration: options, starts, a ridge chosen by held-out error, intervals, profiles,
JSON, summary and plots. Where that is not enough, a family overrides one of the hooks below, each of which says what it
is for and what is inherited.

Legend: T targets, n runs, K domains, B problems fitted side by side (targets, starts, folds, resampled runs), P numbers
theta that the optimiser searches, L amplitudes that it solves for exactly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from sklearn.base import clone

from mixlaw.errors import ConfigError
from mixlaw.kit.arrays import Array
from mixlaw.laws.core.base import Law
from mixlaw.laws.core.own import own_matrix
from mixlaw.laws.core.parameters import Free, Layout, Parameter
from mixlaw.laws.fit.declared import Parts, declared_model, split_declaration
from mixlaw.laws.fit.objective import Model, slopes_and_differences
from mixlaw.laws.fit.separable import Separable, linear_bounds, with_linear
from mixlaw.laws.fit.shared_prior import SKIP, TARGET, Comparable
from mixlaw.laws.fit.starts import linear_slopes, resize_starts

__all__ = ["MixtureForm"]


class MixtureForm(Law):
    """A mixture law as its declaration, its formula and its hooks; fitted by
    :class:`mixlaw.laws.fit.mixture_law.MixtureLaw`, from which families inherit.

    Example:
        >>> from mixlaw.laws import M4
        >>> issubclass(M4, MixtureForm), sorted(M4.parameters), M4.intercept
        (True, ['c', 'k', 't'], 'c')
    """

    kind: ClassVar = "mixture"
    allows_missing = True
    heldout_is_cheap = True
    accepts_censored = True

    parameters: ClassVar[Mapping[str, Parameter]] = {}
    """Name to declaration: bounds, meaning with unit, and one plausible value, of the parameters in :attr:`loss`."""
    intercept: ClassVar[str | None] = None
    """The parameter that is added to everything: solved for exactly, never pulled by the ridge."""
    amplitudes: ClassVar[tuple[str, ...]] = ()
    """The parameters that multiply the rest: solved for exactly at every step, however wild the others are."""

    theta_: Array
    """(T, P) where the optimiser ended."""
    linear_: Array
    """(T, 1 + L) intercept and amplitudes there, or (T, L) for a law without intercept."""
    ridge_: Array
    fit_report_: Mapping[str, Any]

    num_starts: int | None
    own: Mapping[str, Any] | None
    seed: int

    # ---- written by a family ---------------------------------------------------------------------
    loss: Any = None
    """A family's method ``loss(self, p, R) -> (B, n)``: losses in nats. ``p`` holds each declared parameter as (B, 1),
    or (B, K) per domain; R (n, K) are mixtures. On a constructed law the name holds the constructor's option ``loss=``;
    to call the method there, use :meth:`curve`."""

    def curve(self, p: SimpleNamespace, R: Array) -> Array:
        """The family's formula: losses (B, n) in nats at mixtures R (n, K), from values ``p`` by name."""
        if type(self).loss is None:
            raise ConfigError(f"{type(self).__name__} must write loss(p, R), or model(R).")
        return np.asarray(type(self).loss(self, p, R), dtype=float)

    def slopes(self, p: SimpleNamespace, R: Array) -> Mapping[str, npt.ArrayLike]:
        """d loss / d value of every parameter, by name: anything that broadcasts to (B, n), or (B, n, K) per domain.

        Arguments as for :attr:`loss`. A family that overrides :meth:`model` need not write it.
        """
        raise ConfigError(f"{type(self).__name__} must write slopes(p, R), or model(R).")

    # ---- hooks: what is inherited follows from the declaration --------------------------------------
    def model(self, R: Array) -> Separable | Model:
        """The law over mixtures R (n, K) as the fit engine takes it.

        Inherited: :attr:`loss` and :meth:`slopes`. Override for a faster or better conditioned form, in theta and
        amplitudes of its own (``self.centre_`` (K,) is the mean mixture of the runs); then override :meth:`report`
        too, which maps them to the declared parameters.
        """
        return declared_model(self, self._parts(), R)

    def starts(self, R: Array, Y: Array, W: Array) -> Array:
        """Starting points (T, S, P) of theta for each target.

        Inherited: the declared values, and these moved by several multiples of how the losses lean on each domain.
        :func:`mixlaw.laws.fit.starts.resize_starts` gives as many as the option ``num_starts`` asks for.

        Args:
            R: (n, K) mixtures of the runs.
            Y: (n, T) losses in nats, a target's mean where it was not measured.
            W: (T, n) weights, 0 where a target was not measured.
        """
        parts = self._parts()
        base = _start(parts.theta)
        spread = Y.std(axis=0)
        slopes = linear_slopes(R, (Y / np.where(spread > 0, spread, 1.0)).T)[0]
        lean = slopes / np.maximum(np.abs(slopes).max(axis=1, keepdims=True), 1e-300)  # (T, K), at most 1
        starts = np.tile(base, (Y.shape[1], len(_MOVES), 1))
        for s, (along, up) in enumerate(_MOVES):
            for name, at in parts.theta.slices.items():
                if parts.theta.parameters[name].per == "domain":
                    starts[:, s, at] += along * lean
                else:
                    starts[:, s, at] += up
        return resize_starts(np.clip(starts, *parts.theta.bounds()), self.num_starts, 1.0, self.seed)

    def pull(self) -> tuple[Array, Array]:
        """Where the ridge pulls theta and how strongly: centre (T, P), and strength (T, P) in units of ``ridge``.

        Inherited: free parameters per domain are pulled to 0 (no effect), positive ones to the mean declared value,
        with strength 1; parameters per target to the declared value, with strength 0.1.
        """
        layout = self._parts().theta
        centre, strength = _start(layout), np.full(layout.size, 0.1)
        for name, at in layout.slices.items():
            declared = layout.parameters[name]
            if name == self.intercept:
                strength[at] = 0.0
            elif declared.per == "domain":
                strength[at] = 1.0
                if isinstance(declared, Free) and declared.low <= 0 <= declared.high:
                    centre[at] = 0.0
        return np.tile(centre, (self.n_targets_, 1)), np.tile(strength, (self.n_targets_, 1))

    def pull_amplitudes(self) -> Array:
        """(L,) how strongly the ridge pulls each amplitude to 0, in units of ``ridge``.

        Inherited: 0.05, without which a tiny rate with a huge amplitude would escape the ridge.
        """
        parts = self._parts()
        return np.full(max(parts.linear.size, 1), 0.05 if parts.amplitudes else 0.0)

    def comparable(self) -> Comparable | None:
        """Which coefficients mean the same in every target, so that ``prior="shared"`` may pull them to their mean
        over targets; None where none do.

        Inherited: everything per domain with its domain, theta per target with the target, amplitudes per target not
        at all. A single free amplitude may be negative, and then turns the sign of theta round.
        """
        parts = self._parts()
        domains = np.arange(self.n_features_in_)
        theta = [domains if d.per == "domain" else [TARGET] for d in parts.theta.parameters.values()]
        linear = [domains if d.per == "domain" else [SKIP] for d in parts.linear.parameters.values()]
        amplitudes = list(parts.linear.parameters.values())
        mirrored = len(amplitudes) == 1 and isinstance(amplitudes[0], Free) and amplitudes[0].per == "target"
        if not amplitudes and parts.intercept is not None:
            linear = [[SKIP]]  # the curve of a law without amplitudes, whose factor is 1
        return Comparable(_joined(theta), _joined(linear), mirrored)

    def bounds(self) -> tuple[npt.ArrayLike, npt.ArrayLike] | None:
        """Lowest and highest theta, each (P,) or a number; None: any. Inherited: the declared ``low`` and ``high``."""
        return self._parts().theta.bounds()

    def num_free(self) -> int:
        """How many numbers per target the runs must determine where nothing is pulled. Inherited: all declared."""
        parts = self._parts()
        return parts.theta.size + parts.linear.size + (parts.intercept is not None)

    def report(self, theta: Array, linear: Array) -> dict[str, Array]:
        """Parameters under the field's names, targets first: (T,) each, (T, K) per domain.

        Args:
            theta: (T, P) as fitted.
            linear: (T, 1 + L) intercept and amplitudes, or (T, L) without intercept.
        """
        p = self._parts().values(theta, linear)
        return {n: getattr(p, n) if d.per == "domain" else getattr(p, n)[:, 0] for n, d in self.parameters.items()}

    def finish(self, theta: Array, linear: Array) -> tuple[Array, Array]:
        """The last touch on the optimum (T, P) and (T, 1 + L) before it is kept. Inherited: none."""
        return theta, linear

    def make_constant(self, theta: Array, linear: Array, which: npt.NDArray[np.bool_], mean: Array) -> None:
        """Write into theta and linear what makes targets ``which`` (T,) constant at their ``mean`` (T,), for targets
        that were equal in all runs. Inherited: amplitudes 0 and the intercept at the mean; a law without both keeps
        what was fitted."""
        if self.intercept is not None and self.amplitudes:
            theta[which] = self.pull()[0][which]
            linear[which] = 0.0
            linear[which, 0] = mean[which]

    # ---- what the contract test asks -----------------------------------------------------------------
    def example_losses(self, X: Mapping[str, npt.ArrayLike]) -> Array:
        """(n,) losses without noise at mixtures of X, of the declared parameters; a law that writes no formula for them
        learns a smooth surface."""
        if type(self).loss is None:
            return super().example_losses(X)
        R = np.column_stack([np.asarray(v, dtype=float) for v in X.values()])
        truth = Layout(self.parameters, R.shape[1]).truth()
        return self.curve(SimpleNamespace(**{name: value[None] for name, value in truth.items()}), R)[0]

    coverage_options: ClassVar = {"ridge": 1e-8}

    def example_truth(self) -> dict[str, Any]:
        """Declared values of the parameters that mixtures determine. Others trade against each other: in
        ``k exp(sum_j t_j r_j)`` a larger k does what the same addition to every t_j does, for shares sum to 1."""
        if type(self).loss is None:
            return {}
        R = np.column_stack(list(self.example_rows(48, np.random.default_rng(0)).values()))
        layout = Layout(self.parameters, R.shape[1])
        truth = np.concatenate(list(layout.truth().values()))

        def losses(values: Array) -> Array:
            p = SimpleNamespace(**{name: values[None, at] for name, at in layout.slices.items()})
            return np.broadcast_to(self.curve(p, R), (1, len(R)))[0]

        steps = np.diag(1e-5 * np.maximum(np.abs(truth), 0.1))
        J = np.stack([(losses(truth + h) - losses(truth - h)) / h.sum() for h in 0.5 * steps], axis=1) / 2
        _, size, directions = np.linalg.svd(J / np.sqrt((J**2).sum(axis=0)), full_matrices=True)
        flat = directions[int((size > 1e-6 * size[0]).sum()) :]  # moves of all parameters that leave losses as they are
        still = np.sqrt((flat**2).sum(axis=0)) < 1e-4
        return {name: truth[at].tolist() for name, at in layout.slices.items() if still[at].all()}

    def example_slopes(self, rng: np.random.Generator) -> tuple[Array, Array]:
        """Slopes in everything that is fitted, near a fit, as :meth:`model` gives them and by central differences."""
        X = self.example_rows(24, rng)
        law = clone(self).fit(X, self.example_losses(X))
        found = law.model(np.column_stack(list(X.values())))
        theta, separable = law.theta_, found if isinstance(found, Separable) else None
        if isinstance(found, Separable):
            found, theta = with_linear(found), np.concatenate([theta, law.linear_], axis=1)
        low, high = (np.broadcast_to(b, law.theta_.shape[1]) for b in law.bounds() or (-np.inf, np.inf))
        near = np.repeat(theta, 3, axis=0) + 0.02 * rng.normal(size=(3, theta.shape[1]))
        P = law.theta_.shape[1]
        near[:, :P] = np.clip(near[:, :P], low + 1e-4, high - 1e-4)
        if separable is not None:
            near[:, P:] = np.clip(near[:, P:], *linear_bounds(separable))
        return slopes_and_differences(found, near)

    def meaning(self, parameter: str) -> str:
        """As declared."""
        return self.parameters[parameter].meaning if parameter in self.parameters else ""

    # ---- for hooks ---------------------------------------------------------------------------------
    def parameter_slopes(self, X: Any) -> Array:
        """d loss / d parameter (T, n, P) at X (n, K), P the numbers of one target: theta, then intercept and
        amplitudes."""
        found, full = self.model(self._align(X)), self.theta_
        if not isinstance(found, Separable):
            return np.asarray(found(full, np.arange(len(full)))[1], dtype=float)
        full = np.concatenate([self.theta_, self.linear_], axis=1)
        slopes = np.asarray(with_linear(found)(full, np.arange(len(full)))[1], dtype=float)
        return slopes[:, :, :-1] if found.unit else slopes  # an amplitude that is held at 1 is no parameter

    def own_domains(self) -> Array:
        """(T, K): 1 where the domain is the target's own, by name or by the option ``own``."""
        return own_matrix(list(self.feature_names_in_), self.target_names_, self.own)

    def _parts(self) -> Parts:
        return split_declaration(self.parameters, self.intercept, self.amplitudes, self.n_features_in_)


# How far starts lie from the declared values: parameters per domain along the losses' lean on them, others all alike.
_MOVES = (
    (0.0, 0.0),
    (1.0, 0.0), (-1.0, 0.0), (3.0, 0.0), (-3.0, 0.0), (8.0, 0.0), (-8.0, 0.0),
    (1.0, 1.0), (-1.0, 1.0), (3.0, -1.0), (-3.0, -1.0),
)  # fmt: skip


def _joined(blocks: Sequence[npt.ArrayLike]) -> npt.NDArray[np.int64]:
    return np.concatenate([np.zeros(0), *blocks]).astype(np.int64)


def _start(layout: Layout) -> Array:
    """(P,) the declared values as theta; per domain their mean, so that the order of domains does not matter."""
    out = np.empty(layout.size)
    for name, at in layout.slices.items():
        declared = layout.parameters[name]
        out[at] = declared.theta(declared.truth(layout.num_domains)).mean()
    return out
