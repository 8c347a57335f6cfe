"""Embedded servers whose disk becomes full."""

import os
import shutil
from pathlib import Path

import pytest

from rush_core import Network, ServerFullError
from rush_core.servers.doctor import Level, examine
from tests.core.test_killed_server import kill_server
from tests.waiting import wait_until

# How far the free room of the disk may change by what others do during a test, bytes.
_MARGIN = 1024**3


@pytest.fixture
def filler(tmp_path: Path) -> Path:
    """A file that takes two margins of room, and no time to be made."""
    path = tmp_path / "filler"
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 2 * _MARGIN)
    return path


def test_writes_are_refused_while_little_room_is_left_and_none_is_lost(
    network_id: str,
    filler: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("rush_core.connection.script.PATIENCE_S", 2.0)
    n_pushed, n_refused = 0, 0

    def is_refused(network: Network) -> bool:
        nonlocal n_pushed, n_refused
        try:
            n_pushed += len(network.push_tasks([{"x": n_pushed}]))
        except ServerFullError:
            n_refused += 1
        return n_refused > 0

    free = shutil.disk_usage(os.environ["RUSH_HOME"]).free
    # With the filler there is too little room, without it there is enough.
    monkeypatch.setattr("rush_core.servers.embedded.LEAST_FREE", free + _MARGIN)
    with Network(network_id) as network:
        wait_until(lambda: is_refused(network))
        wait_until(lambda: "the embedded server refuses writes until" in caplog.text)
        kill_server(network.url)
        assert network.count_tasks().queued == n_pushed
        n_refused = 0
        wait_until(lambda: is_refused(network))  # the server that was started again refuses, too
        filler.unlink()
        wait_until(lambda: "there is room" in caplog.text)
        network.push_tasks([{"x": n_pushed}])
        assert network.count_tasks().queued == n_pushed + 1


def test_doctor_warns_of_a_disk_that_is_nearly_full(
    network_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Network(network_id) as network:
        free = shutil.disk_usage(os.environ["RUSH_HOME"]).free
        expected = {
            free + _MARGIN: (Level.FAULT, "refuses writes below"),
            free // 5: (Level.ADVICE, "make room before it is full"),
            1: (Level.OK, "bytes are left"),
        }
        for least, (level, words) in expected.items():
            monkeypatch.setattr("rush_core.servers.doctor.LEAST_FREE", least)
            (found,) = (finding for finding in examine(network.url) if finding.subject == "disk")
            assert found.level is level
            assert words in found.text
