"""Workers on any number of machines share tasks through Redis; no central process hands out work.

Start with `Network`, which a manager uses, and `Worker`, which a worker loop uses.
"""

import warnings as _warnings
from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from rush_core.errors import (
    CorruptRecordError,
    DuplicateTaskError,
    LoopError,
    LoopFailedError,
    NetworkNotFoundError,
    RushError,
    ServerFullError,
    ServerNotFoundError,
    ServerRefusedError,
    ServerUnreachableError,
    WorkerInterrupt,
    WorkerLostError,
    WorkersFailedError,
)
from rush_core.existing import (
    ExistingNetwork,
    list_networks,
    open_existing,
    remove_network,
)
from rush_core.kernel.heartbeat import Heartbeat
from rush_core.kernel.hosts import HostInfo
from rush_core.kernel.report import Report
from rush_core.kernel.table import EndedTasks, TaskTable
from rush_core.kernel.task import Task, TaskCounts, TaskState
from rush_core.kernel.workers import WorkerInfo, WorkerState
from rush_core.launching.room import usable_cpus
from rush_core.membership.log import LogRecord
from rush_core.network import Network
from rush_core.owned_process import OwnedProcess, run_at_owner_end
from rush_core.servers.embedded import EmbeddedServer, serve
from rush_core.supervised_process import SupervisedProcess, describe_exit
from rush_core.terminal import duration_text, local_time, printable, table_lines
from rush_core.worker import Worker

if _TYPE_CHECKING:
    from rush_core.cli import core_command_line
    from rush_core.commands.command_line import (
        CommandLine,
        add_network_options,
        add_server_options,
        print_json,
    )
    from rush_core.commands.hosts import host_lines
    from rush_core.commands.networks import status_lines, status_values

__all__ = [
    "CommandLine",
    "CorruptRecordError",
    "DuplicateTaskError",
    "EmbeddedServer",
    "EndedTasks",
    "ExistingNetwork",
    "Heartbeat",
    "HostInfo",
    "LogRecord",
    "LoopError",
    "LoopFailedError",
    "Network",
    "NetworkNotFoundError",
    "OwnedProcess",
    "Report",
    "RushError",
    "ServerFullError",
    "ServerNotFoundError",
    "ServerRefusedError",
    "ServerUnreachableError",
    "SupervisedProcess",
    "Task",
    "TaskCounts",
    "TaskState",
    "TaskTable",
    "Worker",
    "WorkerInfo",
    "WorkerInterrupt",
    "WorkerLostError",
    "WorkerState",
    "WorkersFailedError",
    "add_network_options",
    "add_server_options",
    "core_command_line",
    "describe_exit",
    "duration_text",
    "host_lines",
    "list_networks",
    "local_time",
    "open_existing",
    "print_json",
    "printable",
    "remove_network",
    "run_at_owner_end",
    "serve",
    "status_lines",
    "status_values",
    "table_lines",
    "usable_cpus",
]


# The command line is imported when it is used: workers and notebooks never need it.
_LAZY = {
    "CommandLine": "rush_core.commands.command_line",
    "add_network_options": "rush_core.commands.command_line",
    "add_server_options": "rush_core.commands.command_line",
    "print_json": "rush_core.commands.command_line",
    "host_lines": "rush_core.commands.hosts",
    "status_lines": "rush_core.commands.networks",
    "status_values": "rush_core.commands.networks",
    "core_command_line": "rush_core.cli",
}


def __getattr__(name: str) -> _Any:
    if name in _LAZY:
        return getattr(_import_module(_LAZY[name]), name)
    if name == "LikeTaskError":
        _warnings.warn(
            "LikeTaskError is now DuplicateTaskError; the old name will be removed in the next "
            "release",
            DeprecationWarning,
            stacklevel=2,
        )
        return DuplicateTaskError
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
