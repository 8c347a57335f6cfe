"""The `rush` command in tests: where it is, and how it tells what it cannot do."""

import shlex
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(sys.executable).parent / "rush"
RUSH = shlex.quote(str(PROGRAM))  # for the shell


def check_is_told(run: "subprocess.CompletedProcess[str]", *words: str) -> None:
    """Check that a command failed and standard error says in one paragraph why."""
    assert run.returncode == 1
    assert run.stdout == ""
    assert run.stderr.startswith("rush: ")
    assert "\n\n" not in run.stderr
    assert "Traceback" not in run.stderr
    for word in words:
        assert word in run.stderr
