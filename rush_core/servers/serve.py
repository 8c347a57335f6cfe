"""``rush serve``: this process becomes a server that stays until it is ended."""

from __future__ import annotations

import os
import shlex
import sys
import time
from pathlib import Path
from typing import NoReturn

from rush_core.connection.url import unix_url
from rush_core.errors import RushError
from rush_core.servers.binary import append_only_options, find_server_binary, unix_socket_options
from rush_core.servers.data_folder import is_served, make_private, open_lock, take_lock
from rush_core.servers.locate import answers, explicit_url

__all__ = ["serve_forever"]


def serve_forever(folder: str | Path, host: str | None, port: int) -> NoReturn:
    """Become a server that keeps its data in `folder`; print its URL when it answers.

    Standard output gets the URL and nothing else. Standard error gets the line with which other
    programs join, and what the server warns of. If
    `RUSH_REDIS_PASSWORD` is set, it is the server's password; clients with the same variable send
    it.

    Parameters
    ----------
    folder : path
        Made if it does not exist. A server that is started there again reads its data.
    host : str or None
        Address to listen on; None for a unix socket in `folder`, which only this user can use.
    port : int
        Ignored without a host.

    Raises
    ------
    ValueError
        If there is a host and no password: everybody who reaches the server could run code on the
        workers.
    RushError
        If a server already keeps its data in `folder`.
    """
    binary = find_server_binary()
    path = Path(folder).resolve()
    password = os.environ.get("RUSH_REDIS_PASSWORD")
    url, options = _address(path, host, port, password)
    options |= append_only_options(path)
    options |= {"loglevel": "warning"}  # no banner, and nothing that needs no action
    if password:
        options["requirepass"] = password
    make_private(path)
    with open_lock(path) as lock:
        if not take_lock(lock):
            raise RushError(
                f"a server already keeps its data in {path}; use that server, end it, or choose "
                "another folder"
            )
        configuration = _write_configuration(path, options)
        _print_when_it_answers(url, path, lock)
        os.set_inheritable(lock, True)  # the server holds the lock until it has ended
        os.dup2(2, 1)
        os.execv(binary, [str(binary), str(configuration)])


def _address(
    folder: Path, host: str | None, port: int, password: str | None
) -> tuple[str, dict[str, str]]:
    """Return the URL of a server and the options that make it listen there."""
    if host is None:
        socket_path = folder / "server.sock"
        return unix_url(socket_path), unix_socket_options(socket_path)
    if not password:
        raise ValueError(
            f"a server at {host} needs a password: set RUSH_REDIS_PASSWORD here and for all "
            "workers, or leave out the host for a unix socket"
        )
    return f"redis://{host}:{port}/0", {"bind": host, "port": str(port)}


def _write_configuration(folder: Path, options: dict[str, str]) -> Path:
    """Write the server's options into a file that only this user can read.

    A command line, which all users can read, must not have the password.
    """
    path = folder / "server.conf"
    path.touch(mode=0o600)
    path.write_text("".join(f"{name} {_quoted(value)}\n" for name, value in options.items()))
    return path


def _quoted(value: str) -> str:
    """Quote a value for the server's configuration file: bytes, which may be those of a path."""
    escaped = [
        chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}"
        for byte in os.fsencode(value)
    ]
    return f'"{"".join(escaped)}"'


def _print_when_it_answers(url: str, folder: Path, lock: int) -> None:
    """Print `url` as soon as the server answers there.

    This process is about to become the server. A grandchild prints, so that the server has no child
    to wait for.
    """
    if os.fork():
        os.wait()
        return
    if os.fork():
        os._exit(0)
    os.close(lock)
    # The grandchild asks again and again, because no server announces in a usable way that it is
    # ready: the systemd notification is a build option, and the server's output belongs to the
    # caller.
    while not answers(explicit_url(url) or url, timeout_s=0.5):
        if not is_served(folder):  # the server has ended
            os._exit(1)
        time.sleep(0.01)
    print(url, flush=True)
    also = " the same RUSH_REDIS_PASSWORD and" if os.environ.get("RUSH_REDIS_PASSWORD") else ""
    print(
        f"serving until interrupted; other programs use it with{also}\n"
        f"  export RUSH_REDIS_URL={shlex.quote(url)}",
        file=sys.stderr,
        flush=True,
    )
    os._exit(0)
