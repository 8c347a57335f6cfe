"""A run whose only worker is in this process, so that its objective can be debugged."""

from __future__ import annotations

import bdb
import contextlib
import inspect
import math
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from queue import SimpleQueue
from typing import Any, ClassVar

from rush_core import Network, RushError, Worker, WorkerInterrupt
from rush_opt.evaluation.objective import Objective
from rush_opt.evaluation.plan import RunPlan
from rush_opt.running.interrupts import Interrupts
from rush_opt.running.joined import have_ended_within
from rush_opt.running.loops import evaluate_trials

__all__ = ["HereLauncher"]


class HereLauncher:
    """One worker, in the thread that calls `run`; the manager is in another thread.

    A debugger, and some libraries, need the main thread.

    Parameters
    ----------
    network : Network
    plan : RunPlan
    interrupts : Interrupts
        Allows Ctrl-C in the objective.
    """

    are_elsewhere: ClassVar[bool] = False
    sees_ends: ClassVar[bool] = True

    def __init__(self, network: Network, plan: RunPlan, interrupts: Interrupts) -> None:
        self._network = network
        self._plan = replace(plan, objective=_Debugged(plan.objective, interrupts))
        self._is_wanted: SimpleQueue[bool] = SimpleQueue()
        self._has_ended = threading.Event()
        self._has_ended.set()

    def run(self, manage: Callable[[], str], interrupt: Callable[[], None]) -> str:
        """Run the worker here while a manager follows it; return what the manager returns.

        Parameters
        ----------
        manage : callable
            Follows the run until its end. It is called in another thread, and calls `start`.
        interrupt : callable
            Called when the user interrupts the worker or leaves the debugger.
        """
        with ThreadPoolExecutor(1, thread_name_prefix="rush-manager") as pool:
            managed = pool.submit(manage)
            managed.add_done_callback(self._release_worker)
            try:
                if self._is_wanted.get():
                    with Worker(
                        self._network.network_id, url=self._network.url, heartbeat=None
                    ) as worker:
                        evaluate_trials(worker, self._plan)
            except WorkerInterrupt:
                interrupt()
            finally:
                self._has_ended.set()
            return managed.result()

    def start(self, n: int) -> list[str]:
        """Let the worker begin; none is started that this process would have to watch."""
        self._has_ended.clear()
        self._is_wanted.put(True)
        return []

    def replace(self, n: int) -> list[str]:
        """Start none: what ends the worker is raised to the caller of `run`."""
        return []

    def pause(self, longest_s: float, *, is_due: bool) -> bool:
        """Wait for the end of the worker, and of a proposer; see `Launcher.pause`."""
        return self._has_ended.wait(longest_s) and have_ended_within(longest_s, self._network)

    def have_ended(self, *, none_left: bool, is_due: bool, is_interrupted: bool) -> bool:
        """See `Launcher.have_ended`."""
        return none_left

    def _release_worker(self, managed: Future[str]) -> None:
        """Let the worker end after its trial if the manager has ended before it."""
        self._is_wanted.put(False)
        with contextlib.suppress(RushError):
            if managed.exception() is not None:
                self._network.stop_workers()


class _Debugged:
    """An objective whose worker ends when the user presses Ctrl-C or leaves a debugger."""

    def __init__(self, objective: Objective, interrupts: Interrupts) -> None:
        self._objective = objective
        self._interrupts = interrupts
        with contextlib.suppress(TypeError, ValueError):
            self.__signature__ = inspect.signature(objective)  # whether it takes the trial

    def __call__(self, config: dict[str, Any], *trial: Any) -> Any:
        try:
            with self._interrupts.allowed(math.inf):
                return self._objective(config, *trial)
        except KeyboardInterrupt:
            raise WorkerInterrupt("interrupted by the user") from None
        except bdb.BdbQuit:
            raise WorkerInterrupt("the user left the debugger") from None
