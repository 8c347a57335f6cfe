"""Files with what worker processes print."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import IO

from rush_core.owned_process import OwnedProcess, run_at_owner_end

__all__ = ["WorkerOutput"]


class WorkerOutput:
    """One file per worker: in a given folder, where it stays, or in a temporary one."""

    def __init__(self) -> None:
        self._paths: dict[str, Path] = {}
        self._temporary: Path | None = None
        self._remover: OwnedProcess | None = None

    def open(self, worker_id: str, folder: Path | None) -> IO[bytes]:
        """Open the file of a worker; `folder` is made if it does not exist."""
        if folder is None:
            folder = self._temporary_folder()
        folder.mkdir(parents=True, exist_ok=True)
        self._paths[worker_id] = folder / f"{worker_id}.log"
        return self._paths[worker_id].open("ab")

    def last_lines(self, worker_id: str, n_lines: int = 15) -> str:
        """Return the last lines that a worker printed; empty if it has no file."""
        path = self._paths.get(worker_id)
        if path is None or not path.exists():
            return ""
        return "\n".join(path.read_text(errors="replace").splitlines()[-n_lines:])

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
