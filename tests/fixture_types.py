"""What fixtures are that tests call."""

import subprocess
from collections.abc import Callable

from rush_core import Worker

Join = Callable[..., Worker]
Launch = Callable[..., "subprocess.Popen[str]"]
Rush = Callable[..., "subprocess.CompletedProcess[str]"]
