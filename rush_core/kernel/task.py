"""The task: one packed record that moves from place to place.

A record is a MessagePack array. Each transition appends fields to it in the server, so that each
place holds one kind of record, and a whole task is decoded by one call:

========  ==============================================================================
place     fields
========  ==============================================================================
queued    ``worker_id`` (empty), ``attempt``, ``key``, ``config``, ``extra``
running   the same with the worker's id, then ``started_at``
finished  the same, then ``ended_at``, ``result``, ``error`` (nil), ``result_extra``
failed    the same with ``result`` nil and ``error`` a text
========  ==============================================================================

A task that fails without having been started has an empty ``worker_id`` and ``started_at`` nil.

Scripts rely on these bytes (``scripts/record.lua`` has their names): the array header is one byte,
the worker's id follows at once, ``attempt`` is one byte, and a key has at most 31 bytes, so that
its length is one byte.
"""

from __future__ import annotations

import enum
import operator
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import count
from typing import Any, NamedTuple, NoReturn

import msgspec

from rush_core.arguments import nearest
from rush_core.errors import CorruptRecordError
from rush_core.kernel.codec import (
    array_header,
    encode,
    encode_record,
    mapping_decoder,
    too_deep,
)

__all__ = [
    "Task",
    "TaskCounts",
    "TaskState",
    "decode_tasks",
    "end_running",
    "ended_record",
    "failed_end",
    "finished_end",
    "key_sequence",
    "queued_records",
    "running_record",
]

_NIL = msgspec.Raw(encode(None))

_decode_mapping: Callable[[Any], dict[str, Any]] = mapping_decoder(dict[str, Any])
_decode_optional_mapping: Callable[[Any], dict[str, Any] | None]
_decode_optional_mapping = mapping_decoder(dict[str, Any] | None)


class TaskState(enum.StrEnum):
    """The four states of a task. Each is the name of the place that holds the task's record.

    A task starts as queued (it was pushed) or as running (a worker started it itself). It ends as
    finished or failed, and does not change after that.
    """

    QUEUED = "queued"  # waits in the queue until a worker claims it
    RUNNING = "running"  # a worker evaluates it
    FINISHED = "finished"  # a worker returned its result
    FAILED = "failed"  # a worker returned an error, was lost, or the queue was cleared

    @classmethod
    def _missing_(cls, value: object) -> NoReturn:
        known = [state.value for state in cls]
        raise ValueError(
            f"a state of tasks is {', '.join(known[:-1])} or {known[-1]}, got {value!r}."
            f"{nearest(str(value), known)}"
        )


class TaskCounts(NamedTuple):
    """How many tasks are in each state."""

    queued: int
    running: int
    finished: int
    failed: int


class Task(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One task, as it was when it was fetched.

    `config`, `extra`, `result` and `result_extra` are decoded at each access, which takes about a
    microsecond. They belong to the caller: to change them changes no other reader's data.

    Attributes
    ----------
    key : str
        The task's identifier in its network.
    worker_id : str
        The worker that runs or ran it; empty while it is queued.
    attempt : int
        How often it was lost with its worker before.
    started_at, ended_at : float or None
        Seconds since 1970 by the server's clock. Their difference is exact, because both come from
        one monotonic clock.
    error : str or None
        Why it failed.
    """

    worker_id: str
    attempt: int
    key: str
    _config: msgspec.Raw
    _extra: msgspec.Raw
    started_at: float | None = None
    ended_at: float | None = None
    _result: msgspec.Raw = _NIL
    error: str | None = None
    _result_extra: msgspec.Raw = _NIL

    @property
    def state(self) -> TaskState:
        """The state when it was fetched.

        The record does not store the state. It is inferred from the fields that are set: a task
        with `ended_at` has failed if it has an `error`, else it has finished. A task without
        `ended_at` is running if it has `started_at`, else it is queued.
        """
        if self.ended_at is not None:
            return TaskState.FINISHED if self.error is None else TaskState.FAILED
        return TaskState.QUEUED if self.started_at is None else TaskState.RUNNING

    @property
    def config(self) -> dict[str, Any]:
        """The configuration to evaluate."""
        try:
            return _decode_mapping(self._config)
        except Exception as error:  # NumPy raises various errors for bytes of other programs
            raise self._corrupt("config", error) from None

    @property
    def extra(self) -> dict[str, Any]:
        """The values that were stored with the configuration."""
        try:
            return _decode_optional_mapping(self._extra) or {}
        except Exception as error:
            raise self._corrupt("extra", error) from None

    @property
    def result(self) -> dict[str, Any] | None:
        """What the evaluation returned; None unless finished."""
        try:
            result = _decode_optional_mapping(self._result)
            if result is None and self.state is TaskState.FINISHED:
                raise ValueError("found nil")
        except Exception as error:
            raise self._corrupt("result", error) from None
        return result

    @property
    def result_extra(self) -> dict[str, Any]:
        """The values that were stored with the result or the error."""
        try:
            return _decode_optional_mapping(self._result_extra) or {}
        except Exception as error:
            raise self._corrupt("result_extra", error) from None

    def _corrupt(self, name: str, error: Exception) -> CorruptRecordError:
        return CorruptRecordError(
            f"the {name} of the {self.state.value} task {self.key!r} is no mapping of names and "
            f"values ({error}); another program wrote to this network: reset it",
            key=self.key,
        )

    def __repr__(self) -> str:
        outcome = f", result={self.result}" if self.error is None else f", error={self.error!r}"
        return (
            f"Task({self.key!r}, {self.state.value}, config={self.config}"
            f"{outcome if self.ended_at is not None else ''})"
        )


_decode_task = msgspec.msgpack.Decoder(Task).decode

# The first byte of a record, its array header, states the number of fields. It differs by place.
_HEADERS = {
    b"queued": array_header(5),
    b"running": array_header(6),
    b"finished": array_header(10),
    b"failed": array_header(10),
}

_ENDED = bytes((_HEADERS[b"finished"],))

_first_byte = operator.itemgetter(0)


def decode_tasks(records: Collection[bytes], redis_key: bytes) -> list[Task]:
    """Decode records.

    Raises
    ------
    CorruptRecordError
        If one is no record of a task in this place, or is nested too deep to be read; the message
        names `redis_key`, and of a record that is too deep its task.
    """
    place = redis_key.rpartition(b":")[2]
    try:
        tasks = list(map(_decode_task, records))
        if not {_HEADERS[place]}.issuperset(map(_first_byte, records)):
            raise ValueError(f"not the fields of a {place.decode()} task")
    except RecursionError:
        raise too_deep(_decode_task, records, redis_key) from None
    except ValueError as error:
        raise CorruptRecordError(
            f"{redis_key.decode()} holds bytes that are no task record ({error}); another program "
            "wrote to it: use a network_id of your own, or reset this network",
            key=redis_key.decode(),
        ) from None
    return tasks


# What errors call the mappings that a user gives with a task, and those of its result.
_GIVEN = ("configuration parameter", "extra")
_RETURNED = ("result", "extra")


def key_sequence() -> Iterator[str]:
    """Return an endless iterator of keys for new tasks; threads may share it.

    The keys begin with random bytes, so those of different processes differ without coordination.
    """
    return map(f"{secrets.token_hex(6)}-%d".__mod__, count(1))


def queued_records(
    keys: Iterator[str], given: Iterable[tuple[Any, Any]]
) -> tuple[list[str], list[bytes]]:
    """Pack new tasks for the queue.

    Parameters
    ----------
    keys : iterator of str
        Where to take their keys from.
    given : iterable of tuple
        Configuration and extra of each task.

    Returns
    -------
    keys : list of str
    records : list of bytes
    """
    taken, records = [], []
    for config, extra in given:
        taken.append(next(keys))
        records.append(encode_record(("", 0, taken[-1], config, extra), _GIVEN, config, extra))
    return taken, records


def running_record(key: str, config: Any, extra: Any, worker_id: str, started_at: float) -> bytes:
    """Pack the record of a task that a worker starts itself."""
    return encode_record((worker_id, 0, key, config, extra, started_at), _GIVEN, config, extra)


def finished_end(ended_at: float, result: Any, extra: Any) -> bytes:
    """Pack the fields that a finish appends to a record."""
    return encode_record((ended_at, result, None, extra), _RETURNED, result, extra)[1:]


def failed_end(ended_at: float, error: str, extra: Any) -> bytes:
    """Pack the fields that a failure appends to a record."""
    return encode_record((ended_at, None, error, extra), _RETURNED, {}, extra)[1:]


def end_running(record: bytes, end: bytes) -> tuple[bytes, Task]:
    """Return what the server makes of a running task when a worker ends it, also decoded."""
    ended = _ENDED + record[1:] + end
    return ended, _decode_task(ended)


def ended_record(
    key: str,
    config: Any,
    extra: Any,
    at: float,
    result: Any,
    error: str | None,
    result_extra: Any = None,
) -> bytes:
    """Pack the record of a task that ended outside the network; it has no worker."""
    values = ("", 0, key, config, extra, at, at, result, error, result_extra)
    labels = (*_GIVEN, "result", "result_extra")
    returned = result if error is None else {}
    returned_extra = {} if result_extra is None else result_extra
    return encode_record(values, labels, config, extra, returned, returned_extra)
