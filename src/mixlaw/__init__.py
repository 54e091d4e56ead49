"""mixlaw: predict what a language model learns from a data mixture before it is trained, and find the best one.

Everything public is loaded when first used, so ``import mixlaw`` stays light.
"""

from __future__ import annotations

from mixlaw.kit.lazy import attach

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Budget": "mixlaw.data.budget",
        "Certificate": "mixlaw.data.recipe",
        "Constraints": "mixlaw.data.budget",
        "Corpus": "mixlaw.data.corpus",
        "Domain": "mixlaw.data.corpus",
        "Group": "mixlaw.data.budget",
        "Ledger": "mixlaw.data.ledger",
        "Limit": "mixlaw.data.budget",
        "MixlawError": "mixlaw.errors",
        "MixlawWarning": "mixlaw.errors",
        "Mixture": "mixlaw.data.mixture",
        "Objective": "mixlaw.data.objective",
        "Observations": "mixlaw.data.observations",
        "Phase": "mixlaw.data.mixture",
        "Prediction": "mixlaw.data.prediction",
        "Recipe": "mixlaw.data.recipe",
        "RunSpec": "mixlaw.data.runspec",
        "Schedule": "mixlaw.data.mixture",
        "Selection": "mixlaw.data.selection",
        "Store": "mixlaw.kit.store",
        "Study": "mixlaw.study.study",
        "ValidationSet": "mixlaw.data.corpus",
        "Verification": "mixlaw.data.verification",
    },
    modules=(
        "curate",
        "design",
        "evaluate",
        "execute",
        "io",
        "laws",
        "models",
        "optimize",
        "report",
        "reuse",
        "select",
        "tokens",
        "train",
        "verify",
    ),
)
