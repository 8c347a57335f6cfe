"""Advisors that leave, die or are stopped, and where their open trials go."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from rush_core import Network, WorkerState, serve
from rush_core.connection.connection import Connection, pack
from rush_opt.ask_tell import Advisor
from tests.interrupting import interrupted_after
from tests.opt.advisors import SPACE, Advise, ask, value_of
from tests.waiting import wait_until

PATIENCE_S = 60.0  # for what takes seconds on an idle machine


def test_open_trials_of_a_closed_advisor_go_to_the_next_one(
    advise: Advise, network: Network
) -> None:
    with Advisor(SPACE, network.network_id, url=network.url, initial_design=0) as first:
        opened = [ask(first) for _ in range(3)]
    second = advise()
    assert [ask(second).params for _ in range(3)] == [trial.params for trial in opened]
    assert network.count_tasks().queued == 0
    assert ask(second).params not in [trial.params for trial in opened]
    second.tell(second.open_trials[0], 0.5)
    result = second.result()
    assert [trial.lost for trial in result.frozen_trials] == [True] * 3 + [False]
    assert result.best_value == 0.5


ASKER = """
import json, sys
from rush_core import Heartbeat
from rush_opt import Boolean, Float, Integer
from rush_opt.ask_tell import Advisor

space = {"x": Float(0, 1), "n": Integer(1, 9), "b": Boolean()}
quick = Heartbeat(period_s=0.1, expire_s=0.5)
advisor = Advisor(space, sys.argv[1], url=sys.argv[2], seed=1, heartbeat=quick)
advisor.tell(advisor.ask(), 0.5)
opened = [advisor.ask() for _ in range(3)]
print(json.dumps([trial.params for trial in opened]), flush=True)
sys.stdin.readline()
late, new = advisor.tell(opened[0], 1.0), advisor.ask()
print(json.dumps([late, advisor.open_trials == [new]]), flush=True)
advisor.close()
"""


class Asker:
    """Another process with three open trials."""

    def __init__(self, network: Network) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", ASKER, network.network_id, network.url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.opened = json.loads(self.process.stdout.readline())


@pytest.fixture
def asker(network: Network) -> Iterator[Asker]:
    asker = Asker(network)
    yield asker
    asker.process.kill()
    asker.process.communicate()


def take_over(advisor: Advisor, asker: Asker) -> None:
    """Ask until all open trials of the other process are open here."""

    def taken() -> int:
        trial = ask(advisor)
        if trial.params not in asker.opened:
            advisor.tell(trial, value_of(trial))
        return len(advisor.open_trials)

    wait_until(lambda: taken() == 3, PATIENCE_S)


def test_the_open_trials_of_a_killed_process_go_to_other_advisors(
    advise: Advise, asker: Asker
) -> None:
    asker.process.send_signal(signal.SIGKILL)
    advisor = advise()
    take_over(advisor, asker)
    for trial in advisor.open_trials:
        assert advisor.tell(trial, value_of(trial))
    result = advisor.result()
    assert 0.5 in [trial.value for trial in result.frozen_trials]
    assert all(trial.state == "finished" for trial in result.frozen_trials)


def test_a_slow_advisor_rejoins_without_its_trials(advise: Advise, asker: Asker) -> None:
    asker.process.send_signal(signal.SIGSTOP)
    advisor = advise()
    take_over(advisor, asker)
    asker.process.send_signal(signal.SIGCONT)
    said, _ = asker.process.communicate("\n", timeout=PATIENCE_S)
    assert json.loads(said) == [False, True]
    assert asker.process.returncode == 0
    for trial in advisor.open_trials:
        assert advisor.tell(trial, value_of(trial))


def test_a_killed_advisor_gets_no_trial(advise: Advise, network: Network) -> None:
    advisor = advise()
    trial = ask(advisor)
    network.stop_workers([worker.worker_id for worker in network.fetch_workers()], kill=True)
    assert not advisor.tell(trial, 0.0)
    assert advisor.ask() is None


def test_an_advisor_ends_when_its_network_is_stopped(advise: Advise, network: Network) -> None:
    advisor = advise()
    trial = ask(advisor)
    network.stop_workers()
    assert advisor.ask() is None
    assert advisor.tell(trial, 1.0)


def test_a_stopped_network_continues_after_all_workers_left(
    advise: Advise, network: Network
) -> None:
    first = advise()
    network.stop_workers()
    second = advise()
    assert second.ask() is None  # the first one has not left
    first.close()
    second.close()
    assert advise().ask() is not None


def test_an_interrupted_advisor_still_leaves_the_network(network_id: str) -> None:
    with serve() as own_server, Network(network_id, own_server.url) as network:
        advisor = Advisor(SPACE, network_id, url=own_server.url)
        network.stop_workers()
        assert advisor.ask() is None
        connection = Connection(own_server.url)
        connection.execute(pack((b"CLIENT", b"PAUSE", 500)))
        connection.close()
        with pytest.raises(KeyboardInterrupt), interrupted_after(0.05):
            advisor.close()
        assert [worker.state for worker in network.fetch_workers()] == [WorkerState.STOPPED]
