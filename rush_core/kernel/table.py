"""Tables of tasks: immutable sequences that also return columns."""

from __future__ import annotations

import functools
import operator
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, overload

import msgspec
import numpy as np
import numpy.typing as npt

from rush_core.kernel.codec import mapping_decoder
from rush_core.kernel.columns import Columns
from rush_core.kernel.task import Task, decode_tasks, ended_record

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["EndedTasks", "TaskTable"]


class TaskTable(Sequence[Task]):
    """An immutable sequence of tasks, which also returns columns.

    Parameters
    ----------
    tasks : list of Task
    length : int, optional
        How many of the list's first tasks the table has; by default all. The list may grow
        afterwards.
    """

    __slots__ = ("_length", "_tasks")

    def __init__(self, tasks: list[Task], length: int | None = None) -> None:
        self._tasks = tasks
        self._length = len(tasks) if length is None else length

    @classmethod
    def from_results(
        cls, configs: Sequence[dict[str, Any]], results: Sequence[dict[str, Any]]
    ) -> TaskTable:
        """Make a table of finished tasks from evaluations that are in no network.

        Raises
        ------
        TypeError, ValueError
            If a value cannot be stored.
        """
        records = [
            ended_record(str(i), config, None, 0.0, result, None)
            for i, (config, result) in enumerate(zip(configs, results, strict=True))
        ]
        return cls(decode_tasks(records, b"memory:finished"))

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
        """The keys of the tasks."""
        return [task.key for task in self]

    @property
    def configs(self) -> list[dict[str, Any]]:
        """The configurations."""
        return [task.config for task in self]

    @property
    def results(self) -> list[dict[str, Any] | None]:
        """The results; None for a task that has none."""
        return [task.result for task in self]

    def result_notes(self, name: str) -> list[Any]:
        """Return the value named `name` in each task's `result_extra`; None if it has none."""
        # A search for the bytes of the name avoids decoding most tasks that do not have it.
        sought = name.encode()
        return [
            task.result_extra.get(name) if sought in bytes(task._result_extra) else None
            for task in self
        ]

    def noted(self, name: str) -> list[Any]:
        """Return `result_notes`, which replaces this method."""
        warnings.warn(
            "TaskTable.noted is now TaskTable.result_notes; the old name will be removed in the "
            "next release",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.result_notes(name)

    def column(self, name: str) -> list[Any]:
        """Return one parameter or result of all tasks; None for a task that has no such name.

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

    def to_numpy(
        self, names: Sequence[str], *, of: Literal["config", "result"] = "config"
    ) -> npt.NDArray[np.float64]:
        """Return numbers of all tasks as a matrix, one row for each task.

        Parameters
        ----------
        names : sequence of str
            The parameters or the results; booleans become 0 and 1.
        of : str
            ``"config"`` or ``"result"``.

        Returns
        -------
        ndarray of float64, shape (n_tasks, n_names)

        Raises
        ------
        ValueError
            If a task has no number of a name; the message names the task and the name.

        Notes
        -----
        Numbers are read from the records into the matrix without dicts. This takes half the time
        of reading `configs`.
        """
        read = _tuple_reader(tuple(names))
        records = (task._config if of == "config" else task._result for task in self)
        rows = chain.from_iterable(map(read, records))
        n, d = self._length, len(names)
        try:
            return np.fromiter(rows, np.float64, n * d).reshape(n, d)
        except (msgspec.MsgspecError, TypeError) as error:
            self._explain(names, of)
            raise ValueError(f"a {of} has not all of {list(names)} as numbers: {error}") from None

    def _explain(self, names: Sequence[str], of: str) -> None:
        """Raise an error that names the task, the name and the value that is no number."""
        for task in self:
            values = getattr(task, of) or {}
            for name in names:
                value = values.get(name)
                if not isinstance(value, int | float):
                    found = f"has {value!r:.80} as" if name in values else "lacks"
                    raise ValueError(
                        f"need a number {name!r} in the {of} of every task, but task {task.key!r} "
                        f"{found} {name!r}"
                    )

    def to_pandas(self) -> pd.DataFrame:
        """Return a DataFrame with one row for each task.

        The first columns are those of the task itself. The columns of parameters begin with
        ``config.``, then come ``result.``, ``extra.`` and ``result_extra.``. A column keeps the
        types of its values. If a task lacks a name, the column has None there, or NaN if all other
        values are floats.
        """
        import pandas as pd

        own = Columns("")
        mappings = {name: Columns(f"{name}.") for name in _MAPPINGS}
        for start in range(0, max(self._length, 1), _PART):
            tasks = self._tasks[start : min(start + _PART, self._length)]
            columns: dict[str, list[Any]]
            columns = {name: list(map(operator.attrgetter(name), tasks)) for name in _FIXED}
            own.append(columns | {"state": [state.value for state in columns["state"]]}, len(tasks))
            for name, collected in mappings.items():
                rows = [getattr(task, name) or {} for task in tasks]
                names = dict.fromkeys(chain.from_iterable(rows))
                collected.append(
                    {name: [row.get(name) for row in rows] for name in names}, len(rows)
                )
        series = own.to_series()
        for collected in mappings.values():
            series |= collected.to_series()
        return pd.DataFrame(series, copy=False)


class EndedTasks(NamedTuple):
    """The tasks that ended since the last call, each table in the order of its log.

    `failed` has only tasks that a worker failed. Tasks of lost workers, and tasks that were removed
    from the queue, are left out: nothing is known about their configurations.
    """

    finished: TaskTable
    failed: TaskTable


# A field of a struct of msgspec cannot have these in its name.
_NOT_FOR_FIELDS = re.compile(r'["\\\x00-\x1f]')

_FIXED = ("key", "state", "worker_id", "started_at", "ended_at", "error")
_MAPPINGS = ("config", "result", "extra", "result_extra")

# So many tasks are decoded at a time for a DataFrame. The time does not depend on it much.
_PART = 10_000


@functools.lru_cache(maxsize=32)
def _tuple_reader(names: tuple[str, ...]) -> Callable[[msgspec.Raw], tuple[float, ...]]:
    """Return a function that reads the numbers of these names from an encoded mapping."""
    if any(_NOT_FOR_FIELDS.search(name) for name in names):
        read = mapping_decoder(dict[str, Any])
        return lambda encoded: tuple(map(_as_number, map(read(encoded).get, names)))
    # The fields of a struct must be identifiers, which names of parameters need not be.
    fields = [(f"f{i}", float | int | bool) for i in range(len(names))]
    renamed = {f"f{i}": name for i, name in enumerate(names)}
    row = msgspec.defstruct("Row", fields, rename=renamed, gc=False)
    decode_row = msgspec.msgpack.Decoder(row).decode
    as_tuple = msgspec.structs.astuple
    return lambda encoded: as_tuple(decode_row(encoded))


def _as_number(value: Any) -> float:
    if not isinstance(value, int | float):
        raise TypeError(f"{value!r:.80} is no number")
    return value
