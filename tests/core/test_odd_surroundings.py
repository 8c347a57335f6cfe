"""Folders with odd names, no home, no PATH."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rush_core import Network
from rush_core.connection.url import connection_arguments, unix_url
from tests.core.commands import PROGRAM
from tests.fixture_types import Launch
from tests.waiting import wait_until

ODD_NAMES = [b"a%20b", b"a#b", b"a?b=c", b'a b"c\\d', b"\xff\xfe", "Büro".encode()]

# A network with data, one without, and a worker.
PROGRAM_WITH_NETWORKS = """
from rush_core import Network

def loop(worker):
    worker.finish_task(worker.start_task({}), {})

for name in ("odd", None):
    with Network(name) as network:
        network.start_workers(loop, 1)
        assert network.join_workers(60)
        print(network.count_tasks().finished)
"""


def run(program: str, environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )


@pytest.fixture(params=ODD_NAMES, ids=ascii)
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    folder = tmp_path / os.fsdecode(request.param)
    folder.mkdir()
    return folder


def test_a_url_leads_to_the_socket_of_any_path(odd: Path) -> None:
    url = unix_url(odd / "server.sock")
    assert url.isascii()
    assert connection_arguments(url, 1.0)["path"] == str(odd / "server.sock")


def test_folders_may_have_any_name(odd: Path) -> None:
    temporary, home = odd / "tmp", odd / "home"
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary), "RUSH_HOME": str(home)}
    for n_finished in (1, 2):
        ended = run(PROGRAM_WITH_NETWORKS, environment)
        assert (ended.stdout, ended.stderr) == (f"{n_finished}\n1\n", "")
        wait_until(lambda: list(temporary.iterdir()) == [])


def test_a_server_that_stays_may_have_a_folder_of_any_name(odd: Path, launch: Launch) -> None:
    process = launch('exec "$PROGRAM" serve "$FOLDER"', PROGRAM=str(PROGRAM), FOLDER=str(odd / "d"))
    assert process.stdout is not None
    with Network("kept", process.stdout.readline().strip()) as network:
        network.push_tasks([{"x": 1}])
        assert network.count_tasks().queued == 1


def test_an_empty_path_leaves_nothing_behind(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environment = {"PATH": "", "TMPDIR": str(temporary), "RUSH_HOME": str(tmp_path / "home")}
    ended = run(PROGRAM_WITH_NETWORKS, environment)
    assert (ended.stdout, ended.stderr) == ("1\n1\n", "")
    wait_until(lambda: list(temporary.iterdir()) == [])


@pytest.mark.parametrize("home", [None, "/dev/null"])
def test_no_home_is_explained(tmp_path: Path, home: str | None) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "RUSH_HOME"}
    environment |= {"TMPDIR": str(tmp_path)}
    environment.pop("XDG_DATA_HOME", None)
    # A user that the system does not know has no home without the variable.
    program = "import pwd; pwd.getpwuid = {}.__getitem__\n" + PROGRAM_WITH_NETWORKS
    environment.pop("HOME", None)
    if home is not None:
        environment["HOME"] = home
    ended = run(program, environment)
    assert "RushError" in ended.stderr.splitlines()[-1]
    assert "set RUSH_HOME to a folder in which you can write" in ended.stderr
    assert list(tmp_path.iterdir()) == []
