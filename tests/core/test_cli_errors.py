"""Errors of the `rush` command: one sentence, without a traceback and without a password."""

import pytest

from rush_core.cli import main
from tests.core.commands import check_is_refused
from tests.fixture_types import Rush
from tests.ports import free_port


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["unknown"],
        ["status"],
        ["status", "any", "--unknown"],
        ["status", "any", "--watch", "soon"],
        ["logs", "any", "-n", "few"],
        ["worker", "any", "--workers", "0"],
        ["worker", "any", "--loop", "x", "--heartbeat", "1"],
        ["serve"],
        ["serve", "folder", "--port", "redis"],
    ],
)
def test_a_wrong_command_line_is_explained(
    arguments: list[str], capsys: pytest.CaptureFixture[str], server_in_environment: None
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert capsys.readouterr().err.startswith("usage: rush")


def test_the_console_command_ends_with_2_on_a_wrong_command_line(rush: Rush) -> None:
    run = rush("status")
    assert (run.returncode, run.stdout) == (2, "")
    assert "network_id" in run.stderr


@pytest.mark.parametrize("command", ["status", "logs", "stop", "reset", "doctor", "worker"])
def test_without_a_server_none_is_started(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RUSH_REDIS_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    arguments = [command] if command == "doctor" else [command, "any"]
    with pytest.raises(SystemExit) as exit_:
        main([*arguments, *(["--loop", "x"] if command == "worker" else [])])
    assert "RUSH_REDIS_URL" in str(exit_.value.code)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("command", ["status", "logs", "stop", "reset", "doctor", "worker"])
def test_a_server_that_does_not_answer_is_named_without_its_password(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("RUSH_REDIS_URL", f"redis://:secret@127.0.0.1:{port}")
    arguments = [command] if command == "doctor" else [command, "any"]
    with pytest.raises(SystemExit) as exit_:
        main([*arguments, *(["--loop", "x"] if command == "worker" else [])])
    assert str(exit_.value.code).startswith("rush: no server answers")
    assert f"127.0.0.1:{port}" in str(exit_.value.code)
    assert "secret" not in str(exit_.value.code)


def test_errors_have_no_traceback(rush: Rush) -> None:
    check_is_refused(rush("status", "any"), "RUSH_REDIS_URL")
    check_is_refused(
        rush("status", "any", "--url", f"redis://127.0.0.1:{free_port()}"), "no server"
    )
    check_is_refused(rush("status", "any", "--url", "unix:///nowhere/server.sock"), "no server")


@pytest.mark.parametrize(
    "url",
    [
        "http://:secret@127.0.0.1/0",
        "redis://:sec/ret@127.0.0.1:1/0",
        "redis://:sec#ret@127.0.0.1:1/0",
        "redis://:sec?ret@127.0.0.1:1/0",
        "redis://:secret@127.0.0.1:port/0",
        "redis://user:secret@127.0.0.1:1/0?unknown=1",
        "unix:///nowhere/server.sock?password=secret",
    ],
)
def test_an_error_about_a_url_does_not_show_its_password(url: str) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["status", "any", "--url", url])
    assert str(exit_.value.code).startswith("rush: ")
    for part in ("secret", "sec", "ret@"):
        assert part not in str(exit_.value.code)


@pytest.mark.parametrize("network_id", ["two words", "", "a{b}", "x" * 101])
def test_an_invalid_network_name_is_refused(network_id: str, server_in_environment: None) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["status", network_id])
    assert str(exit_.value.code).startswith("rush: network_id must be")


@pytest.mark.parametrize("heartbeat", [("0", "1"), ("2", "1"), ("nan", "1")])
def test_an_invalid_heartbeat_is_refused(
    heartbeat: tuple[str, str], server_in_environment: None
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["worker", "any", "--loop", "x", "--heartbeat", *heartbeat])
    assert "period_s" in str(exit_.value.code)
