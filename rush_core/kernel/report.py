"""The report: intermediate values of a task that was running.

Reports are a list that only grows. A record is a MessagePack array. The server copies its first
fields from the record of the task (`rush_core.kernel.task`): ``worker_id``, ``attempt``, ``key``.
Then come ``reported_at`` and ``values``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import msgspec

from rush_core.errors import CorruptRecordError
from rush_core.kernel.codec import array_header, encode_record, mapping_decoder, too_deep

__all__ = ["Report", "decode_reports", "report_end"]

_decode_mapping: Callable[[Any], dict[str, Any]] = mapping_decoder(dict[str, Any])


class Report(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What a worker reported on a task that it was running.

    `values` is decoded at each access and belongs to the caller.

    Attributes
    ----------
    worker_id : str
        The worker that reported it.
    attempt : int
        How often the task had been lost before.
    key : str
        The task's key.
    reported_at : float
        Seconds since 1970 by the server's clock.
    """

    worker_id: str
    attempt: int
    key: str
    reported_at: float
    _values: msgspec.Raw

    @property
    def values(self) -> dict[str, Any]:
        """The reported values."""
        try:
            return _decode_mapping(self._values)
        except Exception as error:  # NumPy raises various errors for bytes of other programs
            raise CorruptRecordError(
                f"a report on task {self.key!r} is no mapping of names and values ({error}); "
                "another program wrote to this network: reset it",
                key=self.key,
            ) from None

    def __repr__(self) -> str:
        return f"Report({self.key!r}, worker {self.worker_id!r}, {self.values})"


_decode_report = msgspec.msgpack.Decoder(Report).decode

_HEADER = array_header(len(Report.__struct_fields__))


def decode_reports(records: Collection[bytes], redis_key: bytes) -> list[Report]:
    """Decode records.

    Raises
    ------
    CorruptRecordError
        If one is no record of a report, or is nested too deep to be read; the message names
        `redis_key`.
    """
    try:
        reports = list(map(_decode_report, records))
        if any(record[0] != _HEADER for record in records):
            raise ValueError("not the fields of a report")
    except RecursionError:
        raise too_deep(_decode_report, records, redis_key) from None
    except ValueError as error:
        raise CorruptRecordError(
            f"{redis_key.decode()} holds bytes that are no report ({error}); another program "
            "wrote to it: use a network_id of your own, or reset this network",
            key=redis_key.decode(),
        ) from None
    return reports


def report_end(reported_at: float, values: Any) -> bytes:
    """Pack the fields that follow the copied ones."""
    return encode_record((reported_at, values), ("report",), values, None)[1:]
