"""The hyperparameters of :mod:`mixlaw.laws.process.gp_kernel`: their priors, and where they lie in one flat vector.

Legend: m domains, T targets; ``u`` the flat vector of all hyperparameters, each in units of its prior's standard
deviation, so that the prior is ``u ~ N(0, 1)``; ``own`` (T, m) is 1 where a domain is the target's own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from mixlaw.kit.arrays import Array

__all__ = ["MEMBERS", "Hyper", "Layout", "Member"]

UNTIED = 2.0
"""How much larger deviations may be for a target whose own domain is not known: it is hidden among them."""


@dataclass(frozen=True)
class Member:
    """One feature map and one output warp; the law averages several.

    Args:
        feature: of a share: its logarithm, its fourth root, or Box and Cox's power.
        warp: of the loss: its logarithm, that above a floor, or none.

    Example:
        >>> MEMBERS["log/log"]
        Member(feature='log', warp='log')
    """

    feature: Literal["log", "pow", "bc"]
    warp: Literal["log", "logc", "none"]


MEMBERS = {
    "bc/log": Member("bc", "log"),
    "pow/logc": Member("pow", "logc"),
    "log/log": Member("log", "log"),
    "bc/logc": Member("bc", "logc"),
}

# name: (mean, sd, shape in terms of T and m). The hierarchy reads: general level, own domain, domain, domain x target.
_PRIORS: dict[str, tuple[float, float, str]] = {
    "eps": (math.log(0.01), 0.7, ""),
    "eps_own": (0.0, 0.7, ""),
    "eps_domain": (0.0, 0.5, "m"),
    "lam": (math.log(0.25), 0.5, ""),
    "lam_own": (0.0, 0.3, ""),
    "ell": (1.5, 1.0, ""),
    "ell_own": (-0.5, 1.0, ""),
    "ell_domain": (0.0, 0.5, "m"),
    "ell_each": (0.0, 0.7, "Tm"),
    "ell_pair": (0.0, 0.6, "TT"),
    "v": (-2.5, 1.5, ""),
    "v_own": (2.5, 1.5, ""),
    "v_domain": (0.0, 0.7, "m"),
    "v_each": (0.0, 0.7, "Tm"),
    "v_pair": (0.0, 0.6, "TT"),
    "s": (-0.5, 1.5, ""),
    "s_each": (0.0, 0.5, "T"),
    "noise": (-2.5, 1.5, ""),
    "noise_each": (0.0, 0.3, "T"),
    "c": (0.0, 1.0, ""),
    "c_each": (0.0, 0.5, "T"),
}


@dataclass(frozen=True)
class Layout:
    """Where each group of hyperparameters lies in the flat vector ``u``: ``slices`` by name, of the kinds that
    ``member`` has.

    Example:
        >>> layout = Layout(MEMBERS["log/log"], num_targets=2, num_domains=3)
        >>> layout.size, layout.group(np.zeros(layout.size), "ell_domain").shape
        (41, (3,))
    """

    member: Member
    num_targets: int
    num_domains: int
    slices: dict[str, slice] = field(init=False, repr=False)
    size: int = field(init=False)

    def __post_init__(self) -> None:
        slices: dict[str, slice] = {}
        start = 0
        for name, (_, _, shape) in _PRIORS.items():
            if name.startswith("lam") and self.member.feature != "bc":
                continue
            if name.startswith("c") and self.member.warp != "logc":
                continue
            T, m = self.num_targets, self.num_domains
            count = {"": 1, "m": m, "T": T, "Tm": T * m, "TT": T * T}
            slices[name] = slice(start, start + count[shape])
            start += count[shape]
        object.__setattr__(self, "slices", slices)
        object.__setattr__(self, "size", start)

    @staticmethod
    def shape(name: str) -> str:
        """A group's shape: "" one number, "m" per domain, "T" per target, "Tm" or "TT" per pair."""
        return _PRIORS[name][2]

    def group(self, u: Array, name: str) -> Array:
        """One group of ``u`` in its natural units (log scale), shaped (), (m,), (T,) or (T, m)."""
        mean, sd, shape = _PRIORS[name]
        value = mean + sd * u[self.slices[name]]
        if shape == "Tm":
            return value.reshape(self.num_targets, self.num_domains)
        if shape == "TT":
            return value.reshape(self.num_targets, self.num_targets)
        return value[0] if shape == "" else value

    def scatter(self, out: Array, name: str, gradient: Array) -> None:
        """Add d/d(natural units), summed to the group's shape, to the gradient ``out`` with respect to ``u``."""
        out[self.slices[name]] += _PRIORS[name][1] * np.ravel(gradient)


@dataclass(frozen=True)
class Pairs:
    """Transfer between two domains works about equally both ways: a hyperparameter shared by (t, j) and (j, t).

    ``tie`` (T, m) leads from the target of a domain to that domain; ``share`` (T, m) is what is left of the
    deviations of (t, j) itself where a shared one exists, so that the prior's total spread stays the same.
    """

    tie: Array
    tied: Array  # (T, T) 1 where both targets have an own domain, and not the same one
    share: Array

    @classmethod
    def of(cls, own: Array) -> Pairs:
        single = own * (own.sum(axis=1, keepdims=True) == 1)
        has = single.any(axis=1)
        tie = single / np.sqrt(np.maximum(single.sum(axis=0), 1))
        tied = np.outer(has, has) * (1 - (single @ single.T > 0))
        paired = (tied @ tie > 0).astype(float)
        # A target whose own domain is unknown has it hidden among the deviations: allow them to be larger.
        alone = np.where(own.any(axis=1), 1.0, UNTIED)[:, None] * np.ones(own.shape)
        return cls(tie, tied, np.where(paired > 0, math.sqrt(1 - (0.6 / 0.7) ** 2), alone))

    def spread(self, values: Array) -> Array:
        """(T, T) parameters to (T, m) shared deviations."""
        return (self.tied * (values + values.T) / math.sqrt(2)) @ self.tie

    def gather(self, gradient: Array) -> Array:
        """The transpose of :meth:`spread`, for gradients."""
        both = self.tied * (gradient @ self.tie.T)
        return (both + both.T) / math.sqrt(2)


@dataclass
class Hyper:
    """The hyperparameters of every target, in the kernel's own units.

    ``eps``, ``lam``, ``ell``, ``v`` (T, m): offset and power of a share, length scale and linear effect of a domain;
    ``s``, ``noise``, ``shift`` (T,): size of what is not linear, of the noise, and the warp's floor.

    Example:
        >>> layout = Layout(MEMBERS["log/log"], num_targets=2, num_domains=3)
        >>> hyper = Hyper.of(np.zeros(layout.size), layout, own=np.zeros((2, 3)))
        >>> hyper.ell.shape, bool((hyper.noise > 0).all())
        ((2, 3), True)
    """

    eps: Array  # (T, m)
    lam: Array  # (T, m)
    ell: Array  # (T, m)
    v: Array  # (T, m)
    s: Array  # (T,)
    noise: Array  # (T,)
    shift: Array  # (T,)

    @classmethod
    def of(cls, u: Array, layout: Layout, own: Array) -> Hyper:
        """Hyperparameters from the flat vector u (layout.size,), in units of their priors; ``own`` (T, K) is 1 where a
        domain is the target's own.
        """
        get = lambda name: layout.group(u, name)  # noqa: E731
        pairs = Pairs.of(own)
        each = lambda name: pairs.spread(get(f"{name}_pair")) + pairs.share * get(f"{name}_each")  # noqa: E731
        shape = (layout.num_targets, layout.num_domains)
        bc, logc = layout.member.feature == "bc", layout.member.warp == "logc"
        return cls(
            eps=np.exp(get("eps") + get("eps_own") * own + get("eps_domain")),
            lam=np.exp(get("lam") + get("lam_own") * own) if bc else np.zeros(shape),
            ell=np.exp(get("ell") + get("ell_own") * own + get("ell_domain") + each("ell")),
            v=np.exp(get("v") + get("v_own") * own + get("v_domain") + each("v")),
            s=np.exp(get("s") + get("s_each")),
            noise=np.exp(get("noise") + get("noise_each")),
            shift=np.exp(get("c") + get("c_each")) if logc else np.zeros(shape[0]),
        )

    def only(self, t: int) -> Hyper:
        """The hyperparameters of one target, as a batch of one."""
        part = slice(t, t + 1)
        return Hyper(
            self.eps[part],
            self.lam[part],
            self.ell[part],
            self.v[part],
            self.s[part],
            self.noise[part],
            self.shift[part],
        )
