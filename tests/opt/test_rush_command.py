"""The `rush` command: it has the core's commands, and starts without heavy libraries."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import rush_core.cli
import rush_opt.cli

ROOT = Path(__file__).resolve().parents[2]


def test_the_console_command_is_the_one_of_rush_opt() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"rush": "rush_opt.cli:main"}


def test_it_offers_all_commands_of_the_core(capsys: pytest.CaptureFixture[str]) -> None:
    def commands(main: object) -> set[str]:
        with pytest.raises(SystemExit):
            main(["--help"])  # type: ignore[operator]
        lines = capsys.readouterr().out.splitlines()
        return {line.split()[0] for line in lines if line.startswith("    ")}

    assert commands(rush_core.cli.main) >= {"status", "worker", "serve"}
    assert commands(rush_opt.cli.main) >= commands(rush_core.cli.main)


def test_it_starts_without_the_libraries_that_models_and_tables_need() -> None:
    program = """
import sys
from rush_opt.cli import main
try:
    main(["worker", "--help"])
except SystemExit:
    print(sorted({"sklearn", "scipy", "pandas", "matplotlib"} & set(sys.modules)))
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == "[]"
