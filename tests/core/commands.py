"""The `rush` command in tests: its path, and the form of its errors."""

import shlex
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(sys.executable).parent / "rush"
RUSH = shlex.quote(str(PROGRAM))  # for the shell


def check_is_refused(run: "subprocess.CompletedProcess[str]", *words: str) -> None:
    """Check that a command failed, and that standard error has one paragraph with `words`."""
    assert run.returncode == 1
    assert run.stdout == ""
    assert run.stderr.startswith("rush: ")
    assert "\n\n" not in run.stderr
    assert "Traceback" not in run.stderr
    for word in words:
        assert word in run.stderr
