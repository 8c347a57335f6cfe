"""Where the workers run: what `--launcher` means for `tune()`."""

from __future__ import annotations

import importlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

LAUNCHERS = ("local", "slurm", "dask", "command")

# A step of the job's own allocation: one task per worker, each on a core of its own. One that ends
# early takes no other with it.
SRUN = "srun --ntasks={n} --cpus-per-task=1 --cpu-bind=cores --kill-on-bad-exit=0 sh -c {command}"

# How long the commands that launched workers may take to end after the run they were for.
_PATIENCE_S = 60.0


@contextmanager
def launching(
    launcher: str, *, template: str | None, scheduler: str | None, url: str | None
) -> Iterator[dict[str, Any]]:
    """Yield the arguments of `tune` that start workers this way.

    Parameters
    ----------
    launcher : str
        ``local`` for processes of this machine, ``slurm`` for `SRUN` inside a job, ``command`` for
        `template`, ``dask`` for the workers of a Dask cluster, one thread each.
    template : str or None
        A shell line in which ``{command}`` is one worker, quoted, and ``{n}`` how many to start;
        None prints what is to be run instead.
    scheduler : str or None
        The address of the Dask scheduler.
    url : str or None
        The server, for what starts workers on other machines.

    Raises
    ------
    ValueError
        If what the launcher needs is not given, or not there.
    """
    if launcher == "local":
        yield {}
    elif launcher == "dask":
        if scheduler is None:
            raise ValueError("--launcher dask needs --dask-scheduler ADDRESS")
        # Untyped, and not installed where it is not used.
        distributed: Any = importlib.import_module("distributed")
        with distributed.Client(scheduler) as client:
            yield {"executor": client.get_executor(pure=False)}
    else:
        if not (url or os.environ.get("RUSH_REDIS_URL") or os.environ.get("REDIS_URL")):
            raise ValueError(
                f"--launcher {launcher} needs a server that all nodes reach: start one with `rush "
                "serve FOLDER --host ADDRESS` and give its --url"
            )
        if launcher == "slurm":
            _check_slurm()
        with _shell_lines(SRUN if launcher == "slurm" else template) as launch:
            yield {"launch": launch}


def _check_slurm() -> None:
    """Refuse what is no Slurm job: there, srun waits for an allocation or does not exist."""
    if "SLURM_JOB_ID" not in os.environ or shutil.which("srun") is None:
        raise ValueError(
            "--launcher slurm must run inside a Slurm job (SLURM_JOB_ID set, srun on the PATH), "
            "found none; submit experiments/slurm/lightgbm_bench.sbatch, or choose another launcher"
        )


@contextmanager
def _shell_lines(template: str | None) -> Iterator[Callable[[str, int], object]]:
    """Yield a `launch` of `tune`; what it started has ended, or is ended, at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def launch(command: str, n: int) -> subprocess.Popen[bytes] | None:
        if template is None:
            print(f"start {n} workers, each by:\n{command}", file=sys.stderr, flush=True)
            return None
        line = template.replace("{n}", str(n)).replace("{command}", shlex.quote(command))
        # A session of its own: Ctrl-C is for this process, which asks its workers to stop.
        started.append(subprocess.Popen(line, shell=True, start_new_session=True))
        return started[-1]

    try:
        yield launch
    finally:
        for process in started:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Wait for a line to end; one that takes too long is ended with all that it started."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(_PATIENCE_S)
        return
    os.killpg(process.pid, signal.SIGTERM)  # which srun hands on to its tasks
    with suppress(subprocess.TimeoutExpired):
        process.wait(_PATIENCE_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # what the shell left behind
    process.wait()
