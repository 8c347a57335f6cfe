"""An interrupt (Ctrl-C) at whatever moment loses nothing that ended."""

import io
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import pytest
from waiting import wait_until

from rush_core import EmbeddedServer, Network
from rush_opt import Float, FrozenTrial, History, TuneResult, tune

PATIENCE_S = 60.0


@pytest.fixture
def run(server: EmbeddedServer, network_id: str) -> Callable[..., TuneResult]:
    """Run up to 1000 trials in a network that stays, unless told otherwise."""
    usual = {"n_trials": 1000, "network_id": network_id, "progress": False}

    def run(**options: Any) -> TuneResult:
        return tune(
            lambda config: config["x"],
            {"x": Float(0, 1)},
            n_workers=1,
            optimizer="random",
            seed=1,
            url=server.url,
            **(usual | options),
        )

    return run


def test_an_interrupt_while_new_trials_are_taken_in_loses_none(
    run: Callable[..., TuneResult], server: EmbeddedServer, network_id: str
) -> None:
    manager, pressed, told = os.getpid(), [], []

    def interrupt_the_manager(history: History) -> bool:
        """Be asked at each trial that was read from the log, before any of these is added."""
        if os.getpid() == manager and history.n_finished == 3 and not pressed:
            pressed.append(True)
            signal.raise_signal(signal.SIGINT)
        return False

    result = run(stop=interrupt_the_manager, callbacks=[told.append])
    assert pressed
    assert result.stop_reason == "interrupted"
    with Network(network_id, server.url) as network:
        finished = network.fetch_finished_tasks()
    assert sorted(trial.key for trial in result.frozen_trials) == sorted(t.key for t in finished)
    assert [trial.number for trial in result.frozen_trials] == list(range(len(finished)))
    assert told == list(result.frozen_trials)
    assert result.best_value == min(task.config["x"] for task in finished)


def test_an_interrupt_in_a_callback_hides_no_trial_from_any_callback(
    run: Callable[..., TuneResult],
    server: EmbeddedServer,
    network_id: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, second = [], []
    with Network(network_id, server.url) as network:

        def interrupt(trial: FrozenTrial) -> None:
            first.append(trial)
            if trial.number == 0:  # then several come together
                wait_until(lambda: network.count_tasks().finished >= 10, PATIENCE_S)
            if trial.number == 5:
                signal.raise_signal(signal.SIGINT)

        result = run(callbacks=[interrupt, second.append])
    assert result.stop_reason == "interrupted"
    assert len(result.frozen_trials) >= 10
    assert first == second == list(result.frozen_trials)
    assert caplog.messages == [
        "stopping after the running trials; Ctrl-C again ends at once and returns nothing"
    ]


def test_an_interrupt_while_a_run_of_its_own_network_is_cleaned_up_loses_no_result(
    run: Callable[..., TuneResult], server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    reset, pressed = Network.reset, []

    def interrupted_once(network: Network) -> None:
        if not pressed:
            pressed.append(network.network_id)
            signal.raise_signal(signal.SIGINT)
        reset(network)

    monkeypatch.setattr(Network, "reset", interrupted_once)
    result = run(n_trials=5, network_id=None)
    assert pressed == [result.network_id]
    assert result.stop_reason == "n_trials"
    assert len(result.frozen_trials) == 5
    with Network(result.network_id, server.url) as network:
        assert network.fetch_workers() == []
        assert not any(network.count_tasks())


def test_an_interrupt_when_all_workers_have_ended_loses_no_result(
    run: Callable[..., TuneResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    pressed: list[str] = []

    class Screen(io.StringIO):
        """Interrupts the run when it shows its end."""

        def write(self, text: str) -> int:
            if text.startswith("5/5") and not pressed:
                pressed.append(text)
                signal.raise_signal(signal.SIGINT)
            return super().write(text)

    monkeypatch.setattr(sys, "stderr", Screen())
    result = run(n_trials=5, progress=True)
    assert pressed
    assert result.stop_reason == "interrupted"
    assert len(result.frozen_trials) == 5
