"""What the experts of a study say of the validation sets: writes ``experts/<run-id>.npz``, one file per expert."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from mixlaw.data import formats
from mixlaw.data.expert_scores import ExpertScores
from mixlaw.data.observations import Observations
from mixlaw.data.runspec import RunSpec
from mixlaw.errors import DataError
from mixlaw.kit.arrays import Array
from mixlaw.study.folder import StudyFolder

__all__ = ["expert_scores", "merged_losses", "score_experts"]

_KIND = "expert scores"
_HEADER = "header"


def score_experts(study: StudyFolder) -> None:
    """Score the experts that are done and have no scores of today's validation sets yet; nothing in a study without
    experts. One that diverged is left out: :func:`expert_scores` says so when it is asked for.

    Raises:
        DataError: a run's weights are not there, or token files are damaged.
        MissingExtraError: torch is not installed.
    """
    todo = [(d, run) for d, run in study.shared().experts.items() if _can_be_scored(study, run)]
    todo = [(d, run) for d, run in todo if _kept(study, run) is None]
    for done, (domain, run) in enumerate(todo):
        study.progress("score experts", done, len(todo))
        _write(study, domain, run)
    if todo:
        study.progress("score experts", len(todo), len(todo))


def expert_scores(study: StudyFolder) -> ExpertScores:
    """Log-probabilities of every expert on every validation set; scores those that are not scored yet.

    Raises:
        DataError: the study has no experts, or one is missing, has diverged, or has lost its weights.
        MissingExtraError: torch is not installed and an expert is to be scored.
    """
    experts = study.shared().experts
    if not experts:
        raise DataError(
            f"{study.folder} has no experts. Start a study with `mixlaw design --sampler experts` in a new folder."
        )
    for domain, run in experts.items():
        if not study.store.exists("runs", run, "DONE"):
            raise DataError(
                f"The expert of {domain!r} (run {run}) is not trained yet, and a mixture of experts needs them all. "
                f"Run `mixlaw train {study.folder}` again; failures.json says what went wrong."
            )
        if not _can_be_scored(study, run):
            raise DataError(
                f"The expert of {domain!r} (run {run}) diverged, so its probabilities say nothing. Lower "
                f"training.learning_rate.peak and start again in a new folder."
            )
    score_experts(study)
    found = {domain: _kept(study, run) for domain, run in experts.items()}
    sets = [v.name for v in study.corpus.validation]
    return ExpertScores(
        tuple(experts), {name: np.column_stack([one[name] for one in found.values() if one]) for name in sets}
    )


def merged_losses(study: StudyFolder, mixture: Mapping[str, float]) -> dict[str, float]:
    """Validation losses, in nats per token, of the average of the experts' weights with a mixture as coefficients: a
    proxy for the model trained on that mixture. It means something only for experts of one trunk, since weights of
    models that began apart do not add up.

    Args:
        mixture: share of each domain.

    Raises:
        DataError: the study has no experts, they have no trunk, or one has no weights.

    Source: MergeMix, arXiv:2601.17858; DeMix, arXiv:2602.00747.
    """
    from mixlaw.models.merged import merged
    from mixlaw.models.torch_model import TorchModel
    from mixlaw.tokens.loader import validation
    from mixlaw.train.validation_losses import evaluate

    shared = study.shared()
    if not shared.experts:
        raise DataError(f"{study.folder} has no experts to merge. Use `mixlaw design --sampler experts`.")
    if shared.trunk is None:
        raise DataError(
            f"The experts of {study.folder} were trained from scratch, and weights of models that began apart do not "
            f"add up. Design them with a trunk (design.trunk: 0.5)."
        )
    used = {d: float(w) for d, w in mixture.items() if w > 0}
    unknown = [d for d in used if d not in shared.experts]
    if unknown:
        raise DataError(f"The mixture names {unknown[0]!r}, which has no expert; there are {list(shared.experts)}.")
    models = [_model(study, d, shared.experts[d]) for d in used]
    weights = merged([m.decoder.state_dict() for m in models], list(used.values()))
    model = TorchModel(models[0].config, weights, device=str(models[0].device))
    return evaluate(
        model.decoder, validation(study.corpus, study.folder / "tokens", _spec(study, shared.trunk).context)
    )


# ---- inside --------------------------------------------------------------------------------------------
def _spec(study: StudyFolder, run: str) -> RunSpec:
    return RunSpec.load(study.folder / "runs" / run / "spec.json")


def _can_be_scored(study: StudyFolder, run: str) -> bool:
    if not study.store.exists("runs", run, "DONE"):
        return False
    return Observations.load(study.folder / "runs" / run).runs["status"].to_pylist() != ["diverged"]


def _model(study: StudyFolder, domain: str, run: str) -> Any:
    from mixlaw.models.architecture import architecture
    from mixlaw.models.torch_model import TorchModel
    from mixlaw.train import checkpoint
    from mixlaw.train.loop import choose_device

    try:
        weights = checkpoint.load_weights(study.folder / "runs" / run)
    except DataError as error:
        raise DataError(
            f"The expert of {domain!r} (run {run}) has no weights to score it by: {error} Were runs trained with "
            f"training.options.keep: none? Delete the run's folder and train it again with keep: full."
        ) from None
    device = choose_device(study.config.training.options.get("device", "auto"))
    return TorchModel(architecture(_spec(study, run).model, study.corpus.vocab_size), weights, device=str(device))


def _write(study: StudyFolder, domain: str, run: str) -> None:
    from mixlaw.tokens.loader import validation

    model, corpus = _model(study, domain, run), study.corpus
    sets = validation(corpus, study.folder / "tokens", _spec(study, run).context)
    arrays = {name: model.logprobs(seqs).astype(np.float32).ravel() for name, (seqs, _) in sets.items()}
    header = {
        "run": run,
        "domain": domain,
        "model": model.hash,
        "evaluation_hash": corpus.evaluation_hash,
        "sets": {name: [f"set{i}", _sha(a)] for i, (name, a) in enumerate(arrays.items())},
    }
    text = formats.dumps(_KIND, header)
    buffer = io.BytesIO()
    stored = {f"set{i}": a for i, a in enumerate(arrays.values())}
    np.savez_compressed(buffer, **{_HEADER: np.frombuffer(text.encode(), np.uint8), **stored})
    study.store.write_bytes(_name(run), buffer.getvalue())


def _name(run: str) -> str:
    return f"experts/{run}.npz"


def _sha(array: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(array, "<f4").tobytes()).hexdigest()


def _kept(study: StudyFolder, run: str) -> dict[str, Array] | None:
    """Set to log-probabilities of an expert; None where it is to be scored: not yet, or on other validation sets."""
    name = _name(run)
    if not study.store.exists(name):
        return None
    where = str(study.folder / name)
    try:
        with np.load(io.BytesIO(study.store.read_bytes(name)), allow_pickle=False) as held:
            arrays = {key: held[key] for key in held.files}
        text = arrays.pop(_HEADER).tobytes()
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{where} cannot be read: {error}. {formats.KINDS[_KIND].again}") from None
    header = formats.loads(_KIND, text, where)
    if header["evaluation_hash"] != study.corpus.evaluation_hash:
        return None
    found = {}
    for target, (key, sha) in header["sets"].items():
        if key not in arrays or _sha(arrays[key]) != sha:
            raise DataError(
                f"{where} was changed after it was written: its numbers for {target!r} do not give their checksum. "
                f"{formats.KINDS[_KIND].again}"
            )
        found[target] = arrays[key].astype(float)
    return found
