"""The task: one packed record that moves from place to place, and tables of tasks.

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
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import msgspec

from rush_core.codec import decode, encode, encode_record
from rush_core.errors import CorruptRecordError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Task", "TaskCounts", "TaskState", "TaskTable", "decode_tasks"]

_NIL = msgspec.Raw(encode(None))


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
        config: dict[str, Any] = decode(self._config)
        return config

    @property
    def extra(self) -> dict[str, Any]:
        """What was given along with the configuration."""
        return decode(self._extra) or {}

    @property
    def result(self) -> dict[str, Any] | None:
        """What the evaluation returned; None unless finished."""
        result: dict[str, Any] | None = decode(self._result)
        return result

    @property
    def result_extra(self) -> dict[str, Any]:
        """What was given along with the result or the error."""
        return decode(self._result_extra) or {}

    def __repr__(self) -> str:
        outcome = f", result={self.result}" if self.error is None else f", error={self.error!r}"
        return (
            f"Task({self.key!r}, {self.state.value}, config={self.config}"
            f"{outcome if self.ended_at is not None else ''})"
        )


_decode_task = msgspec.msgpack.Decoder(Task).decode


def decode_tasks(records: Iterable[bytes], redis_key: bytes) -> list[Task]:
    """Decode records.

    Raises
    ------
    CorruptRecordError
        If one is no record of a task; the message names `redis_key`, where it was found.
    """
    try:
        return [_decode_task(record) for record in records]
    except msgspec.MsgspecError as error:
        raise CorruptRecordError(
            f"{redis_key.decode()} holds bytes that are no task record ({error}); another program "
            "wrote to it: use a network_id of your own, or reset this network",
            key=redis_key.decode(),
        ) from None


_GIVEN = ("configuration parameter", "extra")
_RETURNED = ("result", "extra")


def queued_record(key: str, config: Any, extra: Any) -> bytes:
    """Pack a task that waits for a worker."""
    return encode_record(("", 0, key, config, extra), _GIVEN, _present(config, extra))


def running_record(key: str, config: Any, extra: Any, worker_id: str, started_at: float) -> bytes:
    """Pack a task that a worker starts."""
    values = (worker_id, 0, key, config, extra, started_at)
    return encode_record(values, _GIVEN, _present(config, extra))


def finished_end(ended_at: float, result: Any, extra: Any) -> bytes:
    """Pack the fields that its result appends to a record."""
    values = (ended_at, result, None, extra)
    return encode_record(values, _RETURNED, _present(result, extra))[1:]


def failed_end(ended_at: float, error: str, extra: Any) -> bytes:
    """Pack the fields that an error appends to a record."""
    return encode_record((ended_at, None, error, extra), _RETURNED, _present({}, extra))[1:]


def ended_record(
    key: str, config: Any, extra: Any, at: float, result: Any, error: str | None
) -> bytes:
    """Pack a task that was evaluated elsewhere, without a worker."""
    values = ("", 0, key, config, extra, at, at, result, error, None)
    given = (*_present(config, extra), result if error is None else {})
    labels = _GIVEN if extra is not None else _GIVEN[:1]
    return encode_record(values, (*labels, "result"), given)


def _present(mapping: Any, extra: Any) -> tuple[Any, ...]:
    return (mapping,) if extra is None else (mapping, extra)


class TaskTable(Sequence[Task]):
    """An immutable sequence of tasks with columns on demand.

    Parameters
    ----------
    tasks : list of Task
        May grow behind the table's back: the table is its first `length` items.
    length : int, optional
    """

    __slots__ = ("_length", "_tasks")

    def __init__(self, tasks: list[Task], length: int | None = None) -> None:
        self._tasks = tasks
        self._length = len(tasks) if length is None else length

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> Task: ...
    @overload
    def __getitem__(self, index: slice) -> TaskTable: ...
    def __getitem__(self, index: int | slice) -> Task | TaskTable:
        if isinstance(index, slice):
            return TaskTable([self._tasks[i] for i in range(*index.indices(self._length))])
        if not -self._length <= index < self._length:
            raise IndexError(f"task {index} of a table of {self._length}")
        return self._tasks[index % self._length]

    def __iter__(self) -> Iterator[Task]:
        tasks = self._tasks
        return (tasks[i] for i in range(self._length))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TaskTable) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<TaskTable of {self._length} tasks>"

    @property
    def keys(self) -> list[str]:
        """The identifiers."""
        return [task.key for task in self]

    @property
    def configs(self) -> list[dict[str, Any]]:
        """The configurations."""
        return [task.config for task in self]

    @property
    def results(self) -> list[dict[str, Any] | None]:
        """The results; None for a task that has none."""
        return [task.result for task in self]

    def column(self, name: str) -> list[Any]:
        """Return one parameter or result of all tasks; None where a task has no such name.

        Raises
        ------
        KeyError
            If no task has `name`, or it is both a parameter and a result.
        """
        configs, results = self.configs, [result or {} for result in self.results]
        sources = [rows for rows in (configs, results) if any(name in row for row in rows)]
        if not sources:
            found = sorted({found for rows in (configs, results) for row in rows for found in row})
            raise KeyError(f"no task has a parameter or result {name!r}; there are {found}")
        if len(sources) > 1:
            raise KeyError(f"{name!r} is both a parameter and a result; use configs or results")
        return [row.get(name) for row in sources[0]]

    def to_pandas(self) -> pd.DataFrame:
        """Return a row per task; ``config.``, ``extra.`` and so on precede the given names.

        A column keeps its values as they are: where some tasks lack a name, it holds None.
        """
        import pandas as pd

        rows = [_flat(task) for task in self]
        names = list(dict.fromkeys(name for row in rows for name in row))
        if not rows:
            names = list(_FIXED)
        return pd.DataFrame({name: _series([row.get(name) for row in rows]) for name in names})


_FIXED = ("key", "state", "worker_id", "started_at", "ended_at", "error")


def _flat(task: Task) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(task, name) for name in _FIXED}
    row["state"] = task.state.value
    row |= {f"config.{name}": value for name, value in task.config.items()}
    row |= {f"result.{name}": value for name, value in (task.result or {}).items()}
    row |= {f"extra.{name}": value for name, value in task.extra.items()}
    row |= {f"result_extra.{name}": value for name, value in task.result_extra.items()}
    return row


def _series(values: list[Any]) -> Any:
    """Make a column that changes no value's type: only whole columns of one type are converted."""
    import pandas as pd

    types = {type(value) for value in values}
    if types == {float, type(None)}:
        types, values = {float}, [float("nan") if value is None else value for value in values]
    uniform = len(types) == 1 and types <= {bool, int, float, str}
    return pd.Series(values, dtype=None if uniform else object)
