"""Does a run on several hosts use its budget exactly if one of them is disconnected?

Four hosts are network namespaces of this machine, connected by a bridge. The first host has the
server, with a password, and the manager. Each of the others has a worker that joins by TCP. After a
quarter of the trials, the link of one host is taken down, and stays down. Nothing listens on an
interface of the machine itself.

Expected before measuring: the worker behind the dead link counts as lost after its heartbeat has
expired (15 s). Its running trial fails as lost and does not count in the budget. The number of
trials that finish or fail is exactly the given one.

Needs Linux, root and iproute2. Run from the project's root: ``python -m experiments.netns_hosts``
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from experiments.provenance import RAW, TABLES, append_rows, provenance
from rush_opt import Float, FrozenTrial, TuneResult, tune

HUB = "rush-hub"
SERVER = "10.77.0.1"
PASSWORD, HOST = "RUSH_REDIS_PASSWORD", "RUSH_EXPERIMENT_HOST"
_CUT = 2  # the host whose link goes down

Rows = list[dict[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=240)
    parser.add_argument("--hosts", type=int, default=3, help="with a worker each")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        result, cut_s = run(arguments.trials, arguments.hosts)
        rows = describe(result, arguments.trials, arguments.hosts, cut_s)
        append_rows(RAW / "netns_hosts.csv", [row | provenance() for row in rows])
        (TABLES / "netns_hosts.md").write_text(as_markdown(rows))
        print(as_markdown(rows))
        return
    with hosts(arguments.hosts + 1):
        inside = [
            "ip",
            "netns",
            "exec",
            name_of(0),
            sys.executable,
            "-m",
            "experiments.netns_hosts",
        ]
        inside += ["--inside", f"--trials={arguments.trials}", f"--hosts={arguments.hosts}"]
        environment = {**os.environ, PASSWORD: secrets.token_hex(16)}
        sys.exit(subprocess.run(inside, env=environment).returncode)


def objective(config: dict[str, float]) -> dict[str, float]:
    """Take a quarter of a second, and tell on which host."""
    time.sleep(0.25)
    return {"value": config["x"] ** 2, "host": float(os.environ[HOST])}


def run(n_trials: int, n_hosts: int) -> tuple[TuneResult, float]:
    """Tune with a worker on each host; cut one off after a quarter of the trials.

    Returns
    -------
    TuneResult
    float
        When the link went down, seconds since 1970.
    """
    processes: list[subprocess.Popen[bytes]] = []
    cut_at: list[float] = []

    def launch(command: str, n_workers: int) -> None:
        for host in range(1, n_workers + 1):
            words = ["ip", "netns", "exec", name_of(host), "sh", "-c", f"exec env {command}"]
            processes.append(subprocess.Popen(words, env={**os.environ, HOST: str(host)}))

    def cut_off(trial: FrozenTrial) -> None:
        if trial.number >= n_trials // 4 and not cut_at:
            ip("-n", HUB, "link", "set", f"port{_CUT}", "down")
            cut_at.append(time.time())

    try:
        with server() as url:
            result = tune(
                objective,
                {"x": Float(-1, 1)},
                n_workers=n_hosts,
                n_trials=n_trials,
                optimizer="random",
                seed=1,
                url=url,
                launch=launch,
                callbacks=(cut_off,),
            )
    finally:
        for process in processes:
            process.kill()  # the one behind the dead link would try for long
            process.wait()
    return result, cut_at[0]


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Run a server that other hosts reach; its password is in the environment."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "rush_core", "serve", folder, "--host", SERVER]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            process.stdout.readline()  # printed once it answers
            yield f"redis://{SERVER}:6379/0"
        finally:
            process.terminate()
            process.wait()


def describe(result: TuneResult, n_trials: int, n_hosts: int, cut_s: float) -> Rows:
    """Return a row per host: what its worker did, and how the run ended."""
    rows = []
    ended = [trial for trial in result.frozen_trials if not trial.lost]
    lost = [trial for trial in result.frozen_trials if trial.lost]
    states = {worker.number: worker.state.value for worker in result.workers}
    numbers = {trial.result["host"]: trial.worker for trial in ended}
    for host in range(1, n_hosts + 1):
        mine = [trial for trial in ended if trial.result["host"] == host]
        number = numbers[host]
        rows.append(
            {
                "host": host,
                "link": "cut" if host == _CUT else "up",
                "worker_state": states[number] if number is not None else "",
                "trials_ended": len(mine),
                "last_end_s": round(mine[-1].ended_at - result.started_at, 2),
                "trials_lost": sum(trial.worker == number for trial in lost),
                "link_down_s": round(cut_s - result.started_at, 2),
                "lost_at_s": round(lost[0].ended_at - result.started_at, 2) if lost else "",
                "run_ended": len(ended),
                "run_asked": n_trials,
                "run_s": round(result.ended_at - result.started_at, 2),
                "stop_reason": result.stop_reason,
            }
        )
    return rows


def as_markdown(rows: Rows) -> str:
    """Make the table that goes with the rows of a run."""
    first = rows[0]
    lines = [
        "# A host that is cut off in the middle of a run",
        "",
        f"{len(rows)} hosts (network namespaces) with a worker each, TCP with a password. The link "
        f"of one went down after {first['link_down_s']} s of {first['run_s']} s; its trial was "
        f"declared lost at {first['lost_at_s']} s. {first['run_ended']} trials ended of "
        f"{first['run_asked']} asked for. Rows: `results/raw/netns_hosts.csv`, made by "
        "`experiments/netns_hosts.py`.",
        "",
        "| host | link | worker | trials ended | last end, s | trials lost |",
        "|---:|---|---|---:|---:|---:|",
    ]
    lines += [
        f"| {row['host']} | {row['link']} | {row['worker_state']} | {row['trials_ended']} | "
        f"{row['last_end_s']} | {row['trials_lost']} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


@contextlib.contextmanager
def hosts(n: int) -> Iterator[None]:
    """Make `n` hosts, 10.77.0.1 and on, that see each other and nothing else."""
    made = []
    try:
        for name in (HUB, *map(name_of, range(n))):
            ip("netns", "add", name)
            made.append(name)
        ip("-n", HUB, "link", "add", "bridge", "type", "bridge")
        ip("-n", HUB, "link", "set", "bridge", "up")
        for i in range(n):
            port, name = f"port{i}", name_of(i)
            ip(*("-n", HUB, "link", "add", port, "type", "veth"), *("peer", "eth0", "netns", name))
            ip("-n", HUB, "link", "set", port, "master", "bridge", "up")
            ip("-n", name, "address", "add", f"10.77.0.{i + 1}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield
    finally:
        for name in made:
            ip("netns", "delete", name)


def name_of(host: int) -> str:
    """Return the name of a host's namespace."""
    return f"rush-host{host}"


def ip(*words: str) -> None:
    """Run the command ``ip``."""
    subprocess.run(["ip", *words], check=True)


if __name__ == "__main__":
    main()
