"""The shell command that starts a worker on any machine."""

from __future__ import annotations

import shlex
import sys

from rush_core.connection.url import environment_of, without_password
from rush_core.kernel.heartbeat import Heartbeat

__all__ = ["MODULE", "NO_THREADS", "ONE_THREAD", "heartbeat_options", "worker_command"]

# How a command of the core is started. With -P nothing is imported from the current directory: a
# file there may have the name of a module. The import path of the manager comes with the loop.
MODULE = [sys.executable, "-P", "-m", "rush_core"]

# Numerical libraries use one thread each: the workers already use all cores.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
}

# Keeps libraries from starting a thread when they are imported: a process with threads must not be
# forked. PyArrow, which pandas imports, has a thread that gives memory back; without it, that
# happens now and then while memory is used.
NO_THREADS = {"JE_ARROW_MALLOC_CONF": "background_thread:false"}


def worker_command(
    network_id: str,
    url: str,
    loop_digest: str,
    heartbeat: Heartbeat,
    log_level: str,
    max_retries: int,
) -> str:
    """Return a shell command that starts workers; it contains no password and no secret.

    It starts one worker, and several if ``--workers N`` is appended; only then `max_retries` has an
    effect.
    """
    words = [*MODULE, "worker", network_id]
    words += ["--loop", loop_digest, "--log-level", log_level]
    words += heartbeat_options(heartbeat)
    words += ["--max-retries", str(max_retries)] if max_retries else []
    environment = environment_of(url) | {"RUSH_REDIS_URL": without_password(url)} | ONE_THREAD
    settings = [f"{name}={shlex.quote(value)}" for name, value in environment.items()]
    return f"{' '.join(settings)} {shlex.join(words)}"


def heartbeat_options(heartbeat: Heartbeat) -> list[str]:
    """Return the options of the command ``worker`` that set its heartbeat."""
    own_process = ["--heartbeat-process"] if heartbeat.own_process else []
    return ["--heartbeat", str(heartbeat.period_s), str(heartbeat.expire_s), *own_process]
