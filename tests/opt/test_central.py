"""The centralized algorithms: how the proposer decides, its loop, and whole runs with kills."""

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from rush_core import EmbeddedServer, Network, TaskTable, Worker, WorkerState
from rush_core.kernel.invariants import check_network
from rush_opt import (
    ACBO,
    ADBO,
    CLBO,
    Boolean,
    Float,
    FrozenTrial,
    Integer,
    Space,
    Trial,
    TuneResult,
    tune,
)
from rush_opt.evaluation.plan import RunPlan
from rush_opt.optimizers.base import Place, Proposal
from rush_opt.optimizers.with_model import ModelProposer
from rush_opt.running.loops import evaluate_trials
from rush_opt.running.proposing import propose_trials
from rush_opt.search.archive import Archive
from rush_opt.search.exploration import LAMBDA_PERIOD
from rush_opt.search.pending import Pending
from tests.fixture_types import Join
from tests.opt.objectives import bowl
from tests.opt.plans import LOSS, plan_of, untimed
from tests.threads import in_background
from tests.typed import present
from tests.waiting import wait_until

PATIENCE_S = 30.0
SPACE = Space({"n": Integer(1, 6), "b": Boolean()})
EVERYTHING = [{"n": n, "b": b} for n in range(1, 7) for b in (False, True)]
PLAN = plan_of(SPACE, lambda config: float(config["n"]), seed=11)
BOTH = pytest.mark.parametrize("settings", [ACBO(), CLBO()], ids=["acbo", "clbo"])


def proposer_of(settings: ACBO | CLBO) -> ModelProposer:
    return settings.proposer(PLAN.problem, Place(3, 3, 4))


def propose_one(settings: ACBO | CLBO, archive: Archive, pending: Pending) -> Proposal:
    (proposal,) = proposer_of(settings).propose(archive, pending, untimed, 1)
    return proposal


def archive_of(*configs: dict[str, Any], space: Space = SPACE) -> Archive:
    archive = Archive(space, LOSS)
    archive.add(
        TaskTable.from_results(configs, [{"loss": float(config["n"])} for config in configs])
    )
    return archive


def rows_of(configs: list[dict[str, Any]]) -> np.ndarray:
    return SPACE.encode(configs).astype(np.float32)


# -- how the proposer decides ----------------------------------------------------------------------


def counts_are(network: Network, counts: tuple[int, int, int, int]) -> bool:
    return network.count_tasks() == counts


@pytest.mark.parametrize(
    ("settings", "n_open", "n_workers", "n"),
    [
        (ACBO(), 0, 4, 1),
        (ACBO(), 3, 4, 1),
        (ACBO(), 4, 4, 0),
        (ACBO(), 9, 4, 0),
        (CLBO(), 0, 4, 2),
        (CLBO(), 0, 29, 2),
        (CLBO(), 0, 448, 44),
        (CLBO(), 1, 448, 0),
    ],
)
def test_the_number_of_proposals_follows_from_the_open_trials(
    settings: ACBO | CLBO, n_open: int, n_workers: int, n: int
) -> None:
    assert settings.n_next(n_open, n_workers) == n


@BOTH
@pytest.mark.parametrize("n_known", [0, 4])
def test_neither_known_nor_pending_points_are_proposed(settings: ACBO | CLBO, n_known: int) -> None:
    pending = Pending(SPACE)
    archive, proposer = archive_of(*EVERYTHING[:n_known]), proposer_of(settings)
    proposed = []
    # Without a model there are ten draws, of which one in twelve to one in four repeats a point.
    for i in range(8 if n_known else 4):
        (proposal,) = proposer.propose(archive, pending, untimed, 1)
        assert proposal.notes["n_known"] == n_known
        pending.add(str(i), proposal.config)
        proposed.append(proposal.config)
    assert len({repr(config) for config in proposed + EVERYTHING[:n_known]}) == i + 1 + n_known


class Spy:
    """A surrogate that remembers what it was fitted to."""

    def fit(self, X: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> "Spy":
        self.X, self.y = X.copy(), y.copy()
        return self

    def predict(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.asarray(X[:, 0], dtype=np.float64), np.zeros(len(X))


def pending_of(*configs: dict[str, Any]) -> Pending:
    pending = Pending(SPACE)
    for i, config in enumerate(configs):
        pending.add(str(i), config)
    return pending


def test_a_batch_is_fitted_with_the_mean_as_the_lie() -> None:
    archive = archive_of(*EVERYTHING[:5])
    archive.add_failed(TaskTable.from_results(EVERYTHING[5:6], [{}]))
    spy = Spy()
    propose_one(CLBO(surrogate=spy), archive, pending_of(*EVERYTHING[8:10]))
    assert spy.X.tolist() == rows_of(EVERYTHING[:6] + EVERYTHING[8:10]).tolist()
    lie = (1 + 1 + 2 + 2 + 3) / 5  # the failed one has no value
    assert spy.y.tolist() == [1, 1, 2, 2, 3, np.inf, lie, lie]


def test_without_results_the_lie_is_infinite() -> None:
    archive = Archive(SPACE, LOSS)
    archive.add_failed(TaskTable.from_results(EVERYTHING[:3], [{}] * 3))
    propose_one(CLBO(surrogate=(spy := Spy())), archive, pending_of(EVERYTHING[8]))
    assert spy.y.tolist() == [np.inf] * 4


def test_the_model_of_acbo_ignores_pending_points() -> None:
    archive, spy = archive_of(*EVERYTHING[:5]), Spy()
    propose_one(ACBO(surrogate=spy), archive, pending_of(*EVERYTHING[8:10]))
    assert spy.X.tolist() == rows_of(EVERYTHING[:5]).tolist()


def test_acbo_draws_an_exploration_weight_for_each_proposal_and_clbo_keeps_its_own() -> None:
    def weights(settings: ACBO | CLBO) -> list[float]:
        proposer, archive, pending = proposer_of(settings), Archive(SPACE, LOSS), Pending(SPACE)
        proposals = [
            proposer.propose(archive, pending, untimed, 1)[0] for _ in range(4 * LAMBDA_PERIOD)
        ]
        return [proposal.notes["lambda"] for proposal in proposals]

    assert set(weights(CLBO())) == {1.96}
    assert set(weights(CLBO(exploration=0.5))) == {0.5}
    drawn = np.reshape(weights(ACBO()), (4, LAMBDA_PERIOD))
    assert len(np.unique(drawn)) == drawn.size
    # Exponential(1.96) times exp(-0.1 t): the sums of 40 early and 40 late ones are as e to 1.
    assert drawn[:, :10].mean() > drawn[:, -10:].mean()


def test_algorithms_are_compared_with_the_same_surrogate() -> None:
    assert ACBO().surrogate == CLBO().surrogate == ADBO().surrogate


def test_an_exploration_weight_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match=r"exploration >= 0, got -0\.1"):
        CLBO(exploration=-0.1)


def test_pending_points_are_those_of_the_open_tasks(network: Network, worker: Worker) -> None:
    pending = pending_of(EVERYTHING[0])
    worker.push_tasks(EVERYTHING[1:3])
    pending.replace(network.fetch_tasks("queued", "running"))
    assert pending.X.tolist() == rows_of(EVERYTHING[1:3]).tolist()
    claimed = worker.claim_task()
    assert claimed is not None
    worker.finish_task(claimed.key, {"loss": 1.0})
    pending.replace(network.fetch_tasks("queued", "running"))
    assert pending.X.tolist() == rows_of(EVERYTHING[2:3]).tolist()
    assert len(pending) == 1
    assert rows_of(EVERYTHING[2:3])[0] in pending
    assert rows_of(EVERYTHING[1:2])[0] not in pending


# -- the proposer's loop ---------------------------------------------------------------------------

Propose = Callable[..., Callable[[], None]]


@pytest.fixture
def propose(join: Join, network: Network) -> Iterator[Propose]:
    """Run a proposer in the background, at most until the test is over; return a wait for it."""
    proposing: list[Callable[[], None]] = []

    def propose(plan: RunPlan) -> Callable[[], None]:
        worker = join()
        proposing.append(in_background(lambda: propose_trials(worker, plan)))
        return proposing[-1]

    yield propose
    network.stop_workers()
    for wait in proposing:
        wait()


def plan_with(settings: ACBO | CLBO, n_workers: int, **changes: Any) -> RunPlan:
    return replace(PLAN, optimizer=settings, n_workers=n_workers, **changes)


def end_one(worker: Worker) -> None:
    task = worker.claim_task()
    assert task is not None
    worker.finish_task(task.key, {"loss": float(task.config["n"])})


def test_acbo_keeps_as_many_open_as_there_are_workers(
    propose: Propose, network: Network, worker: Worker
) -> None:
    propose(plan_with(ACBO(), 3))
    wait_until(lambda: network.count_tasks() == (3, 0, 0, 0), PATIENCE_S)
    running = worker.claim_task()
    assert running is not None
    for n_ended in range(1, 4):
        end_one(worker)
        wait_until(partial(counts_are, network, (2, 1, n_ended, 0)), PATIENCE_S)
    worker.fail_task(running.key, "it went wrong")
    wait_until(lambda: network.count_tasks() == (3, 0, 3, 1), PATIENCE_S)
    proposed = [repr(config) for config in network.fetch_tasks().configs]
    assert len(set(proposed)) == 7
    for task in network.fetch_tasks():
        assert task.extra["proposer"] == 1
        assert task.extra["acquisition_s"] > 0.0


def test_clbo_waits_for_all_of_a_batch(propose: Propose, network: Network, worker: Worker) -> None:
    propose(plan_with(CLBO(), 30))
    for n_before in (0, 3, 6):
        wait_until(partial(counts_are, network, (3, 0, n_before, 0)), PATIENCE_S)
        end_one(worker)
        end_one(worker)
        assert network.count_tasks() == (1, 0, n_before + 2, 0)
        end_one(worker)
    known = [task.extra["n_known"] for task in network.fetch_finished_tasks()]
    assert known == [0, 0, 0, 3, 3, 3, 6, 6, 6]


@BOTH
def test_the_proposer_leaves_when_all_of_the_budget_is_started(
    settings: ACBO | CLBO, propose: Propose, network: Network, worker: Worker
) -> None:
    network.push_finished_tasks(EVERYTHING[:2], [{"loss": 1.0}] * 2)  # take no place
    plan = plan_with(settings, 4, n_trials=5)
    proposing = propose(plan)
    evaluating = in_background(lambda: evaluate_trials(worker, plan))
    proposing()
    network.stop_workers()
    evaluating()
    assert network.count_tasks() == (0, 0, 7, 0)


@BOTH
def test_the_proposer_leaves_at_the_deadline(
    settings: ACBO | CLBO, propose: Propose, network: Network, worker: Worker
) -> None:
    proposing = propose(plan_with(settings, 2, began=worker.now(), timeout_s=0.5))
    proposing()
    assert network.count_tasks().queued == 2


def test_a_new_proposer_continues_after_the_previous_one(
    propose: Propose, network: Network, worker: Worker
) -> None:
    network.push_tasks(EVERYTHING[:1])
    end_one(worker)
    network.push_tasks(EVERYTHING[1:3])
    propose(plan_with(ACBO(), 4))
    wait_until(lambda: network.count_tasks() == (4, 0, 1, 0), PATIENCE_S)
    configs = [repr(config) for config in network.fetch_tasks().configs]
    assert len(set(configs)) == 5
    assert network.fetch_tasks("queued")[-1].extra["n_known"] == 1


# -- whole runs ------------------------------------------------------------------------------------

XY = {"x": Float(0, 1), "y": Float(0, 1)}


@pytest.fixture(scope="module", params=["acbo", "clbo"])
def run(request: pytest.FixtureRequest, server: EmbeddedServer) -> TuneResult:
    return tune(
        bowl,
        XY,
        n_workers=2,
        n_trials=50,
        optimizer=request.param,
        seed=1,
        url=server.url,
        progress=False,
    )


def test_a_run_uses_its_budget_exactly_and_approaches_the_optimum(run: TuneResult) -> None:
    assert run.stop_reason == "n_trials"
    assert [trial.state for trial in run.frozen_trials] == ["finished"] * 50
    # Of 50 uniform points the best is within 0.002 in one run of four.
    assert run.best_value < 0.002


def test_the_proposer_is_not_among_the_workers_and_its_time_is_in_the_trials_notes(
    run: TuneResult,
) -> None:
    assert [worker.number for worker in run.workers] == [0, 1]
    proposed = [trial for trial in run.frozen_trials if "proposer" in trial.notes]
    assert len(proposed) == 46  # all except the design
    assert {trial.notes["proposer"] for trial in proposed} == {2}
    for trial in proposed[5:]:
        assert trial.notes["surrogate_s"] > 0.0
        assert trial.notes["acquisition_s"] > 0.0
    table = run.utilization
    assert table["worker"].tolist() == [0, 1]
    assert table["n_trials"].sum() == 50
    assert (table[["surrogate", "acquisition"]] == 0.0).all(axis=None)
    spent = sum(t.notes["surrogate_s"] + t.notes["acquisition_s"] for t in proposed)
    assert table["proposer"].sum() == pytest.approx(spent)
    parts = ["startup", "objective", "coordination", "idle"]
    np.testing.assert_allclose(table[parts].sum(axis=1), table["wall"], rtol=1e-6)
    assert run.busy_share == pytest.approx(run.objective_share + spent / table["wall"].sum())


def test_a_killed_proposer_is_replaced_and_the_run_goes_on(
    server: EmbeddedServer, network_id: str
) -> None:
    killed: list[int] = []

    def kill_the_proposer(trial: FrozenTrial) -> None:
        if trial.number != 10:
            return
        with Network(network_id, server.url) as network:
            (pid,) = (w.pid for w in network.fetch_workers() if w.number == 2)
        os.kill(pid, signal.SIGKILL)
        killed.append(pid)

    result = tune(
        bowl,
        XY,
        n_workers=2,
        n_trials=60,
        optimizer="acbo",
        seed=3,
        network_id=network_id,
        url=server.url,
        callbacks=[kill_the_proposer],
        progress=False,
    )
    assert result.stop_reason == "n_trials"
    assert [trial.state for trial in result.frozen_trials] == ["finished"] * 60
    assert {trial.notes.get("proposer") for trial in result.frozen_trials} == {None, 2, 3}
    assert [worker.number for worker in result.workers] == [0, 1]
    with Network(network_id, server.url) as network:
        lost = [w.pid for w in network.fetch_workers() if w.state is WorkerState.LOST]
    assert lost == killed
    check_network(network_id, server.url)


@pytest.mark.parametrize("optimizer", ["acbo", "clbo"])
def test_a_killed_worker_is_replaced_and_the_queue_is_filled_again(
    optimizer: str, server: EmbeddedServer, network_id: str
) -> None:
    def objective(config: dict[str, Any], trial: Trial) -> float:
        if config == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return bowl(config)

    fatal = {"x": 0.125, "y": 0.5}
    result = tune(
        objective,
        XY,
        n_workers=2,
        n_trials=20,
        optimizer=optimizer,
        seed=3,
        initial_design=[{"x": 0.5, "y": 0.5}, fatal],
        network_id=network_id,
        url=server.url,
        progress=False,
    )
    (lost,) = (trial for trial in result.frozen_trials if trial.lost)
    assert lost.params == fatal
    assert sum(trial.state == "finished" for trial in result.frozen_trials) == 20
    assert result.stop_reason == "n_trials"
    check_network(network_id, server.url)


def test_a_run_ends_at_its_timeout_and_another_run_continues_in_its_network(
    server: EmbeddedServer, network_id: str
) -> None:
    def go_on(**budget: Any) -> TuneResult:
        return tune(
            bowl,
            XY,
            n_workers=1,
            optimizer="acbo",
            seed=3,
            network_id=network_id,
            url=server.url,
            progress=False,
            **budget,
        )

    first = go_on(n_trials=12)
    with Network(network_id, server.url) as network:
        network.push_tasks([{"x": 0.5, "y": 0.5}])  # as a run that was cut short leaves it
    second = go_on(n_trials=20)
    assert second.frozen_trials[:12] == first.frozen_trials
    assert len(second.frozen_trials) == 20
    assert second.frozen_trials[12].params == {"x": 0.5, "y": 0.5}
    assert all(t.notes["n_known"] >= 12 for t in second.frozen_trials[13:])
    assert [worker.number for worker in second.workers] == [0, 2]
    assert second.utilization["worker"].tolist() == [2]
    third = go_on(timeout=4.0)
    assert third.stop_reason == "timeout"
    assert present(third.ended_at) >= present(third.deadline)
    assert all(present(t.started_at) < present(third.deadline) for t in third.frozen_trials)
    check_network(network_id, server.url)
