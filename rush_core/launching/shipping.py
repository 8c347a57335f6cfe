"""Ship the worker loop and its arguments to the workers.

They are stored in the network as one cloudpickle, under its digest. If the environment variable
`RUSH_SECRET` is set, the pickle is signed with it.

Unpickling runs code. So a worker unpickles only what has the digest that it was started with and,
if `RUSH_SECRET` is set, the right signature.

What is too large for the server goes through a folder that all machines share. The network then
holds the signature and the path of the file. Everybody who may write to the server can put another
path there. So only a regular file of limited size is read, and only if its name is the digest.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
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

__all__ = [
    "CURRENT",
    "MOST_BYTES",
    "ShippedLoop",
    "fetch_loop",
    "load_loop",
    "pack_loop",
    "ship_loop",
    "store_loop",
    "trusted_loop",
]

ShippedLoop = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]

# Every worker fetches the loop from the server: at this size, a hundred workers fetch more than
# six gigabytes, and other clients wait meanwhile. Redis itself takes values up to 512 MiB.
MOST_BYTES = 64 * 2**20

# What a worker reads from a shared folder at most: it must fit into its memory.
_MOST_FILE_BYTES = 4 * 2**30

_SIGNATURE_BYTES = hashlib.sha256().digest_size
_FILE = b"file:"  # no cloudpickle begins like this
CURRENT = b"current"  # the name of the digest that a worker uses by default


def ship_loop(
    connection: Connection,
    keys: NetworkKeys,
    loop: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    shared_folder: Path | None,
    *,
    is_current: bool = True,
) -> str:
    """Pack a worker loop and store it; see `pack_loop` and `store_loop`; one round trip."""
    most_bytes = MOST_BYTES if shared_folder is None else None
    packed = pack_loop(loop, args, kwargs, most_bytes=most_bytes)
    return store_loop(connection, keys, packed, shared_folder, is_current=is_current)


def pack_loop(
    loop: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    most_bytes: int | None = MOST_BYTES,
) -> bytes:
    """Pickle a worker loop with its arguments and this process's import path.

    Closures and functions of ``__main__`` and of notebooks are pickled by value. Functions of
    modules are pickled by name; the worker imports them along the same import path.

    Raises
    ------
    LoopError
        If a part cannot be pickled, or the whole has more than `most_bytes` bytes; the message
        names the part, or the largest argument.
    """
    if not callable(loop):
        raise TypeError(f"loop must be callable as loop(worker, ...), got {type(loop).__name__}")
    # Two pickles in one: the worker sets the import path before it unpickles the second.
    try:
        content = cloudpickle.dumps((loop, tuple(args), dict(kwargs)))
    except Exception as error:
        name = getattr(loop, "__name__", type(loop).__name__)
        raise LoopError(
            f"cannot ship {name!r} and its arguments to workers: "
            f"{type(error).__name__}: {error}. Objects bound to this process (locks, open files, "
            "connections, generators) cannot be shipped: make them inside the function"
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
    connection: Connection,
    keys: NetworkKeys,
    packed: bytes,
    shared_folder: Path | None = None,
    *,
    is_current: bool = True,
) -> str:
    """Store a packed loop in the network or, if given, in a folder; one round trip.

    `is_current` makes it the loop of workers that are started without a digest; see
    `rush_core.launching.current_loop`.

    Returns
    -------
    str
        The digest, by which workers fetch it.
    """
    digest = hashlib.sha256(packed).hexdigest()
    content = packed if shared_folder is None else _FILE + _write(shared_folder / digest, packed)
    current = (CURRENT, digest) if is_current else ()
    stored = pack((b"HSET", keys.loops, digest, _signature(packed) + content, *current))
    retry_unreachable(lambda: execute_on(connection, keys.loops, stored))
    return digest


def _write(path: Path, packed: bytes) -> bytes:
    """Write a file that only this user can read; return its full path.

    The file is written under another name and then renamed, so that nobody reads half of it.
    """
    if len(packed) > _MOST_FILE_BYTES:
        raise LoopError(
            f"the worker loop has {len(packed):,} bytes with its arguments; at most "
            f"{_MOST_FILE_BYTES:,} go through a shared folder. Load the data inside the function",
            expected=_MOST_FILE_BYTES,
            found=len(packed),
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, unfinished = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(descriptor, "wb") as file:
        file.write(packed)
        file.flush()
        os.fsync(descriptor)
    os.replace(unfinished, path)
    return os.fsencode(path.resolve())


def fetch_loop(url: str, network_id: str, digest: str, patience_s: float) -> ShippedLoop:
    """Load a loop over a connection of its own; see `load_loop`.

    Parameters
    ----------
    url, network_id, digest : str
    patience_s : float
        How long to try if the server cannot be reached, seconds.
    """
    connection = Connection(url)
    try:
        keys = NetworkKeys(network_id)
        return retry_unreachable(lambda: load_loop(connection, keys, digest), patience_s)
    finally:
        connection.close()


def load_loop(connection: Connection, keys: NetworkKeys, digest: str) -> ShippedLoop:
    """Fetch and unpickle a loop; one round trip.

    Raises
    ------
    LoopError
        If there is no such loop, its digest or its signature is wrong, or it cannot be unpickled.
    """
    # A command line can have any bytes in the place of the digest.
    read = pack((b"HGET", keys.loops, os.fsencode(digest)))
    stored = execute_on(connection, keys.loops, read)
    if stored is None:
        raise LoopError(
            f"network {keys.network_id!r} has no worker loop {digest[:12]}: the network was reset "
            "after the command of this worker was made; make a new one",
            key=digest,
        )
    import_path, content = cloudpickle.loads(trusted_loop(stored, digest))
    # At the front, as on the manager: the same name must find the same module.
    sys.path[:0] = [entry for entry in import_path if entry not in sys.path]
    try:
        loop, args, kwargs = cloudpickle.loads(content)
    except Exception as error:
        raise LoopError(
            f"cannot unpickle the worker loop here: {type(error).__name__}: {error}. Install the "
            "same packages here as on the manager",
            key=digest,
        ) from error
    return loop, args, kwargs


def trusted_loop(stored: bytes, digest: str) -> bytes:
    """Return the pickle of a stored loop, read from its file if it has one.

    Raises
    ------
    LoopError
        If its digest or its signature is wrong, or the file cannot be read.
    """
    signature, packed = stored[:_SIGNATURE_BYTES], stored[_SIGNATURE_BYTES:]
    if packed.startswith(_FILE):
        packed = _read(Path(os.fsdecode(packed.removeprefix(_FILE))), digest)
    if hashlib.sha256(packed).hexdigest() != digest:
        raise LoopError(
            f"worker loop {digest[:12]} was altered after it was stored: its digest is wrong",
            key=digest,
        )
    if not hmac.compare_digest(signature, _signature(packed)):
        raise LoopError(
            f"worker loop {digest[:12]} is not signed with the RUSH_SECRET of this process; set "
            "the same RUSH_SECRET for all workers and managers",
            key=digest,
        )
    return packed


def _read(path: Path, digest: str) -> bytes:
    """Read a loop from a shared folder, if the path can be that of a loop.

    Opening does not wait, as it would for the other end of a named pipe.
    """
    if path.name != digest:
        raise _no_loop_file(path, digest, "its name is not the digest of the loop")
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise _no_loop_file(path, digest, "it is no regular file")
            if found.st_size > _MOST_FILE_BYTES:
                raise _no_loop_file(path, digest, f"it has more than {_MOST_FILE_BYTES:,} bytes")
            return file.read(_MOST_FILE_BYTES)
    except (OSError, ValueError) as error:  # ValueError: the path has a zero byte
        raise LoopError(
            f"cannot read worker loop {digest[:12]} from the shared folder: {error}; the folder "
            "must be at the same path on all machines",
            key=digest,
        ) from error


def _no_loop_file(path: Path, digest: str, reason: str) -> LoopError:
    return LoopError(
        f"{str(path)!r} cannot hold worker loop {digest[:12]}, "
        f"because {reason}; somebody altered the network or the folder. Start new workers",
        key=digest,
    )


def _signature(packed: bytes) -> bytes:
    """Return the signature of a packed loop; zeros without a secret."""
    secret = os.environ.get("RUSH_SECRET")
    if not secret:
        return bytes(_SIGNATURE_BYTES)
    return hmac.digest(secret.encode(), packed, "sha256")


def _import_path() -> list[str]:
    """Return this process's import path, absolute; an empty entry is the working directory."""
    return [os.path.abspath(entry) for entry in sys.path]
