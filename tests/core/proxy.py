"""A way to the server that breaks at a chosen moment, as networks do."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self


class BreakingProxy:
    """Forwards one client's bytes to a server's socket and back, until a test breaks it.

    Parameters
    ----------
    server_url : str
        ``unix://`` and the path of the server's socket.

    Attributes
    ----------
    url : str
        What the client is to connect to.
    n_breaks : int
        How often the connection was cut as planned.
    n_reply_bytes : int
        How much the server sent back.
    """

    def __init__(self, server_url: str) -> None:
        self._server_path = server_url.removeprefix("unix://")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}"
        self.n_breaks = self.n_reply_bytes = 0
        self._plan: str | None = None
        self._containing = b""
        self._then: Callable[[], object] = lambda: None
        self._held = b""
        self._open: list[socket.socket] = [self._listener]
        threading.Thread(target=self._serve, daemon=True).start()

    def cut_before_request(self, containing: bytes = b"") -> None:
        """Cut the connection at the next request, which never reaches the server."""
        self._containing, self._plan = containing, "before"

    def cut_before_reply(self, containing: bytes = b"") -> None:
        """Let the server do the work of the next request, and cut before its reply arrives."""
        self._containing, self._plan = containing, "after"

    def hold_request(
        self, containing: bytes = b"", then: Callable[[], object] = lambda: None
    ) -> None:
        """Cut at the next request and keep it back until `deliver_held_request`.

        `then` is called before the client can notice.
        """
        self._containing, self._then, self._plan = containing, then, "hold"

    def copy_request(self, containing: bytes = b"") -> None:
        """Forward the next request, and keep a copy of it for `deliver_held_request`."""
        self._containing, self._plan = containing, "copy"

    def deliver_held_request(self) -> bytes:
        """Send the server the request that was kept; return the reply that nobody reads."""
        with socket.socket(socket.AF_UNIX) as server:
            server.connect(self._server_path)
            server.sendall(self._held)
            return server.recv(65536)

    def close(self) -> None:
        """End everything."""
        for sock in self._open:
            sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            self._open.append(client)
            threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX)
        self._open.append(server)
        with client, server, contextlib.suppress(OSError):  # the test may be over
            server.connect(self._server_path)
            reply_wanted = threading.Event()
            reply_wanted.set()
            replies = threading.Thread(
                target=self._forward_replies, args=(server, client, reply_wanted), daemon=True
            )
            replies.start()
            while request := client.recv(1 << 20):
                plan = None
                if self._plan is not None and self._containing in request:
                    plan, self._plan = self._plan, None
                if plan == "hold":
                    self._held = request
                    self._then()
                elif plan == "copy":
                    self._held = request
                    plan = None
                self.n_breaks += plan is not None
                if plan in ("before", "hold"):
                    return
                if plan == "after":
                    reply_wanted.clear()
                server.sendall(request)

    def _forward_replies(
        self, server: socket.socket, client: socket.socket, wanted: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while reply := server.recv(1 << 20):
                self.n_reply_bytes += len(reply)
                if not wanted.is_set():
                    break
                client.sendall(reply)
            client.shutdown(socket.SHUT_RDWR)  # also when the server has gone
