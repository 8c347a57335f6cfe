"""Coordination through shared state: workers share tasks in Redis, nothing central hands out work.

Start with `Network` (a manager's view) and `Worker` (what a worker loop may do).
"""

from rush_core.cli import core_command_line
from rush_core.commands.command_line import CommandLine
from rush_core.commands.networks import WorkerColumn
from rush_core.errors import (
    CorruptRecordError,
    LikeTaskError,
    LoopError,
    RushError,
    ServerNotFoundError,
    ServerRefusedError,
    ServerUnreachableError,
    WorkerInterrupt,
    WorkerLostError,
    WorkersFailedError,
)
from rush_core.kernel.report import Report
from rush_core.kernel.table import EndedTasks, TaskTable
from rush_core.kernel.task import Task, TaskCounts, TaskState
from rush_core.membership.heartbeat import Heartbeat
from rush_core.membership.registry import WorkerInfo, WorkerState
from rush_core.network import Network
from rush_core.owned_process import OwnedProcess, run_at_owner_end
from rush_core.servers.embedded import EmbeddedServer, serve
from rush_core.worker import Worker

__all__ = [
    "CommandLine",
    "CorruptRecordError",
    "EmbeddedServer",
    "EndedTasks",
    "Heartbeat",
    "LikeTaskError",
    "LoopError",
    "Network",
    "OwnedProcess",
    "Report",
    "RushError",
    "ServerNotFoundError",
    "ServerRefusedError",
    "ServerUnreachableError",
    "Task",
    "TaskCounts",
    "TaskState",
    "TaskTable",
    "Worker",
    "WorkerColumn",
    "WorkerInfo",
    "WorkerInterrupt",
    "WorkerLostError",
    "WorkerState",
    "WorkersFailedError",
    "core_command_line",
    "run_at_owner_end",
    "serve",
]
