import threading
from collections.abc import Iterator

import psutil
import pytest
from waiting import wait_until

from rush_core import EmbeddedServer
from rush_core.server import resolve_url


@pytest.fixture
def nothing_is_left_running(server: EmbeddedServer) -> Iterator[None]:
    """Whatever becomes of a run: its processes and threads are gone when the call is over."""
    resolve_url(None)  # starts the embedded server of this process, which is nobody's left-over

    def processes() -> set[int]:
        return {process.pid for process in psutil.Process().children(recursive=True)}

    before, threads = processes(), set(threading.enumerate())
    yield
    assert processes() - before == set()
    wait_until(lambda: not set(threading.enumerate()) - threads)  # they may be at their last line
