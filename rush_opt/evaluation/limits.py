"""Limits of time and memory on every trial: its objective runs in a process that can be killed.

An objective can hold the interpreter lock or run foreign code, so nothing inside its own process
can end it in time. Therefore each worker keeps one evaluation process for all its trials. When a
trial exceeds a limit, the process is killed with all that it has started, and replaced.

An objective may stop this process in the middle of a message, or write to its connection. So every
call of the worker to the process has the trial's deadline, and bytes that are no message fail the
trial.

Memory is the resident set of the process and its children, sampled. A limit on addresses
(RLIMIT_AS) would be exact, but numerical libraries reserve many times what they use, and each child
would have a limit of its own.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import math
import pickle
import sys
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import cloudpickle

from rush_opt.evaluation.channel import GarbledError
from rush_opt.evaluation.evaluation_process import EvaluationProcess
from rush_opt.evaluation.limited_process import trial_error
from rush_opt.evaluation.objective import Objective, TrialFailure

__all__ = ["LimitedObjective", "Limits"]

logger = logging.getLogger(__name__)

# How often the memory is read during a trial.
_SAMPLE_EVERY_S = 0.05

# If children hold the connection of an evaluation process open, its end is noticed after this time.
_LOOK_EVERY_S = 1.0

# How long one message may take if there is no limit of time.
_LONGEST_S = 1e6

_GARBLED = (
    "bytes that are no message came from the process of the objective; an objective may not write "
    "to file descriptors that it did not open"
)


@dataclass(frozen=True)
class Limits:
    """What a trial may use.

    Parameters
    ----------
    timeout_s : float or None
        Seconds.
    memory_bytes : int or None
        Resident memory of the evaluation process and all its children.
    """

    timeout_s: float | None
    memory_bytes: int | None


class LimitedObjective:
    """An objective that is called in another process, and whose trial fails beyond a limit.

    Parameters
    ----------
    objective : callable
    limits : Limits

    Attributes
    ----------
    cpu_s : float
        CPU time of the evaluation process at the end of its last trial; 0 once the process has
        ended, because it then counts as an ended child.
    """

    def __init__(self, objective: Objective, limits: Limits) -> None:
        self._limits = limits
        level = logging.getLogger().level
        self._packed = pickle.dumps((sys.path, level, cloudpickle.dumps(objective)))
        with contextlib.suppress(TypeError, ValueError):
            self.__signature__ = inspect.signature(objective)  # whether it takes the trial
        self._process = EvaluationProcess(self._packed)
        self._is_ready = False
        self._has_begun = False  # the process has taken its trial
        self._next_sample_at = 0.0
        self.cpu_s = 0.0

    def __call__(self, config: dict[str, Any], *trial: Any) -> Any:
        """Return what the objective returns.

        Raises
        ------
        TrialFailure
            If it raises, exceeds a limit or ends its process; the text is the reason.
        """
        # What an earlier trial left behind may end the process, or write to its connection, before
        # this trial has begun.
        message = self._evaluate(config, trial, is_last_try=False)
        if message is None:
            message = self._evaluate(config, trial, is_last_try=True)
        assert message is not None
        kind, (outcome, self.cpu_s) = message
        if kind == "failed":
            raise TrialFailure(outcome)
        try:
            return pickle.loads(outcome)
        except Exception as error:
            raise TrialFailure(
                f"the objective returned a value that its worker cannot load:\n{trial_error(error)}"
            ) from None

    def _evaluate(
        self, config: dict[str, Any], trial: tuple[Any, ...], *, is_last_try: bool
    ) -> tuple[str, Any] | None:
        """Let the process evaluate a trial; return the message with the outcome.

        None if the process has ended before the trial began, and this is not the last try.
        """
        if self._is_ready:
            self._check_between_trials()
        if not self._is_ready:
            self._wait_until_ready()
        timeout_s = self._limits.timeout_s
        deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
        self._has_begun = False
        try:
            return self._converse(config, trial, deadline)
        except _ExceededError as excess:
            self._start_anew()
            raise TrialFailure(str(excess)) from None
        except (EOFError, OSError, GarbledError) as error:
            how = self._start_anew()
            if self._has_begun or is_last_try:
                is_garbled = isinstance(error, GarbledError)
                text = _GARBLED if is_garbled else f"the process of the objective {how}"
                raise TrialFailure(text) from None
            logger.warning("the evaluation process %s before its next trial began", how)
            return None
        except BaseException:
            self._start_anew()  # it is in the middle of its trial
            raise

    def close(self) -> None:
        """End the evaluation process."""
        self._process.kill()
        self.cpu_s = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _wait_until_ready(self) -> None:
        """Wait until the objective is unpickled with its imports: this is not time of a trial."""
        try:
            while (message := self._process.receive(_LOOK_EVERY_S)) is None:
                pass
        except (EOFError, OSError, GarbledError):
            how = self._start_anew()
            raise RuntimeError(f"the evaluation process cannot start: it {how}") from None
        kind, content = message
        if kind == "failed":
            raise RuntimeError(f"the evaluation process cannot start:\n{content[0]}")
        self._is_ready = True

    def _check_between_trials(self) -> None:
        """Start another process if this one has ended or sent anything but logs after its trial."""
        try:
            if self._process.receive(0.0) is None:
                return
            what = "called a method of the trial"
        except (EOFError, OSError):
            what = "ended or closed its connection"
        except GarbledError:
            what = "wrote to its connection"
        how = self._start_anew()
        logger.warning("the evaluation process %s after its trial; it %s", what, how)

    def _converse(
        self, config: dict[str, Any], trial: tuple[Any, ...], deadline: float
    ) -> tuple[str, Any]:
        """Let the process evaluate a trial; return the message with the outcome."""
        self._send((config, _described(*trial) if trial else None), deadline)
        while True:
            kind, content = self._receive(deadline)
            if kind == "begun":
                self._has_begun = True
                continue
            if not self._has_begun:
                raise GarbledError  # a message of an earlier trial
            if kind != "call":
                return kind, content
            self._send(_call(trial[0], *content), deadline)

    def _send(self, content: Any, deadline: float) -> None:
        """Send an object; raise if the process has not read it by the deadline."""
        try:
            self._process.send(content, min(max(deadline - time.monotonic(), 0.0), _LONGEST_S))
        except TimeoutError:
            raise self._too_late() from None

    def _receive(self, deadline: float) -> tuple[str, Any]:
        """Return the next message; raise if a limit is exceeded before it comes."""
        limits, process = self._limits, self._process
        while True:
            now = time.monotonic()
            left_s = deadline - now
            if left_s <= 0:
                raise self._too_late()
            # This comes first, because some objectives send messages all the time.
            if limits.memory_bytes is not None and now >= self._next_sample_at:
                self._next_sample_at = now + _SAMPLE_EVERY_S
                used = process.memory_bytes()
                if used > limits.memory_bytes:
                    raise _ExceededError(
                        f"the trial used {used:,} bytes of memory, more than "
                        f"trial_memory={limits.memory_bytes:,}"
                    )
            most_s = _LOOK_EVERY_S if limits.memory_bytes is None else _SAMPLE_EVERY_S
            if (message := process.receive(min(left_s, most_s))) is not None:
                return message

    def _too_late(self) -> _ExceededError:
        return _ExceededError(
            f"the trial took longer than trial_timeout={self._limits.timeout_s or _LONGEST_S:g} s"
        )

    def _start_anew(self) -> str:
        """Kill the evaluation process, start another, and return how the first one ended."""
        how = self._process.kill()
        self.cpu_s = 0.0
        self._is_ready = False
        # It starts while the next trial is proposed.
        self._process = EvaluationProcess(self._packed)
        return how


class _ExceededError(Exception):
    """A limit was exceeded."""


def _described(trial: Any) -> tuple[dict[str, Any], list[str]]:
    """Return a trial's attributes, and the names of its methods, which run in this process."""
    public = {name: getattr(trial, name) for name in dir(trial) if not name.startswith("_")}
    methods = [name for name, value in public.items() if callable(value)]
    return {name: value for name, value in public.items() if name not in methods}, methods


def _call(trial: Any, name: str, args: Any, kwargs: Any) -> tuple[Any, Exception | None]:
    """Call a method of the trial; return its value or its exception."""
    try:
        return getattr(trial, name)(*args, **kwargs), None
    except Exception as error:
        return None, error
