"""How the workers of a run come to life: as processes here, through an executor, by a command."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import ClassVar, Protocol

from rush_core import Network, WorkersFailedError, WorkerState
from rush_opt.evaluation.plan import RunPlan
from rush_opt.running.joined import JoinedWorkers, have_ended_within
from rush_opt.running.loops import evaluate_trials
from rush_opt.running.warm_up import warm_up_of

__all__ = ["CommandLauncher", "ExecutorLauncher", "Launcher", "LocalLauncher"]


class Launcher(Protocol):
    """Starts the workers of a run, and tells whether any of them can still do something for it."""

    @property
    def are_elsewhere(self) -> bool:
        """Whether the workers are no child processes of this process."""

    @property
    def sees_ends(self) -> bool:
        """Whether this process notices when a worker ends."""

    def start(self, n: int) -> list[str]:
        """Start workers; return the ids of those that this process started."""

    def replace(self, n: int) -> list[str]:
        """Start workers in place of lost ones, if that can be done from here; return their ids."""

    def pause(self, longest_s: float, *, is_due: bool) -> bool:
        """Let a moment pass, so that all that happens in it is handled together.

        Parameters
        ----------
        longest_s : float
            Seconds. The pause ends earlier if none is left of the workers this process started.
        is_due : bool
            Whether the run is about to end.

        Returns
        -------
        bool
            Whether none is left of the workers this process started.
        """

    def have_ended(self, *, none_left: bool, is_due: bool, is_interrupted: bool) -> bool:
        """Tell whether no worker will do anything more for the run; at most one round trip.

        Parameters
        ----------
        none_left : bool
            Whether none is left of the workers this process started.
        is_due : bool
            Whether the run is about to end.
        is_interrupted : bool
            Whether the user interrupted it.
        """


class LocalLauncher:
    """Worker processes on this machine, which end with this process.

    Parameters
    ----------
    network : Network
    plan : RunPlan
    joined : JoinedWorkers
    """

    are_elsewhere: ClassVar[bool] = False
    sees_ends: ClassVar[bool] = True

    def __init__(self, network: Network, plan: RunPlan, joined: JoinedWorkers) -> None:
        self._network = network
        self._plan = plan
        self._joined = joined

    def start(self, n: int) -> list[str]:
        """Start processes."""
        return self._network.start_workers(
            evaluate_trials,
            n,
            args=(self._plan,),
            log_folder=self._plan.log_folder,
            start_method=self._plan.start_method,
            warm_up=warm_up_of(self._plan),
        )

    replace = start

    def pause(self, longest_s: float, *, is_due: bool) -> bool:
        """Wait for processes to end; see `Launcher.pause`."""
        return have_ended_within(longest_s, self._network)

    def have_ended(self, *, none_left: bool, is_due: bool, is_interrupted: bool) -> bool:
        """See `Launcher.have_ended`."""
        # A process that is still starting will join and then exit: wait for it, if not interrupted.
        return none_left or (is_due and is_interrupted and self._joined.all_have_left())


class ExecutorLauncher:
    """Workers as calls of an executor, whose processes may be anywhere.

    Parameters
    ----------
    network : Network
    plan : RunPlan
    joined : JoinedWorkers
    executor : concurrent.futures.Executor
    """

    are_elsewhere: ClassVar[bool] = True
    sees_ends: ClassVar[bool] = True

    def __init__(
        self, network: Network, plan: RunPlan, joined: JoinedWorkers, executor: Executor
    ) -> None:
        self._network = network
        self._plan = plan
        self._joined = joined
        self._executor = executor

    def start(self, n: int) -> list[str]:
        """Submit calls."""
        return self._network.start_workers(
            evaluate_trials, n, args=(self._plan,), executor=self._executor
        )

    replace = start

    def pause(self, longest_s: float, *, is_due: bool) -> bool:
        """Wait for calls to end; see `Launcher.pause`."""
        return have_ended_within(longest_s, self._network)

    def have_ended(self, *, none_left: bool, is_due: bool, is_interrupted: bool) -> bool:
        """See `Launcher.have_ended`."""
        # An executor may never begin a call that it has queued: do not wait for that.
        return none_left or (is_due and self._joined.all_have_left())


class CommandLauncher:
    """Workers that somebody else starts by a shell command, and that nobody here can replace.

    Parameters
    ----------
    network : Network
    plan : RunPlan
    joined : JoinedWorkers
    launch : callable
        ``launch(command, n_workers)``. If it returns something with a ``poll`` as a
        `subprocess.Popen` has, a failed launch ends the run.
    """

    are_elsewhere: ClassVar[bool] = True
    sees_ends: ClassVar[bool] = False

    def __init__(
        self,
        network: Network,
        plan: RunPlan,
        joined: JoinedWorkers,
        launch: Callable[[str, int], object],
    ) -> None:
        self._network = network
        self._plan = plan
        self._joined = joined
        self._launch = launch
        self._launched: object = None

    def start(self, n: int) -> list[str]:
        """Call `launch` once with the command; none of the workers is started by this process."""
        command = self._network.worker_command(
            evaluate_trials, args=(self._plan,), warm_up=warm_up_of(self._plan)
        )
        self._launched = self._launch(command, n)
        return []

    def replace(self, n: int) -> list[str]:
        """Start none: what runs elsewhere is started elsewhere."""
        return []

    def pause(self, longest_s: float, *, is_due: bool) -> bool:
        """Let the moment pass, unless the run is about to end; see `Launcher.pause`."""
        # A proposer may run here.
        none_left = have_ended_within(longest_s, self._network)
        if not is_due:
            # The end of a launched worker is not seen here. No event is missed by this sleep: the
            # server delays its next reply only if nothing has happened since the last one.
            time.sleep(longest_s)
        return none_left

    def have_ended(self, *, none_left: bool, is_due: bool, is_interrupted: bool) -> bool:
        """Tell whether no launched worker is left, and none is needed.

        When all were lost, others may still join.

        Raises
        ------
        WorkersFailedError
            If the launch has failed, and workers are needed.
        """
        if not none_left:
            return False
        code = self._exit_code()  # before the registry is read
        if self._joined.some_are_active():
            return False
        mine = self._joined.of_this_run()
        exited = bool(mine) and all(worker.state is not WorkerState.LOST for worker in mine)
        if not (exited or is_due):
            self._raise_if_failed(code)
        return exited or is_due

    def _exit_code(self) -> int:
        """Return the exit code of the launch; 0 while it runs, or if it has none."""
        poll = getattr(self._launched, "poll", None)
        code: int = (poll() or 0) if callable(poll) else 0
        return code

    def _raise_if_failed(self, code: int) -> None:
        if code:
            raise WorkersFailedError(
                f"no worker is in the network, and the program that launch= started for "
                f"{self._plan.n_workers} workers ended with exit code {code}; see what it printed, "
                "and start it by hand to find out why"
            )
