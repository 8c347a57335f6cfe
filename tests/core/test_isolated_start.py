"""Files in the current directory whose names are those of modules that workers import."""

import subprocess
import sys
from pathlib import Path

import pytest

from rush_core import EmbeddedServer, Heartbeat, Network
from tests.core.processes import PATIENCE_S, sharing
from tests.fixture_types import Launch

PROGRAM = """
import sys
from rush_core import Heartbeat, Network
from study import measure

def loop(worker):
    key = worker.start_task({"x": 3})
    worker.finish_task(key, {"y": measure(3)})

heartbeat = Heartbeat(period_s=1.0, expire_s=20.0, own_process=True)
with Network(sys.argv[1], sys.argv[2]) as network:
    network.start_workers(loop, 1, heartbeat=heartbeat)
    assert network.join_workers(60)
    print(network.fetch_finished_tasks().results)
"""


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A folder with a ``msgspec.py`` that leaves a mark if it is imported."""
    (tmp_path / "trap").mkdir()
    for name in ("msgspec", "hiredis", "cloudpickle"):
        mark = str(tmp_path / "imported")
        (tmp_path / "trap" / f"{name}.py").write_text(f"open({mark!r}, 'w'); raise SystemExit(9)")
    return tmp_path / "trap"


def test_workers_import_nothing_of_their_own_from_the_current_directory(
    server: EmbeddedServer, network_id: str, tmp_path: Path, trap: Path
) -> None:
    program = tmp_path / "program"
    program.mkdir()
    (program / "run.py").write_text(PROGRAM)
    (program / "study.py").write_text("def measure(x): return x * 10")  # beside the program
    command = [sys.executable, str(program / "run.py"), network_id, server.url]
    ended = subprocess.run(command, cwd=trap, capture_output=True, text=True, timeout=PATIENCE_S)
    assert ended.stdout == "[{'y': 30}]\n", ended.stderr
    assert not (tmp_path / "imported").exists()


def test_a_worker_command_imports_nothing_of_its_own_from_the_current_directory(
    network: Network, launch: Launch, tmp_path: Path, trap: Path
) -> None:
    beat = Heartbeat(period_s=1.0, expire_s=20.0, own_process=True)
    command = network.worker_command(sharing, args=(3,), heartbeat=beat)
    process = launch(f"cd {trap} && {command}")
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors
    assert network.count_tasks().finished == 3
    assert not (tmp_path / "imported").exists()
