"""An optimizer of a third party: it runs everywhere, and mistakes in it get clear errors."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from rush_core import EmbeddedServer, Network
from rush_opt import Float, Space, simulate, tune
from rush_opt.ask_tell import Advisor
from rush_opt.optimizers.base import Place, Placement, Proposal, Timing
from rush_opt.problem.problem import Problem
from rush_opt.search.archive import Archive
from rush_opt.search.pending import Pending
from tests.opt.inspecting import configs_of
from tests.opt.objectives import bowl

SPACE = Space({"x": Float(0, 1), "y": Float(0, 1)})
NO_SERVER = "redis://127.0.0.1:1"


@dataclass(frozen=True)
class HillClimbing:
    """Takes normal steps from the best known point."""

    placement: Placement = "each worker"
    step: float = 0.1

    def n_initial(self, n_dims: int, n_workers: int) -> int:
        return n_workers

    def n_next(self, n_open: int, n_workers: int) -> int:
        return max(n_workers - n_open, 0)

    def proposer(self, problem: Problem, place: Place) -> "Climber":
        return Climber(self.step, problem.worker_rng(place.number))


@dataclass
class Climber:
    step: float
    rng: np.random.Generator

    def propose(
        self, archive: Archive, pending: Pending, timing: Timing, n: int
    ) -> Sequence[Proposal]:
        with timing("acquisition"):
            best = archive.incumbent
            row = np.full(archive.space.n_dims, 0.5) if best is None else archive.X[best]
            rows = np.clip(row + self.rng.normal(0.0, self.step, (n, len(row))), 0.0, 1.0)
            notes = {"n_known": len(archive)}
            return [Proposal(config, notes) for config in archive.space.decode(rows)]


PLACED = pytest.mark.parametrize("placement", ["each worker", "one process"])


@PLACED
def test_it_runs_under_tune(placement: Placement, server: EmbeddedServer) -> None:
    result = tune(
        bowl,
        SPACE,
        optimizer=HillClimbing(placement),
        n_workers=2,
        n_trials=40,
        seed=1,
        url=server.url,
        progress=False,
    )
    assert [trial.state for trial in result.frozen_trials] == ["finished"] * 40
    proposed = [trial.notes for trial in result.frozen_trials if "n_known" in trial.notes]
    assert len(proposed) == 38  # all except the design
    assert max(notes["n_known"] for notes in proposed) >= 36
    assert ("proposer" in proposed[0]) == (placement == "one process")
    if placement == "each worker":
        assert all(notes["acquisition_s"] > 0.0 for notes in proposed)


@PLACED
def test_it_runs_under_simulate_and_a_seed_repeats_the_run(placement: Placement) -> None:
    first, again, other = (
        simulate(
            bowl,
            SPACE,
            optimizer=HillClimbing(placement),
            n_workers=8,
            n_trials=100,
            seed=seed,
            duration=lambda config, number: 1.0,
            cost=lambda n_known: (0.0, 0.0),
        )
        for seed in (1, 1, 2)
    )
    assert configs_of(first) == configs_of(again)
    assert configs_of(first) != configs_of(other)
    assert sum("n_known" in trial.notes for trial in first.frozen_trials) == 92
    assert first.best_value < 0.01


@PLACED
def test_it_runs_in_an_advisor(placement: Placement, network: Network) -> None:
    optimizer = HillClimbing(placement)
    given: dict[str, Any] = {"url": network.url, "optimizer": optimizer, "seed": 1}
    with Advisor(SPACE, network.network_id, **given) as advisor:
        for _ in range(30):
            trial = advisor.ask()
            assert trial is not None
            advisor.tell(trial, bowl(trial.params))
        result = advisor.result()
    known = [trial.notes["n_known"] for trial in result.frozen_trials if "n_known" in trial.notes]
    assert known == list(range(1, 30))  # the design has one point


# -- objects that do not follow the interface ------------------------------------------------------


def by_tune(optimizer: Any) -> Any:
    return tune(bowl, SPACE, optimizer=optimizer, url=NO_SERVER, progress=False)


def by_simulate(optimizer: Any, **changes: Any) -> Any:
    given: dict[str, Any] = {"n_workers": 2, "n_trials": 9, "initial_design": 4}
    return simulate(
        bowl, SPACE, optimizer=optimizer, duration=lambda config, number: 1.0, **given | changes
    )


def by_advisor(optimizer: Any) -> Any:
    return Advisor(SPACE, "never-begun", optimizer=optimizer, url=NO_SERVER)


Door = Callable[[Any], Any]
ALL_DOORS = pytest.mark.parametrize("door", [by_tune, by_simulate, by_advisor])


@ALL_DOORS
def test_a_class_in_place_of_an_instance_is_refused(door: Door) -> None:
    with pytest.raises(TypeError, match=r"an instance such as ADBO\(\).*; write HillClimbing\(\)"):
        door(HillClimbing)


@dataclass(frozen=True)
class Bare:
    """Has a placement, and the methods that a test gives it."""

    placement: Any


def bare(placement: Any, *methods: str) -> Bare:
    kind = type("Bare", (Bare,), dict.fromkeys(methods, lambda self, *given: 1))
    return kind(placement)  # type: ignore[no-any-return]


@ALL_DOORS
@pytest.mark.parametrize("placement", [None, "everywhere", 3])
def test_an_unknown_placement_is_refused(placement: Any, door: Door) -> None:
    with pytest.raises(TypeError, match=r"placement is one of \['each worker', .* got .*Bare"):
        door(bare(placement, "n_initial", "proposer"))


@ALL_DOORS
@pytest.mark.parametrize(
    ("placement", "there", "missing"),
    [
        ("each worker", ["proposer"], ["n_initial"]),
        ("independent", ["n_initial"], ["proposer"]),
        ("one process", ["n_initial", "proposer"], ["n_next"]),
        ("one process", [], ["n_initial", "n_next", "proposer"]),
        ("listed", ["n_initial", "proposer"], ["points"]),
    ],
)
def test_missing_methods_are_named(
    placement: str, there: list[str], missing: list[str], door: Door
) -> None:
    with pytest.raises(TypeError) as refusal:
        door(bare(placement, *there))
    assert f"with the placement {placement!r} needs the methods" in str(refusal.value)
    assert f"lacks {missing}; rush_opt.optimizers.base describes" in str(refusal.value)


def test_an_independent_optimizer_gets_no_results_in_any_driver(server: EmbeddedServer) -> None:
    optimizer = HillClimbing("independent")
    options: dict[str, Any] = {"optimizer": optimizer, "n_workers": 2, "n_trials": 20, "seed": 1}
    virtual = simulate(bowl, SPACE, duration=lambda config, number: 1.0, **options)
    real = tune(bowl, SPACE, url=server.url, progress=False, **options)
    for result in (virtual, real):
        proposed = [trial.notes for trial in result.frozen_trials if "n_known" in trial.notes]
        assert proposed
        assert {notes["n_known"] for notes in proposed} == {0}
    with Advisor(SPACE, "independent", url=server.url, optimizer=optimizer) as advisor:
        for _ in range(4):
            trial = advisor.ask()
            assert trial is not None
            advisor.tell(trial, bowl(trial.params))
        assert {t.notes.get("n_known", 0) for t in advisor.result().frozen_trials} == {0}


@ALL_DOORS
@pytest.mark.parametrize("placement", ["each worker", "independent", "one process"])
def test_a_proposer_without_propose_is_refused(placement: str, door: Door) -> None:
    with pytest.raises(TypeError, match=r"needs a method 'propose', got 1; rush_opt\.optimizers"):
        door(bare(placement, "n_initial", "n_next", "proposer"))


@dataclass(frozen=True)
class Returning(HillClimbing):
    """An optimizer whose `propose` returns the same wrong thing each time."""

    returned: Any = None

    def proposer(self, problem: Problem, place: Place) -> Any:
        return ReturningProposer(self.returned)


@dataclass
class ReturningProposer:
    returned: Any

    def propose(self, archive: Archive, pending: Pending, timing: Timing, n: int) -> Any:
        return self.returned


CONFIG = {"x": 0.5, "y": 0.5}
WRONG = pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        (None, TypeError, "return a list of Proposal(config, notes), got None (NoneType)"),
        (CONFIG, TypeError, "got {'x': 0.5, 'y': 0.5} (dict)"),
        ([CONFIG], TypeError, "got [{'x': 0.5, 'y': 0.5}] (list)"),
        (Proposal(CONFIG), TypeError, "(Proposal)"),
        ([], ValueError, "at least one proposal and at most n=1, got 0"),
        ([Proposal(CONFIG)] * 9, ValueError, "at most n="),
    ],
    ids=["None", "mapping", "mappings", "no list", "none", "too many"],
)


@PLACED
@WRONG
@pytest.mark.parametrize("cost", [None, lambda n_known: (0.0, 0.0)], ids=["measured", "given"])
def test_what_propose_returns_is_checked_in_a_simulation(
    placement: Placement, returned: Any, error: type[Exception], message: str, cost: Any
) -> None:
    with pytest.raises(error) as refusal:
        by_simulate(Returning(placement, returned=returned), n_workers=1, cost=cost)
    assert message in str(refusal.value)


@PLACED
@WRONG
def test_what_propose_returns_is_checked_in_an_advisor(
    placement: Placement, returned: Any, error: type[Exception], message: str, network: Network
) -> None:
    optimizer = Returning(placement, returned=returned)
    given: dict[str, Any] = {"url": network.url, "optimizer": optimizer, "initial_design": 0}
    with Advisor(SPACE, network.network_id, **given) as advisor:
        with pytest.raises(error) as refusal:
            advisor.ask()
        assert message in str(refusal.value)
        assert advisor.open_trials == []


@PLACED
def test_what_propose_returns_is_checked_in_a_run(
    placement: Placement, server: EmbeddedServer, caplog: pytest.LogCaptureFixture
) -> None:
    optimizer = Returning(placement, returned=[CONFIG])
    result = tune(bowl, SPACE, optimizer=optimizer, n_workers=1, url=server.url, progress=False)
    assert (result.stop_reason, len(result.frozen_trials)) == ("workers failed", 1)
    assert "the run ends early and returns 1 finished trials" in caplog.text
    assert "propose() must return a list of Proposal(config, notes)" in caplog.text


@dataclass(frozen=True)
class Lost(HillClimbing):
    """An optimizer that proposes configurations of another space."""

    def proposer(self, problem: Problem, place: Place) -> Any:
        return ReturningProposer([Proposal({"x": 0.5, "z": 1.0})])


@pytest.mark.parametrize("placement", ["each worker", "independent", "one process"])
def test_a_proposal_of_another_space_is_refused_with_the_reason(placement: Placement) -> None:
    with pytest.raises(ValueError, match=r"propose\(\) must return configurations of the space"):
        simulate(
            bowl,
            SPACE,
            optimizer=Lost(placement),
            n_workers=2,
            n_trials=20,
            duration=lambda config, number: 1.0,
            seed=1,
        )


@dataclass(frozen=True)
class Stuck(HillClimbing):
    """Computes without end in all workers but one."""

    def proposer(self, problem: Problem, place: Place) -> Climber:
        if place.number:
            threading.Event().wait()
        return super().proposer(problem, place)


def test_a_run_ends_though_a_worker_proposes_without_end(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("rush_opt.running.workers._LOOK_EVERY_S", 0.5)
    result = tune(
        bowl, SPACE, optimizer=Stuck(), n_workers=2, n_trials=5, url=server.url, progress=False
    )
    assert (result.stop_reason, len(result.frozen_trials)) == ("n_trials", 5)
    assert sorted(worker.state for worker in result.workers) == ["killed", "stopped"]
    assert "killing workers that do not leave" in caplog.text
