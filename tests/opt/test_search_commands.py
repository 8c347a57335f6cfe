"""The commands of `rush` that know about searches, on networks of real and of imitated runs."""

import json
import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rush_core import EmbeddedServer, Network, serve
from rush_opt import Boolean, Float, Space, TuneResult, tune
from rush_opt.cli import main
from rush_opt.results.run_note import RUN_NOTE, RunNote
from tests.core.commands import PROGRAM
from tests.fixture_types import Join
from tests.opt import objectives

HOSTILE = "\x1b[2Jname\n\u202e"


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    """A server without networks of other tests, which `rush list` would show as well."""
    with serve() as server:
        yield server


@pytest.fixture
def run_of(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command in this process; return its exit code, output and errors."""

    def run(*arguments: str) -> tuple[Any, str, str]:
        with pytest.raises(SystemExit) as exit_:
            main(list(arguments))
        captured = capsys.readouterr()
        code = exit_.value.code
        return (1, captured.out, code) if isinstance(code, str) else (code, *captured)

    return run


def note(network: Network, **changes: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "began": network.now() - 100.0,
        "host": "elsewhere",
        "pid": 1,
        "n_workers": 2,
        "n_trials": 10,
        "deadline": None,
        "optimizer": "ADBO()",
        "objective": "objective",
        "seed": 2**100,
        "code": None,
        "space": Space({"x": Float(0, 1), "on": Boolean()}).to_json(),
    }
    return RunNote(**fields | changes).to_plain()


@pytest.fixture
def searched(network: Network) -> Network:
    """A network with a run that goes on: trials in all states, and a worker on another host."""
    network.describe({"metric": ["value"], "direction": ["minimize"], "space": {"x": "", "on": ""}})
    network.push_note(RUN_NOTE, note(network))
    configs = [{"x": i / 4, "on": True} for i in range(4)]
    network.push_finished_tasks(
        configs,
        [{"value": 4.0 - i} for i in range(4)],
        result_extras=[None] * 3 + [{"stopped_at": 2}],
    )
    network.push_failed_tasks([{"x": 0.9, "on": False}], ["Traceback\n  oops"])
    network.push_tasks([{"x": 0.1, "on": True}])
    return network


def at(network: Network) -> list[str]:
    return [network.network_id, "--url", network.url]


# -- list and status -------------------------------------------------------------------------------


def test_list_has_a_row_for_each_search(searched: Network, run_of: Any) -> None:
    code, output, errors = run_of("list", "--url", searched.url)
    assert code == 0
    assert searched.network_id not in errors  # other tests spoil networks in this server
    (row,) = [line for line in output.splitlines() if searched.network_id in line]
    cells = row.split("  ")
    assert [cell.strip() for cell in cells if cell][:4] == [
        searched.network_id,
        "running",
        "0 of 10, 1 failed",
        "2",
    ]
    assert len(row) <= 80
    _, output, _ = run_of("list", "--json", "--url", searched.url)
    rows = [json.loads(line) for line in output.splitlines()]
    (values,) = [row for row in rows if row["network"] == searched.network_id]
    assert values["best"][0]["params"] == {"x": 0.5, "on": True}
    assert values["tasks"] == {"queued": 1, "running": 0, "finished": 4, "failed": 1}


def test_status_has_trials_best_budget_rate_and_workers(searched: Network, run_of: Any) -> None:
    code, output, errors = run_of("status", *at(searched))
    assert (code, errors) == (0, "")
    lines = output.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == f"{searched.network_id} - running"
    assert lines[1].split(maxsplit=1) == [
        "trials",
        "0 of 10: 3 finished, 1 stopped early, 1 failed, 1 queued",
    ]
    assert lines[2].startswith("best      2 (minimize), trial 2, ")
    assert [line.split() for line in lines[3:5]] == [["x", "0.5"], ["on", "True"]]
    assert lines[5] == "budget    10 trials"
    assert lines[-1] == "workers   none active"


def test_status_counts_the_budget_without_trials_that_were_known_before(
    network: Network, join: Join, run_of: Any
) -> None:
    network.describe({"metric": ["value"], "direction": ["minimize"]})
    network.push_note(RUN_NOTE, note(network, began=network.now() - 10.0))
    network.push_finished_tasks([{"x": 0.5}], [{"value": 0.0}], extras=[{"warm_start": True}])
    worker = join()
    keys = worker.start_tasks([{"x": 0.5}] * 3)
    assert worker.finish_task(keys[0], {"value": 1.0})
    assert worker.fail_task(keys[1], "no")
    lines = run_of("status", *at(network))[1].splitlines()
    assert lines[1].split(maxsplit=1)[1] == (
        "2 of 10: 1 finished, 1 failed, 1 running, 1 known before"
    )
    rate = next(line.split() for line in lines if line.startswith("rate"))
    assert 0.0 < float(rate[1]) <= 0.2
    assert rate[2] == "trials/s"
    assert lines[-1].split() == ["0", worker.worker_id, keys[2]]
    worker.close()  # nobody is left: the run was broken off
    lines = run_of("status", *at(network))[1].splitlines()
    assert lines[0] == f"{network.network_id} - broken off"


def test_status_of_an_ended_run_says_why_it_ended(searched: Network, run_of: Any) -> None:
    now = searched.now()
    searched.push_note(
        RUN_NOTE, note(searched, ended=now, stop_reason=f"Target(value=0.1) {HOSTILE}")
    )
    _, output, _ = run_of("status", *at(searched))
    assert output.splitlines()[0] == (
        f"{searched.network_id} - ended: Target(value=0.1) \\x1b[2Jname\\n\\u202e"
    )


def test_status_of_a_run_whose_program_was_killed_says_so(searched: Network, run_of: Any) -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    searched.push_note(RUN_NOTE, note(searched, host=os.uname().nodename, pid=process.pid))
    _, output, _ = run_of("status", *at(searched))
    assert output.splitlines()[0] == f"{searched.network_id} - broken off"


def test_status_of_hostile_names_and_values_is_printable(network: Network, run_of: Any) -> None:
    network.describe({"metric": ["a", HOSTILE], "direction": ["minimize"] * 2})
    network.push_finished_tasks([{HOSTILE: "\x07" * 100}], [{"a": 1.0, HOSTILE: 2.0}])
    for command in ("list", "status", "best", "show"):
        place = at(network) if command != "list" else at(network)[1:]
        code, output, errors = run_of(command, *place, *(["0"] if command == "show" else []))
        assert code == 0
        assert network.network_id not in errors
        assert output.replace("\n", "").isprintable()
        assert max(map(len, output.splitlines())) <= 80 or command in ("best", "show")


def test_a_note_that_cannot_be_read_spoils_no_other_row(searched: Network, run_of: Any) -> None:
    searched.push_note(RUN_NOTE, {"began": "soon"})
    code, _, errors = run_of("list", "--url", searched.url)
    assert code == 0
    (line,) = [line for line in errors.splitlines() if searched.network_id in line]
    assert "the note of a run in this network cannot be read" in line
    code, output, error = run_of("status", *at(searched))
    assert (code, output) == (1, "")
    assert "cannot be read" in error
    searched.push_note(RUN_NOTE, note(searched) | {"of another version": 1})
    assert run_of("status", *at(searched))[0] == 0


def test_status_is_redrawn_in_place_until_the_run_ends(
    searched: Network,
) -> None:
    main_, terminal = pty.openpty()
    process = subprocess.Popen(
        [str(PROGRAM), "status", *at(searched), "--watch", "0.05"], stdout=terminal
    )
    os.close(terminal)
    written = b""

    def read_until(text: bytes) -> None:
        nonlocal written
        while text not in written:
            written += os.read(main_, 4096)

    read_until(b"none active\r\n\x1b[")
    searched.push_note(RUN_NOTE, note(searched, ended=searched.now(), stop_reason="n_trials"))
    read_until(b"ended: n_trials")
    assert process.wait(60.0) == 0
    os.close(main_)
    first, *others = written.decode().split(f"{searched.network_id} - ")[1:]
    n_lines = first.count("\r\n")
    assert f"\x1b[{n_lines}F\x1b[J" in first  # the cursor goes up to the first line
    assert len(others) >= 1


# -- trials ----------------------------------------------------------------------------------------


def test_best_has_the_value_and_all_parameters(searched: Network, run_of: Any) -> None:
    code, output, _ = run_of("best", *at(searched))
    first, *params = output.splitlines()
    assert code == 0
    assert first.startswith("2 (trial 2, key ")
    assert [line.split() for line in params] == [["x", "0.5"], ["on", "True"]]
    values = json.loads(run_of("best", *at(searched), "--json")[1])
    assert (values["number"], values["value"]) == (2, 2.0)
    assert values["params"] == {"x": 0.5, "on": True}


def test_best_of_several_objectives_is_the_front(network: Network, run_of: Any) -> None:
    network.describe({"metric": ["a", "b"], "direction": ["minimize", "maximize"]})
    results = [{"a": 1.0, "b": 1.0}, {"a": 2.0, "b": 2.0}, {"a": 3.0, "b": 1.0}]
    network.push_finished_tasks([{"x": i} for i in range(3)], results)
    lines = run_of("best", *at(network))[1].splitlines()
    assert [line.split(" (")[0] for line in lines[::2]] == ["a 1, b 1", "a 2, b 2"]


def test_best_of_a_run_without_finished_trials_is_an_error(network: Network, run_of: Any) -> None:
    network.describe({"metric": ["value"], "direction": ["minimize"]})
    code, output, error = run_of("best", *at(network))
    assert (code, output) == (1, "")
    assert "has no best trial: none has finished" in error


def test_trials_are_printed_as_csv_json_and_parquet(searched: Network, tmp_path: Path) -> None:
    def printed(format_: str) -> bytes:
        command = [str(PROGRAM), "trials", *at(searched), "--format", format_]
        return subprocess.run(command, check=True, capture_output=True).stdout

    for format_, read in (("csv", pd.read_csv), ("parquet", pd.read_parquet)):
        path = tmp_path / format_
        path.write_bytes(printed(format_))
        table = read(path)
        assert table["params_x"].tolist() == [0.0, 0.25, 0.5, 0.75, 0.9]
        assert table["state"].tolist() == ["finished"] * 4 + ["failed"]
    rows = [json.loads(line) for line in printed("json").splitlines()]
    assert [row["value"] for row in rows] == [4.0, 3.0, 2.0, 1.0, None]
    assert rows[4]["error"] == "Traceback\n  oops"


def test_show_finds_a_trial_by_number_and_key(searched: Network, run_of: Any) -> None:
    code, output, errors = run_of("show", *at(searched), "4")
    assert (code, errors) == (0, "")
    lines = output.splitlines()
    key = searched.fetch_tasks("failed").keys[0]
    assert lines[0] == f"trial 4, key {key}: failed"
    assert lines[-3:] == ["error", "  Traceback", "    oops"]
    assert run_of("show", *at(searched), key)[1] == output
    assert json.loads(run_of("show", *at(searched), key, "--json")[1])["key"] == key
    code, output, error = run_of("show", *at(searched), "99")
    assert (code, output) == (1, "")
    assert "has no trial '99' that has ended" in error


# -- enqueue ---------------------------------------------------------------------------------------


def test_enqueue_adds_a_configuration_of_the_space(searched: Network, run_of: Any) -> None:
    code, output, errors = run_of("enqueue", *at(searched), '{"x": 0.25, "on": false}')
    assert (code, errors) == (0, "")
    queued = searched.fetch_tasks("queued")
    assert queued.configs[-1] == {"x": 0.25, "on": False}
    assert output == f"queued as {queued.keys[-1]}\n"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ('{"x": 2, "on": true}', "needs 0.0 <= value <= 1.0, got 2"),
        ('{"x": 0.5}', "parameter 'on' is missing"),
        ("{x: 1}", "must be JSON"),
        ("[1]", "must be a JSON object"),
    ],
)
def test_enqueue_refuses_what_is_not_in_the_space(
    searched: Network, run_of: Any, config: str, said: str
) -> None:
    code, output, error = run_of("enqueue", *at(searched), config)
    assert (code, output) == (1, "")
    assert said in error
    assert searched.count_tasks().queued == 1


@pytest.mark.long
@pytest.mark.parametrize("optimizer", ["adbo", "random"])
def test_a_running_search_evaluates_what_is_enqueued(
    network: Network, optimizer: str, run_of: Any
) -> None:
    wanted = {"x": 0.123}

    def enqueue(trial: Any) -> None:
        if trial.number == 0:
            code, _, error = run_of("enqueue", *at(network), json.dumps(wanted))
            assert code == 0, error
        if trial.params == wanted:
            network.stop_workers()

    result = tune(
        objectives.slow,
        {"x": Float(0, 1)},
        n_workers=1,
        n_trials=10_000,
        optimizer=optimizer,
        network_id=network.network_id,
        url=network.url,
        callbacks=[enqueue],
        progress=False,
        seed=1,
    )
    assert result.stop_reason == "stopped"
    assert wanted in [trial.params for trial in result.frozen_trials]


# -- what a run leaves behind ----------------------------------------------------------------------


def test_a_result_is_loaded_from_the_network_of_a_run(network: Network, run_of: Any) -> None:
    result = tune(
        objectives.slow,
        {"x": Float(0, 1)},
        n_workers=1,
        n_trials=3,
        timeout=100,
        network_id=network.network_id,
        url=network.url,
        progress=False,
        seed=2**70,
    )
    loaded = TuneResult.load(network.network_id, network.url)
    assert [t.params for t in loaded.frozen_trials] == [t.params for t in result.frozen_trials]
    for name in ("seed", "stop_reason", "network_id", "metrics", "directions", "deadline"):
        assert getattr(loaded, name) == getattr(result, name)
    assert loaded.ended_at == pytest.approx(result.ended_at)
    assert loaded.space is not None
    assert repr(loaded.space) == repr(result.space)
    lines = run_of("status", *at(network))[1].splitlines()
    assert lines[0] == f"{network.network_id} - ended: n_trials"


def test_a_result_of_a_network_without_a_search_is_refused(network: Network) -> None:
    network.push_tasks([{"x": 1}])
    with pytest.raises(ValueError, match="has no search"):
        TuneResult.load(network.network_id, network.url)
