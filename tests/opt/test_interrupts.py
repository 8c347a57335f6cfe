"""An interrupt (Ctrl-C) at whatever moment loses nothing that ended; a second one ends the run."""

import io
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from rush_core import EmbeddedServer, Network, WorkerState
from rush_core.kernel.invariants import check_network
from rush_opt import Float, FrozenTrial, History, TuneResult, tune
from tests.threads import in_background
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("nothing_is_left_running")

PATIENCE_S = 60.0


# -- in this process -------------------------------------------------------------------------------


@pytest.fixture
def run(server: EmbeddedServer, network_id: str) -> Callable[..., TuneResult]:
    """Run up to 1000 trials in a network that stays, unless the arguments differ."""
    usual: dict[str, Any] = {"n_trials": 1000, "network_id": network_id, "progress": False}

    def run(**options: Any) -> TuneResult:
        return tune(
            lambda config: config["x"],
            {"x": Float(0, 1)},
            n_workers=1,
            optimizer="random",
            seed=1,
            url=server.url,
            **(usual | options),
        )

    return run


def test_an_interrupt_while_new_trials_are_taken_in_loses_none(
    run: Callable[..., TuneResult], server: EmbeddedServer, network_id: str
) -> None:
    manager = os.getpid()
    pressed: list[bool] = []
    told: list[FrozenTrial] = []

    def interrupt_the_manager(history: History) -> bool:
        """Be asked at each trial that was read from the log, before any of these is added."""
        if os.getpid() == manager and history.n_finished == 3 and not pressed:
            pressed.append(True)
            signal.raise_signal(signal.SIGINT)
        return False

    result = run(stop=interrupt_the_manager, callbacks=[told.append])
    assert pressed
    assert result.stop_reason == "interrupted"
    with Network(network_id, server.url) as network:
        finished = network.fetch_finished_tasks()
    assert sorted(trial.key for trial in result.frozen_trials) == sorted(t.key for t in finished)
    assert [trial.number for trial in result.frozen_trials] == list(range(len(finished)))
    assert told == list(result.frozen_trials)
    assert result.best_value == min(task.config["x"] for task in finished)


def test_an_interrupt_in_a_callback_hides_no_trial_from_any_callback(
    run: Callable[..., TuneResult],
    server: EmbeddedServer,
    network_id: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    first: list[FrozenTrial] = []
    second: list[FrozenTrial] = []
    with Network(network_id, server.url) as network:

        def interrupt(trial: FrozenTrial) -> None:
            first.append(trial)
            if trial.number == 0:  # then several come together
                wait_until(lambda: network.count_tasks().finished >= 10, PATIENCE_S)
            if trial.number == 5:
                signal.raise_signal(signal.SIGINT)

        result = run(callbacks=[interrupt, second.append])
    assert result.stop_reason == "interrupted"
    assert len(result.frozen_trials) >= 10
    assert first == second == list(result.frozen_trials)
    assert caplog.messages == [
        "stopping after the running trials; Ctrl-C again kills them and returns what has finished"
    ]


def test_an_interrupt_while_a_run_of_its_own_network_is_cleaned_up_loses_no_result(
    run: Callable[..., TuneResult], server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    reset = Network.reset
    pressed: list[str] = []

    def interrupted_once(network: Network) -> None:
        if not pressed:
            pressed.append(network.network_id)
            signal.raise_signal(signal.SIGINT)
        reset(network)

    monkeypatch.setattr(Network, "reset", interrupted_once)
    result = run(n_trials=5, network_id=None)
    assert pressed == [result.network_id]
    assert result.stop_reason == "n_trials"
    assert len(result.frozen_trials) == 5
    with Network(result.network_id, server.url) as network:
        assert network.fetch_workers() == []
        assert not any(network.count_tasks())


def test_an_interrupt_when_all_workers_have_ended_loses_no_result(
    run: Callable[..., TuneResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    pressed: list[str] = []

    class Screen(io.StringIO):
        """Interrupts the run when it shows its end."""

        def write(self, text: str) -> int:
            if text.startswith("5/5") and not pressed:
                pressed.append(text)
                signal.raise_signal(signal.SIGINT)
            return super().write(text)

    monkeypatch.setattr(sys, "stderr", Screen())
    result = run(n_trials=5, progress=True)
    assert pressed
    assert result.stop_reason == "interrupted"
    assert len(result.frozen_trials) == 5


def test_a_handler_of_sigterm_that_the_program_has_set_is_kept(
    run: Callable[..., TuneResult],
) -> None:
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        result = run(n_trials=5, callbacks=[lambda trial: signal.raise_signal(signal.SIGTERM)])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert result.stop_reason == "n_trials"
    assert received == [signal.SIGTERM] * 5


def test_after_a_run_sigterm_has_its_default_effect_again(run: Callable[..., TuneResult]) -> None:
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    handlers: list[Any] = []
    run(n_trials=1, callbacks=[lambda trial: handlers.append(signal.getsignal(signal.SIGTERM))])
    assert len(handlers) == 1
    assert handlers[0] not in (signal.SIG_DFL, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_run_in_another_thread_leaves_sigterm_alone(run: Callable[..., TuneResult]) -> None:
    handlers: list[Any] = []
    look = [lambda trial: handlers.append(signal.getsignal(signal.SIGTERM))]
    assert in_background(lambda: run(n_trials=1, callbacks=look))().stop_reason == "n_trials"
    assert handlers == [signal.SIG_DFL]


# -- at a terminal of its own ----------------------------------------------------------------------

INTERRUPTED = """
import json, os, pathlib, sys, threading, time
from rush_opt import Float, tune

folder, network_id, url = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]

def objective(config, trial):
    (folder / ".began").write_text(str(os.getpid()))
    (folder / ".began").rename(folder / "began")
    while not (folder / "go").exists():
        time.sleep(0.01)
    return config["x"]

try:
    result = tune(
        objective, {"x": Float(0, 1)}, n_workers=1, n_trials=1000, optimizer="random",
        network_id=network_id, url=url,
    )
except KeyboardInterrupt:
    print(json.dumps("raised"))
else:
    print(json.dumps({
        "reason": result.stop_reason,
        "states": [trial.state for trial in result.frozen_trials],
        "workers": [worker.state for worker in result.workers],
        "rows": len(result.utilization),
    }))
"""


@dataclass
class Interrupted:
    """A program in a terminal of its own whose worker is busy until ``go`` exists."""

    program: subprocess.Popen[str]
    network: Network
    folder: Path
    worker_pid: int

    def press_ctrl_c(self) -> None:
        os.killpg(self.program.pid, signal.SIGINT)  # a terminal signals the whole group

    def wait_until_asked_to_stop(self) -> None:
        wait_until(
            lambda: {w.state for w in self.network.fetch_workers()} == {WorkerState.STOPPING},
            PATIENCE_S,
        )

    def end(self) -> Any:
        out, err = self.program.communicate(timeout=PATIENCE_S)
        assert self.program.returncode == 0, err
        assert "Traceback" not in err
        return json.loads(out)


@pytest.fixture
def interrupted(server: EmbeddedServer, network_id: str, tmp_path: Path) -> Iterator[Interrupted]:
    script = tmp_path / "program.py"
    script.write_text(textwrap.dedent(INTERRUPTED))
    program = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path), network_id, server.url],
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        began = tmp_path / "began"
        wait_until(lambda: began.exists() or program.poll() is not None, PATIENCE_S)
        assert began.exists(), program.communicate()
        pid = int(began.read_text())
        with Network(network_id, server.url) as network:
            yield Interrupted(program, network, tmp_path, pid)
        check_network(network_id, server.url)
    finally:
        program.kill()
        program.communicate()


def test_the_first_interrupt_ends_the_run_after_the_running_trials(
    interrupted: Interrupted,
) -> None:
    # A terminal's Ctrl-C does not reach the worker.
    assert os.getpgid(interrupted.worker_pid) != os.getpgid(interrupted.program.pid)
    interrupted.press_ctrl_c()
    interrupted.wait_until_asked_to_stop()
    assert interrupted.network.count_tasks() == (0, 1, 0, 0)
    (interrupted.folder / "go").touch()
    assert interrupted.end() == {
        "reason": "interrupted",
        "states": ["finished"],
        "workers": ["stopped"],
        "rows": 1,
    }
    assert not psutil.pid_exists(interrupted.worker_pid)


def test_sigterm_of_the_manager_counts_as_an_interrupt(interrupted: Interrupted) -> None:
    interrupted.program.terminate()
    interrupted.wait_until_asked_to_stop()
    (interrupted.folder / "go").touch()
    ended = interrupted.end()
    assert (ended["reason"], ended["states"]) == ("interrupted", ["finished"])


def test_sigterm_of_the_manager_and_its_worker_returns_what_finished(
    interrupted: Interrupted,
) -> None:
    os.kill(interrupted.worker_pid, signal.SIGTERM)
    interrupted.program.terminate()
    interrupted.wait_until_asked_to_stop()
    (interrupted.folder / "go").touch()
    ended = interrupted.end()
    assert (ended["reason"], ended["states"]) == ("interrupted", ["finished"])
    assert ended["workers"] == ["interrupted"]


def test_the_second_interrupt_kills_the_running_trials(interrupted: Interrupted) -> None:
    interrupted.press_ctrl_c()
    interrupted.wait_until_asked_to_stop()
    interrupted.press_ctrl_c()
    assert interrupted.end() == {
        "reason": "interrupted",
        "states": ["failed"],
        "workers": ["killed"],
        "rows": 1,
    }
    assert not psutil.pid_exists(interrupted.worker_pid)
    assert interrupted.network.count_tasks() == (0, 0, 0, 1)


IMPATIENT = """
import json, os, signal, sys, threading, time
from rush_opt import Float, tune

def objective(config):
    if config["x"] == 1.0:
        time.sleep(600)
    return config["x"]

finished = []

def press_ctrl_c(trial):
    finished.append(trial.key)
    if len(finished) == 3:
        for i in range(int(sys.argv[1])):
            threading.Timer(0.1 + 0.05 * i, os.kill, (os.getpid(), signal.SIGINT)).start()

running = True

def interrupt(number, frame):
    if running:
        raise KeyboardInterrupt

signal.signal(signal.SIGINT, interrupt)
result = tune(
    objective, {"x": Float(0, 1)}, n_workers=2, n_trials=1000, optimizer="random",
    initial_design=[{"x": x} for x in (0.25, 0.5, 0.75, 1.0, 1.0)], callbacks=[press_ctrl_c],
)
running = False  # interrupts that come after the result are no concern of this test
print(json.dumps({
    "reason": result.stop_reason,
    "finished": sorted(t.key for t in result.frozen_trials if t.state == "finished"),
    "called back": sorted(finished),
}))
"""


@pytest.mark.parametrize("n_times", [2, 3, 10])
def test_no_number_of_interrupts_loses_a_finished_trial_of_an_unnamed_run(
    n_times: int, tmp_path: Path
) -> None:
    script = tmp_path / "program.py"
    script.write_text(IMPATIENT)
    ended = subprocess.run(
        [sys.executable, str(script), str(n_times)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        start_new_session=True,
    )
    assert ended.stdout, ended.stderr
    found = json.loads(ended.stdout)
    assert found["reason"] == "interrupted"
    assert len(found["finished"]) >= 3
    assert set(found["finished"]) <= set(found["called back"])
    assert "killing the running trials" in ended.stderr
