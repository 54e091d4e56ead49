"""Folders and exports of experiment trackers, of which the right reading is known, and the same with a fault."""

from __future__ import annotations

import csv
import io
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from fuzz.imported import sound
from fuzz.odd import damaged, odd_texts
from mixlaw import Observations

_DOMAINS = ("web", "code", "the_pile-cc")
_SETS = ("web", "code", "arc")
_SHARES = ((1.0,), (0.25, 0.75), (0.5, 0.25, 0.25))


@dataclass(frozen=True)
class Logs:
    """What some runs logged.

    Args:
        weights: ``{domain: weight}`` of each run.
        written: ``(step, {set: loss})`` of each run, in the order they were written; steps may go back.
        config: further settings.
    """

    weights: tuple[dict[str, float], ...]
    written: tuple[tuple[tuple[int, dict[str, float]], ...], ...]
    config: dict[str, str]

    def last(self, run: int) -> dict[tuple[str, int], float]:
        """``{(set, step): loss}`` of what no later restart made stale."""
        kept: dict[tuple[str, int], float] = {}
        for step, losses in self.written[run]:
            kept = {key: value for key, value in kept.items() if key[1] < step}
            kept |= {(name, step): loss for name, loss in losses.items()}
        return kept


@st.composite
def logs(draw: Any) -> Logs:
    """Runs of one mixture each, some restarted, of which some end early."""
    num_domains = draw(st.integers(1, 3))
    sets = _SETS[: draw(st.integers(1, 3))]
    loss = st.integers(1000, 4000).map(lambda n: n / 1000)
    weights, written = [], []
    for _ in range(draw(st.integers(1, 4))):
        order = draw(st.permutations(range(num_domains)))
        weights.append({_DOMAINS[k]: _SHARES[num_domains - 1][place] for place, k in enumerate(order)})
        steps = draw(
            st.sampled_from(((100, 200, 300), (100, 200, 300), (100, 200), (100, 200, 300, 200, 300), (0, 5, 2)))
        )
        written.append(tuple((step, {name: draw(loss) for name in sets}) for step in steps))
    config = draw(
        st.dictionaries(
            st.sampled_from(("lr", "seed", "model/params", "notes")), st.sampled_from(("1", "3", "20")), max_size=2
        )
    )
    return Logs(tuple(weights), tuple(written), config)


def _tensorboard(runs: Logs, root: Path) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import summary_v2
    from tensorboard.summary.writer.record_writer import RecordWriter

    for k, weights in enumerate(runs.weights):
        folder = root / f"r{k}"
        folder.mkdir(parents=True)
        with (folder / f"events.out.tfevents.17000000{k:02d}.host").open("wb") as file:
            writer = RecordWriter(file)
            writer.write(Event(wall_time=1.7e9, file_version="brain.Event:2").SerializeToString())
            settings: dict[str, Any] = {f"weight_{d}": w for d, w in weights.items()} | runs.config
            writer.write(Event(wall_time=1.7e9, summary=summary_v2.hparams_pb(settings)).SerializeToString())
            for number, (step, losses) in enumerate(runs.written[k]):
                for name, loss in losses.items():
                    summary = Summary(value=[Summary.Value(tag=f"loss/{name}", simple_value=loss)])
                    event = Event(wall_time=1.7e9 + number, step=step, summary=summary)
                    writer.write(event.SerializeToString())
            writer.flush()


def _mlflow(runs: Logs, root: Path) -> None:
    for k, weights in enumerate(runs.weights):
        folder = root / "1" / f"{k:032x}"
        for part in ("params", "metrics/loss", "tags"):
            (folder / part).mkdir(parents=True)
        (folder / "meta.yaml").write_text(
            f"run_id: '{k:032x}'\nrun_name: r{k}\nstatus: 3\nlifecycle_stage: active\nstart_time: 1700000000000\n"
        )
        for name, text in ({f"weight_{d}": repr(w) for d, w in weights.items()} | runs.config).items():
            (folder / "params" / name).parent.mkdir(exist_ok=True)
            (folder / "params" / name).write_text(text)
        for name in runs.written[k][0][1]:
            lines = [
                f"{1_700_000_000_000 + n} {losses[name]!r} {step}" for n, (step, losses) in enumerate(runs.written[k])
            ]
            (folder / "metrics" / "loss" / name).write_text("\n".join(lines) + "\n")


def _wandb(runs: Logs, root: Path) -> None:
    """The runs table, and a chart of each set; a chart's rows are in order of the steps, so restarts are left out."""
    root.mkdir(parents=True)
    domains, sets = list(dict.fromkeys(d for w in runs.weights for d in w)), list(runs.written[0][0][1])
    rows = [["Name", "State", "ID", *(f"weight_{d}" for d in domains), *runs.config, *(f"loss/{s}" for s in sets)]]
    for k, weights in enumerate(runs.weights):
        end = runs.last(k)
        final = max(step for _, step in end)
        rows.append(
            [
                *(f"r{k}", "finished", f"id{k}"),
                *(repr(weights[d]) for d in domains),
                *runs.config.values(),
                *(repr(end[s, final]) for s in sets),
            ]
        )
    (root / "runs.csv").write_text(_csv(rows))
    for s in sets:
        steps = sorted({step for k in range(len(runs.weights)) for name, step in runs.last(k) if name == s})
        names = [f"r{k} - loss/{s}{band}" for k in range(len(runs.weights)) for band in ("", "__MIN", "__MAX")]
        rows = [["Step", *names]]
        for step in steps:
            cells = [runs.last(k).get((s, step)) for k in range(len(runs.weights))]
            rows.append([str(step), *("" if c is None else repr(c) for c in cells for _ in range(3))])
        (root / f"chart_{s}.csv").write_text(_csv(rows))


def _csv(rows: list[list[str]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue()


_WRITERS = {"tensorboard": _tensorboard, "mlflow": _mlflow, "wandb": _wandb}


@st.composite
def folders(draw: Any) -> tuple[str, Logs, dict[str, bytes], bool]:
    """``(tracker, what was logged, {path: bytes}, whether a file was changed)``."""
    tracker, runs = draw(st.sampled_from(sorted(_WRITERS))), draw(logs())
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "logs"
        _WRITERS[tracker](runs, root)
        files = {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}
    changed = draw(st.integers(0, 9)) > 3
    if changed:
        name = draw(st.sampled_from(sorted(files)))
        what = draw(st.sampled_from(("bytes", "bytes", "gone", "text", "line", "other")))
        if what == "gone":
            del files[name]
        elif what == "text":
            files[name] = draw(odd_texts).encode("utf-8", "surrogatepass")
        elif what == "line":
            files[name] += draw(odd_texts).encode("utf-8", "surrogatepass") + draw(
                st.sampled_from((b"", b"\n", b" 1 1\n"))
            )
        elif what == "other":
            files[draw(st.sampled_from(("notes.txt", "1/x", "1/artifacts/a.bin", ".DS_Store", "r0/train/log.txt")))] = (
                b"\x00x"
            )
        else:
            files[name] = draw(damaged(files[name], often=True))
    return tracker, runs, files, changed


def folder_read(given: tuple[str, Logs, dict[str, bytes], bool]) -> None:
    """What was logged, where nothing was changed; sound observations or words, where something was."""
    tracker, runs, files, changed = given
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "logs"
        for name, data in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(data)
        root.mkdir(exist_ok=True)
        source = sorted(root.glob("*.csv")) if tracker == "wandb" else root
        start = time.monotonic()
        observations = Observations.read(source, format=tracker if tracker == "wandb" else None)
        assert time.monotonic() - start < 10, "slow"
        sound(observations)
        if changed:
            return
    names = {row["run"]: row["run"] for row in observations.runs.to_pylist()}
    found: dict[str, dict[tuple[str, int], float]] = {name: {} for name in names}
    for row in observations.values.to_pylist():
        found[row["run"]][row["target"], row["step"]] = row["value"]
    for k, weights in enumerate(runs.weights):
        run = f"id{k}" if tracker == "wandb" else f"r{k}"
        mixture = observations.schedules()[run].mixture.to_dict()
        assert {d: w for d, w in mixture.items() if w} == {d: w for d, w in weights.items() if w}, mixture
        expected = runs.last(k)
        assert found[run].keys() == expected.keys(), (found[run], expected)
        assert all(abs(found[run][key] - value) < 1e-6 for key, value in expected.items())
