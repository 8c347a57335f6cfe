"""Does a run use its budget exactly if one host of workers is cut off, and another one dies?

Hosts are network namespaces of this machine, as in `experiments.netns_hosts`. The first one has the
server and the manager. Each of three others has eight workers, started by one command, which join
by TCP. After an eighth of the trials, the link of the second host goes down. When its running
trials are declared lost, the link comes up again, and the command of the third host is killed.

Expected before measuring: the workers of the killed command end within a second. Those behind the
dead link count as lost after their heartbeat has expired (15 s), and join again when the link is
back. Running trials of both hosts fail as lost and do not count in the budget. The number of trials
that finish or fail is exactly the given one, and no task is left running.

Needs Linux, root and iproute2. Run from the project's root: ``python -m experiments.netns_nodes``
"""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from experiments.netns_hosts import HOST, HUB, PASSWORD, hosts, ip, name_of, objective, server
from experiments.provenance import RAW, TABLES, append_rows, provenance
from rush_core import Network
from rush_opt import Float, FrozenTrial, TuneResult, tune

N_HOSTS, WORKERS_PER_HOST = 3, 8
CUT, KILLED = 2, 3  # hosts
FATES = {CUT: "cut off, and back", KILLED: "killed"}

# How long is waited for the end of processes whose command was killed.
_END_TIMEOUT_S = 10.0

Rows = list[dict[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=4800)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        rows = run(arguments.trials)
        append_rows(RAW / "netns_nodes.csv", [row | provenance() for row in rows])
        (TABLES / "netns_nodes.md").write_text(as_markdown(rows))
        print(as_markdown(rows))
        return
    with hosts(N_HOSTS + 1):
        inside = [
            "ip",
            "netns",
            "exec",
            name_of(0),
            sys.executable,
            "-m",
            "experiments.netns_nodes",
        ]
        inside += ["--inside", f"--trials={arguments.trials}"]
        environment = {**os.environ, PASSWORD: secrets.token_hex(16)}
        sys.exit(subprocess.run(inside, env=environment).returncode)


@dataclass
class Events:
    """What happens to hosts in the course of a run, and when, seconds since 1970."""

    n_trials: int
    commands: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    cut_at: float | None = None
    back_at: float | None = None
    n_lost: int = 0
    ended_after_s: float | None = None  # from the kill to the end of the last process of the host

    def launch(self, command: str, n_workers: int) -> None:
        """Start the workers of all hosts, with one command each."""
        for host in range(1, N_HOSTS + 1):
            line = f"exec env {command} --workers {n_workers // N_HOSTS}"
            words = ["ip", "netns", "exec", name_of(host), "sh", "-c", line]
            self.commands[host] = subprocess.Popen(words, env={**os.environ, HOST: str(host)})

    def note(self, trial: FrozenTrial) -> None:
        """Go on with the next event if a trial says that it is time."""
        self.n_lost += trial.lost
        if self.cut_at is None and trial.number >= self.n_trials // 8:
            ip("-n", HUB, "link", "set", f"port{CUT}", "down")
            self.cut_at = time.time()
        elif self.back_at is None and self.n_lost == WORKERS_PER_HOST:
            ip("-n", HUB, "link", "set", f"port{CUT}", "up")
            self.back_at = time.time()
            threading.Thread(target=self._kill).start()

    def _kill(self) -> None:
        """Kill the command of a host, and wait until all of its processes have ended."""
        command = self.commands[KILLED]
        command.send_signal(signal.SIGKILL)
        killed_at = time.monotonic()
        command.wait()
        while time.monotonic() < killed_at + _END_TIMEOUT_S:
            if not processes_of(KILLED):
                self.ended_after_s = time.monotonic() - killed_at
                return
            time.sleep(0.01)


def processes_of(host: int) -> list[int]:
    """Return the processes of a host."""
    words = ["ip", "netns", "pids", name_of(host)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return [int(pid) for pid in done.stdout.split()]


def run(n_trials: int) -> Rows:
    """Tune on all hosts; return a row per host."""
    events = Events(n_trials)
    network_id = f"nodes-{secrets.token_hex(4)}"
    try:
        with server() as url:
            result = tune(
                objective,
                {"x": Float(-1, 1)},
                n_workers=N_HOSTS * WORKERS_PER_HOST,
                n_trials=n_trials,
                optimizer="random",
                seed=1,
                network_id=network_id,
                url=url,
                launch=events.launch,
                callbacks=(events.note,),
                progress=False,
            )
            with Network(network_id, url) as network:
                n_running = network.count_tasks().running
    finally:
        for command in events.commands.values():
            command.kill()
            command.wait()
    return describe(result, events, n_running)


def describe(result: TuneResult, events: Events, n_running: int) -> Rows:
    """Return a row per host: what its workers did, and how the run ended."""
    ended = [trial for trial in result.frozen_trials if not trial.lost]
    lost = [trial for trial in result.frozen_trials if trial.lost]
    host_of = {trial.worker: int(trial.result["host"]) for trial in ended}
    states = {worker.number: worker.state.value for worker in result.workers}
    back_at = events.back_at or result.ended_at
    rows = []
    for host in range(1, N_HOSTS + 1):
        mine = [trial for trial in ended if trial.result["host"] == host]
        again = [trial for trial in mine if trial.started_at and trial.started_at > back_at]
        found = sorted({states[number] for number in states if host_of.get(number) == host})
        rows.append(
            {
                "host": host,
                "fate": FATES.get(host, ""),
                "workers": sum(found == host for found in host_of.values()),
                "worker_states": ", ".join(found),
                "trials_ended": len(mine),
                "trials_lost": sum(host_of.get(trial.worker) == host for trial in lost),
                "trials_after_return": len(again),
                "first_after_return_s": _after(back_at, again[0].started_at if again else None),
                "link_down_s": _after(result.started_at, events.cut_at),
                "link_up_s": _after(result.started_at, events.back_at),
                "processes_ended_after_s": events.ended_after_s if host == KILLED else None,
                "run_ended": len(ended),
                "run_asked": events.n_trials,
                "run_left_running": n_running,
                "run_s": round(result.ended_at - result.started_at, 2),
                "stop_reason": result.stop_reason,
            }
        )
    return rows


def _after(begin: float, at: float | None) -> float | None:
    return None if at is None else round(at - begin, 2)


def as_markdown(rows: Rows) -> str:
    """Make the table that goes with the rows of a run."""
    first = rows[0]
    ended_after_s = next(row["processes_ended_after_s"] for row in rows if row["host"] == KILLED)
    end = "did not end" if ended_after_s is None else f"had ended after {ended_after_s:.2f} s"
    lines = [
        "# A host that is cut off and returns, and a host that dies",
        "",
        f"{len(rows)} hosts (network namespaces) with {WORKERS_PER_HOST} workers each, started by "
        "one command, TCP with a password. The link of one was down from "
        f"{first['link_down_s']} s to {first['link_up_s']} s of {first['run_s']} s. Then the "
        f"command of another one was killed; the last of its processes {end}. "
        f"{first['run_ended']} trials ended of {first['run_asked']} asked for, and "
        f"{first['run_left_running']} were left running. Rows: `results/raw/netns_nodes.csv`, "
        "made by `experiments/netns_nodes.py`.",
        "",
        "| host | what happened | workers, states at the end | trials ended | lost "
        "| ended after the link was back | first of them, s after |",
        "|---:|---|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['host']} | {row['fate']} | {row['workers']}: {row['worker_states']} | "
        f"{row['trials_ended']} | {row['trials_lost']} | {row['trials_after_return']} | "
        f"{row['first_after_return_s'] if row['first_after_return_s'] is not None else ''} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
