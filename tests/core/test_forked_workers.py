"""Forked workers: what they share, and what each of them has for itself."""

import logging
import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from rush_core import Network, Worker, WorkersFailedError
from rush_core.launching.local import StartMethod
from tests.core.importing import Module, count_imports, write_module
from tests.core.processes import evaluating, is_alive, wait_for_running_tasks
from tests.waiting import wait_until

PATIENCE_S = 30.0
START_METHODS: list[StartMethod] = ["fork", "spawn"]


def note_parent(worker: Worker, module: Module) -> None:
    """A loop with one task, whose result is the parent of its process."""
    key = worker.start_task({})
    assert key is not None
    worker.finish_task(key, {"pid": os.getpid(), "parent": os.getppid()})


def hold(worker: Worker, module: Module) -> None:
    """A loop in the middle of a task that never ends."""
    evaluating(worker)


def draw(worker: Worker, module: Module) -> None:
    key = worker.start_task({})
    assert key is not None
    worker.finish_task(key, {"python": random.random(), "numpy": float(np.random.random())})


def fit(worker: Worker, module: Module) -> None:
    """Fit models of libraries that have threads of their own."""
    import lightgbm
    from sklearn.ensemble import RandomForestRegressor

    key = worker.start_task({})
    assert key is not None
    X = np.random.default_rng(0).random((300, 5))
    y = X @ X.T[:, 0] + (X @ X.T)[:, 1]
    boosted = lightgbm.LGBMRegressor(n_estimators=5, n_jobs=2, verbose=-1).fit(X, y)
    forest = RandomForestRegressor(5, n_jobs=2, random_state=0).fit(X, y)
    found = {"boosted": float(boosted.predict(X)[0]), "forest": float(forest.predict(X)[0])}
    worker.finish_task(key, found)


def list_descriptors(worker: Worker, module: Module) -> None:
    """A loop that notes what its descriptors lead to, and holds its task."""
    links = [os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
    kinds = [Path(link).suffix or Path(link).name.partition(":")[0] for link in links]
    worker.start_task({"kinds": sorted(kinds), "pid": os.getpid()})
    evaluating(worker)


@pytest.mark.parametrize("start_method", START_METHODS)
def test_forked_workers_import_the_modules_of_their_loop_once(
    start_method: StartMethod, network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = write_module(tmp_path, monkeypatch, "")
    network.start_workers(hold, 2, args=(module,), start_method=start_method)
    network.start_workers(hold, 1, args=(module,), start_method=start_method)
    wait_for_running_tasks(network, 3)
    assert count_imports(tmp_path) == {"fork": 1, "spawn": 3}[start_method]


def test_a_replacement_comes_from_the_same_process(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = write_module(tmp_path, monkeypatch, "")
    killed, _ = network.start_workers(hold, 2, args=(module,))
    wait_for_running_tasks(network, 2)
    network.stop_workers([killed], kill=True)
    network.start_workers(hold, 1, args=(module,))
    tasks = wait_for_running_tasks(network, 2)
    parents = {psutil.Process(task.config["pid"]).ppid() for task in tasks}
    assert len(parents) == 1
    assert count_imports(tmp_path) == 1


def test_another_environment_or_loop_has_a_process_of_its_own(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = write_module(tmp_path, monkeypatch, "")
    network.start_workers(hold, 1, args=(module,))
    monkeypatch.setenv("OF_THE_SECOND", "1")
    network.start_workers(hold, 1, args=(module,))
    network.start_workers(list_descriptors, 1, args=(module,))
    wait_for_running_tasks(network, 4)
    assert count_imports(tmp_path) == 3


def test_memory_is_shared(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = write_module(tmp_path, monkeypatch, "data = b'x' * 100_000_000\n")
    network.start_workers(hold, 2, args=(module,))
    for task in wait_for_running_tasks(network, 2):
        memory = psutil.Process(task.config["pid"]).memory_full_info()
        assert memory.rss > 1e8
        assert memory.uss < 2.5e7


@pytest.mark.parametrize("start_method", START_METHODS)
def test_global_random_generators_differ_between_workers(
    start_method: StartMethod, network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = write_module(tmp_path, monkeypatch, "import random, numpy.random\n")
    network.start_workers(draw, 3, args=(module,), start_method=start_method)
    assert network.join_workers(PATIENCE_S)
    for name in ("python", "numpy"):
        assert len(set(network.fetch_finished_tasks().column(name))) == 3


@pytest.mark.parametrize("start_method", START_METHODS)
def test_libraries_with_threads_work_after_the_fork(
    start_method: StartMethod, network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = (
        "import lightgbm, numpy, sklearn.ensemble\nnumpy.ones((300, 300)) @ numpy.ones((300, 300))"
    )
    module = write_module(tmp_path, monkeypatch, used)
    network.start_workers(fit, 2, args=(module,), start_method=start_method)
    assert network.join_workers(2 * PATIENCE_S)
    first, second = network.fetch_finished_tasks().results
    assert first is not None
    assert first == second
    assert np.isfinite(list(first.values())).all()


def test_no_worker_has_descriptors_of_another(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = write_module(tmp_path, monkeypatch, "")
    network.start_workers(list_descriptors, 3, args=(module,))
    tasks = wait_for_running_tasks(network, 6)
    kinds = [task.config["kinds"] for task in tasks if "kinds" in task.config]
    assert kinds[0] == kinds[1] == kinds[2]
    # Both ends of the pipe to the forking process, and the connection to the server.
    assert kinds[0].count("pipe") == 2
    assert kinds[0].count("socket") == 1


def test_a_loop_whose_modules_start_a_thread_runs_in_fresh_interpreters(
    network: Network,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = "import threading\nstop = threading.Event()\n"
    source += "threading.Thread(target=stop.wait, name='watcher', daemon=True).start()\n"
    module = write_module(tmp_path, monkeypatch, source)
    with caplog.at_level(logging.INFO):
        for n_imports in (3, 5):  # with the one that found it out
            network.start_workers(note_parent, 2, args=(module,))
            assert network.join_workers(PATIENCE_S)
            assert count_imports(tmp_path) == n_imports
    parents = network.fetch_finished_tasks().column("parent")
    assert len(set(parents)) == 4
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert "started threads (1, among them watcher)" in record.getMessage()


def test_a_loop_whose_modules_start_a_process_runs_in_fresh_interpreters(
    network: Network,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = "import subprocess\nhelper = subprocess.Popen(['sleep', '600'])\n"
    module = write_module(tmp_path, monkeypatch, source)
    network.start_workers(note_parent, 2, args=(module,), start_method="fork")
    assert network.join_workers(PATIENCE_S)
    assert len(set(network.fetch_finished_tasks().column("parent"))) == 2
    (record,) = caplog.records
    assert record.levelno == logging.WARNING  # it was asked for
    assert "started a process" in record.getMessage()


def test_what_an_import_prints_is_in_the_files_of_the_first_worker(
    network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = write_module(tmp_path, monkeypatch, "print('at the import')\n")
    first, second = network.start_workers(note_parent, 2, args=(module,), log_folder=tmp_path)
    assert network.join_workers(PATIENCE_S)
    assert (tmp_path / f"{first}.out").read_text() == "at the import\n"
    assert (tmp_path / f"{second}.out").read_text() == ""


@pytest.mark.parametrize("source", ["os._exit(7)", "raise SystemExit(7)"])
def test_an_import_that_ends_the_process_is_an_error_of_each_worker(
    source: str, network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = write_module(tmp_path, monkeypatch, f"print('goodbye')\n{source}\n")
    worker_ids = network.start_workers(hold, 2, args=(module,))
    assert network.join_workers(PATIENCE_S)
    for worker_id in worker_ids:
        with pytest.raises(WorkersFailedError, match="ended with exit code 7") as error:
            network.wait_for_workers(worker_ids=[worker_id])
    with pytest.raises(WorkersFailedError, match="goodbye") as error:
        network.wait_for_workers()
    assert error.value.key == worker_ids[0]


def test_workers_are_killed_while_their_modules_are_imported(
    network: Network, tmp_path: Path, pids: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = write_module(tmp_path, monkeypatch, "import time\ntime.sleep(600)\n")
    first, second = network.start_workers(hold, 2, args=(module,))
    wait_until(lambda: count_imports(tmp_path) == 1)
    pids += [int(path.name.partition("-")[2]) for path in tmp_path.glob("import-*")]
    network.stop_workers([first], kill=True)
    assert network.join_workers(0.0, worker_ids=[first])
    assert not network.join_workers(0.0)
    assert is_alive(pids[0])
    network.stop_workers([second], kill=True)
    assert network.join_workers(0.0)
    assert not is_alive(pids[0])


class Prepared:
    """What a warm-up changes; a worker has it as the warm-up has left it."""

    def __init__(self) -> None:
        self.by: list[int] = []


def prepare(prepared: Prepared) -> None:
    prepared.by.append(os.getpid())


def prepare_badly(prepared: Prepared) -> None:
    raise ImportError("no such library")


def tell_what_is_prepared(worker: Worker, prepared: Prepared) -> None:
    key = worker.start_task({})
    assert key is not None
    worker.finish_task(key, {"by": prepared.by, "parent": os.getppid()})


def test_a_warm_up_is_called_once_in_the_process_that_forks_the_workers(network: Network) -> None:
    for n in (2, 1):
        network.start_workers(tell_what_is_prepared, n, args=(Prepared(),), warm_up=prepare)
    assert network.join_workers(PATIENCE_S)
    results = network.fetch_finished_tasks().results
    assert len(results) == 3
    for result in results:
        assert result is not None
        assert result["by"] == [result["parent"]]


@pytest.mark.parametrize(("start_method", "warm_up"), [("spawn", prepare), ("fork", prepare_badly)])
def test_workers_do_without_a_warm_up(
    start_method: StartMethod,
    warm_up: Callable[[Prepared], None],
    network: Network,
    tmp_path: Path,
) -> None:
    first, _ = network.start_workers(
        tell_what_is_prepared,
        2,
        args=(Prepared(),),
        start_method=start_method,
        warm_up=warm_up,
        log_folder=tmp_path,
    )
    assert network.join_workers(PATIENCE_S)
    assert network.fetch_finished_tasks().column("by") == [[], []]
    printed = (tmp_path / f"{first}.err").read_text()
    assert ("ImportError: no such library" in printed) == (warm_up is prepare_badly)


def test_a_warm_up_that_cannot_be_called_is_refused(network: Network) -> None:
    with pytest.raises(TypeError, match="warm_up must be callable, got list"):
        network.start_workers(evaluating, 1, warm_up=["numpy"])  # type: ignore[arg-type]
    assert network.join_workers(0.0)


@pytest.mark.parametrize(
    ("start_method", "words"), [("thread", '"fork", "spawn" or None'), (1, "got 1")]
)
def test_a_start_method_that_does_not_exist_is_refused(
    start_method: object, words: str, network: Network
) -> None:
    with pytest.raises(ValueError, match=words):
        network.start_workers(evaluating, 1, start_method=start_method)  # type: ignore[arg-type]
    assert network.join_workers(0.0)
