"""The task: one packed record that moves from place to place.

A record is a MessagePack array. Every transition appends fields to it on the server, so that each
place holds one kind of record and a whole task is decoded in one call:

========  ==============================================================================
place     fields
========  ==============================================================================
queued    ``worker_id`` (empty), ``attempt``, ``key``, ``config``, ``extra``
running   the same with the worker's id, then ``started_at``
finished  the same, then ``ended_at``, ``result``, ``error`` (nil), ``result_extra``
failed    the same with ``result`` nil and ``error`` a text
========  ==============================================================================

The scripts rely on this much of the bytes: one byte of array header, the worker's id at once behind
it, ``attempt`` in one byte, and a key of at most 31 bytes, whose length therefore takes one byte.
"""

from __future__ import annotations

import enum
import operator
import secrets
from collections.abc import Callable, Collection, Iterable
from itertools import count
from typing import Any, NamedTuple

import msgspec

from rush_core.errors import CorruptRecordError
from rush_core.kernel.codec import encode, encode_record, mapping_decoder

__all__ = ["Task", "TaskCounts", "TaskState", "decode_tasks"]

_NIL = msgspec.Raw(encode(None))

_decode_mapping: Callable[[Any], dict[str, Any]] = mapping_decoder(dict[str, Any])
_decode_optional_mapping: Callable[[Any], dict[str, Any] | None]
_decode_optional_mapping = mapping_decoder(dict[str, Any] | None)


class TaskState(enum.StrEnum):
    """The four places a task can be."""

    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"


class TaskCounts(NamedTuple):
    """How many tasks are in each place."""

    queued: int
    running: int
    finished: int
    failed: int


class Task(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One evaluation, as it stood when it was fetched.

    `config`, `extra`, `result` and `result_extra` are decoded at each access (about a microsecond)
    and belong to the caller: changing what they return changes no other reader's data.

    Attributes
    ----------
    key : str
        The task's identifier.
    worker_id : str
        The worker that runs or ran it; empty while queued.
    attempt : int
        How often it had been taken up and lost before.
    started_at, ended_at : float or None
        Seconds since 1970 by the server's clock; their difference comes from one monotonic clock.
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
        """The place it was fetched from."""
        if self.ended_at is not None:
            return TaskState.FINISHED if self.error is None else TaskState.FAILED
        return TaskState.QUEUED if self.started_at is None else TaskState.RUNNING

    @property
    def config(self) -> dict[str, Any]:
        """The configuration to evaluate."""
        try:
            return _decode_mapping(self._config)
        except Exception as error:  # whatever NumPy makes of foreign bytes
            raise self._corrupt("config", error) from None

    @property
    def extra(self) -> dict[str, Any]:
        """What was given along with the configuration."""
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
        """What was given along with the result or the error."""
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

# What the array header of a record says in each place: how many fields it has.
_HEADERS = {b"queued": {0x95}, b"running": {0x96}, b"finished": {0x9A}, b"failed": {0x9A}}

_first_byte = operator.itemgetter(0)


def decode_tasks(records: Collection[bytes], redis_key: bytes) -> list[Task]:
    """Decode records.

    Raises
    ------
    CorruptRecordError
        If one is no record of a task in this place; the message names `redis_key`.
    """
    place = redis_key.rpartition(b":")[2]
    try:
        tasks = list(map(_decode_task, records))
        if not _HEADERS[place].issuperset(map(_first_byte, records)):
            raise ValueError(f"not the fields of a {place.decode()} task")
    except ValueError as error:
        raise CorruptRecordError(
            f"{redis_key.decode()} holds bytes that are no task record ({error}); another program "
            "wrote to it: use a network_id of your own, or reset this network",
            key=redis_key.decode(),
        ) from None
    return tasks


_GIVEN = ("configuration parameter", "extra")
_RETURNED = ("result", "extra")


def key_maker() -> Callable[[], str]:
    """Return what makes one key after the other, in any thread.

    They are unique without asking anybody: their prefix is drawn anew for each maker.
    """
    return map(f"{secrets.token_hex(6)}-%d".__mod__, count(1)).__next__


def queued_records(
    new_key: Callable[[], str], given: Iterable[tuple[Any, Any]]
) -> tuple[list[str], list[bytes]]:
    """Make keys for tasks that wait for a worker, and pack them: pairs of config and extra."""
    keys, records = [], []
    for config, extra in given:
        keys.append(new_key())
        records.append(encode_record(("", 0, keys[-1], config, extra), _GIVEN, config, extra))
    return keys, records


def running_record(key: str, config: Any, extra: Any, worker_id: str, started_at: float) -> bytes:
    """Pack a task that a worker starts."""
    return encode_record((worker_id, 0, key, config, extra, started_at), _GIVEN, config, extra)


def finished_end(ended_at: float, result: Any, extra: Any) -> bytes:
    """Pack the fields that its result appends to a record."""
    return encode_record((ended_at, result, None, extra), _RETURNED, result, extra)[1:]


def failed_end(ended_at: float, error: str, extra: Any) -> bytes:
    """Pack the fields that an error appends to a record."""
    return encode_record((ended_at, None, error, extra), _RETURNED, {}, extra)[1:]


def ended_record(
    key: str, config: Any, extra: Any, at: float, result: Any, error: str | None
) -> bytes:
    """Pack a task that was evaluated elsewhere, without a worker."""
    values = ("", 0, key, config, extra, at, at, result, error, None)
    returned = result if error is None else {}
    return encode_record(values, (*_GIVEN, "result"), config, extra, returned)
