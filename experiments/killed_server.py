"""How many acknowledged changes does a killed server lose?

Measured for servers with an append-only file: the loss for each setting of `appendfsync`, which
decides when the server syncs the file to the disk, on an idle disk and on a busy one. Expected
before measuring: ``no`` and ``always`` lose nothing, because the operating system has each change
before the reply is sent. ``everysec`` loses nothing on an idle disk. On a busy disk it loses up to
two seconds, because a write waits while an fsync runs.

A client counts up as fast as the server acknowledges. After 0.5 to 2.5 seconds, the server gets a
SIGKILL and is started again on its file. On the busy disk, a process repeatedly writes 64 MB and
syncs them. Settings and disks are in shuffled order.

Run from the project's root: ``python -m experiments.killed_server``
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.chaos.server import Server, server_version
from experiments.provenance import RAW, TABLES, append_rows, provenance
from rush_core import RushError
from rush_core.connection.connection import Connection, pack

ROWS = RAW / "killed_server.csv"
SETTINGS = ("everysec", "no", "always")
DISKS = ("idle", "busy")

WRITER = """
import os, sys
block = os.urandom(2**20)
while True:
    with open(sys.argv[1], "wb") as file:
        for _ in range(64):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="per setting and disk")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng = np.random.default_rng(np.random.SeedSequence(arguments.seed))
    cells = [(setting, disk) for setting in SETTINGS for disk in DISKS] * arguments.kills
    common = {"seed": arguments.seed, "server": server_version(), **provenance()}
    for i in rng.permutation(len(cells)):
        setting, disk = cells[i]
        after_s = float(rng.uniform(0.5, 2.5))
        n_acknowledged, n_found = kill_while_counting(setting, disk, after_s)
        row: dict[str, Any] = {
            "appendfsync": setting,
            "disk": disk,
            "after_s": round(after_s, 3),
            "acknowledged": n_acknowledged,
            "lost": max(n_acknowledged - n_found, 0),
        }
        append_rows(ROWS, [row | common])
    table = as_markdown(pd.read_csv(ROWS))
    print(table)
    (TABLES / "killed_server.md").write_text(table)


def kill_while_counting(setting: str, disk: str, after_s: float) -> tuple[int, int]:
    """Return up to where the server acknowledged, and up to where it knows when it is back."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        if disk == "busy":
            stack.enter_context(_writing_to(Path(name) / "noise"))
        server = Server(Path(name), appendfsync=setting)
        server.start()
        killer = threading.Timer(after_s, server.kill)
        killer.start()
        n_acknowledged = _count_up(server.url)
        killer.join()
        server.start()
        n_found = int(server.tell("GET", "count") or 0)
        server.kill()
    return n_acknowledged, n_found


def _count_up(url: str) -> int:
    """Count until the server is gone; return the last number that it acknowledged."""
    request, n = pack(("INCR", "count")), 0
    with contextlib.closing(Connection(url)) as connection, contextlib.suppress(RushError):
        while True:
            n = connection.execute(request)
    return n


@contextlib.contextmanager
def _writing_to(path: Path) -> Iterator[None]:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)])
    try:
        yield
    finally:
        writer.kill()
        writer.wait()


def as_markdown(rows: pd.DataFrame) -> str:
    """Make the table that goes with the rows."""
    first = rows.iloc[0]
    lines = [
        "# What a killed server loses of what it acknowledged",
        "",
        f"{first['server']} on {first['machine']}. Made by `python -m experiments.killed_server` "
        f"from `results/raw/{ROWS.name}`.",
        "",
        "| appendfsync | disk | kills | acknowledged per second | kills that lost something | most "
        "changes lost | most seconds lost |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    rows = rows.assign(lost_s=rows["lost"] * rows["after_s"] / rows["acknowledged"].clip(lower=1))
    for (setting, disk), cell in rows.groupby(["appendfsync", "disk"], sort=True):
        rate = (cell["acknowledged"] / cell["after_s"]).median()
        lines.append(
            f"| {setting} | {disk} | {len(cell)} | {rate:,.0f} | {(cell['lost'] > 0).sum()} | "
            f"{cell['lost'].max():,} | {cell['lost_s'].max():.2f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
