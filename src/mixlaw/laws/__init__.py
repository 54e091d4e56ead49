"""Laws: what a language model's losses are, as a function of mixture, size and tokens.

Every file of ``laws/mixture``, ``laws/scale`` and ``laws/joint`` is a law, known by the file's name in :data:`LAWS`
(``"chinchilla"``) and by its class here (``mixlaw.laws.Chinchilla``); both import it when first used. A user's own law
joins with ``LAWS.register("mine", MyLaw)``; it inherits from :class:`ScaleLaw`, :class:`MixtureLaw`,
:class:`JointLaw` or :class:`CapabilityLaw`, declares its
parameters as :class:`Positive`, :class:`Free` or :class:`Share`, and :func:`check_law` checks it.
"""

from __future__ import annotations

from mixlaw.data.seams import LAWS as LAWS
from mixlaw.kit.lazy import attach

_ATTRIBUTES = {
    "Atoms": "mixlaw.laws.core.atoms",
    "Auto": "mixlaw.laws.choose.auto",
    "CapabilityLaw": "mixlaw.laws.fit.capability_law",
    "Exponential": "mixlaw.laws.mixture.m4:M4",
    "Free": "mixlaw.laws.core.parameters",
    "JointLaw": "mixlaw.laws.fit.joint_law",
    "Law": "mixlaw.laws.core.base",
    "MixtureLaw": "mixlaw.laws.fit.mixture_law",
    "Positive": "mixlaw.laws.core.parameters",
    "ScaleLaw": "mixlaw.laws.fit.scale_law",
    "Share": "mixlaw.laws.core.parameters",
    "check_law": "mixlaw.laws.core.contract",
    "compare": "mixlaw.laws.choose.league",
    "interval_with_form": "mixlaw.laws.choose.form_interval",
    "effects": "mixlaw.laws.read.effects",
    "extrapolate": "mixlaw.laws.choose.extrapolate",
    "published": "mixlaw.laws.published_laws:published",
    "suitable": "mixlaw.laws.choose.suitable",
    "probability": "mixlaw.laws.core.response",
    "rank_transfer": "mixlaw.laws.read.transfer",
}

__getattr__, __dir__, __all__ = attach(__name__, _ATTRIBUTES, registry=LAWS)
