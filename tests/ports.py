"""Where servers of tests can listen."""

from __future__ import annotations

import socket


def free_port() -> int:
    """Return a port of the loopback interface on which, and 10000 above, nobody listens."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port: int = probe.getsockname()[1]
            if port > 55_535:  # a cluster's nodes talk to each other 10000 above
                continue
            try:
                socket.create_server(("127.0.0.1", port + 10_000)).close()
            except OSError:
                continue
            return port
