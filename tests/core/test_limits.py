"""A server that refuses: a command, a key, memory, or one more client."""

import ast
import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import rush_core
from rush_core import (
    Network,
    NetworkNotFoundError,
    ServerRefusedError,
    ServerUnreachableError,
    Worker,
    list_networks,
    open_existing,
    remove_network,
)
from rush_core.kernel.invariants import check_network
from rush_core.servers.doctor import Finding, Level, examine
from rush_core.servers.permissions import ACL_RULE
from tests.core.loopback import LoopbackServer
from tests.waiting import wait_until

PATIENCE_S = 30.0
FOLDER = Path(rush_core.__file__).parent


@pytest.fixture
def user_url(loopback_server: LoopbackServer) -> str:
    """The URL of a user that may do what a network needs and nothing else."""
    loopback_server.ask("ACL", "SETUSER", "study", "on", ">open/sesame", *ACL_RULE.split())
    return f"redis://study:open%2Fsesame@127.0.0.1:{loopback_server.port}/0"


def logging_one(worker: Worker) -> None:
    import logging

    logging.getLogger("study").warning("hello")
    while task := worker.claim_task(timeout_s=0.1):
        worker.finish_task(task.key, {"y": 1})


# -- users ----------------------------------------------------------------------------------------


def test_a_user_with_the_documented_rule_can_do_everything(user_url: str, network_id: str) -> None:
    with Network(network_id, user_url, max_retries=1) as network:
        network.push_tasks([{"x": i} for i in range(10)])
        network.start_workers(logging_one, 2)
        network.wait_for_workers(timeout_s=PATIENCE_S)
        assert network.join_workers(PATIENCE_S)
        assert network.count_tasks() == (0, 0, 10, 0)
        assert {record.message for record in network.read_log()} == {"hello"}
        assert next(network.follow_log(timeout_s=1.0, n=1)).message == "hello"
        assert len(network.fetch_new_tasks(timeout_s=0.01)) == 10
        assert network.fetch_new_tasks(timeout_s=0.01).keys == []
        with Worker(network_id, url=user_url) as worker:
            first, _ = worker.start_tasks([{"x": 1}, {"x": 2}])
            assert worker.report_and_fetch_new(first, {"step": 1})[0]
            worker.fail_task(first, "no")
            network.stop_workers([worker.worker_id], kill=True)
        network.push_failed_tasks([{}], ["no"])
        network.push_tasks([{}])
        network.clear_queue()
        network.detect_lost_workers()
        check_network(network_id, user_url)
        network.reset()
    assert all(f.level is Level.OK for f in examine(user_url) if f.subject == "permissions")


def test_the_documented_rule_names_all_commands_and_no_others() -> None:
    """It grants the commands that scripts call and that modules pack."""
    used = {"evalsha"}  # packed by hand
    for script in (FOLDER / "scripts").glob("*.lua"):
        used |= {name.lower() for name in re.findall(r"call\('(\w+)'", script.read_text())}
    options = {"BLOCK", "COUNT", "LOAD", "MAXLEN", "PONG", "STREAMS"}
    for module in FOLDER.rglob("*.py"):
        if module.stem in ("permissions", "endpoint"):
            continue
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Tuple) and node.elts and isinstance(node.elts[0], ast.Constant):
                word = node.elts[0].value
                text = word.decode() if isinstance(word, bytes) else word
                if isinstance(text, str) and re.fullmatch("[A-Z]{3,}", text):
                    used |= {text.lower()} if text not in options else set()
    granted = set(re.findall(r"\+(\w+)", ACL_RULE))
    assert granted - used <= {"exists"}
    assert used - granted == {"scan"}  # which shows keys of others, and only a list needs it


def test_a_user_without_scan_can_open_networks_but_not_list_them(
    user_url: str, network_id: str
) -> None:
    with Network(network_id, user_url) as network:
        network.push_note("run", {"x": 1})
    with open_existing(network_id, user_url) as found:
        assert found.network.fetch_notes() == {"run": {"x": 1}}
    with pytest.raises(ServerRefusedError, match=r"did not list its networks: .*\+scan"):
        list_networks(user_url)
    with (
        pytest.raises(NetworkNotFoundError, match=r"no network 'other' at redis://study:\*\*\*@"),
        open_existing("other", user_url),
    ):
        pass
    remove_network(network_id, user_url)
    with pytest.raises(NetworkNotFoundError):
        remove_network(network_id, user_url)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("-hset", ["run hset", "+hset"]),
        ("-blpop", ["run blpop"]),
        ("-xadd", ["run xadd"]),
        ("resetkeys", ["keys rush:*", "~rush:*"]),
    ],
)
def test_doctor_names_missing_permissions(
    loopback_server: LoopbackServer, user_url: str, change: str, words: list[str]
) -> None:
    loopback_server.ask("ACL", "SETUSER", "study", change)
    (found,) = (f for f in examine(user_url) if f.subject == "permissions")
    assert found.level is Level.FAULT
    for word in words:
        assert word in found.text
    assert loopback_server.ask("DBSIZE") == 0


def test_an_error_about_a_missing_permission_says_what_to_grant(
    loopback_server: LoopbackServer, user_url: str, network_id: str
) -> None:
    with Network(network_id, user_url) as network:
        loopback_server.ask("ACL", "SETUSER", "study", "-evalsha")
        with pytest.raises(ServerRefusedError, match=r"NOPERM.*grant this user.*rush doctor"):
            network.push_tasks([{"x": 1}])
        loopback_server.ask("ACL", "SETUSER", "study", "+evalsha", "resetkeys", "~other:*")
        with pytest.raises(ServerRefusedError, match=r"rush:\*"):
            network.push_tasks([{"x": 1}])


# -- memory ---------------------------------------------------------------------------------------


def test_a_server_without_memory_writes_nothing_by_halves(
    loopback_server: LoopbackServer, network_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rush_core.connection.script.PATIENCE_S", 0.1)
    url = loopback_server.url
    with Network(network_id, url) as network, Worker(network_id, url=url) as worker:
        network.push_tasks([{"x": 0}])
        finishing, failing = worker.start_tasks([{"x": 1}, {"x": 2}])
        before = network.count_tasks()
        loopback_server.ask("CONFIG", "SET", "maxmemory", "1")
        calls: list[Callable[[], object]] = [
            lambda: network.push_tasks([{"x": 1}]),
            lambda: network.push_finished_tasks([{"x": 1}], [{"y": 1}]),
            lambda: network.push_failed_tasks([{"x": 1}], ["no"]),
            lambda: worker.start_task({"x": 1}),
            lambda: worker.start_tasks([{"x": 1}, {"x": 2}], limit=100),
            lambda: worker.finish_task(finishing, {"y": 1}),
            lambda: worker.fail_task(failing, "no"),
            lambda: worker.finish_and_fetch_new(finishing, {"y": 1}),
            lambda: worker.report_task(finishing, {"step": 1}),
            lambda: worker.report_and_fetch_new(finishing, {"step": 1}),
            lambda: Worker(network_id, url=url, worker_id="another"),
            lambda: network.start_workers(logging_one, 1),
        ]
        for call in calls:
            with pytest.raises(ServerRefusedError, match=r"OOM.*maxmemory.*nothing was written"):
                call()
            assert network.count_tasks() == before
        assert worker.claim_task() is not None  # it frees as much memory as it takes
        (memory,) = (f for f in examine(url) if f.subject == "memory")
        assert memory.level is Level.FAULT
        assert "raise maxmemory" in memory.text
        loopback_server.ask("CONFIG", "SET", "maxmemory", "0")
        check_network(network_id, url)
        assert [info.worker_id for info in network.fetch_workers()] == [worker.worker_id]
        # The tasks that could not be ended are still running.
        assert worker.finish_task(finishing, {"y": 1})
        assert worker.fail_task(failing, "no")
        network.push_tasks([{"x": 1}])
        assert worker.claim_task() is not None
        assert network.count_tasks() == (0, 2, 1, 1)
    check_network(network_id, url)


def test_the_error_that_ended_a_loop_comes_before_the_one_that_kept_it_from_leaving(
    loopback_server: LoopbackServer, network_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rush_core.kernel.participation._LEAVE_PATIENCE_S", 0.1)
    url = loopback_server.url

    def loop(worker: Worker) -> None:
        with worker:
            worker.start_task({"x": 1})
            loopback_server.ask("CONFIG", "SET", "maxmemory", "1")
            raise ValueError("no such learner")

    with Network(network_id, url) as network:
        failing, ending = Worker(network_id, url=url), Worker(network_id, url=url)
        with pytest.raises(ValueError, match="no such learner") as error:
            loop(failing)
        (note,) = error.value.__notes__
        assert failing.worker_id in note
        assert "maxmemory" in note
        with pytest.raises(ServerRefusedError, match="maxmemory"), ending:
            pass
        loopback_server.ask("CONFIG", "SET", "maxmemory", "0")
        network.stop_workers(kill=True)
        assert network.count_tasks() == (0, 0, 0, 1)
    check_network(network_id, url)


# -- clients --------------------------------------------------------------------------------------


@pytest.fixture
def full_server(loopback_server: LoopbackServer, network_id: str) -> Iterator[Network]:
    """A network on a server that accepts no further client."""
    with Network(network_id, loopback_server.url) as network:
        network.push_tasks([{"x": 1}])
        network.fetch_new_tasks(timeout_s=0.01)
        loopback_server.ask("CONFIG", "SET", "maxclients", "3")
        yield network
        network.close()
        loopback_server.ask("CONFIG", "SET", "maxclients", "100")


def test_a_client_too_many_is_an_error_and_the_others_go_on(full_server: Network) -> None:
    network_id, url = full_server.network_id, full_server.url

    def join() -> Worker | None:
        with contextlib.suppress(
            ServerUnreachableError
        ):  # until the client that set the limit is gone
            return Worker(network_id, url=url, heartbeat=None)
        return None

    joined = wait_until(join)
    assert joined is not None
    with joined as worker:
        for join_too in (
            lambda: Network(network_id, url),
            lambda: Worker(network_id, url=url, heartbeat=None),
        ):
            with pytest.raises(ServerUnreachableError, match=r"max number of clients.*maxclients"):
                join_too()
        task = worker.claim_task()
        assert task is not None
        assert worker.finish_task(task.key, {"y": 1})
        assert full_server.count_tasks() == (0, 0, 1, 0)

    def look() -> dict[str, Finding] | None:
        with contextlib.suppress(ServerUnreachableError):  # until the worker's connection is gone
            return {finding.subject: finding for finding in examine(url)}
        return None

    found = wait_until(look)
    assert found is not None
    assert found["clients"].level is Level.ADVICE
    assert "raise maxclients" in found["clients"].text


# -- transport ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "private"),
    [
        ("unix:///tmp/server.sock", True),
        ("redis://:secret@localhost:6379", True),
        ("redis://127.0.0.1/0", True),
        ("redis://[::1]:6379", True),
        ("rediss://far.example.org", True),
        ("rediss+sentinel://far.example.org/study", True),
        ("redis://far.example.org", False),
        ("redis://127.example.org", False),
        ("redis+sentinel://localhost,far.example.org/study", False),
    ],
)
def test_the_url_shows_whether_others_can_read_along(url: str, private: bool) -> None:
    from rush_core.connection.url import is_private

    assert is_private(url) is private
