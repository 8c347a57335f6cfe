"""Which tests are run by ``make quick``."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rush_core import EmbeddedServer, Network
from tests.quick import is_quick

ROOT = Path(__file__).parents[1]


def counted(network: Network) -> int:
    return sum(network.count_tasks())


@pytest.fixture
def nothing() -> None:
    """Start nothing."""


def test_a_test_that_starts_nothing_is_quick(request: pytest.FixtureRequest, nothing: None) -> None:
    assert is_quick(request.node)


def test_a_test_whose_fixture_needs_a_server_is_not_quick(
    request: pytest.FixtureRequest, network: Network
) -> None:
    assert counted(network) == 0
    assert not is_quick(request.node)


def test_a_test_that_starts_a_process_is_not_quick_and_would_fail_as_such(
    request: pytest.FixtureRequest,
) -> None:
    code = "import os; from tests.quick import forbid_processes; forbid_processes(); os.system('')"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 1
    assert "a quick test starts a process (os.system" in ended.stderr
    assert not is_quick(request.node)


def test_a_test_that_knows_the_class_of_a_server_is_not_quick(
    request: pytest.FixtureRequest,
) -> None:
    assert EmbeddedServer.__name__ == "EmbeddedServer"
    assert not is_quick(request.node)
