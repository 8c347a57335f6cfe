"""The decoders of the optimization: result files, spaces, tables of trials, foreign records."""

from __future__ import annotations

import base64
import io
import json
import socket
from typing import Any

import numpy as np
import pandas as pd

from rush_core import CorruptRecordError
from rush_core.kernel.codec import encode
from rush_core.kernel.description import decode_description
from rush_core.kernel.task import decode_tasks
from rush_opt import Boolean, Categorical, Constant, Float, Integer, Ordinal, Space, TuneResult
from rush_opt.arguments.warm_start import known_trials
from rush_opt.evaluation.channel import Channel, GarbledError
from rush_opt.evaluation.limited_process import framed
from rush_opt.problem.goal import Goal
from rush_opt.problem.problem import Problem
from rush_opt.results.files import parse_record
from rush_opt.results.trials import freeze_trials
from rush_opt.running.resume import check_trials, differences
from tests.fuzzing.target import Target

__all__ = ["OPT_TARGETS"]

_SPACE = Space(
    {
        "x": Float(0, 1),
        "kind": Categorical(["a", 1, None]),
        "n": Integer(1, 9, when={"kind": "a"}),
        "size": Ordinal([1, 10, 100]),
        "flag": Boolean(),
        "fixed": Constant("c"),
    }
)
_PROBLEM = Problem(_SPACE, (Goal("loss"),), 1)

_CONFIG = {"x": 0.5, "kind": "a", "n": 3, "size": 10, "flag": True, "fixed": "c"}


def _trial(**changes: Any) -> dict[str, Any]:
    trial = {
        "number": 0,
        "key": "key-1",
        "state": "finished",
        "params": _CONFIG,
        "value": 0.5,
        "result": {"loss": 0.5, "model": {"$bytes": "AA=="}, "worst": {"$float": "inf"}},
        "error": None,
        "worker": 0,
        "started_at": 1.0,
        "ended_at": 2.0,
        "notes": {"objective": 0.5},
        "intermediate": [[1, 0.5], [2.0, 0.25]],
    }
    return trial | changes


def _file(**changes: Any) -> bytes:
    content: dict[str, Any] = {
        "format": "rush_opt.TuneResult",
        "version": 1,
        "frozen_trials": [_trial()],
        "space": json.loads(_SPACE.to_json()),
        "metrics": ["loss"],
        "directions": ["minimize"],
        "workers": [],
        "seed": 1,
        "stop_reason": "n_trials",
        "network_id": "net",
        "started_at": 0.0,
        "ended_at": 3.0,
        "deadline": None,
    }
    return json.dumps(content | changes).encode()


def _with_array(length: int) -> bytes:
    """Return a file with an array of one number, the header of which claims a length."""
    file = io.BytesIO()
    np.save(file, np.array([0.5]))
    content = file.getvalue().replace(b"(1,), }" + b" " * 12, f"({length},), }}".encode().ljust(19))
    array = {"$array": base64.b64encode(content).decode()}
    return _file(frozen_trials=[_trial(result={"loss": 1.0, "curve": array})])


def _read_file(content: bytes) -> None:
    """Read a result file, and use what was read."""
    result = TuneResult(parse_record(content, "result.json"))
    assert repr(result)
    assert len(result.trials) == len(result.frozen_trials)


def _read_space(content: bytes) -> None:
    """Read a space, and draw from it."""
    space = Space.from_json(content)
    assert Space.from_json(space.to_json()) == space


def _warm_start(content: bytes) -> None:
    """Take pairs or a table of earlier trials."""
    given = json.loads(content)
    if isinstance(given, list) and given and all(isinstance(row, dict) for row in given):
        given = pd.DataFrame(given)
    if isinstance(given, str):  # a path: the target of result files reads it
        return
    for config, _ in known_trials(given, _PROBLEM):
        _SPACE.validate(config)


def _continue(content: bytes) -> None:
    """Take a task that another program put into the network of a run."""
    tasks = decode_tasks([content], b"rush:{fuzz}:finished")
    check_trials(freeze_trials(tasks, ["loss"], []), _PROBLEM, "fuzz")


def _compare(content: bytes) -> None:
    """Compare the description of a run with one that another program stored."""
    found = decode_description(content, b"rush:{fuzz}:about")
    mine = {"metric": ["loss"], "direction": ["minimize"], "constraints": [], "space": {"x": "1"}}
    assert all(isinstance(text, str) for text in differences(found, mine))


def _receive(content: bytes) -> None:
    """Receive what an evaluation process, which an objective can write to, has sent."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(content[:4096])
        theirs.close()
        channel = Channel(ours)
        while channel.receive(1.0) is not None:
            pass


OPT_TARGETS = (
    Target(
        "result file",
        _read_file,
        (ValueError,),
        (
            _file(),
            _file(space=None, deadline=5.0, frozen_trials=[]),
            _file(frozen_trials=[_trial(state="failed", value=None, result={}, error="no")]),
            _with_array(1),
            _with_array(99_999_999_999),
            _file(frozen_trials=[_trial(notes={"$dict": [[[1, 2], {"$scalar": "AA=="}]]})]),
            _file(frozen_trials=[_trial(value="half")]),
            _file(seed=None, workers=[{}]),
            b"[" * 5000,
        ),
        (b"null", b"1e999", b'"$dict"', b'"$array"', b'"$scalar"', b'"$float"', b'"nan"'),
    ),
    Target(
        "space",
        _read_space,
        (ValueError,),
        (
            _SPACE.to_json().encode(),
            b'{"parameters": {"x": {"kind": "Float", "low": 1e-3, "high": 1, "log": true}}}',
            b'{"parameters": {"n": {"kind": "Integer", "low": 0, "high": ' + b"9" * 400 + b"}}}",
            b'{"parameters": {"a": {"kind": "Categorical", "choices": [[], {}]}}}',
            b'{"parameters": ' * 2000,
        ),
        (b'"when"', b'"kind"', b'"low"', b'"log"', b'"step"', b"NaN", b"Infinity", b"null"),
    ),
    Target(
        "warm start",
        _warm_start,
        (ValueError, TypeError),
        (
            json.dumps([[_CONFIG, 0.5], [_CONFIG, {"loss": 1}]]).encode(),
            json.dumps([{f"params_{n}": v for n, v in _CONFIG.items()} | {"value": 0.5}]).encode(),
            json.dumps([{"params_n": 3.0, "params_kind": '"a"', "value": None}]).encode(),
        ),
        (b"null", b"NaN", b'"[]"', b'"state"', b'"FAIL"', b'"notes_stopped_at"'),
    ),
    Target(
        "foreign task",
        _continue,
        (CorruptRecordError, ValueError),
        (
            encode(("w", 0, "k", _CONFIG, None, 5.0, 6.0, {"loss": 1.0}, None, None)),
            encode(("w", 0, "k", {"x": [1]}, {"a": 1}, 5.0, 6.0, {"loss": "1"}, None, {"b": 1})),
        ),
    ),
    Target(
        "foreign description",
        _compare,
        (CorruptRecordError,),
        (
            encode(({"metric": ["loss"], "space": {"x": "Float"}, "constraints": None},)),
            encode(({"space": "x"},)),
        ),
    ),
    Target(
        "message of an evaluation process",
        _receive,
        (GarbledError, EOFError),
        (framed(b"result"), framed(b"a") + framed(b""), framed(b"cut")[:-1]),
    ),
)
