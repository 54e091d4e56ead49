"""The seams: one registry for each kind of part that others may add.

The rooms are named here as text, so the data types below them can ask for an importer or an exporter without importing
a room that stands above them. Nothing is loaded until a name is asked for.
"""

from __future__ import annotations

from mixlaw.kit.registry import Registry

__all__ = [
    "EVALUATORS",
    "EXECUTORS",
    "EXPORTERS",
    "FAMILIES",
    "IMPORTERS",
    "LAWS",
    "MIGRATIONS",
    "SAMPLERS",
    "SELECTORS",
    "STEPS",
    "STRATEGIES",
    "TRAINERS",
]

LAWS = Registry(
    "law",
    {"auto": "mixlaw.laws.choose.auto:Auto"},
    rooms=("mixlaw.laws.mixture", "mixlaw.laws.scale", "mixlaw.laws.joint", "mixlaw.laws.capability"),
    aliases={
        "gp": "gaussian_process",
        "loglinear": "log_linear",
        "bimix": "bi_mix",
        "autoscale": "auto_scale",
        "annealing": "learning_rate_annealing",
        "broken": "broken_power_law",
        # wrappers around another law: saved and read like laws, but not families that a user asks for by name
        "held": "mixlaw.laws.core.held:Held",
        "published": "mixlaw.laws.published_laws:PublishedLaw",
        "restricted": "mixlaw.laws.core.restricted:Restricted",
        "task": "mixlaw.optimize.pose.task:TaskLaw",
    },
    group="mixlaw.laws",
    methods=("fit", "predict", "to_dict"),
)
"""Laws: a scikit-learn estimator each; the contract is :class:`mixlaw.laws.Law`."""

SAMPLERS = Registry("sampler", rooms=("mixlaw.design.samplers",), attribute="propose", group="mixlaw.samplers")
"""Samplers: ``propose(corpus, budget, num, observations=None, seed=0, *, ...) -> list[Schedule]``."""

TRAINERS = Registry("trainer", rooms=("mixlaw.train",), suffix="_trainer", group="mixlaw.trainers", methods=("run",))
"""Trainers: a class with ``run(spec, folder)``; the contract is :mod:`mixlaw.train.contract`."""

EXECUTORS = Registry(
    "executor", rooms=("mixlaw.execute",), suffix="_executor", group="mixlaw.executors", methods=("map",)
)
"""Executors: where work runs; the contract is :class:`mixlaw.execute.Executor`."""

IMPORTERS = Registry("importer", rooms=("mixlaw.io.importers",), attribute="read", group="mixlaw.importers")
"""Importers: ``read(paths, *, ...) -> Observations``."""

EXPORTERS = Registry(
    "exporter",
    rooms=("mixlaw.io.exporters",),
    group="mixlaw.exporters",
    methods=("write", "simulate"),
)
"""Exporters: a class with ``write(recipe, path)`` and ``simulate(recipe)``; it sees only the recipe."""

STRATEGIES = Registry(
    "strategy",
    rooms=("mixlaw.train.strategies",),
    aliases={"stratified": "uniform", "unimax": "uni_max", "do_re_mi": "doremi", "skillit": "skill_it"},
    group="mixlaw.strategies",
    methods=("update",),
)
"""Strategies: what changes the mixture while a run trains; the contract is in :mod:`mixlaw.train.strategies`."""

EVALUATORS = Registry("evaluator", rooms=("mixlaw.evaluate",), group="mixlaw.evaluators")
"""Evaluators: what is measured of a model; the contract is :class:`mixlaw.evaluate.Evaluator`."""

FAMILIES = Registry(
    "family", rooms=("mixlaw.models.hugging_face.families",), group="mixlaw.families", methods=("config", "tensors")
)
"""Families of published models; the contract is :class:`mixlaw.models.hugging_face.families.contract.Family`."""

STEPS = Registry("step", rooms=("mixlaw.curate.steps",), group="mixlaw.steps", methods=("apply",))
"""Steps of curation; the contract is :class:`mixlaw.curate.Step`."""

SELECTORS = Registry("selector", rooms=("mixlaw.select.selectors",), group="mixlaw.selectors")
"""Selectors: which documents or examples to train on; the contract is :class:`mixlaw.select.Selector`."""

MIGRATIONS = Registry("migration", rooms=("mixlaw.data.migrations",), attribute="migrate")
"""Migrations of saved files: ``migrate(content) -> content``, from the format in its name to the next."""
