"""A command line that another package extends: commands of its own, and in place of others."""

import argparse

import pytest

from rush_core import core_command_line


def test_a_command_is_added_beside_those_of_the_core(capsys: pytest.CaptureFixture[str]) -> None:
    def greet(given: argparse.Namespace) -> int:
        print(f"hello {given.name}")
        return 3

    command_line = core_command_line()
    command_line.add_command("greet", greet, "greet somebody").add_argument("name")
    with pytest.raises(SystemExit) as exit_:
        command_line.main(["greet", "you"])
    assert (exit_.value.code, capsys.readouterr().out) == (3, "hello you\n")
    with pytest.raises(SystemExit) as exit_:
        command_line.main(["--help"])
    assert exit_.value.code == 0
    help_text = capsys.readouterr().out
    for name in (
        "greet",
        "status",
        "logs",
        "list",
        "stop",
        "reset",
        "remove",
        "worker",
        "serve",
        "ping",
        "doctor",
    ):
        assert f"\n    {name} " in help_text
    assert "beat" not in help_text  # only programs use it


def test_a_command_replaces_one_of_the_same_name(capsys: pytest.CaptureFixture[str]) -> None:
    def mine(given: argparse.Namespace) -> int:
        print("mine")
        return 0

    command_line = core_command_line()
    command_line.add_command("status", mine, "say something else")
    with pytest.raises(SystemExit) as exit_:
        command_line.main(["status"])
    assert (exit_.value.code, capsys.readouterr().out) == (0, "mine\n")
