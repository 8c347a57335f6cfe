"""Runs some of whose workers, processes on this machine, join late or never.

Where processes load an objective one by one, they are fresh interpreters.
"""

import contextlib
import itertools
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from rush_core import EmbeddedServer, WorkersFailedError
from rush_opt import Float, FrozenTrial, StopRun, tune
from tests.waiting import wait_until

X = {"x": Float(0, 1)}


class Awaited:
    """An objective that all processes but the first can load only when they may."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state
        try:
            (self.folder / "first").touch(exist_ok=False)
        except FileExistsError:
            wait_until((self.folder / "may load").exists)

    def __call__(self, config: dict[str, Any]) -> float:
        return float(config["x"])


def test_trials_are_told_while_another_worker_is_still_to_join(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    def let_load(trial: FrozenTrial) -> None:
        (tmp_path / "may load").touch()
        raise StopRun("one is enough")

    result = tune(
        *(Awaited(tmp_path), X),
        n_workers=2,
        n_trials=10**6,
        optimizer="random",
        url=server.url,
        callbacks=[let_load],
        start_method="spawn",
        progress=False,
    )
    assert result.stop_reason == "one is enough"
    assert len(result.workers) == 2


class Missing:
    """An objective that only so many processes can load."""

    def __init__(self, folder: Path, n: int) -> None:
        self.folder = folder
        self.n = n

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state
        for i in range(self.n):
            try:
                return (self.folder / f"{i}").touch(exist_ok=False)
            except FileExistsError:
                pass
        raise ImportError("no such library here")

    def __call__(self, config: dict[str, Any]) -> float:
        return float(config["x"])


def test_a_process_that_ends_before_it_joined_is_told_and_the_others_go_on(
    server: EmbeddedServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def stop_when_told(trial: FrozenTrial) -> None:
        if "no such library here" in caplog.text:
            raise StopRun("told")

    result = tune(
        *(Missing(tmp_path, 1), X),
        n_workers=2,
        n_trials=10**6,
        optimizer="random",
        url=server.url,
        callbacks=[stop_when_told],
        start_method="spawn",
        progress=False,
    )
    assert (result.stop_reason, len(result.workers)) == ("told", 1)
    (record,) = caplog.records
    assert record.levelname == "WARNING"


@pytest.mark.parametrize("optimizer", ["random", "acbo"])
def test_a_run_all_of_whose_processes_end_before_they_joined_is_an_error(
    optimizer: str, server: EmbeddedServer, tmp_path: Path
) -> None:
    with pytest.raises(WorkersFailedError, match="ImportError: no such library here"):
        tune(
            *(Missing(tmp_path, 0), X),
            n_workers=2,
            optimizer=optimizer,
            url=server.url,
            progress=False,
        )


class Deadly:
    """An objective that kills some of the processes that load it."""

    def __init__(self, folder: Path, killed: list[int]) -> None:
        self.folder = folder
        self.killed = killed

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state
        for i in itertools.count():
            with contextlib.suppress(FileExistsError):
                (self.folder / f"{i}").touch(exist_ok=False)
                break
        if i in self.killed:
            os.kill(os.getpid(), signal.SIGKILL)

    def __call__(self, config: dict[str, Any]) -> float:
        return float(config["x"])


@pytest.mark.parametrize("optimizer", ["acbo", "clbo"])
def test_a_proposer_that_is_killed_before_it_joins_is_replaced(
    optimizer: str, server: EmbeddedServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = tune(
        *(Deadly(tmp_path, [2, 3]), X),  # the workers, which are started first, are 0 and 1
        n_workers=2,
        n_trials=12,
        optimizer=optimizer,
        url=server.url,
        start_method="spawn",
        progress=False,
    )
    assert (result.stop_reason, len(result.frozen_trials)) == ("n_trials", 12)
    assert len(result.workers) == 2
    assert caplog.text.count("the process that proposes is started again") == 2


def test_a_run_whose_proposers_are_all_killed_before_they_join_ends_with_the_reason(
    server: EmbeddedServer, tmp_path: Path, network_id: str
) -> None:
    with pytest.raises(WorkersFailedError, match=r"ended before it joined .*SIGKILL"):
        tune(
            *(Deadly(tmp_path, [2, 3, 4]), X),
            n_workers=2,
            n_trials=12,
            optimizer="acbo",
            network_id=network_id,
            url=server.url,
            start_method="spawn",
            progress=False,
        )
