"""Every public operation, in any order and by several clients, against a plain model."""

from __future__ import annotations

import secrets
import warnings
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from rush_core import (
    DuplicateTaskError,
    EmbeddedServer,
    EndedTasks,
    Heartbeat,
    Network,
    Report,
    RushError,
    Task,
    TaskState,
    Worker,
    WorkerLostError,
    WorkerState,
)
from rush_core.connection.connection import Connection, pack
from rush_core.connection.script import retry_unreachable
from rush_core.kernel.invariants import check_network
from rush_core.keys import NetworkKeys
from tests.core.proxy import BreakingProxy
from tests.typed import unchecked

# No heartbeat is sent automatically: the machine decides which heartbeats expire.
SELDOM = Heartbeat(period_s=1000.0, expire_s=1000.0)

# Who reported, on which attempt of which task, and what.
Said = tuple[str, int, str, dict[str, int]]


@dataclass
class ModelTask:
    """What a task must look like."""

    state: str
    config: dict[str, int]
    worker_id: str = ""
    extra: dict[str, int] = field(default_factory=dict)
    result: dict[str, int] | None = None
    lost: bool = False
    cleared: bool = False
    attempt: int = 0
    unique: bytes | None = None


@dataclass
class ModelWorker:
    """What a worker must know of itself."""

    worker: Worker
    asked_to_stop: bool = False
    out: bool = False
    may_rejoin: bool = False
    unseen: list[str] = field(default_factory=list)
    unseen_failed: list[str] = field(default_factory=list)
    unseen_reports: list[Said] = field(default_factory=list)


class NetworkMachine(RuleBasedStateMachine):
    """Two managers and a few workers of one network, taking turns."""

    def __init__(self, server: EmbeddedServer) -> None:
        super().__init__()
        self.url = server.url
        self.network_id = f"test-{secrets.token_hex(6)}"
        self.cutter = Connection(self.url)
        # One manager and all workers but the first can be cut off at any request.
        self.proxy = BreakingProxy(self.url)
        self.networks = [
            Network(self.network_id, self.url),
            Network(self.network_id, self.proxy.url, max_retries=1),
        ]
        # Who looks after each step must not use up the cuts that are meant for the others.
        self.judge = Network(self.network_id, self.url)
        self.workers: list[ModelWorker] = []
        self.tasks: dict[str, ModelTask] = {}
        # Keys in the order in which the lists must have them.
        self.queue: list[str] = []
        self.finished: list[str] = []
        self.failed: list[str] = []
        self.unseen: list[list[str]] = [[], []]
        self.reports: list[Said] = []
        self.fetched_reports: list[Said] = []
        self.stop_all = False
        self.n_configs = 0
        self.former_finished: list[Task] = []

    def teardown(self) -> None:
        for model in self.workers:
            model.worker.close()
        for network in (*self.networks, self.judge):
            network.close()
        self.cutter.close()
        self.proxy.close()

    # -- helpers ---------------------------------------------------------------------------------

    def new_config(self) -> dict[str, int]:
        self.n_configs += 1
        return {"x": self.n_configs}

    def started(self) -> int:
        return sum(t.worker_id != "" and not t.lost for t in self.tasks.values())

    def note_finished(self, key: str) -> None:
        self.finished.append(key)
        for unseen in (*self.unseen, *(model.unseen for model in self.workers)):
            unseen.append(key)

    def lose_running_of(self, worker_id: str, max_retries: int = 0) -> None:
        lost = {
            k: t for k, t in self.tasks.items() if (t.state, t.worker_id) == ("running", worker_id)
        }
        again = [key for key, task in lost.items() if task.attempt < max_retries]
        for key, task in lost.items():
            if key in again:
                task.state, task.worker_id, task.attempt = "queued", "", task.attempt + 1
            else:
                task.state, task.lost = "failed", True
        # The order among them is the server's choice.
        first = self.judge.fetch_tasks("queued").keys[: len(again)]
        assert sorted(first) == sorted(again)
        self.queue[:0] = first
        self.failed += [key for key in lost if key not in again]

    def note_failed(self, keys: list[str]) -> None:
        self.failed += keys
        for model in self.workers:
            model.unseen_failed += keys

    def some_worker(self, data: st.DataObject) -> ModelWorker:
        return data.draw(st.sampled_from(self.workers), label="worker")

    def some_network(self, data: st.DataObject) -> Network:
        return self.networks[data.draw(st.sampled_from([0, 1]), label="network")]

    def some_keys(self, data: st.DataObject) -> list[str]:
        known = [*self.tasks, "nobody-1"]
        # The latest are the most interesting.
        return data.draw(st.lists(st.sampled_from(known[-8:]), max_size=3, unique=True))

    # -- who takes part --------------------------------------------------------------------------

    @initialize()
    def first_workers(self) -> None:
        self.join()
        self.join()

    @precondition(lambda self: len(self.workers) < 4)
    @rule()
    def join(self) -> None:
        url = self.proxy.url if self.workers else self.url
        worker = Worker(self.network_id, url=url, heartbeat=SELDOM)
        own_failures = [k for k in self.failed if not self.tasks[k].lost | self.tasks[k].cleared]
        model = ModelWorker(
            worker,
            asked_to_stop=self.stop_all,
            unseen=list(self.finished),
            unseen_failed=own_failures,
            unseen_reports=list(self.reports),
        )
        self.workers.append(model)

    # What ends something happens at one of several turns: else there would be nothing to end.

    @rule(data=st.data(), sure=st.integers(0, 2))
    def leave(self, data: st.DataObject, sure: int) -> None:
        if sure != 2:
            return
        model = self.some_worker(data)
        model.worker.close()
        if not model.out:
            self.lose_running_of(model.worker.worker_id)
        self.workers.remove(model)
        if not self.workers:
            self.join()

    @rule(data=st.data(), sure=st.integers(0, 2))
    def kill(self, data: st.DataObject, sure: int) -> None:
        if sure != 2:
            return
        model = self.some_worker(data)
        with warnings.catch_warnings(action="ignore"):  # a reset may have forgotten it
            self.some_network(data).stop_workers([model.worker.worker_id], kill=True)
        if not model.out:
            self.lose_running_of(model.worker.worker_id)
        model.out, model.may_rejoin = True, model.out and model.may_rejoin

    @rule(data=st.data())
    def fall_silent_and_be_found_by_one_of_two(self, data: st.DataObject) -> None:
        model = self.some_worker(data)
        if model.out:
            return
        worker_id = model.worker.worker_id
        alive = NetworkKeys(self.network_id).alive(worker_id)
        for i in (0, 1):
            assert self.networks[i].detect_lost_workers() == []
            self.let_time_pass(i, worker_id)
        first = data.draw(st.sampled_from([0, 1]), label="who looks first")
        found = {i: self.networks[i].detect_lost_workers() for i in (first, 1 - first)}
        # Silence does not count for who was cut off: the worker may have been unheard for that.
        finder = next((i for i in (first, 1 - first) if not self.was_cut_off(i)), None)
        assert found == {i: [worker_id] if i == finder else [] for i in (0, 1)}
        if finder is None:
            retry_unreachable(lambda: self.cutter.execute(pack(("INCR", alive))))
            return
        self.lose_running_of(worker_id, max_retries=finder)
        model.out = model.may_rejoin = True

    def let_time_pass(self, manager: int, worker_id: str) -> None:
        """Make a manager believe that it saw the last heartbeat of a worker long ago."""
        seen = self.networks[manager]._registry._seen
        mark, since = seen[worker_id]
        seen[worker_id] = mark, since - 1000.0

    def was_cut_off(self, manager: int) -> bool:
        """Whether the connection of a manager broke since it was made."""
        return self.networks[manager]._connection.generation > 0

    @rule(data=st.data())
    def rejoin(self, data: st.DataObject) -> None:
        model = self.some_worker(data)
        if not model.out:
            with pytest.raises(RushError, match="already"):
                model.worker.rejoin()
            return
        if model.asked_to_stop:
            return
        assert model.worker.rejoin() == model.may_rejoin
        if model.may_rejoin:
            model.out = model.may_rejoin = False
            model.asked_to_stop = self.stop_all

    # Of the network's keys: who cannot reach the server at all has not joined yet.

    @rule()
    def cut_before_the_next_request(self) -> None:
        self.proxy.cut_before_request(containing=b"rush:{")

    @rule()
    def cut_after_the_next_request(self) -> None:
        self.proxy.cut_before_reply(containing=b"rush:{")

    @rule()
    def a_manager_leaves_and_another_one_comes(self) -> None:
        self.networks[0].close()
        self.networks[0] = Network(self.network_id, self.url)
        self.unseen[0] = list(self.finished)

    @rule(data=st.data(), sure=st.integers(0, 19))
    def ask_to_stop(self, data: st.DataObject, sure: int) -> None:
        if sure < 15:
            return
        everybody = sure == 19
        asked = self.workers if everybody else [self.some_worker(data)]
        named = None if everybody else [model.worker.worker_id for model in asked]
        self.some_network(data).stop_workers(named)
        self.stop_all = self.stop_all or everybody
        for model in asked:
            model.asked_to_stop = True

    @rule(data=st.data())
    def should_stop(self, data: st.DataObject) -> None:
        model = self.some_worker(data)
        model.worker.should_stop()  # may rest on what the last command said
        assert model.worker.should_stop() == (model.asked_to_stop or model.out)

    @rule(sure=st.integers(0, 2))
    def lose_all_connections(self, sure: int) -> None:
        if sure != 2:
            return
        retry_unreachable(lambda: self.cutter.execute(pack(("CLIENT", "KILL", "TYPE", "normal"))))

    @rule(data=st.data(), workers=st.booleans(), sure=st.integers(0, 9))
    def reset(self, data: st.DataObject, workers: bool, sure: int) -> None:
        if sure != 9:
            return
        self.some_network(data).reset(workers=workers)
        self.tasks.clear()
        for keys in (self.queue, self.finished, self.failed, *self.unseen):
            keys.clear()
        self.former_finished = []
        self.reports.clear()
        self.fetched_reports.clear()
        for model in self.workers:
            model.unseen.clear()
            model.unseen_reports.clear()
            model.unseen_failed.clear()
            model.out = model.out or workers
            model.may_rejoin = model.may_rejoin and not workers
        if workers:
            self.stop_all = False

    # -- what managers do ------------------------------------------------------------------------

    @rule(data=st.data(), n=st.integers(0, 3))
    def push(self, data: st.DataObject, n: int) -> None:
        configs = [self.new_config() for _ in range(n)]
        extras = [{"z": i} if i else None for i in range(n)]
        keys = self.some_network(data).push_tasks(configs, extras=extras)
        for key, config, extra in zip(keys, configs, extras, strict=True):
            self.tasks[key] = ModelTask("queued", config, extra=extra or {})
        self.queue += keys

    @rule(data=st.data(), n=st.integers(0, 3))
    def push_finished(self, data: st.DataObject, n: int) -> None:
        configs = [self.new_config() for _ in range(n)]
        results = [{"y": -config["x"]} for config in configs]
        keys = self.some_network(data).push_finished_tasks(configs, results)
        for key, config, result in zip(keys, configs, results, strict=True):
            self.tasks[key] = ModelTask("finished", config, result=result)
            self.note_finished(key)

    @rule(data=st.data())
    def push_failed(self, data: st.DataObject) -> None:
        config = self.new_config()
        (key,) = self.some_network(data).push_failed_tasks([config], ["no"])
        self.tasks[key] = ModelTask("failed", config)
        self.note_failed([key])

    @rule(data=st.data())
    def clear_queue(self, data: st.DataObject) -> None:
        assert self.some_network(data).clear_queue() == len(self.queue)
        for key in self.queue:
            self.tasks[key].state = "failed"
            self.tasks[key].cleared = True
        self.failed += self.queue  # not reported to readers: they did not fail by themselves
        self.queue.clear()

    # -- what workers do -------------------------------------------------------------------------

    @rule(data=st.data(), n=st.integers(0, 3), room=st.none() | st.integers(-1, 2))
    def start(self, data: st.DataObject, n: int, room: int | None) -> None:
        model = self.some_worker(data)
        limit = None if room is None else max(self.started() + room, 0)
        configs = [self.new_config() for _ in range(n)]
        if model.out and n > 0:
            with pytest.raises(WorkerLostError):
                model.worker.start_tasks(configs, limit=limit)
            return
        places = n if room is None else min(n, max(room, 0))
        keys = model.worker.start_tasks(configs, limit=limit)
        assert len(keys) == (0 if model.asked_to_stop else places)
        for key, config in zip(keys, configs, strict=False):
            self.tasks[key] = ModelTask("running", config, model.worker.worker_id)

    @rule(data=st.data(), unique=st.sampled_from([b"one", b"two", b"three"]))
    def start_unique(self, data: st.DataObject, unique: bytes) -> None:
        model, config = self.some_worker(data), self.new_config()
        if model.out:
            with pytest.raises(WorkerLostError):
                model.worker.start_task(config, unique=unique)
            return
        same = [t for t in self.tasks.values() if t.unique == unique and not t.lost]
        if same and not model.asked_to_stop:
            with pytest.raises(DuplicateTaskError):
                model.worker.start_task(config, unique=unique)
            return
        key = model.worker.start_task(config, unique=unique)
        assert (key is None) == model.asked_to_stop
        if key is not None:
            task = ModelTask("running", config, model.worker.worker_id, unique=unique)
            self.tasks[key] = task

    @rule(
        data=st.data(),
        timeout_s=st.sampled_from([0.0, 0.001]),
        room=st.none() | st.integers(-1, 3),
    )
    def claim(self, data: st.DataObject, timeout_s: float, room: int | None) -> None:
        model = self.some_worker(data)
        limit = None if room is None else max(self.started() + room, 0)
        if model.out:
            with pytest.raises(WorkerLostError):
                model.worker.claim_task(timeout_s=timeout_s, limit=limit)
            return
        task = model.worker.claim_task(timeout_s=timeout_s, limit=limit)
        refused = model.asked_to_stop or not self.queue or (room is not None and room <= 0)
        assert (task is None) == refused
        if task is not None:
            assert task.key == self.queue.pop(0)
            assert task.config == self.tasks[task.key].config
            self.tasks[task.key].state = "running"
            self.tasks[task.key].worker_id = model.worker.worker_id

    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        model, keys = self.some_worker(data), self.some_keys(data)
        results = [{"y": i} for i in range(len(keys))]
        won = model.worker.finish_tasks(keys, results)
        for key, result, one_won in zip(keys, results, won, strict=True):
            assert one_won == self.may_end(model, key)
            if one_won:
                self.tasks[key].state, self.tasks[key].result = "finished", result
                self.note_finished(key)

    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        model, keys = self.some_worker(data), self.some_keys(data)
        won = model.worker.fail_tasks(keys, ["no"] * len(keys))
        for key, one_won in zip(keys, won, strict=True):
            assert one_won == self.may_end(model, key)
            if one_won:
                self.tasks[key].state = "failed"
                self.note_failed([key])

    @rule(data=st.data(), how=st.sampled_from(["finish", "fail"]))
    def start_and_end_one(self, data: st.DataObject, how: str) -> None:
        model = self.some_worker(data)
        if model.out or model.asked_to_stop:
            return
        config = self.new_config()
        key = model.worker.start_task(config, extra={"z": 1})
        assert key is not None
        task = self.tasks[key] = ModelTask("running", config, model.worker.worker_id, {"z": 1})
        if how == "finish":
            assert model.worker.finish_task(key, {"y": 3}, extra={"cost": 1})
            task.state, task.result = "finished", {"y": 3}
            self.note_finished(key)
        else:
            assert model.worker.fail_task(key, ValueError("no"))
            task.state = "failed"
            self.note_failed([key])
        assert not model.worker.finish_task(key, {"y": 4})

    @rule(data=st.data())
    def finish_and_fetch_new(self, data: st.DataObject) -> None:
        model = self.some_worker(data)
        for key in self.some_keys(data)[:1]:
            may_end = self.may_end(model, key)
            won, new = model.worker.finish_and_fetch_new(key, {"y": 7})
            assert won == may_end
            if won:
                self.tasks[key].state, self.tasks[key].result = "finished", {"y": 7}
                self.note_finished(key)
            assert new.keys == model.unseen
            model.unseen.clear()

    @rule(data=st.data(), fails=st.booleans())
    def end_and_fetch_ended(self, data: st.DataObject, fails: bool) -> None:
        model = self.some_worker(data)
        for key in self.some_keys(data)[:1]:
            may_end = self.may_end(model, key)
            if fails:
                won, ended = model.worker.fail_and_fetch_ended(key, "no")
            else:
                won, ended = model.worker.finish_and_fetch_ended(key, {"y": 8})
            assert won == may_end
            if won and fails:
                self.tasks[key].state = "failed"
                self.note_failed([key])
            elif won:
                self.tasks[key].state, self.tasks[key].result = "finished", {"y": 8}
                self.note_finished(key)
            self.check_ended(model, ended)

    def check_ended(self, model: ModelWorker, ended: EndedTasks) -> None:
        assert ended.finished.keys == model.unseen
        assert sorted(ended.failed.keys) == sorted(model.unseen_failed)
        model.unseen.clear()
        model.unseen_failed.clear()

    @rule(data=st.data(), how=st.sampled_from(["report", "report and fetch", "fetch"]))
    def report(self, data: st.DataObject, how: str) -> None:
        model = self.some_worker(data)
        for key in self.some_keys(data)[:1] if how != "fetch" else ():
            values = {"step": len(self.reports)}
            may_report = self.may_end(model, key)
            if may_report:
                said = (model.worker.worker_id, self.tasks[key].attempt, key, values)
                self.reports.append(said)
                for other in self.workers:
                    other.unseen_reports.append(said)
            if how == "report":
                assert model.worker.report_task(key, values) == may_report
                return
            won, new = model.worker.report_and_fetch_new(key, values)
            assert won == may_report
            assert list(map(said_by, new)) == model.unseen_reports
            model.unseen_reports.clear()
        if how == "fetch":
            assert list(map(said_by, model.worker.fetch_new_reports())) == model.unseen_reports
            model.unseen_reports.clear()

    def may_end(self, model: ModelWorker, key: str) -> bool:
        task = self.tasks.get(key)
        mine = task is not None and task.worker_id == model.worker.worker_id
        return mine and task is not None and task.state == "running" and not model.out

    # -- what everybody reads --------------------------------------------------------------------

    @rule(data=st.data(), timeout_s=st.sampled_from([0.0, 0.001]))
    def fetch_new(self, data: st.DataObject, timeout_s: float) -> None:
        model = self.some_worker(data)
        assert model.worker.fetch_new_tasks(timeout_s=timeout_s).keys == model.unseen
        model.unseen.clear()
        for network, unseen in zip(self.networks, self.unseen, strict=True):
            assert network.fetch_new_tasks(timeout_s=timeout_s).keys == unseen
            unseen.clear()

    @rule(data=st.data())
    def fetch_new_failed(self, data: st.DataObject) -> None:
        model = self.some_worker(data)
        assert sorted(model.worker.fetch_new_failed_tasks().keys) == sorted(model.unseen_failed)
        model.unseen_failed.clear()

    @rule(data=st.data(), timeout_s=st.sampled_from([0.0, 0.001]))
    def fetch_new_ended(self, data: st.DataObject, timeout_s: float) -> None:
        model = self.some_worker(data)
        self.check_ended(model, model.worker.fetch_new_ended_tasks(timeout_s=timeout_s))

    @rule(data=st.data(), states=st.sets(st.sampled_from(list(TaskState))))
    def fetch_some_states(self, data: st.DataObject, states: set[TaskState]) -> None:
        found = self.some_worker(data).worker.fetch_tasks(*states)
        expected = [k for k, t in self.tasks.items() if not states or t.state in states]
        assert sorted(found.keys) == sorted(expected)
        order = [list(TaskState).index(task.state) for task in found]
        assert order == sorted(order)

    @rule()
    def caches_of_managers_equal_a_full_read(self) -> None:
        for network in self.networks:
            assert network.fetch_finished_tasks() == network.fetch_tasks("finished")
            assert network.count_tasks() == self.judge.count_tasks()

    @rule(data=st.data())
    def cache_of_a_worker_equals_a_full_read(self, data: st.DataObject) -> None:
        worker = self.some_worker(data).worker
        assert worker.fetch_finished_tasks() == worker.fetch_tasks("finished")
        assert worker.fetch_finished_tasks().keys == self.finished

    @invariant()
    def network_is_possible(self) -> None:
        check_network(self.network_id, self.url)

    @invariant()
    def contents_and_counts_are_the_models(self) -> None:
        by_key = {task.key: task for task in self.judge.fetch_tasks()}
        assert by_key.keys() == self.tasks.keys()
        for key, model in self.tasks.items():
            task = by_key[key]
            found = (task.state.value, task.config, task.worker_id, task.result)
            assert found == (model.state, model.config, model.worker_id, model.result)
            assert (task.extra, task.attempt) == (model.extra, model.attempt)
            assert ("lost" in task.result_extra) == model.lost
        assert self.judge.fetch_tasks("queued").keys == self.queue
        assert sorted(self.judge.fetch_tasks("failed").keys) == sorted(self.failed)
        states = [model.state for model in self.tasks.values()]
        counts = self.judge.count_tasks()
        assert counts == tuple(map(states.count, ["queued", "running", "finished", "failed"]))

    @invariant()
    def finished_log_only_grows_and_the_cache_equals_it(self) -> None:
        cached, read = self.judge.fetch_finished_tasks(), self.judge.fetch_tasks("finished")
        assert cached == read
        assert cached.keys == self.finished
        assert list(read)[: len(self.former_finished)] == self.former_finished
        self.former_finished = list(read)

    @invariant()
    def reports_are_the_models(self) -> None:
        self.fetched_reports += map(said_by, self.networks[1].fetch_new_reports())
        assert self.fetched_reports == self.reports

    @invariant()
    def workers_are_as_they_were_told_to_be(self) -> None:
        infos = {info.worker_id: info for info in self.judge.fetch_workers()}
        for model in self.workers:
            info = infos.get(model.worker.worker_id)
            if model.out:
                assert info is None or info.state in (WorkerState.KILLED, WorkerState.LOST)
                continue
            assert info is not None
            expected = WorkerState.STOPPING if model.asked_to_stop else WorkerState.RUNNING
            assert info.state is expected
            running = {k for k, t in self.tasks.items() if t.state == "running"}
            mine = {k for k in running if self.tasks[k].worker_id == model.worker.worker_id}
            assert set(info.task_keys) == mine


def said_by(report: Report) -> Said:
    return report.worker_id, report.attempt, report.key, report.values


@pytest.mark.long
def test_all_operations_in_any_order_agree_with_the_model(server: EmbeddedServer) -> None:
    run_state_machine_as_test(
        unchecked(lambda: NetworkMachine(server)),  # takes whatever makes a machine
        settings=settings(max_examples=80, stateful_step_count=40),
    )
