"""The decoders of the core: records, logs, loops, URLs and command lines."""

from __future__ import annotations

import argparse
import contextlib
import io
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec
import numpy as np

from rush_core import CorruptRecordError, Heartbeat, LoopError, TaskTable
from rush_core.commands.command_line import CommandLine
from rush_core.commands.logs import add_log_command
from rush_core.commands.networks import add_network_commands
from rush_core.commands.servers import add_server_commands
from rush_core.commands.workers import add_worker_commands
from rush_core.connection.endpoint import Endpoint
from rush_core.connection.url import (
    add_password,
    environment_of,
    is_private,
    redact,
    without_password,
)
from rush_core.kernel.codec import encode
from rush_core.kernel.description import decode_description
from rush_core.kernel.format import decode_format
from rush_core.kernel.report import decode_reports
from rush_core.kernel.task import Task, decode_tasks
from rush_core.kernel.workers import decode_workers
from rush_core.keys import NetworkKeys, check_identifier
from rush_core.launching.shipping import trusted_loop
from rush_core.membership.log import decode_entry
from rush_core.membership.log_levels import LogLevels
from rush_core.terminal import printable
from tests.fuzzing.target import Target

__all__ = ["CORE_TARGETS"]

_KEYS = NetworkKeys("fuzz")
_DIGEST = "0" * 64

_CONFIG: dict[str, Any] = {
    "x": 0.5,
    "n": [1, -2, 2**63],
    "text": "ä",
    "bytes": b"\x00",
    "array": np.arange(6.0).reshape(2, 3),
    "records": np.zeros(2, [("a", "i4"), ("b", "f4", (2,))]),
    "time": np.datetime64("2026-01-02"),
}
_VALUES = tuple(encode({"x": value}) for value in _CONFIG.values())
_RECORDS = (
    encode(("", 0, "key-1", _CONFIG, None)),
    encode(("w", 1, "key-1", {"x": 1}, {"note": None}, 5.0)),
    encode(("w", 0, "key-1", {"x": 1}, None, 5.0, 6.0, _CONFIG, None, None)),
    encode(("w", 0, "key-1", {"x": 1}, None, 5.0, 6.0, None, "no", {"lost": "killed"})),
)
_PLACES = (_KEYS.queued, _KEYS.running, _KEYS.finished, _KEYS.failed)

_DTYPES = (b"<f8", b"|O", b"|V8", b"<U3", b"|S0", b"<M8[D]", b"(2,3)i4,f8", b"i4,,", b"((")


def _read_task(task: Task) -> None:
    """Decode everything of a task."""
    for values in (task.config, task.extra, task.result or {}, task.result_extra):
        assert all(type(name) is str for name in values)
    with contextlib.suppress(ValueError, SystemError):  # NumPy refuses to show some arrays
        repr(task)
    with contextlib.suppress(ValueError):
        TaskTable([task]).to_numpy(["x"])


def _decode_tasks(content: bytes) -> None:
    """Decode a record of a task, the first byte of which was the place where it lies."""
    place = _PLACES[content[0] % len(_PLACES)] if content else _KEYS.queued
    for task in decode_tasks([content[1:]], place):
        _read_task(task)


def _decode_values(content: bytes) -> None:
    """Decode a configuration of a task."""
    record = encode(("", 0, "key-1", msgspec.Raw(content), None))
    for task in decode_tasks([record], _KEYS.queued):
        _read_task(task)


def _decode_array(content: bytes) -> None:
    """Decode an array or a scalar."""
    _decode_values(encode({"x": msgspec.msgpack.Ext(1 + len(content) % 2, content)}))


def _decode_report(content: bytes) -> None:
    for report in decode_reports([content], _KEYS.reports):
        assert all(type(name) is str for name in report.values)


def _decode_log(content: bytes) -> None:
    """Decode a log entry; what is shown of it cannot control a terminal."""
    position, _, record = content.partition(b"|")
    shown = str(decode_entry((position, [b"r", record]), _KEYS.log)[1])
    assert all(line.isprintable() for line in shown.split("\n")), shown


def _decode_loop(content: bytes) -> None:
    trusted_loop(content, _DIGEST)


def _examine_url(content: bytes) -> None:
    """Read a URL in all ways; no message and no shown form has its password."""
    url = content.decode(errors="surrogateescape")
    # Elsewhere the word is no password, but for example a host.
    is_secret = url.count(_SECRET) == 1 and f":{_SECRET}@" in url and not url.startswith("unix:")
    assert not (is_secret and _SECRET in redact(url)), redact(url)
    try:
        Endpoint(url, 1.0)
        is_private(url)
        environment_of(url)
        Endpoint(redact(url), 1.0)
        Endpoint(add_password(url, "a/b@c"), 1.0)
    except ValueError as error:
        _check(not (is_secret and _SECRET in str(error)), error)
        raise
    Endpoint(without_password(url), 1.0)
    has_secret = is_secret and urlsplit(url).password == _SECRET
    assert not (has_secret and _SECRET in without_password(url)), url


_SECRET = "sesame"


def _check(holds: bool, shown: object) -> None:
    """Raise `AssertionError`, also where an error of the decoder is handled."""
    assert holds, shown


def _command_line() -> CommandLine:
    """Return the command line, of which each command only checks its arguments."""
    command_line = CommandLine()
    original = command_line.add_command

    def add(name: str, run: Callable[..., int], help: str | None) -> argparse.ArgumentParser:
        return original(name, _check_arguments, help)

    command_line.add_command = add  # type: ignore[method-assign]
    add_server_commands(command_line)
    add_worker_commands(command_line)
    add_network_commands(command_line)
    add_log_command(command_line)
    return command_line


def _check_arguments(given: argparse.Namespace) -> int:
    values = vars(given)
    if "network_id" in values:
        check_identifier("network_id", given.network_id)
    if values.get("url"):
        Endpoint(given.url, 1.0)
    if values.get("heartbeat"):
        Heartbeat(*given.heartbeat)
    if "log_level" in values:
        LogLevels.of(str(LogLevels.of(given.log_level)))
    return 0


def _run_command(content: bytes) -> None:
    """Run a command line; its words are separated by zero bytes."""
    words = content.decode(errors="surrogateescape").split("\0")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            _COMMAND_LINE.main(words)
        except SystemExit as end:
            if isinstance(end.code, str):
                _check(end.code.startswith("rush: "), end.code)
                _check(all(map(str.isprintable, end.code.split("\n"))), end.code)
            raise


_COMMAND_LINE = _command_line()


def _show(content: bytes) -> None:
    """Make a text safe for a terminal."""
    text = content.decode(errors="surrogateescape")
    assert printable(text).isprintable()
    assert len(printable(text, indent=" ").split("\n")) == text.count("\n") + 1


CORE_TARGETS = (
    Target(
        "record of a task",
        _decode_tasks,
        (CorruptRecordError,),
        tuple(bytes((i,)) + record for i, record in enumerate(_RECORDS)),
        (b"\x95", b"\x96", b"\x9a", b"\xa5key-1", b"\xc0"),
    ),
    Target("values of a task", _decode_values, (CorruptRecordError,), _VALUES, _DTYPES),
    Target(
        "array",
        _decode_array,
        (CorruptRecordError,),
        tuple(
            encode((description, shape, bytes(24)))
            for description in ("<f8", "(3,)i1", "i4,f4", [["a", "i4"], ["b", "f4", [2]]])
            for shape in ([3], [], [-1], [2**40])
        ),
        _DTYPES,
    ),
    Target(
        "report",
        _decode_report,
        (CorruptRecordError,),
        (encode(("w", 0, "key-1", 5.0, {"step": 1, "value": 0.5})),),
    ),
    Target(
        "record of a worker",
        lambda content: decode_workers([content], _KEYS),
        (CorruptRecordError,),
        (
            encode(("w", "host", 1, 5.0, None, 0)),
            encode(("w", "host", 1, 5.0, 15.0, 3, 6.0, "killed", "why")),
        ),
        (b"lost", b"stopped", b"interrupted", b"running"),
    ),
    Target(
        "log entry",
        _decode_log,
        (CorruptRecordError,),
        (
            b"1700000000000-0|" + encode(("w", "INFO", "study", "two\nlines \x1b[31m")),
            b"9" * 5000 + b"-0|" + encode(("w", "INFO", "study", "text")),
        ),
        (b"\x1b[", b"\r", "\u202e".encode()),
    ),
    Target(
        "description",
        lambda content: decode_description(content, _KEYS.about),
        (CorruptRecordError,),
        (encode(({"metric": ["loss"], "space": {"x": "Float"}},)), encode((_CONFIG,))),
        _DTYPES,
    ),
    Target(
        "format",
        lambda content: decode_format(content, _KEYS.format),
        (CorruptRecordError,),
        (b"1", b"12", b"9" * 5000, "²".encode()),
    ),
    Target(
        "worker loop",
        _decode_loop,
        (LoopError,),
        (
            bytes(32) + b"\x80\x05K\x01.",
            bytes(32) + b"file:/nowhere/" + _DIGEST.encode(),
            bytes(32) + b"file:/no\0where/" + _DIGEST.encode(),
        ),
        (b"file:", _DIGEST.encode(), b"/dev/zero", b"\0"),
    ),
    Target(
        "URL",
        _examine_url,
        (ValueError,),
        tuple(
            url.encode()
            for url in (
                "redis://user:sesame@host:6379/1",
                "rediss://:sesame@host/0?ssl_ca_certs=/path/ca.pem&ssl_cert_reqs=none",
                "unix:///path/server.sock?db=0&password=sesame",
                "redis+sentinel://user:sesame@one:1,[::1]:2/service/0",
                "redis://[::1]:6379/0?socket_timeout=5&health_check_interval=1",
                "redis://:sesame\u2100@host",
                "redis://:sesame@[host",
                "redis:/:sesame@host",
            )
        ),
        (b"redis://", b"unix://", b"?db=", b"%2F", b"%", b"[", b"]", b"@", "\u2100".encode()),
    ),
    Target(
        "command line",
        _run_command,
        (SystemExit,),
        tuple(
            "\0".join(words.split()).encode()
            for words in (
                "status net --watch 1 --json --url redis://h",
                "logs net -n 5 --follow",
                "stop net a b --kill",
                "worker net --loop 00 --worker-id w --heartbeat 1 2 --log-level INFO,a=DEBUG",
                "serve folder --host 127.0.0.1 --port 1",
                "beat net w 1 1 2",
                "doctor --json",
            )
        ),
        (b"--url", b"--heartbeat", b"nan", b"inf", b"1e999", b"--log-level", b"\0", b"=", b"\x1b"),
    ),
    Target(
        "text for a terminal",
        _show,
        (),
        (b"red \x1b[31m", "a\n\u202eb\udc80".encode(errors="surrogateescape")),
    ),
)
