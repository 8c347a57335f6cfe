import threading
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from rush_core import EmbeddedServer, Network
from rush_core.servers.locate import resolve_url
from rush_opt.ask_tell import Advisor
from tests.opt.advisors import SPACE, Advise
from tests.waiting import wait_until


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


@pytest.fixture
def advise(network: Network) -> Iterator[Advise]:
    """Make advisors of `network`; they leave when the test is over."""
    advisors: list[Advisor] = []

    def advise(**options: Any) -> Advisor:
        given: dict[str, Any] = {"url": network.url, "seed": 1}
        advisors.append(Advisor(SPACE, network.network_id, **(given | options)))
        return advisors[-1]

    yield advise
    for advisor in advisors:
        advisor.close()
