"""The `rush serve` command: a server with its data in a folder, and when it does not start."""

import shlex
import signal
import socket
import subprocess
from pathlib import Path

import psutil

from rush_core import Network
from rush_core.kernel.invariants import check_network
from tests.core.commands import RUSH, check_is_refused
from tests.fixture_types import Launch, Rush
from tests.ports import free_port

PATIENCE_S = 30.0


def served_url(process: "subprocess.Popen[str]") -> str:
    """Read the URL that a starting server prints when it answers there."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_serve_keeps_its_data_in_a_folder_of_its_own(tmp_path: Path, launch: Launch) -> None:
    folder = tmp_path / "new" / "study"
    for beginning in (True, False):
        process = launch(f"exec {RUSH} serve {shlex.quote(str(folder))}")
        url = served_url(process)
        assert url.startswith("unix://")
        assert folder.stat().st_mode & 0o777 == 0o700
        assert psutil.Process(process.pid).net_connections("tcp") == []
        with Network("kept", url) as network:
            if beginning:
                network.push_tasks([{"x": 1}])
            assert network.fetch_tasks("queued").configs == [{"x": 1}]
        check_network("kept", url)
        process.send_signal(signal.SIGINT if beginning else signal.SIGTERM)
        process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0


def test_a_served_network_has_all_data_after_its_server_was_killed(
    tmp_path: Path, launch: Launch
) -> None:
    for n_known in (0, 100):
        process = launch(f"exec {RUSH} serve {shlex.quote(str(tmp_path / 'study'))}")
        with Network("kept", served_url(process)) as network:
            assert network.count_tasks().queued == n_known
            for i in range(n_known, 100):
                network.push_tasks([{"x": i}])
            process.kill()
            process.communicate(timeout=PATIENCE_S)


def test_serve_at_an_address_needs_a_password_and_hides_it(
    tmp_path: Path, launch: Launch, rush: Rush
) -> None:
    port, secret = str(free_port()), r'quo"te\back slash'
    arguments = ("serve", str(tmp_path / "study"), "--host", "127.0.0.1", "--port", port)
    check_is_refused(rush(*arguments, RUSH_REDIS_PASSWORD=""), "RUSH_REDIS_PASSWORD", "127.0.0.1")
    process = launch(f"exec {RUSH} {shlex.join(arguments)}", RUSH_REDIS_PASSWORD=secret)
    url = served_url(process)
    assert url == f"redis://127.0.0.1:{port}/0"
    environment = {"RUSH_REDIS_URL": url, "RUSH_REDIS_PASSWORD": secret}
    assert rush("ping", **environment).returncode == 0
    check_is_refused(rush("ping", RUSH_REDIS_URL=url))
    wrong = rush("ping", RUSH_REDIS_URL=url, RUSH_REDIS_PASSWORD="mistyped")
    check_is_refused(wrong, "password")
    assert "mistyped" not in wrong.stderr
    assert secret not in " ".join(psutil.Process(process.pid).cmdline())
    assert (tmp_path / "study" / "server.conf").stat().st_mode & 0o077 == 0
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=PATIENCE_S)
    assert output == ""
    assert secret not in errors
    assert (
        "serving until interrupted; other programs use it with the same RUSH_REDIS_PASSWORD and\n"
        f"  export RUSH_REDIS_URL={url}\n"
    ) in errors
    assert "Running mode" not in errors  # a line of the server's banner


def test_serve_uses_the_password_of_its_environment_on_a_socket_too(
    tmp_path: Path, launch: Launch, rush: Rush
) -> None:
    folder = shlex.quote(str(tmp_path / "study"))
    process = launch(f"exec {RUSH} serve {folder}", RUSH_REDIS_PASSWORD="secret")
    url = served_url(process)
    assert url.startswith("unix://")
    assert rush("ping", "--url", url, RUSH_REDIS_PASSWORD="secret").returncode == 0
    check_is_refused(rush("ping", "--url", url), "Authentication required")


def test_a_second_server_in_the_same_folder_is_refused(
    tmp_path: Path, launch: Launch, rush: Rush
) -> None:
    folder = str(tmp_path / "study")
    process = launch(f"exec {RUSH} serve {shlex.quote(folder)}")
    url = served_url(process)
    check_is_refused(rush("serve", folder), "already", folder)
    with Network("kept", url) as network:  # the first server goes on
        network.push_tasks([{"x": 1}])
        # A killed server leaves its socket and the file of its lock; the lock itself is free.
        process.kill()
        process.wait(PATIENCE_S)
        again = launch(f"exec {RUSH} serve {shlex.quote(folder)}")
        assert served_url(again) == url
        assert network.count_tasks().queued == 1


def test_a_server_that_cannot_start_prints_no_url(tmp_path: Path, launch: Launch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        arguments = ("serve", str(tmp_path / "study"), "--host", "127.0.0.1", "--port", str(port))
        process = launch(f"exec {RUSH} {shlex.join(arguments)}", RUSH_REDIS_PASSWORD="secret")
        output, words = process.communicate(timeout=PATIENCE_S)
    assert process.returncode != 0
    assert output == ""
    assert str(port) in words


def test_a_folder_whose_path_is_too_long_for_a_socket_is_refused(
    tmp_path: Path, rush: Rush
) -> None:
    folder = tmp_path / ("d" * 100)
    check_is_refused(rush("serve", str(folder)), "103 bytes", "shorter folder")
    assert not folder.exists()
