"""The judge finds each kind of violation in a history that was made up to have it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rush_core import ServerRefusedError
from tests.core.history.contents import Contents, Held
from tests.core.history.judge import KINDS, judge
from tests.core.history.operations import History, Operation, read_histories
from tests.core.history.time_order import digest


class Made:
    """A history under construction: each operation takes ten units of time, one after the other."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []

    def add(
        self,
        kind: str,
        given: dict[str, Any],
        reply: dict[str, Any] | None = None,
        *,
        at: int | None = None,
        outcome: str = "done",
    ) -> None:
        begun = 100 * len(self.operations) if at is None else at
        end = float("inf") if outcome == "unknown" else begun + 10
        self.operations.append(Operation(kind, given, begun, end, outcome, reply or {}))

    def push(self, *names: str, place: str = "queued", **given: Any) -> None:
        self.add("push", {"names": list(names), "place": place}, **given)

    def claim(self, name: str | None, attempt: int = 0, **given: Any) -> None:
        self.add("claim", {}, {"name": name, "attempt": attempt, "stopping": False}, **given)

    def start(self, *names: str, n: int | None = None, **given: Any) -> None:
        self.add("start", {"names": list(names)}, {"n": len(names) if n is None else n}, **given)

    def finish(self, name: str, token: str, won: bool = True, **given: Any) -> None:
        self.add("finish", {"ends": {name: token}}, {"won": [won]}, **given)

    def look(self, *names: str, **given: Any) -> None:
        self.add("look", {}, {"n": len(names), "digest": digest(names)}, **given)

    def read(self, *names: str, reader: str = "r", **given: Any) -> None:
        self.add("read", {"reader": reader}, {"new": list(names)}, **given)

    def kinds(self, *tasks: Held, **options: Any) -> set[str]:
        reports = options.pop("reports", [])
        n_taken = sum(task.worker_id != "" and not task.is_lost for task in tasks)
        contents = Contents(list(tasks), reports, options.pop("n_started", n_taken))
        return {found.kind for found in judge(self.operations, contents, **options)}


def done(name: str, token: str = "", **fields: Any) -> Held:
    """Make the record of a task that a worker finished."""
    return Held("finished", name, worker_id="w", token=token or f"end of {name}", **fields)


def waiting(name: str, **fields: Any) -> Held:
    return Held("queued", name, **fields)


@pytest.fixture
def made() -> Made:
    return Made()


def test_a_good_history_is_good(made: Made) -> None:
    made.push("a", "b")
    made.claim("a")
    made.start("c", "d", n=1)
    made.add("report", {"name": "a", "token": "t"}, {"won": True})
    made.read(reader="s")
    made.finish("a", "x")
    made.look("a")
    made.finish("c", "y", outcome="unknown")
    made.push("e", "f", place="failed")
    made.push("g", "h", outcome="unknown")
    made.push("i", outcome="refused")
    made.read("a", "c")
    made.read("a", reader="s", at=605)
    made.add("count", {}, {"counts": [1, 0, 2, 2]})
    ended = [Held("failed", name, token=name) for name in ("e", "f")]
    tasks = [waiting("b"), done("a", "x"), done("c", "y"), *ended]
    assert made.kinds(*tasks, reports=["t"], limit=2) == set()


def test_a_pushed_task_that_is_nowhere_is_found(made: Made) -> None:
    made.push("a")
    made.push("b")
    assert made.kinds(waiting("b")) == {"lost"}


def test_a_task_pushed_as_finished_that_is_elsewhere_is_found(made: Made) -> None:
    made.push("a", place="finished")
    assert made.kinds(Held("failed", "a")) == {"lost", "torn push"}


def test_a_started_or_claimed_task_that_is_nowhere_is_found(made: Made) -> None:
    made.start("a")
    assert made.kinds() == {"lost"}
    made.operations.clear()
    made.claim("a")
    assert made.kinds() == {"lost"}


def test_an_end_that_was_replaced_is_found(made: Made) -> None:
    made.finish("a", "x")
    assert made.kinds(done("a", "other")) == {"lost"}


def test_an_end_of_a_task_that_was_declared_lost_is_found(made: Made) -> None:
    made.finish("a", "x")
    assert made.kinds(Held("failed", "a", worker_id="w", is_lost=True)) == {"lost"}


def test_a_report_that_is_nowhere_is_found(made: Made) -> None:
    made.add("report", {"name": "a", "token": "t"}, {"won": True})
    assert made.kinds() == {"lost"}


@pytest.mark.parametrize(
    "tasks",
    [
        [waiting("a", key="k"), done("a", key="k")],
        [waiting("a", key="k"), waiting("b", key="k")],
        [done("a", "x"), done("b", "x")],
        [done("a", mark=3), done("b", mark=3)],
    ],
)
def test_what_is_there_twice_is_found(made: Made, tasks: list[Held]) -> None:
    assert made.kinds(*tasks) == {"doubled"}


def test_a_mark_of_a_lost_task_may_be_used_again(made: Made) -> None:
    lost = Held("failed", "a", worker_id="w", mark=3, is_lost=True)
    assert made.kinds(lost, done("b", mark=3)) == set()


def test_a_report_that_is_there_twice_is_found(made: Made) -> None:
    assert made.kinds(reports=["t", "t"]) == {"doubled"}


def test_two_acknowledged_ends_of_one_task_are_found(made: Made) -> None:
    made.finish("a", "x")
    made.finish("a", "y")
    assert "doubled" in made.kinds(done("a", "x"))


def test_a_worker_that_is_removed_twice_is_found(made: Made) -> None:
    made.add("join", {"worker": "w"})
    for _ in range(2):
        made.add("remove", {}, {"workers": ["w"]})
    assert made.kinds() == {"doubled"}


def test_traces_of_refused_operations_are_found(made: Made) -> None:
    made.push("a", outcome="refused")
    assert made.kinds(waiting("a")) == {"refused but there"}
    made.operations.clear()
    made.start("b", "c", n=1)
    assert made.kinds(done("b"), done("c")) == {"refused but there"}
    made.operations.clear()
    made.finish("a", "x", won=False)
    assert made.kinds(done("a", "x")) == {"refused but there"}
    made.operations.clear()
    made.add("report", {"name": "a", "token": "t"}, {"won": False})
    assert made.kinds(reports=["t"]) == {"refused but there"}


def test_a_task_that_is_claimed_twice_is_found(made: Made) -> None:
    made.push("a")
    made.claim("a")
    made.claim("a")
    assert made.kinds(done("a")) == {"claimed twice"}


def test_a_started_task_that_is_claimed_is_found(made: Made) -> None:
    made.start("a")
    made.claim("a")
    assert made.kinds(done("a")) == {"claimed twice"}


def test_a_claim_of_an_attempt_that_never_was_is_found(made: Made) -> None:
    made.claim("a", attempt=2)
    assert made.kinds(done("a", attempt=1)) == {"claimed twice"}


def test_a_task_that_was_lost_may_be_claimed_again(made: Made) -> None:
    made.claim("a")
    made.claim("a", attempt=1)
    assert made.kinds(done("a", attempt=1)) == set()


def test_a_push_of_which_a_part_is_there_is_found(made: Made) -> None:
    made.push("a", "b", "c", outcome="unknown")
    assert made.kinds(waiting("a"), waiting("b")) == {"torn push"}
    assert made.kinds(waiting("a"), waiting("b"), batch=2) == set()
    assert made.kinds(waiting("b"), waiting("c"), batch=2) == {"torn push"}


def test_a_push_into_which_another_one_came_is_found(made: Made) -> None:
    made.push("a", "b", place="failed", outcome="unknown")
    made.push("c", place="failed", outcome="unknown")
    assert made.kinds(*(Held("failed", name) for name in "acb")) == {"torn push"}


def test_ends_in_another_order_than_in_time_are_found(made: Made) -> None:
    made.finish("a", "x")
    made.finish("b", "y")
    assert made.kinds(done("b", "y"), done("a", "x")) == {"out of order"}


def test_ends_at_the_same_time_may_have_any_order(made: Made) -> None:
    made.finish("a", "x", at=0)
    made.finish("b", "y", at=5)
    assert made.kinds(done("b", "y"), done("a", "x")) == set()


def test_reports_in_another_order_than_in_time_are_found(made: Made) -> None:
    for token in "tu":
        made.add("report", {"name": "a", "token": token}, {"won": True})
    assert made.kinds(reports=["u", "t"]) == {"out of order"}


def test_a_task_that_overtakes_another_one_in_the_queue_is_found(made: Made) -> None:
    made.push("a")
    made.push("b")
    made.claim("b")
    assert made.kinds(waiting("a"), done("b")) == {"out of order"}
    made.claim("a")
    assert made.kinds(done("a"), done("b")) == {"out of order"}


@pytest.mark.parametrize("seen", [(), ("b",)])
def test_a_look_that_lacks_or_changes_what_was_acknowledged_is_found(
    made: Made, seen: tuple[str, ...]
) -> None:
    made.finish("a", "x")
    made.look(*seen)
    assert made.kinds(done("a", "x"), done("b")) == {"stale read"}


def test_a_look_into_the_future_is_found(made: Made) -> None:
    made.look("a")
    made.finish("a", "x")
    assert made.kinds(done("a", "x")) == {"stale read"}


def test_a_look_at_more_than_there_is_at_the_end_is_found(made: Made) -> None:
    made.look("a", "b")
    assert made.kinds(done("a", "x")) == {"stale read"}


@pytest.mark.parametrize("counts", [[0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1]])
def test_counts_that_cannot_be_are_found(made: Made, counts: list[int]) -> None:
    made.start("a")
    made.finish("a", "x")
    made.add("count", {}, {"counts": counts})
    assert made.kinds(done("a", "x")) == {"stale read"}


@pytest.mark.parametrize(
    "reads",
    [
        [["a", "b"], ["b", "c"]],  # twice
        [["a"], ["c"]],  # b is skipped
        [["b", "a"], ["c"]],  # another order
        [["a", "b"], ["c", "nobody"]],  # is not there
        [["a"], []],  # b was acknowledged before
    ],
)
def test_faults_of_a_reader_are_found(made: Made, reads: list[list[str]]) -> None:
    for name in "abc":
        made.finish(name, name)
    for new in reads:
        made.read(*new)
    assert made.kinds(*(done(name, name) for name in "abc")) == {"stale read"}


S = 1_000_000_000  # a second


def test_an_end_may_come_before_others_and_lack_what_is_a_second_old(made: Made) -> None:
    for i, name in enumerate("abc"):
        made.finish(name, name, at=i)
    given = {"ends": {"d": "d"}, "reader": "r", "ahead": "d"}
    made.add("finish", given, {"won": [True], "new": ["a", "d"]}, at=S // 2)
    made.read("b", "c", at=S)
    assert made.kinds(*(done(name, name) for name in "abcd")) == set()


@pytest.mark.parametrize(
    ("new", "then", "at"),
    [
        (["a", "d"], ["b", "c", "d"], S // 2),  # twice
        (["a", "d"], ["c"], S // 2),  # b is skipped
        (["b", "a", "d"], ["c"], S // 2),  # another order of others
        (["a", "d"], ["b", "c"], 2 * S),  # b is more than a second old
    ],
)
def test_faults_of_a_read_along_with_an_end_are_found(
    made: Made, new: list[str], then: list[str], at: int
) -> None:
    for i, name in enumerate("abc"):
        made.finish(name, name, at=i)
    given = {"ends": {"d": "d"}, "reader": "r", "ahead": "d"}
    made.add("finish", given, {"won": [True], "new": new}, at=at)
    made.read(*then, at=3 * S)
    assert made.kinds(*(done(name, name) for name in "abcd")) == {"stale read"}


def test_threads_may_share_a_reader(made: Made) -> None:
    made.finish("a", "a")
    made.read("a", at=200)
    made.read(at=203)  # the other one, at the same time, has got it
    assert made.kinds(done("a", "a")) == set()


def test_a_claim_that_finds_nothing_while_a_task_is_queued_is_found(made: Made) -> None:
    made.push("a")
    made.claim(None)
    assert made.kinds(waiting("a")) == {"stale read"}
    assert made.kinds(waiting("a"), limit=1, n_started=1) == {"budget"}
    made.claim("a")
    assert made.kinds(done("a"), limit=5) == {"stale read", "budget"}


def test_a_budget_that_is_not_exact_is_found(made: Made) -> None:
    made.start("a", "b")
    tasks = [done("a"), done("b")]
    assert made.kinds(*tasks, limit=2) == set()
    assert made.kinds(*tasks, limit=1) == {"budget"}
    assert made.kinds(*tasks, limit=3) == {"budget"}
    assert made.kinds(*tasks, limit=2, n_started=1) == {"budget"}


def test_a_task_that_is_left_running_is_found(made: Made) -> None:
    made.start("a")
    assert made.kinds(Held("running", "a", worker_id="w")) == {"stuck"}


def test_each_kind_of_violation_has_a_test() -> None:
    tested = Path(__file__).read_text()
    assert [kind for kind in KINDS if f'"{kind}"' not in tested] == []


def test_a_history_is_read_as_it_was_written(tmp_path: Path) -> None:
    def refuse() -> None:
        raise ServerRefusedError("no memory")

    def be_killed() -> None:
        raise KeyboardInterrupt

    history = History(tmp_path, "client")
    history.note("claim", {}, lambda: "a", lambda name: {"name": name})
    with pytest.raises(ServerRefusedError):
        history.note("push", {"names": ["b"]}, refuse)
    with pytest.raises(KeyboardInterrupt):
        history.note("push", {"names": ["c"]}, be_killed)
    with (tmp_path / history.name).open("a") as file:
        file.write('[3,"push",{"names":["')
    claimed, refused, unknown = read_histories(tmp_path)
    assert (claimed.kind, claimed.outcome, claimed.reply) == ("claim", "done", {"name": "a"})
    assert (refused.given, refused.outcome) == ({"names": ["b"]}, "refused")
    assert (unknown.given, unknown.outcome) == ({"names": ["c"]}, "unknown")
    assert claimed.invoked <= claimed.returned <= refused.invoked <= refused.returned
    assert refused.returned <= unknown.invoked < unknown.returned == float("inf")
