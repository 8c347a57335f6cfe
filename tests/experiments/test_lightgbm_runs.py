"""Runs: one file each, in full or not at all, wherever the workers are."""

import gzip
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from distributed import LocalCluster

from experiments.lightgbm_study import folder, launchers
from experiments.lightgbm_study.cli import main
from experiments.lightgbm_study.design import Design, read_design
from experiments.lightgbm_study.launchers import launching
from experiments.lightgbm_study.runs import read_run, run_files
from experiments.provenance import append_rows
from rush_core import EmbeddedServer
from tests.waiting import wait_until

SCRIPT = Path(__file__).parents[2] / "experiments" / "lightgbm_bench.py"


def options(command: str, data_dir: Path, out: Path, **changed: str) -> list[str]:
    """Return the words of a command on the toy data set."""
    given = {
        "--dataset": "toy",
        "--data-dir": str(data_dir),
        "--out": str(out),
        "--workers": "1",
        "--replications": "1",
        "--design-size": "9",
    }
    if command == "run":
        given |= {"--strategy": "adbo", "--seconds": "12"}
    given |= {f"--{name.replace('_', '-')}": value for name, value in changed.items()}
    return [command, *(word for pair in given.items() for word in pair)]


@pytest.fixture
def out(data_dir: Path, tmp_path: Path) -> Path:
    """A results folder with an evaluated design of 9 points, whose errors are made up."""
    design = Design(folder.find(data_dir, "toy"), 1, 9, 1)
    rows = [
        {"point": i, **config, "error": 0.3 + i / 100, "num_iterations": 5, "failure": ""}
        | {"seed": 1, "size": 9, "data": design.source.digest[:16]}
        for i, config in enumerate(design.points())
    ]
    append_rows(design.path(tmp_path / "out"), rows)
    return tmp_path / "out"


def test_a_run_is_kept_with_its_configuration_trials_samples_and_shares(
    data_dir: Path, out: Path, server: EmbeddedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    words = options("run", data_dir, out, url=server.url)
    main(words)
    (path,) = run_files(out)
    run = read_run(path)
    assert path == run.configuration.path(out)
    assert (run.configuration.strategy, run.configuration.seconds) == ("adbo", 12.0)
    assert run.summary["design_best"] == 0.3
    assert (run.trials["state"] == "finished").all()
    assert run.trials["n_known"].tolist() == list(range(9, 9 + len(run.trials)))
    assert run.trials["started_s"].max() <= 12.0
    assert 0 < run.summary["objective_share"] <= run.summary["busy_share"] < 1
    assert (run.utilization["startup"] > 0).all()
    # About a sample per second of the worker's life, in order, of a process that was computing.
    assert run.samples["at_s"].is_monotonic_increasing
    assert 1 <= len(run.samples) <= 13
    assert 0 < run.samples["cpu_s"].sum() <= 1.1 * run.samples["interval_s"].sum()
    assert (run.samples["rss_bytes"] > 1e7).all()

    before = path.read_bytes()
    capsys.readouterr()
    main(words)
    assert "1/1 toy-adbo-r1.json.gz: is there" in capsys.readouterr().out
    assert path.read_bytes() == before
    with pytest.raises(SystemExit, match=r"has runs with seconds 12\.0, now it is 7\.0"):
        main(options("run", data_dir, out, seconds="7"))
    with pytest.raises(SystemExit, match="has runs with workers 1, now it is 2"):
        main(options("run", data_dir, out, workers="2"))


def test_the_file_of_a_run_that_was_cut_off_is_named(data_dir: Path, out: Path) -> None:
    path = out / "runs" / "toy-adbo-r1.json.gz"
    path.parent.mkdir()
    whole = gzip.compress(b'{"configuration": {}}\n{"error": [0.1]}\n{}\n{}\n')
    for cut in (b"", whole[:5], whole[: len(whole) // 2], b"{" + whole):
        path.write_bytes(cut)
        for words in (options("run", data_dir, out), ["report", "--out", str(out)]):
            with pytest.raises(SystemExit) as refusal:
                main(words)
            said = str(refusal.value)
            assert f"{path} must be the whole file of a run" in said
            assert "delete it and run it again" in said
        assert path.read_bytes() == cut


def test_an_interrupted_run_leaves_no_file(
    data_dir: Path, out: Path, server: EmbeddedServer, tmp_path: Path
) -> None:
    words = options("run", data_dir, out, url=server.url, seconds="100")
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), *words],
        cwd=tmp_path,  # from anywhere
        stderr=subprocess.PIPE,
        text=True,
    )

    def has_worker() -> bool:
        children = psutil.Process(process.pid).children(recursive=True)
        forked = [child for child in children if {"rush_core", "node"} <= set(child.cmdline())]
        return len(forked) > 2  # a supervisor, the process that forks, and what it has forked

    wait_until(has_worker, 60.0)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "the same command goes on where it stopped" in said
    assert not run_files(out)
    assert not [path for path in out.rglob("*") if "runs" in path.parts and path.is_file()]


def check_design(data_dir: Path, out: Path) -> None:
    design = Design(folder.find(data_dir, "toy"), 1, 2, 1)
    assert [config for config, _ in read_design(design, out)] == design.points()


def test_workers_run_by_a_shell_line(
    data_dir: Path, tmp_path: Path, server: EmbeddedServer
) -> None:
    line = "for i in $(seq {n}); do sh -c {command} & done; wait"
    where = {"url": server.url, "launcher": "command", "launch_command": line}
    main(options("design", data_dir, tmp_path, design_size="2", **where))
    check_design(data_dir, tmp_path)


def test_a_shell_line_that_fails_at_once_ends_the_command(
    data_dir: Path, tmp_path: Path, server: EmbeddedServer, capfd: pytest.CaptureFixture[str]
) -> None:
    where = {"url": server.url, "launcher": "command"}
    where["launch_command"] = "echo no such partition >&2; exit 7"
    with pytest.raises(SystemExit, match="ended with exit code 7"):
        main(options("design", data_dir, tmp_path, **where))
    assert "no such partition" in capfd.readouterr().err
    assert not list(tmp_path.rglob("toy-r1.csv"))


def test_a_shell_line_is_ended_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launchers, "_PATIENCE_S", 0.2)
    started = tmp_path / "started"
    # One that ends when it is asked to, one that does not.
    line = f"sleep 1000 & (trap '' TERM; echo > {started}; sleep 1000) & wait"
    with launching("command", template=line, scheduler=None, url="redis://127.0.0.1") as how:
        process = how["launch"]("true", 2)
        wait_until(started.exists)
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 2
    assert psutil.wait_procs(children, timeout=20.0)[1] == []


@pytest.mark.long
def test_workers_of_a_dask_cluster(data_dir: Path, tmp_path: Path, server: EmbeddedServer) -> None:
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        where = {"url": server.url, "launcher": "dask"}
        where["dask_scheduler"] = cluster.scheduler_address
        where["design_size"] = "2"
        main(options("design", data_dir, tmp_path / "out", **where))
        main(options("run", data_dir, tmp_path / "out", strategy="random", seconds="2", **where))
    check_design(data_dir, tmp_path / "out")
    (path,) = run_files(tmp_path / "out")
    run = read_run(path)
    assert run.configuration.launcher == "dask"
    assert (run.trials["state"] == "finished").all()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"dataset": "airlines"}, r"airlines is not in .* has toy"),
        ({"replications": "2"}, "starts from 9 evaluated points, found 0"),
        ({"launcher": "slurm"}, "needs a server that all nodes reach"),
        ({"launcher": "dask"}, "needs --dask-scheduler"),
    ],
)
def test_what_cannot_work_is_refused_at_the_door(
    data_dir: Path, out: Path, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(SystemExit, match=message):
        main(options("run", data_dir, out, **changed))
    assert not run_files(out)


def test_slurm_is_refused_outside_a_job(
    data_dir: Path, out: Path, server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(SystemExit, match="inside a Slurm job"):
        main(options("run", data_dir, out, launcher="slurm", url=server.url))
    assert not run_files(out)


@pytest.mark.parametrize("changed", [{"strategy": "grid"}, {"launcher": "ray"}, {"seconds": "0"}])
def test_unknown_choices_are_refused_with_the_known_ones(
    data_dir: Path, out: Path, changed: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(options("run", data_dir, out, **changed))
    assert next(iter(changed)) in capsys.readouterr().err
