"""The worker loop and its arguments, on their way to the workers.

What is shipped is a cloudpickle under its own digest, signed where the environment variable
`RUSH_SECRET` is set. Unpickling runs code: a worker unpickles only what carries the digest it was
started with and, where there is a secret, a signature that fits it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cloudpickle

from rush_core.connection import Connection, pack
from rush_core.errors import LoopError
from rush_core.keys import NetworkKeys
from rush_core.script import retry_unreachable

__all__ = ["ShippedLoop", "load_loop", "pack_loop", "store_loop"]

ShippedLoop = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]

_SIGNATURE_BYTES = hashlib.sha256().digest_size


def pack_loop(loop: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
    """Pickle a worker loop with its arguments and this process's import path.

    Functions of ``__main__`` and of notebooks, and closures, go by value; functions of modules by
    name, found on the workers by the same import path.

    Raises
    ------
    LoopError
        If something of it cannot be pickled; the message names it.
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
    return packed


def store_loop(connection: Connection, keys: NetworkKeys, packed: bytes) -> str:
    """Put a packed loop into the network; one round trip.

    Returns
    -------
    str
        The digest by which workers ask for it.
    """
    digest = hashlib.sha256(packed).hexdigest()
    store = pack((b"HSET", keys.loops, digest, _signature(packed) + packed))
    retry_unreachable(lambda: connection.execute(store))
    return digest


def load_loop(connection: Connection, keys: NetworkKeys, digest: str) -> ShippedLoop:
    """Fetch and unpickle a loop; one round trip.

    Raises
    ------
    LoopError
        If there is no such loop, its digest or its signature does not fit, or it cannot be
        unpickled here.
    """
    stored = connection.execute(pack((b"HGET", keys.loops, digest)))
    if stored is None:
        raise LoopError(
            f"network {keys.network_id!r} has no worker loop {digest[:12]}: it was reset since "
            "this worker was started",
            key=digest,
        )
    signature, packed = stored[:_SIGNATURE_BYTES], stored[_SIGNATURE_BYTES:]
    if hashlib.sha256(packed).hexdigest() != digest:
        raise LoopError(f"worker loop {digest[:12]} was altered in the network", key=digest)
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


def _signature(packed: bytes) -> bytes:
    secret = os.environ.get("RUSH_SECRET")
    if not secret:
        return bytes(_SIGNATURE_BYTES)
    return hmac.digest(secret.encode(), packed, "sha256")


def _import_path() -> list[str]:
    """Return this process's import path; an empty entry means the working directory."""
    return [os.path.abspath(entry) for entry in sys.path]
