"""Fetching: one look, incremental caches, tables that never change, and frames."""

import threading
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rush_core import (
    CorruptRecordError,
    EmbeddedServer,
    Network,
    Task,
    TaskState,
    TaskTable,
    Worker,
)
from rush_core.connection.connection import Connection, pack
from rush_core.keys import NetworkKeys
from tests.core.proxy import BreakingProxy
from tests.fixture_types import Join
from tests.typed import present


@pytest.fixture
def filled(network: Network, worker: Worker) -> dict[str, list[str]]:
    """Keys of tasks in all four places of `network`."""
    keys = {"queued": network.push_tasks([{"x": 1}, {"x": 2}])}
    keys["running"] = worker.start_tasks([{"x": 3}])
    keys["finished"] = network.push_finished_tasks([{"x": 4}], [{"y": 4}])
    keys["failed"] = network.push_failed_tasks([{"x": 5}], ["no"])
    return keys


@pytest.mark.parametrize(
    "states",
    [
        ("queued",),
        ("running",),
        ("finished",),
        ("failed",),
        ("running", "finished"),
        ("queued", "failed"),
        ("queued", "running", "finished", "failed"),
    ],
)
def test_tasks_are_fetched_by_state(
    network: Network, worker: Worker, filled: dict[str, list[str]], states: tuple[str, ...]
) -> None:
    expected = [key for state in states for key in filled[state]]
    for client in (network, worker):
        tasks = client.fetch_tasks(*states)
        assert tasks.keys == expected
        assert [task.state.value for task in tasks] == [s for s in states for _ in filled[s]]
    as_members = network.fetch_tasks(*(TaskState(state) for state in states))
    assert as_members.keys == expected


def test_no_state_means_all_and_their_order_is_fixed(
    network: Network, filled: dict[str, list[str]]
) -> None:
    everything = [key for state in TaskState for key in filled[state.value]]
    assert network.fetch_tasks().keys == everything
    assert network.fetch_tasks("failed", "queued", "failed").keys == (
        filled["queued"] + filled["failed"]
    )


def test_counts_are_by_place(network: Network, filled: dict[str, list[str]]) -> None:
    counts = network.count_tasks()
    assert counts == (2, 1, 1, 1)
    assert (counts.queued, counts.running, counts.finished, counts.failed) == (2, 1, 1, 1)


def test_a_look_is_consistent_while_tasks_move(network: Network, join: Join) -> None:
    """Each task is seen exactly once, however fast others move them."""
    keys = set(network.push_tasks([{"x": i} for i in range(300)]))
    movers = [join(), join()]

    def move(worker: Worker) -> None:
        while task := worker.claim_task():
            worker.finish_task(task.key, {"y": 1})

    threads = [threading.Thread(target=move, args=(worker,)) for worker in movers]
    for thread in threads:
        thread.start()
    n_looks = 0
    while any(thread.is_alive() for thread in threads) or n_looks == 0:
        seen = network.fetch_tasks().keys
        assert len(seen) == len(keys)
        assert set(seen) == keys
        assert sum(network.count_tasks()) == len(keys)
        n_looks += 1
    for thread in threads:
        thread.join()


def test_the_cache_reads_only_what_is_new(
    network: Network, join: Join, server: EmbeddedServer
) -> None:
    config = {"x": "a" * 1000}
    network.push_finished_tasks([config] * 100, [{"y": 1}] * 100)
    with BreakingProxy(server.url) as proxy, Network(network.network_id, proxy.url) as far:
        first = far.fetch_finished_tasks()
        assert len(first) == 100
        proxy.n_reply_bytes = 0
        assert len(far.fetch_finished_tasks()) == 100
        assert len(far.fetch_new_tasks(timeout_s=0.0)) == 100
        proxy.n_reply_bytes = 0
        (key,) = network.push_finished_tasks([config], [{"y": 2}])
        finished = far.fetch_finished_tasks()
        assert proxy.n_reply_bytes < 3000  # two records of a hundred and one
        assert finished.keys == [*first.keys, key]
        proxy.n_reply_bytes = 0
        assert far.fetch_new_tasks().keys == [key]
        assert proxy.n_reply_bytes < 3000


def test_tasks_decoded_once_are_not_decoded_again(network: Network) -> None:
    network.push_finished_tasks([{"x": 1}], [{"y": 1}])
    (before,) = network.fetch_finished_tasks()
    network.push_finished_tasks([{"x": 2}], [{"y": 2}])
    after = network.fetch_finished_tasks()
    assert after[0] is before
    assert after.configs == [{"x": 1}, {"x": 2}]


def test_a_table_handed_out_never_changes(network: Network) -> None:
    tables: list[tuple[TaskTable, list[Task]]] = []
    for i in range(5):
        network.push_finished_tasks([{"x": i}], [{"y": i}])
        table = network.fetch_finished_tasks()
        tables.append((table, list(table)))
    network.reset()
    network.push_finished_tasks([{"x": 9}], [{"y": 9}])
    assert network.fetch_finished_tasks().configs == [{"x": 9}]
    for i, (table, tasks) in enumerate(tables):
        assert len(table) == i + 1
        assert list(table) == tasks
        assert table[-1].config == {"x": i}
        assert [task.config for task in table[1:]] == [{"x": j} for j in range(1, i + 1)]


def test_changing_what_a_task_returns_changes_nothing(network: Network) -> None:
    network.push_finished_tasks([{"x": [1, 2]}], [{"y": {"a": 1}}], extras=[{"z": 1}])
    for fetch in (network.fetch_finished_tasks, network.fetch_tasks):
        (task,) = fetch()
        task.config["x"].append(3)
        task.config["new"] = 1
        (task.result or {}).clear()
        task.extra.clear()
        task.result_extra["new"] = 1
        for again in (task, fetch()[0], network.fetch_finished_tasks()[0]):
            assert (again.config, again.result) == ({"x": [1, 2]}, {"y": {"a": 1}})
            assert (again.extra, again.result_extra) == ({"z": 1}, {})


def test_a_task_cannot_be_changed(network: Network) -> None:
    network.push_finished_tasks([{"x": 1}], [{"y": 1}])
    (task,) = network.fetch_finished_tasks()
    with pytest.raises(AttributeError):
        task.key = "other"  # type: ignore[misc]
    array = np.arange(3.0)
    network.push_finished_tasks([{"x": array}], [{"y": 1}])
    stored = network.fetch_finished_tasks()[1].config["x"]
    with pytest.raises(ValueError, match="read-only"):
        stored[0] = 7.0


def test_a_reset_by_another_client_is_noticed_by_the_cache(
    network: Network, server: EmbeddedServer
) -> None:
    network.push_finished_tasks([{"x": i} for i in range(3)], [{"y": i} for i in range(3)])
    assert len(network.fetch_finished_tasks()) == 3
    assert len(network.fetch_new_tasks()) == 3
    with Network(network.network_id, server.url) as other:
        other.reset()
        assert len(network.fetch_finished_tasks()) == 0
        assert len(network.fetch_new_tasks()) == 0
        keys = other.push_finished_tasks([{"x": 7}], [{"y": 7}])
        assert network.fetch_finished_tasks().keys == keys
        assert network.fetch_new_tasks().keys == keys
        other.reset(workers=False)
        # As many as before, or more: only the records themselves show that they are others.
        keys = other.push_finished_tasks([{"x": i} for i in range(5)], [{"y": 0}] * 5)
        assert network.fetch_finished_tasks().keys == keys
        assert network.fetch_new_tasks().keys == keys
        assert network.fetch_new_tasks().keys == []


def test_what_is_new_is_new_for_each_client(network: Network, join: Join) -> None:
    first, second = join(), join()
    keys = network.push_finished_tasks([{"x": 1}, {"x": 2}], [{"y": 1}, {"y": 2}])
    assert first.fetch_new_tasks().keys == keys
    assert first.fetch_new_tasks().keys == []
    assert second.fetch_new_tasks().keys == keys
    assert network.fetch_new_tasks().keys == keys
    more = network.push_finished_tasks([{"x": 3}], [{"y": 3}])
    assert first.fetch_new_tasks().keys == more
    assert first.fetch_finished_tasks().keys == keys + more


def test_only_tasks_that_failed_by_themselves_are_told_as_failed(
    network: Network, join: Join
) -> None:
    lost, worker = join(), join()
    lost.start_task({"x": 1})
    network.stop_workers([lost.worker_id], kill=True)
    network.push_tasks([{"x": 2}])
    network.clear_queue()
    keys = network.push_failed_tasks([{"x": 3}], ["no"])
    keys.append(present(worker.start_task({"x": 4})))
    worker.fail_task(keys[-1], "no")
    assert worker.fetch_new_failed_tasks().keys == keys
    assert worker.fetch_new_failed_tasks().keys == []


def test_finishing_and_fetching_in_one_includes_the_finished_task(
    network: Network, worker: Worker
) -> None:
    (before,) = network.push_finished_tasks([{"x": 1}], [{"y": 1}])
    key = worker.start_task({"x": 2})
    assert key is not None
    won, new = worker.finish_and_fetch_new(key, {"y": 2}, extra={"z": 1})
    assert won
    assert new.keys == [before, key]
    assert new[1].result_extra == {"z": 1}
    won, new = worker.finish_and_fetch_new(key, {"y": 3})
    assert not won
    assert len(new) == 0


def test_waiting_ends_when_the_time_is_over(network: Network) -> None:
    assert len(network.fetch_new_tasks(timeout_s=0.02)) == 0


def test_an_unknown_state_is_refused(network: Network) -> None:
    with pytest.raises(ValueError, match="done"):
        network.fetch_tasks("done")


@pytest.mark.parametrize("place", ["queued", "finished", "failed"])
def test_bytes_that_are_no_record_are_reported_with_their_place(
    server: EmbeddedServer, network_id: str, place: str
) -> None:
    connection = Connection(server.url)
    redis_key = getattr(NetworkKeys(network_id), place)
    with Network(network_id, server.url) as network:
        for foreign in (b"text", b"\x93\x01\x02\x03", b"\xc1"):
            connection.execute(pack(("RPUSH", redis_key, foreign)))
            with pytest.raises(CorruptRecordError, match="no task record") as error:
                network.fetch_tasks()
            assert error.value.key == redis_key.decode()
            connection.execute(pack(("DEL", redis_key)))
    connection.close()


# -- tables -------------------------------------------------------------------------------------


def table_of(network: Network, configs: list[dict[str, Any]], results: list[Any]) -> TaskTable:
    network.push_finished_tasks(configs, results)
    return network.fetch_finished_tasks()


def test_a_table_is_a_sequence(network: Network) -> None:
    table = table_of(network, [{"x": i} for i in range(5)], [{"y": i} for i in range(5)])
    assert len(table) == 5
    assert table[-1] == table[4]
    assert list(reversed(table)) == [table[i] for i in (4, 3, 2, 1, 0)]
    assert table[1:3] == TaskTable([table[1], table[2]])
    assert table[::-2].configs == [{"x": 4}, {"x": 2}, {"x": 0}]
    assert table[2] in table
    assert table.index(table[3]) == 3
    assert table != list(table)
    assert repr(table) == "<TaskTable of 5 tasks>"
    for index in (5, -6):
        with pytest.raises(IndexError, match="of a table of 5"):
            table[index]
    assert list(TaskTable([])) == []


def test_columns_are_found_in_configurations_and_results(network: Network) -> None:
    table = table_of(
        network,
        [{"x": 1, "both": 0}, {"x": 2, "rare": "a", "both": 0}],
        [{"y": 1, "both": 1}, {"y": None, "both": 1}],
    )
    assert table.column("x") == [1, 2]
    assert table.column("y") == [1, None]
    assert table.column("rare") == [None, "a"]
    with pytest.raises(KeyError, match="both a parameter and a result"):
        table.column("both")
    with pytest.raises(KeyError, match=r"there are.*'rare'"):
        table.column("z")


def test_what_was_given_with_a_result_is_told_by_its_name(network: Network, worker: Worker) -> None:
    extras = [{"cost": 1}, None, {"note": "cost"}, {"cost": None, "note": 2}]
    for extra in extras:
        key = worker.start_task({"cost": 3})
        assert key is not None
        worker.finish_task(key, {"cost": 4}, extra=extra)
    tasks = network.fetch_finished_tasks()
    assert tasks.result_notes("cost") == [1, None, None, None]
    assert tasks.result_notes("note") == [None, None, "cost", 2]
    assert tasks[:0].result_notes("cost") == []
    with pytest.warns(DeprecationWarning, match="result_notes"):
        assert tasks.noted("cost") == tasks.result_notes("cost")


def test_a_frame_keeps_types_and_tells_equal_names_apart(network: Network) -> None:
    table = table_of(
        network,
        [{"n": 1, "mixed": 1, "both": 1}, {"n": 2, "mixed": "a", "both": 2, "rare": True}],
        [{"y": 0.5, "both": "r"}, {"y": None, "both": "s"}],
    )
    frame = table.to_pandas()
    assert list(frame["key"]) == table.keys
    assert list(frame["state"]) == ["finished", "finished"]
    assert frame["config.n"].dtype == np.int64
    assert frame["config.mixed"].tolist() == [1, "a"]
    assert [type(value) for value in frame["config.mixed"]] == [int, str]
    assert frame["config.both"].tolist() == [1, 2]
    assert frame["result.both"].tolist() == ["r", "s"]
    assert frame["result.y"].dtype == np.float64
    assert frame["result.y"][0] == 0.5
    assert np.isnan(frame["result.y"][1])
    assert frame["config.rare"].tolist() == [None, True]
    assert frame["started_at"].dtype == np.float64


def test_a_frame_of_all_states_has_a_row_per_task(
    network: Network, filled: dict[str, list[str]]
) -> None:
    frame = network.fetch_tasks().to_pandas()
    assert frame["state"].tolist() == ["queued", "queued", "running", "finished", "failed"]
    assert frame["config.x"].tolist() == [1, 2, 3, 4, 5]
    assert frame["error"].tolist() == [None, None, None, None, "no"]
    assert frame["result.y"].tolist() == [None, None, None, 4, None]


def test_a_frame_holds_vectors_extras_and_times(network: Network, worker: Worker) -> None:
    key = worker.start_task({"x": [1.0, 2.0], "z": np.arange(3)}, extra={"budget": 3})
    assert key is not None
    worker.finish_task(key, {"y": 1}, extra={"cost": 2})
    (row,) = network.fetch_tasks().to_pandas().to_dict("records")
    assert row["config.x"] == [1.0, 2.0]
    assert row["config.z"].tolist() == [0, 1, 2]
    assert (row["extra.budget"], row["result_extra.cost"]) == (3, 2)
    assert row["worker_id"] == worker.worker_id
    assert row["started_at"] <= row["ended_at"]


def test_a_frame_of_no_tasks_has_the_fixed_columns(network: Network) -> None:
    frame = network.fetch_tasks().to_pandas()
    assert isinstance(frame, pd.DataFrame)
    assert len(frame) == 0
    assert list(frame) == ["key", "state", "worker_id", "started_at", "ended_at", "error"]


def test_tasks_show_what_they_are(network: Network, filled: dict[str, list[str]]) -> None:
    shown = [repr(task) for task in network.fetch_tasks()]
    assert shown[0] == f"Task({filled['queued'][0]!r}, queued, config={{'x': 1}})"
    assert shown[3].endswith("finished, config={'x': 4}, result={'y': 4})")
    assert shown[4].endswith("failed, config={'x': 5}, error='no')")


def test_workers_are_listed_with_what_they_run(network: Network, join: Join) -> None:
    first, second = join("first"), join("second")
    keys = second.start_tasks([{"x": 1}, {"x": 2}])
    one, two = network.fetch_workers()
    assert (one.worker_id, one.number, one.task_keys) == ("first", 0, ())
    assert (two.worker_id, two.number, sorted(two.task_keys)) == ("second", 1, sorted(keys))
    for info in (one, two):  # by three clocks that agree to half a round trip, on a busy machine
        assert abs(info.started_at - network.now()) < 5.0
    assert (one.ended_at, one.reason) == (None, None)
    first.close()
    one, _ = network.fetch_workers()
    assert one.ended_at is not None
    assert (first.number, second.number) == (0, 1)
