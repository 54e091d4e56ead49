"""How runs ended, in every log format: restarted, short of the others, diverged."""

import math

import pytest

from mixlaw.data.observations import Observations
from mixlaw.errors import MixlawWarning
from mixlaw.io.importers import read
from mixlaw.io.runlogs import Logged, RunLog, to_observations, without_abandoned


def curve(obs, run, target="web"):
    return {v["step"]: v["value"] for v in obs.values.to_pylist() if v["run"] == run and v["target"] == target}


def test_steps_before_a_later_record_of_a_smaller_step_are_stale():
    first = [Logged("web", s, float(s), time=s) for s in (100, 200, 300, 400, 500)]
    again = [Logged("web", s, s + 0.5, time=1000 + s) for s in (300, 400)]
    other = [Logged("final", 500, 9.0, time=501)]  # written once, by what was given up
    kept, step = without_abandoned([*first, *other, *again])
    assert {e.step: e.value for e in kept} == {100: 100.0, 200: 200.0, 300: 300.5, 400: 400.5}
    assert step == 300
    without_times = [e._replace(time=None) for e in [*first, *other, *again]]
    kept, _ = without_abandoned(without_times)
    assert ("final", 500) in {(e.key, e.step) for e in kept}  # nothing says which came first


def test_several_keys_of_one_restart_do_not_make_each_other_stale():
    entries, time = [], 0.0
    for step in (100, 200, 300, 200, 300, 400, 300, 400):  # two restarts
        for key in ("a", "b", "c"):
            time += 1
            entries.append(Logged(key, step, time, time=time))
    kept, step = without_abandoned(entries)
    assert step == 200
    for key in "abc":
        assert [e.step for e in kept if e.key == key] == [100, 200, 300, 400]
    assert all(e.value > 18 for e in kept if e.step == 300) and all(e.value > 9 for e in kept if e.step == 200)


def test_records_in_order_are_kept_as_they_are():
    entries = [Logged("a", s, 1.0, time=s) for s in (1, 2, 2, 3)] + [Logged("b", None, 1.0)]
    assert without_abandoned(entries) == (entries, None)


def test_restarts_in_mlflow(tmp_path):
    folder = tmp_path / "mlruns" / "0" / "aaa"
    for sub in ("params", "metrics/loss"):
        (folder / sub).mkdir(parents=True)
    (folder / "meta.yaml").write_text("run_id: aaa\nrun_name: first\nstatus: 3\nlifecycle_stage: active\n")
    for name, weight in (("web", 0.4), ("code", 0.6)):
        (folder / "params" / f"weight_{name}").write_text(str(weight))
    lines = [(100, 4.0), (200, 3.0), (300, 1.0), (400, math.nan), (250, 2.9), (350, 2.8)]
    text = "".join(f"{1000 + i} {value} {step}\n" for i, (step, value) in enumerate(lines))
    (folder / "metrics" / "loss" / "web").write_text(text)
    with pytest.warns(MixlawWarning, match=r"1 runs were restarted \(first from step 250\)"):
        obs = read(tmp_path / "mlruns")
    assert curve(obs, "first") == {100: 4.0, 200: 3.0, 250: 2.9, 350: 2.8}
    assert obs.runs["status"].to_pylist() == ["done"]


def test_restarts_in_a_chart(tmp_path):
    rows = [(100, 4.0), (200, 3.5), (500, 1.0), (300, 3.0), (400, 2.8)]
    text = "trainer/global_step,x - loss/web,x - loss/web__MIN,x - loss/web__MAX\n"
    (tmp_path / "chart.csv").write_text(text + "".join(f"{s},{v},{v},{v}\n" for s, v in rows))
    with pytest.warns(MixlawWarning, match=r"restarted \(x from step 300\)"):
        assert max(curve(read(tmp_path / "chart.csv"), "x")) == 400


def test_restarts_in_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    board = pytest.importorskip("torch.utils.tensorboard")
    for part, steps in enumerate(((100, 200, 300, 400, 500), (300, 400))):
        with board.SummaryWriter(str(tmp_path / "logs" / "r0"), filename_suffix=f".{part}") as writer:
            for step in steps:
                value = 5 - step / 200 - part if step < 500 else float("nan")
                writer.add_scalar("loss/web", value, step, walltime=1e9 + 1000 * part + step)
                writer.add_scalar("loss/code", value, step, walltime=1e9 + 1000 * part + step + 0.5)
    with pytest.warns(MixlawWarning, match=r"restarted \(r0 from step 300\)"):
        obs = read(tmp_path / "logs")
    for target in ("web", "code"):
        assert curve(obs, "r0", target) == pytest.approx({100: 4.5, 200: 4.0, 300: 2.5, 400: 2.0})
    assert obs.runs["status"].to_pylist() == ["done"]


def table(ends):
    rows = ["run,step,weight_a,weight_b,loss_a"]
    for i, end in enumerate(ends):
        w = round(0.1 + 0.8 * i / len(ends), 4)
        rows += [f"r{i},{step},{w},{round(1 - w, 4)},{5 - step / 1000}" for step in range(100, end + 1, 100)]
    return "\n".join(rows)


def test_runs_that_end_before_the_others_are_named_and_left_out(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text(table([1000] * 9 + [300]))
    with pytest.warns(MixlawWarning, match=r"1 of 10 runs end before the others \(step: r9 at 300 of 1000\)"):
        obs = read(path)
    assert obs.runs["status"].to_pylist() == ["done"] * 9 + ["partial"]
    with pytest.warns(MixlawWarning, match="did not come to their end"):
        assert obs.table().y.num_rows == 9


def test_runs_of_several_lengths_by_design_are_not_short(tmp_path, recwarn):
    path = tmp_path / "runs.csv"
    path.write_text(table([1000] * 5 + [500] * 5))
    assert set(read(path).runs["status"].to_pylist()) == {"done"}
    sized = [{"run": f"{n}-{i}", "params": n} for n in (1e6, 1e7) for i in range(5)]
    assert not [w for w in recwarn if "before the others" in str(w.message)]
    logs = [
        RunLog(r["run"], config={"params": r["params"]}, metrics=[("loss/a", 100 if r["params"] < 5e6 else 900, 2.0)])
        for r in sized
    ]
    assert set(to_observations(logs, where="logs").runs["status"].to_pylist()) == {"done"}


def test_curves_over_tokens_keep_their_points():
    logs = [RunLog("x", metrics=[Logged("loss/a", None, 4.0 - t / 1e3, tokens=t) for t in (1e3, 2e3)])]
    logs[0].config = {"params": 1e6}
    with pytest.warns(MixlawWarning):
        obs = to_observations(logs, where="logs")
    X, y = obs.table(at="all", features="scale")
    assert X.column("tokens").to_pylist() == [1e3, 2e3] and y.column("a").to_pylist() == [3.0, 2.0]
    assert obs.table(features="scale").y.column("a").to_pylist() == [2.0]


def test_an_infinite_loss_marks_the_run_in_every_table(tmp_path):
    (tmp_path / "runs.csv").write_text("weight_a,weight_b,loss_a,loss_b\n0.4,0.6,inf,2\n0.5,0.5,3,2\n")
    with pytest.warns(MixlawWarning, match=r"1 runs diverged .*\['run1 \(a\)'\]"):
        obs = Observations.read(tmp_path / "runs.csv")
    assert obs.runs["status"].to_pylist() == ["diverged", "done"]
