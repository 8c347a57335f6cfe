"""The only writer of a log in memory; the format is in `rush_core.kernel.shared_log`."""

from __future__ import annotations

import os

from rush_core.kernel.shared_log import Place, SharedLog, pack_frame, read_frames

__all__ = ["SharedLogWriter"]


class SharedLogWriter:
    """Appends records to a shared log. It goes on where a writer that died has stopped.

    That one may have left half a frame, which is cut off.

    Parameters
    ----------
    log : SharedLog

    Attributes
    ----------
    n_records : int
        How many records the log has.
    last : bytes or None
        The last of them.

    Raises
    ------
    OSError
        If the log is damaged: workers have read further than its frames are whole.
    """

    def __init__(self, log: SharedLog) -> None:
        self._log = log
        self.last: bytes | None = None
        place = Place(0, 0)
        for records, behind in read_frames(log.file, place, os.fstat(log.file).st_size):
            self.last, place = records[-1], behind
        if place.offset < log.end:
            raise OSError(
                f"the log in memory is damaged: {log.end} bytes of it were whole, and now "
                f"{place.offset} are"
            )
        os.ftruncate(log.file, place.offset)
        self.n_records = place.n_records
        self._end = place.offset
        log.set_end(self._end)

    def append(self, records: list[bytes]) -> None:
        """Append records; all of them are in the log, or none.

        Raises
        ------
        OSError
            If there is no room.
        """
        if not records:
            return
        frame = memoryview(pack_frame(records, self.n_records))
        written = 0
        while written < len(frame):
            written += os.pwrite(self._log.file, frame[written:], self._end + written)
        self._end += written
        # Only now: readers trust all bytes before the end.
        self._log.set_end(self._end)
        self.n_records += len(records)
        self.last = records[-1]
