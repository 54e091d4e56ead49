"""Checkpoints that were damaged, runs that another process took over, and starts from what is not a run's end."""

import json
import shutil
import struct

import pytest

pytest.importorskip("torch")

import torch
from safetensors.torch import load_file, save

from mixlaw import Observations
from mixlaw.errors import DataError, MixlawWarning, RunError, RunStopped
from mixlaw.train import CommandTrainer, TorchTrainer, checkpoint
from mixlaw.train.claim import Claim
from mixlaw.train.contract import finish, is_done

from tiny_tokens import tiny_spec


def trainer(tiny, **options):
    return TorchTrainer(tiny[0], tiny[1], device="cpu", **options)


def stopped_at(tiny, folder, spec, step):
    """A run that was stopped, with a checkpoint, after ``step`` steps."""
    seen = []
    with pytest.raises(RunStopped):
        trainer(tiny).run(spec, folder, lambda done, _: seen.append(done), lambda: seen[-1] >= step)
    return folder / checkpoint.NAME


def metadata_of(path):
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + size])["__metadata__"]


def write_with(path, **changes):
    """The checkpoint with other metadata and the same tensors."""
    path.write_bytes(save(load_file(path), {k: v for k, v in {**metadata_of(path), **changes}.items() if v}))


@pytest.fixture
def half(tiny, tmp_path):
    spec = tiny_spec(tiny[0], steps=8)
    return spec, stopped_at(tiny, tmp_path / spec.id, spec, 4)


def test_a_flipped_bit_of_a_checkpoint_is_told(tiny, half):
    spec, path = half
    whole = path.read_bytes()
    for place in (3, 40, len(whole) // 2, len(whole) - 1):
        damaged = bytearray(whole)
        damaged[place] ^= 4
        path.write_bytes(bytes(damaged))
        with pytest.raises(DataError, match=r"checkpoint\.safetensors .*Delete .* to train the run from its beginning"):
            trainer(tiny).run(spec, path.parent)
    path.write_bytes(whole[:-100])
    with pytest.raises(DataError, match="not a readable safetensors file"):
        trainer(tiny).run(spec, path.parent)
    path.unlink()
    trainer(tiny).run(spec, path.parent)
    assert is_done(path.parent)


def test_edited_state_and_bad_metadata_are_told(tiny, half):
    spec, path = half
    state = json.loads(metadata_of(path)["state"])
    for changed in ({**state, "step": 7}, {**state, "values": state["values"][:1]}, {**state, "loss_count": 99}):
        write_with(path, state=json.dumps(changed))
        with pytest.raises(DataError, match="does not give its checksum"):
            trainer(tiny).run(spec, path.parent)
    for bad in ("", "{", "[]", '{"steps": 3}', "null"):
        for form in ("mixlaw-1", "mixlaw-2"):
            write_with(path, state=bad, format=form)
            with pytest.raises(DataError, match=r"checkpoint\.safetensors"), _perhaps_warned():
                checkpoint.load(path.parent)
    write_with(path, format="pt")
    with pytest.raises(DataError, match="not written by this trainer"):
        checkpoint.load(path.parent)


def _perhaps_warned():
    import warnings

    return warnings.catch_warnings(action="ignore")


def test_a_checkpoint_of_the_first_version_continues_and_says_so(tiny, half):
    spec, path = half
    write_with(path, format="mixlaw-1", checksum="")
    with pytest.warns(MixlawWarning, match="carries no checksum"):
        trainer(tiny).run(spec, path.parent)
    assert is_done(path.parent)
    write_with(
        path, format="mixlaw-1", checksum="", state=metadata_of(path)["state"].replace('"step": 8', '"step": 99')
    )
    (path.parent / "DONE").unlink()
    with pytest.raises(RunError, match="is of step 99, and the run has 8"), _perhaps_warned():
        trainer(tiny).run(spec, path.parent)


def test_a_worker_that_wakes_late_does_not_touch_the_finished_run(tiny, tmp_path):
    """Stopped in the middle while another process trains the run to its end; its next checkpoint must not appear."""
    spec = tiny_spec(tiny[0], steps=8)
    folder = tmp_path / spec.id
    after = {}

    def meanwhile(step, num_steps):
        if step == 4:
            trainer(tiny).run(spec, folder)
            after.update({p.name: p.read_bytes() for p in folder.iterdir() if p.name != "log.txt"})

    with pytest.raises(RunError, match="was finished by another process; what it wrote there stays"):
        trainer(tiny, checkpoint_seconds=1e-9).run(spec, folder, meanwhile)
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "log.txt"} == after
    assert checkpoint.load(folder)[0].step == 8


def test_a_worker_whose_run_was_taken_over_publishes_nothing(tiny, tmp_path):
    spec = tiny_spec(tiny[0], steps=8)
    folder = tmp_path / spec.id

    def meanwhile(step, num_steps):
        if step == 4:
            stopped_at(tiny, folder, spec, 2)

    with pytest.raises(RunError, match="is trained by another process now"):
        trainer(tiny).run(spec, folder, meanwhile)
    assert not is_done(folder) and checkpoint.load(folder)[0].step == 2
    trainer(tiny).run(spec, folder)
    assert is_done(folder) and not (folder / "owner.json").exists()


def test_a_command_that_ends_late_does_not_overwrite_the_finished_run(tiny, tmp_path):
    spec = tiny_spec(tiny[0], steps=8)
    folder = tmp_path / spec.id
    rows = [{"step": 8, "target": name, "value": 3.0} for name in ("hills", "plains")]
    script = tmp_path / "late.py"
    script.write_text(
        "import json, pathlib, sys\n"
        f"pathlib.Path(sys.argv[1]).write_text('\\n'.join(map(json.dumps, {rows})))\n"
        "pathlib.Path(sys.argv[2], 'DONE').write_bytes(b'')\n"
    )
    import sys

    command = [sys.executable, str(script), "{metrics}", "{folder}"]
    with pytest.raises(RunError, match="finished by another process"):
        CommandTrainer(tiny[0], tiny[1], command).run(spec, folder)
    assert not (folder / "values.parquet").exists()


def test_a_run_is_finished_once(tmp_path):
    found = [
        Observations.from_records([{"run": "r"}], [{"run": "r", "step": 1, "target": "web", "value": v}])
        for v in (3.0, 4.0)
    ]
    finish(tmp_path, found[0])
    with pytest.raises(RunError, match="finished by another process"):
        finish(tmp_path, found[1])
    assert Observations.load(tmp_path).values["value"].to_pylist() == [3.0]


@pytest.mark.parametrize("content", ["[]", "{", "null", '{"owner": 3}', ""])
def test_a_damaged_owner_file_is_nobodys(tmp_path, content):
    claim = Claim(tmp_path)
    (tmp_path / "owner.json").write_text(content)
    with pytest.raises(RunError, match="by another process"), claim.publishing():
        pass


def test_a_start_needs_the_end_of_the_other_run(tiny, tmp_path):
    first = tiny_spec(tiny[0], steps=8)
    middle = stopped_at(tiny, tmp_path / first.id, first, 4).read_bytes()
    trainer(tiny).run(first, tmp_path / first.id)
    end = (tmp_path / first.id / checkpoint.NAME).read_bytes()
    second = tiny_spec(tiny[0], steps=4, start=first.id)
    (tmp_path / first.id / checkpoint.NAME).write_bytes(middle)  # as an orphan of the first version left it
    with pytest.raises(RunError, match=r"is of step 4 of run .*; the end is step 8"):
        trainer(tiny).run(second, tmp_path / second.id)
    other = tiny_spec(tiny[0], steps=8, seed=1)
    trainer(tiny).run(other, tmp_path / other.id)
    shutil.copy(tmp_path / other.id / checkpoint.NAME, tmp_path / first.id / checkpoint.NAME)
    with pytest.raises(RunError, match=f"of run {other.id}"):
        trainer(tiny).run(second, tmp_path / second.id)
    (tmp_path / first.id / checkpoint.NAME).write_bytes(end)
    trainer(tiny).run(second, tmp_path / second.id)
    assert is_done(tmp_path / second.id)


def test_the_checksum_is_of_every_tensor(tmp_path):
    tensors = {"model.a": torch.zeros(3), "updates": torch.tensor(7.0)}
    checkpoint.save(tmp_path, checkpoint.Progressed("r", step=1), tensors)
    path = tmp_path / checkpoint.NAME
    path.write_bytes(save({**tensors, "model.a": torch.tensor([0.0, 0.0, 1e-9])}, metadata_of(path)))
    with pytest.raises(DataError, match="does not give its checksum"):
        checkpoint.load(tmp_path)
