"""Ports of the loopback interface on which servers of tests can listen."""

from __future__ import annotations

import os
import random
import socket

# Below the ports that operating systems give to outgoing connections (from 32768 on Linux, from
# 49152 on macOS), so that nobody takes a port between its choice and its use. A node of a cluster
# also listens 10,000 ports above its own, which is below them as well.
_FIRST, _END = 20_000, 22_700
_CLUSTER_BUS = 10_000

_PER_PROCESS = 300  # each process that runs tests has ports of its own


def free_port() -> int:
    """Return a port on which, and 10,000 above, nobody listens and no other test process will."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = _FIRST + number * _PER_PROCESS % (_END - _FIRST)
    while True:
        port = random.SystemRandom().randrange(first, first + _PER_PROCESS)
        try:
            for tried in (port, port + _CLUSTER_BUS):
                socket.create_server(("127.0.0.1", tried)).close()
        except OSError:
            continue
        return port
