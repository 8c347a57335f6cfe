"""Files with what worker processes print."""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from rush_core.owned_process import OwnedProcess, run_at_owner_end

__all__ = ["WorkerOutput", "write_lines_at_once"]


def write_lines_at_once() -> None:
    """Write to standard output and standard error after each line, in a process of a worker.

    So the file has what was printed also if the process is killed.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)


class WorkerOutput:
    """Two files per worker: in a given folder, where they stay, or in a temporary one.

    ``WORKER.out`` has what it printed on standard output, ``WORKER.err`` its standard error.
    """

    def __init__(self) -> None:
        self._paths: dict[str, tuple[Path, Path]] = {}
        self._temporary: Path | None = None
        self._remover: OwnedProcess | None = None

    @contextmanager
    def open(self, worker_id: str, folder: Path | None) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
        """Open the two files of a worker; `folder` is made if it does not exist."""
        if folder is None:
            folder = self._temporary_folder()
        folder.mkdir(parents=True, exist_ok=True)
        out, err = folder / f"{worker_id}.out", folder / f"{worker_id}.err"
        self._paths[worker_id] = out, err
        with out.open("ab") as standard_output, err.open("ab") as standard_error:
            yield standard_output, standard_error

    def last_lines(self, worker_id: str, n_lines: int = 15) -> str:
        """Return the last lines of a worker's output, then of its errors; empty without files."""
        lines: list[str] = []
        for path in self._paths.get(worker_id, ()):
            if path.exists():
                lines += path.read_text(errors="replace").splitlines()[-n_lines:]
        return "\n".join(lines)

    def close(self) -> None:
        """Remove the temporary folder."""
        if self._remover is not None:
            self._remover.close()
            self._remover = self._temporary = None

    def _temporary_folder(self) -> Path:
        """Return a folder that is removed on `close`, or when this process ends."""
        if self._temporary is None:
            self._temporary = Path(tempfile.mkdtemp(prefix="rush-logs-"))
            self._remover = run_at_owner_end('rm -rf "$1"', str(self._temporary))
        return self._temporary
