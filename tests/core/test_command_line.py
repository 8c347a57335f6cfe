"""A command line that another package extends: commands and columns of its own."""

import argparse
import json

import pytest

from rush_core import Network, Worker, WorkerColumn, core_command_line


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
    for name in ("greet", "status", "logs", "stop", "reset", "worker", "serve", "doctor"):
        assert f"\n    {name} " in help_text
    assert "beat" not in help_text  # only programs use it


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_a_column_is_added_to_the_workers_of_status(
    network: Network, worker: Worker, capsys: pytest.CaptureFixture[str], option: list[str]
) -> None:
    column = WorkerColumn("length", lambda network, workers: [len(w.worker_id) for w in workers])
    command_line = core_command_line(worker_columns=[column])
    with pytest.raises(SystemExit) as exit_:
        command_line.main(["status", network.network_id, "--url", network.url, *option])
    assert exit_.value.code == 0
    output = capsys.readouterr().out
    if option:
        (row,) = json.loads(output)["workers"]
        assert (row["worker_id"], row["length"]) == (worker.worker_id, len(worker.worker_id))
    else:
        assert output.splitlines()[1].split()[-1] == str(len(worker.worker_id))
