"""The worker loop and its arguments, on their way to the workers.

What is shipped is a cloudpickle under its own digest, signed where the environment variable
`RUSH_SECRET` is set. Unpickling runs code: a worker unpickles only what carries the digest it was
started with and, where there is a secret, a signature that fits it. What is too large for the
server goes through a folder that all machines share: the network then holds signature and path.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cloudpickle

from rush_core.connection.connection import Connection, pack
from rush_core.connection.script import execute_on, retry_unreachable
from rush_core.errors import LoopError
from rush_core.keys import NetworkKeys

__all__ = ["MOST_BYTES", "ShippedLoop", "load_loop", "pack_loop", "store_loop"]

ShippedLoop = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]

# The server hands out a loop once for each worker: at this size a hundred of them pull more than
# six gigabytes through it, while the others wait. Redis itself takes no value beyond 512 MiB.
MOST_BYTES = 64 * 2**20

_SIGNATURE_BYTES = hashlib.sha256().digest_size
_FILE = b"file:"  # no cloudpickle begins like this


def pack_loop(
    loop: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    most_bytes: int | None = MOST_BYTES,
) -> bytes:
    """Pickle a worker loop with its arguments and this process's import path.

    Functions of ``__main__`` and of notebooks, and closures, go by value; functions of modules by
    name, found on the workers by the same import path.

    Raises
    ------
    LoopError
        If something of it cannot be pickled, or it has more than `most_bytes` bytes; the message
        names what, or the largest argument.
    """
    if not callable(loop):
        raise TypeError(f"loop must be callable as loop(worker, ...), got {type(loop).__name__}")
    # The worker puts the import path in place before it unpickles the rest.
    try:
        content = cloudpickle.dumps((loop, tuple(args), dict(kwargs)))
    except Exception as error:
        name = getattr(loop, "__name__", type(loop).__name__)
        raise LoopError(
            f"cannot ship {name!r} and its arguments to workers: "
            f"{type(error).__name__}: {error}. Objects bound to this process (locks, open files, "
            "connections, generators) must be made inside the function instead"
        ) from error
    packed: bytes = cloudpickle.dumps((_import_path(), content))
    if most_bytes is not None and len(packed) > most_bytes:
        size, largest = _largest(loop, args, kwargs)
        raise LoopError(
            f"the worker loop has {len(packed):,} bytes with its arguments, {size:,} of them in "
            f"{largest}; at most {most_bytes:,} go through the server. Load the data inside "
            "the function that needs them, or give start_workers() a shared_folder= (a folder that "
            "all workers can read)",
            expected=most_bytes,
            found=len(packed),
        )
    return packed


def _largest(
    loop: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[int, str]:
    """Return size and name of the largest part of what is shipped."""
    parts: dict[str, Any] = {"the loop itself, with what it closes over": loop}
    parts |= {f"args[{i}]": value for i, value in enumerate(args)}
    parts |= {f"kwargs[{name!r}]": value for name, value in kwargs.items()}
    return max((len(cloudpickle.dumps(value)), name) for name, value in parts.items())


def store_loop(
    connection: Connection, keys: NetworkKeys, packed: bytes, shared_folder: Path | None = None
) -> str:
    """Put a packed loop into the network, or its path if there is a folder; one round trip.

    Returns
    -------
    str
        The digest by which workers ask for it.
    """
    digest = hashlib.sha256(packed).hexdigest()
    content = packed if shared_folder is None else _FILE + _write(shared_folder / digest, packed)
    stored = pack((b"HSET", keys.loops, digest, _signature(packed) + content))
    retry_unreachable(lambda: execute_on(connection, keys.loops, stored))
    return digest


def _write(path: Path, packed: bytes) -> bytes:
    """Write a file that only its owner can read, at once as a whole; return its full path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, unfinished = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(descriptor, "wb") as file:
        file.write(packed)
        file.flush()
        os.fsync(descriptor)
    os.replace(unfinished, path)
    return os.fsencode(path.resolve())


def load_loop(connection: Connection, keys: NetworkKeys, digest: str) -> ShippedLoop:
    """Fetch and unpickle a loop; one round trip.

    Raises
    ------
    LoopError
        If there is no such loop, its digest or its signature does not fit, or it cannot be
        unpickled here.
    """
    stored = execute_on(connection, keys.loops, pack((b"HGET", keys.loops, digest)))
    if stored is None:
        raise LoopError(
            f"network {keys.network_id!r} has no worker loop {digest[:12]}: it was reset since "
            "this worker was started",
            key=digest,
        )
    signature, packed = stored[:_SIGNATURE_BYTES], stored[_SIGNATURE_BYTES:]
    if packed.startswith(_FILE):
        packed = _read(Path(os.fsdecode(packed.removeprefix(_FILE))), digest)
    if hashlib.sha256(packed).hexdigest() != digest:
        raise LoopError(f"worker loop {digest[:12]} was altered on its way", key=digest)
    if not hmac.compare_digest(signature, _signature(packed)):
        raise LoopError(
            f"worker loop {digest[:12]} is not signed with this machine's RUSH_SECRET; set the "
            "same RUSH_SECRET wherever workers and managers run",
            key=digest,
        )
    import_path, content = cloudpickle.loads(packed)
    # In front, where the manager's script folder was: names must mean the same here as there.
    sys.path[:0] = [entry for entry in import_path if entry not in sys.path]
    try:
        loop, args, kwargs = cloudpickle.loads(content)
    except Exception as error:
        raise LoopError(
            f"cannot unpickle the worker loop here: {type(error).__name__}: {error}. Is the same "
            "software installed as where it was shipped from?",
            key=digest,
        ) from error
    return loop, args, kwargs


def _read(path: Path, digest: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise LoopError(
            f"cannot read worker loop {digest[:12]} from the shared folder: {error}; the folder "
            "must be at the same path wherever workers run",
            key=digest,
        ) from error


def _signature(packed: bytes) -> bytes:
    secret = os.environ.get("RUSH_SECRET")
    if not secret:
        return bytes(_SIGNATURE_BYTES)
    return hmac.digest(secret.encode(), packed, "sha256")


def _import_path() -> list[str]:
    """Return this process's import path; an empty entry means the working directory."""
    return [os.path.abspath(entry) for entry in sys.path]
