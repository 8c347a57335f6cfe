"""Errors of the `rush` command: one sentence, without a traceback and without a password."""

import os
import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rush_core import Network
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
    assert "NETWORK" in run.stderr


@pytest.mark.parametrize("command", ["status", "logs", "stop", "reset", "doctor", "ping", "worker"])
def test_without_a_server_none_is_started(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RUSH_REDIS_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    arguments = [command] if command in ("doctor", "ping") else [command, "any"]
    with pytest.raises(SystemExit) as exit_:
        main([*arguments, *(["--loop", "x"] if command == "worker" else [])])
    output = capsys.readouterr()
    if command in ("doctor", "ping", "worker"):
        assert "RUSH_REDIS_URL" in str(exit_.value.code)
    else:
        assert exit_.value.code == 2
        assert "RUSH_REDIS_URL" in output.err
    assert output.out == ""


@pytest.mark.parametrize("command", ["status", "logs", "stop", "reset", "doctor", "ping", "worker"])
def test_a_server_that_does_not_answer_is_named_without_its_password(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("RUSH_REDIS_URL", f"redis://:secret@127.0.0.1:{port}")
    arguments = [command] if command in ("doctor", "ping") else [command, "any"]
    with pytest.raises(SystemExit) as exit_:
        main([*arguments, *(["--loop", "x"] if command == "worker" else [])])
    assert str(exit_.value.code).startswith("rush: no server answers")
    assert f"127.0.0.1:{port}" in str(exit_.value.code)
    assert "secret" not in str(exit_.value.code)


def test_errors_have_no_traceback(rush: Rush) -> None:
    check_is_refused(rush("doctor"), "RUSH_REDIS_URL")
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
        "redis://:secret\u2100@127.0.0.1:1/0",  # one character that stands for "a/c"
        "redis:/:secret@127.0.0.1:1/0",
        "redis://:secret@[127.0.0.1:1/0",
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["status", "any", "--watch", "1e300"], "--watch must be between 0 and 1e9"),
        (["status", "any", "--watch", "nan"], "--watch must be between 0 and 1e9"),
        (["logs", "any", "-n", "-1"], "n must be a count >= 0, got -1"),
        (["logs", "any", "-n", "9" * 30], "not an integer or out of range"),
        (["worker", "any", "--loop", "\udcff"], r"has no worker loop \udcff"),
        (["worker", "any", "--loop", "x", "--worker-id", "a b"], "worker_id must be"),
        (["worker", "any", "--loop", "x", "--log-level", "NO"], "log_level must be one of"),
    ],
)
def test_an_argument_of_no_use_is_refused_in_one_sentence(
    arguments: list[str], message: str, network: Network, server_in_environment: None
) -> None:
    network.push_tasks([{"x": 1}])  # so that the network exists
    command, _, *others = arguments
    with pytest.raises(SystemExit) as exit_:
        main([command, network.network_id, *others])
    assert str(exit_.value.code).startswith("rush: ")
    assert message in str(exit_.value.code)


# What a shell can give: any bytes but zero. An option would have two hyphens.
words = st.binary(max_size=8).map(lambda b: os.fsdecode(b.replace(b"\0", b"").lstrip(b"-")))


@given(
    command=st.sampled_from(["status", "logs", "stop", "reset", "ping", "doctor", "worker"]),
    network_id=st.just("any") | words,
    others=st.lists(words | st.sampled_from(["-n", "1", "--json", "--kill", "--loop"]), max_size=4),
    url=st.none() | words.map("unix:///nowhere/{}".format) | words.map("://{}".format),
)
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_words_end_in_success_usage_or_one_sentence(
    command: str,
    network_id: str,
    others: list[str],
    url: str | None,
    server_in_environment: None,
) -> None:
    arguments = [command, network_id, *others, *(["--url", url] if url else [])]
    with pytest.raises(SystemExit) as exit_, warnings.catch_warnings(action="ignore"):
        main(arguments)
    code = exit_.value.code
    if isinstance(code, str):
        assert code.startswith("rush: ")
        assert all(map(str.isprintable, code.split("\n"))), code
    else:
        assert code in (0, 2)


@pytest.mark.parametrize("heartbeat", [("0", "1"), ("2", "1"), ("nan", "1")])
def test_an_invalid_heartbeat_is_refused(
    heartbeat: tuple[str, str], server_in_environment: None
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["worker", "any", "--loop", "x", "--heartbeat", *heartbeat])
    assert "period_s" in str(exit_.value.code)
