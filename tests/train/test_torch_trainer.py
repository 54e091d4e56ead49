"""Runs of the built-in trainer: what they measure, and that stopping, killing and continuing change nothing."""

import json
import math
import signal
import subprocess
import sys
import textwrap

import pytest

from processes import child_environment
from tiny_tokens import VOCABULARY, tiny_spec

torch = pytest.importorskip("torch")

from mixlaw.data.corpus import Corpus  # noqa: E402
from mixlaw.data.observations import Observations  # noqa: E402
from mixlaw.data.runspec import RunSpec  # noqa: E402
from mixlaw.errors import ConfigError, DataError, RunError  # noqa: E402
from mixlaw.train import TRAINERS, RunStopped, TorchTrainer, Trainer  # noqa: E402
from mixlaw.train import checkpoint as checkpoints  # noqa: E402
from mixlaw.train.torch_trainer import evaluation_steps  # noqa: E402
from mixlaw.train.validation_losses import evaluate  # noqa: E402


def run(tiny, folder, spec, trainer_options=None, **hooks):
    trainer = TorchTrainer(*tiny, **(trainer_options or {}))
    trainer.run(spec, folder / spec.id, **hooks)
    return Observations.load(folder / spec.id)


def rows(observations, metric="loss"):
    return [r for r in observations.values.to_pylist() if r["metric"] == metric]


def final(observations):
    last = max(r["step"] for r in rows(observations))
    return {r["target"]: r["value"] for r in rows(observations) if r["step"] == last}


def stop_after(step):
    done = []
    return {"progress": lambda s, n: done.append(s), "should_stop": lambda: bool(done) and done[-1] >= step}


def test_is_the_registered_trainer():
    assert TRAINERS["torch"] is TorchTrainer
    assert issubclass(TorchTrainer, Trainer)


def test_a_run_learns_what_it_is_fed(tiny, tmp_path, spec_of):
    corpus = tiny[0]
    hills = run(tiny, tmp_path, spec_of(corpus, 0.95, 120))
    plains = run(tiny, tmp_path, spec_of(corpus, 0.05, 120))
    assert final(hills)["hills"] < final(hills)["plains"] - 0.5
    assert final(plains)["plains"] < final(plains)["hills"] - 0.5
    # Nothing can beat the entropy of the noise, and a model that learnt comes near it.
    assert math.log(3) - 0.05 < final(hills)["hills"] < 2.5


def test_what_is_written_down(tiny, tmp_path, spec_of, precision):
    corpus = tiny[0]
    spec = spec_of(corpus, 0.25, 30, evaluate_at=(0.1, 0.5, 1.0), replicate_group="reference", seed=3)
    observed = run(tiny, tmp_path, spec, {"curve_points": 5})
    folder = tmp_path / spec.id
    assert {p.name for p in folder.iterdir()} == {
        "DONE",
        "checkpoint.safetensors",
        "checksums.json",
        "log.txt",
        "machine.json",
        "runs.parquet",
        "spec.json",
        "values.parquet",
    }
    assert RunSpec.load(folder / "spec.json").id == spec.id
    (row,) = observed.runs.to_pylist()
    assert row["params"] == 4 * 32**2 + 3 * 32 * 64 + 3 * 32
    assert row["params_total"] == row["params"] + 2 * VOCABULARY * 32
    assert (row["tokens"], row["batch_tokens"], row["seed"]) == (30 * 128, 128, 3)
    assert (row["status"], row["replicate_group"], row["start"]) == ("done", "reference", None)
    assert row["corpus_hash"] == corpus.hash
    assert row["trainer"].split()[-1] == precision
    assert json.loads((folder / "machine.json").read_text())["precision"] == precision
    assert dict(row["epochs"]) == pytest.approx({"hills": 30 / 20_000 * 32, "plains": 90 / 20_000 * 32})
    assert observed.schedules()[spec.id].mixture["hills"] == 0.25
    losses = rows(observed)
    assert [(r["step"], r["target"]) for r in losses] == [(s, t) for s in (3, 15, 30) for t in ("hills", "plains")]
    assert all(r["tokens"] == r["step"] * 128 and r["censored"] == "none" for r in losses)
    assert {r["target"]: r["target_hash"] for r in losses} == {v.name: v.hash for v in corpus.validation}
    for loss, bits in zip(losses, rows(observed, "bits_per_byte"), strict=True):
        assert bits["value"] == pytest.approx(loss["value"] / (2 * math.log(2)))  # a token spells two bytes
    curve = rows(observed, "train_loss")
    assert [(r["step"], r["target"]) for r in curve] == [(s, "train") for s in (6, 12, 18, 24, 30)]
    assert curve[0]["value"] == pytest.approx(math.log(VOCABULARY), abs=0.3)
    X, y = observed.table()
    assert X.column_names == ["hills", "plains"]
    assert y.num_rows == 1


def test_validation_is_fp32_and_the_checkpoint_is_the_model(tiny, tmp_path, spec_of):
    """The reported loss is the plain formula's, recomputed here from the checkpoint's weights."""
    from mixlaw.models.proxy.model import Decoder
    from mixlaw.models.proxy.presets import model_config
    from mixlaw.tokens.loader import validation

    corpus, root = tiny
    spec = spec_of(corpus, steps=20)
    observed = run(tiny, tmp_path, spec)
    model = Decoder(model_config(spec.model, VOCABULARY), seed=99)
    model.load_state_dict(checkpoints.load_weights(tmp_path / spec.id))
    sets = validation(corpus, root, spec.context)
    for name, (sequences, _) in sets.items():
        ids = torch.from_numpy(sequences)
        expected = torch.nn.functional.cross_entropy(
            model(ids[:, :-1]).double().flatten(0, 1), ids[:, 1:].flatten()
        ).item()
        assert final(observed)[name] == pytest.approx(expected, abs=1e-5)
    assert evaluate(model, sets, batch=3) == pytest.approx(final(observed), abs=1e-5)


def test_every_mixture_is_scored_on_the_same_tokens(tiny, tmp_path, spec_of):
    corpus = tiny[0]
    hashes = [
        {(r["target"], r["target_hash"]) for r in rows(run(tiny, tmp_path, spec_of(corpus, w, 4)))} for w in (0.2, 0.7)
    ]
    assert hashes[0] == hashes[1]


def test_a_done_run_is_left_alone(tiny, tmp_path):
    spec = tiny_spec(tiny[0], steps=4)
    run(tiny, tmp_path, spec)
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / spec.id).iterdir()}
    run(tiny, tmp_path, spec)
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / spec.id).iterdir()} == before


def test_the_same_spec_gives_the_same_numbers_whatever_the_threads(tiny, tmp_path, spec_of):
    spec = spec_of(tiny[0], steps=12)
    threads = torch.get_num_threads()
    try:
        first = run(tiny, tmp_path / "a", spec)
        torch.set_num_threads(2)
        second = run(tiny, tmp_path / "b", spec)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert first.values.equals(second.values)


def test_a_stopped_run_continues_bit_for_bit(tiny, tmp_path, spec_of):
    spec = spec_of(tiny[0], steps=40, evaluate_at=(0.25, 0.5, 0.75, 1.0))
    whole = run(tiny, tmp_path / "whole", spec)
    for step in (7, 23):
        with pytest.raises(RunStopped, match=f"step {step} of 40"):
            run(tiny, tmp_path / "parts", spec, **stop_after(step))
        assert not (tmp_path / "parts" / spec.id / "DONE").exists()
    parts = run(tiny, tmp_path / "parts", spec)
    assert parts.values.equals(whole.values)
    (_, a), (_, b) = (checkpoints.load(tmp_path / part / spec.id) for part in ("whole", "parts"))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_killed_run_continues_bit_for_bit(tiny, tmp_path, spec_of):
    """The run kills its own process at step 23; the last checkpoint is that of step 22."""
    corpus, root = tiny
    spec = spec_of(corpus, steps=40, evaluate_at=(0.5, 1.0))
    (tmp_path / "corpus.json").write_text(json.dumps(corpus.to_dict()))
    (tmp_path / "spec.json").write_text(json.dumps(spec.to_dict()))
    script = textwrap.dedent(
        f"""
        import json, os, signal
        from pathlib import Path
        from mixlaw.data.corpus import Corpus
        from mixlaw.data.runspec import RunSpec
        from mixlaw.train import TorchTrainer
        here = Path({str(tmp_path)!r})
        corpus = Corpus.from_dict(json.loads((here / "corpus.json").read_text()))
        spec = RunSpec.from_dict(json.loads((here / "spec.json").read_text()))
        trainer = TorchTrainer(corpus, {str(root)!r}, checkpoint_seconds=1e-9)  # after every step

        def kill(step, num_steps):
            if step == 23:
                os.kill(os.getpid(), signal.SIGKILL)

        trainer.run(spec, here / "killed" / spec.id, progress=kill)
        """
    )
    ended = subprocess.run([sys.executable, "-c", script], env=child_environment())
    assert ended.returncode == -signal.SIGKILL
    folder = tmp_path / "killed" / spec.id
    state, _ = checkpoints.load(folder)
    assert state.step == 22
    killed = run(tiny, tmp_path / "killed", spec)
    assert "continue at step 22 of 40" in (folder / "log.txt").read_text()
    assert killed.values.equals(run(tiny, tmp_path / "whole", spec).values)


def test_a_diverged_run_is_a_result(tiny, tmp_path, spec_of):
    spec = spec_of(tiny[0], steps=60, learning_rate={"name": "constant", "peak": 100.0, "warmup": 0.0})
    observed = run(tiny, tmp_path, spec, {"curve_points": 60})
    assert observed.runs["status"].to_pylist() == ["diverged"]
    assert (tmp_path / spec.id / "DONE").exists()
    curve = rows(observed, "train_loss")
    assert len(curve) > 2
    assert curve[0]["value"] == pytest.approx(math.log(VOCABULARY), abs=0.3)
    losses = rows(observed)
    assert {r["censored"] for r in losses} == {"right"}
    assert {r["value"] for r in losses} == {math.log(VOCABULARY)}
    assert max(r["step"] for r in losses) < 60
    with pytest.raises(DataError):  # a law is never fitted to it
        observed.table()


def test_a_run_starts_from_another(tiny, tmp_path, spec_of, precision):
    corpus = tiny[0]
    base = spec_of(corpus, 0.95, 100)
    first = run(tiny, tmp_path, base)
    after = spec_of(corpus, 0.95, 10, start=base.id, learning_rate={"name": "constant", "peak": 1e-3, "warmup": 0.0})
    continued = run(tiny, tmp_path, after)
    assert continued.runs["start"].to_pylist() == [base.id]
    # It goes on from what the first had learnt, which 10 steps at this rate do not learn from nothing.
    learnt, scratch = final(first)["hills"], final(run(tiny, tmp_path, after.replace(start=None)))["hills"]
    assert learnt < scratch - 1
    assert final(continued)["hills"] == pytest.approx(learnt, abs=0.3)
    fresh = run(tiny, tmp_path, after.replace(optimizer={"moments": "reset", "precision": precision}))
    assert final(fresh) != final(continued)
    # Its own checkpoint wins over the start when it is continued.
    with pytest.raises(RunStopped):
        run(tiny, tmp_path / "again", base.replace(start=None), **stop_after(5))
    run(tiny, tmp_path / "again", base)
    with pytest.raises(RunStopped):
        run(tiny, tmp_path / "again", after, **stop_after(4))
    assert run(tiny, tmp_path / "again", after).values.equals(continued.values)


def test_what_was_drawn_and_the_models_settings_stand_beside_the_plan(tiny, tmp_path):
    spec = tiny_spec(tiny[0], steps=3)
    observed = run(tiny, tmp_path, spec)
    (planned,), (drawn,) = observed.schedules().values(), observed.schedules(realised=True).values()
    sequences = spec.num_steps * spec.batch
    assert max(abs(planned.mixture.array() - drawn.mixture.array())) <= 1 / sequences
    assert observed.settings()[spec.id]["layers"] == spec.model["layers"]


def test_a_missing_start_is_explained(tiny, tmp_path):
    spec = tiny_spec(tiny[0], steps=4, start="0123456789abcdef")
    with pytest.raises(RunError, match="Train that run first"):
        run(tiny, tmp_path, spec)
    base = tiny_spec(tiny[0], steps=4)
    run(tiny, tmp_path, base, {"keep": "weights"})
    with pytest.raises(RunError, match="moments"):
        run(tiny, tmp_path, spec.replace(start=base.id))
    run(tiny, tmp_path, spec.replace(start=base.id, optimizer={"moments": "reset"}))
    # the start itself may say so, and what the run's row names is the run
    said = run(tiny, tmp_path, spec.replace(start={"run": base.id, "moments": "reset"}))
    assert said.runs["start"].to_pylist() == [base.id]


def test_what_is_not_done_here_is_refused(tiny, tmp_path):
    spec = tiny_spec(tiny[0], steps=4, loss_on="answer")
    with pytest.raises(ConfigError, match=r"'torch' cannot do .*loss_on='answer'"):
        run(tiny, tmp_path, spec)
    assert not (tmp_path / spec.id / "spec.json").exists()


@pytest.mark.parametrize("keep", ["full", "weights", "none"])
def test_what_is_kept_of_a_finished_run(tiny, tmp_path, keep):
    spec = tiny_spec(tiny[0], steps=4)
    run(tiny, tmp_path, spec, {"keep": keep})
    found = checkpoints.load(tmp_path / spec.id)
    kinds = {name.split(".")[0] for name in found[1]} if found else set()
    assert kinds == {"full": {"model", "first", "second", "updates"}, "weights": {"model"}, "none": set()}[keep]


def test_specs_of_another_corpus_are_refused(tiny, tmp_path):
    with pytest.raises(RunError, match="corpus"):
        run(tiny, tmp_path, tiny_spec(tiny[0], corpus_hash="feedfeedfeedfeed"))
    with pytest.raises(RunError, match="validation sets"):
        run(tiny, tmp_path, tiny_spec(tiny[0], evaluation_hash="feedfeedfeedfeed"))


def test_wrong_specs_are_explained_before_anything_is_written(tiny, tmp_path):
    for changes, words in (
        ({"model": {"preset": "d46"}}, "d64"),
        ({"optimizer": {"name": "lion"}}, "adamw"),
        ({"learning_rate": {"name": "cosin"}}, "cosine"),
        ({"steps": 1, "batch": 64}, "less than one step"),
    ):
        with pytest.raises(ConfigError, match=words):
            run(tiny, tmp_path, tiny_spec(tiny[0], **changes))
    assert list(tmp_path.iterdir()) == []


def test_a_broken_checkpoint_is_explained(tiny, tmp_path):
    spec = tiny_spec(tiny[0], steps=4)
    folder = tmp_path / spec.id
    folder.mkdir()
    (folder / checkpoints.NAME).write_bytes(b"not a checkpoint")
    with pytest.raises(DataError, match=r"Delete .* to train the run from its beginning"):
        run(tiny, tmp_path, spec)
    (folder / checkpoints.NAME).unlink()
    other = tiny_spec(tiny[0], steps=5)
    with pytest.raises(RunStopped):
        run(tiny, tmp_path, other, **stop_after(2))
    (tmp_path / other.id / checkpoints.NAME).rename(folder / checkpoints.NAME)
    with pytest.raises(RunError, match="folder per run"):
        run(tiny, tmp_path, spec)


def test_progress_and_evaluation_steps(tiny, tmp_path):
    seen = []
    run(tiny, tmp_path, tiny_spec(tiny[0], steps=6), progress=lambda step, n: seen.append((step, n)))
    assert seen == [(s, 6) for s in range(1, 7)]
    assert evaluation_steps(tiny_spec(tiny[0], steps=3, evaluate_at=(0.01, 0.5, 1.0))) == [1, 2, 3]


def test_a_validation_only_set_is_scored(tiny, tmp_path):
    """The target need not be a training domain: train on one domain, score on both."""
    corpus, root = tiny
    alone = Corpus((corpus["hills"],), corpus.validation, "tiny", VOCABULARY)
    spec = tiny_spec(alone, steps=4)
    spec = spec.replace(schedule=type(spec.schedule).constant({"hills": 1.0}))
    assert set(final(run((alone, root), tmp_path, spec))) == {"hills", "plains"}


def test_the_first_import_of_the_room_leaves_torch_out():
    code = "import sys, mixlaw.train, mixlaw.execute, mixlaw.models.proxy.presets; print('torch' in sys.modules)"
    shown = subprocess.run(
        [sys.executable, "-c", code], env=child_environment(), capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == "False"
