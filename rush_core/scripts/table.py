"""The table of all scripts: the only place that states how each one is called.

A call of a script passes its keys (KEYS in Lua), then its arguments (ARGV). The first arguments,
the *prefix*, are the same in each call of one client. The rest is given with the call; the head of
the Lua file lists all of them.

A key is the name of a field of `rush_core.keys.NetworkKeys`, or one of two keys that belong to one
client: ``wake``, its wake list, and ``alive``, its heartbeat.

==============  ===================================================================================
prefix          value
==============  ===================================================================================
``client``      the client's id: of a worker its ``worker_id``
``epoch``       the client's epoch, see `rush_core.kernel.commands`
``limit``       how many tasks may be started in all; empty for no limit
``deadline``    from when on no task may be started, server's time; empty for no deadline
``worker``      the ``worker_id`` as records have it (MessagePack)
``wakes``       what all names of wake lists begin with
``alives``      what all names of heartbeats begin with
==============  ===================================================================================
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["TABLE", "Declaration"]


class Declaration(NamedTuple):
    """What a script is called with.

    Attributes
    ----------
    file : str
        The Lua file, without its suffix. Two rows may share one: then a key differs.
    keys, prefix : tuple of str
        In the order in which the script takes them.
    """

    file: str
    keys: tuple[str, ...]
    prefix: tuple[str, ...]


def _declare(file: str, keys: str, prefix: str = "") -> Declaration:
    return Declaration(file, tuple(keys.split()), tuple(prefix.split()))


_REMOVAL_KEYS = "clients workers running queued failed started idle waiting unique alive unwanted"

TABLE = {
    # A worker's tasks.
    "start_tasks": _declare(
        "start_tasks", "clients started running", "client epoch limit deadline"
    ),
    "start_unique_task": _declare(
        "start_unique_task", "clients started running unique", "client epoch limit deadline"
    ),
    "claim_task": _declare(
        "claim_task",
        "clients started queued running idle",
        "client epoch limit deadline worker wakes",
    ),
    "finish_tasks": _declare(
        "end_tasks", "clients running finished waiting", "client epoch worker wakes"
    ),
    "fail_tasks": _declare(
        "end_tasks", "clients running failed waiting", "client epoch worker wakes"
    ),
    "report_task": _declare("report_task", "clients running reports", "client epoch worker"),
    # Tasks that any client adds or takes away.
    "push_tasks": _declare("push_tasks", "clients queued idle", "client epoch wakes"),
    "push_finished_tasks": _declare(
        "push_ended_tasks", "clients finished waiting", "client epoch wakes"
    ),
    "push_failed_tasks": _declare(
        "push_ended_tasks", "clients failed waiting", "client epoch wakes"
    ),
    "clear_queue": _declare("clear_queue", "clients queued failed waiting", "client epoch wakes"),
    # Clients and workers.
    "renew_client": _declare("renew_client", "clients", "client"),
    "register_worker": _declare(
        "register_worker", "clients workers stop waiting unwanted alive", "wakes"
    ),
    "beat": _declare("beat", "clients workers hosts", "alives"),
    "request_stop": _declare("request_stop", "clients workers stop idle waiting", "wakes"),
    "remove_worker": _declare("remove_worker", _REMOVAL_KEYS, "wakes"),
    "remove_silent_worker": _declare("remove_silent_worker", _REMOVAL_KEYS, "wakes"),
    "remove_or_refuse_worker": _declare("remove_or_refuse_worker", _REMOVAL_KEYS, "wakes"),
    # Reading and waiting.
    "count_tasks": _declare("count_tasks", "queued running finished failed"),
    "wait_for_change": _declare(
        "wait_for_change", "finished failed workers waiting wake clients", "client"
    ),
    "wait_for_queued": _declare(
        "wait_for_queued", "clients queued idle started wake", "client epoch limit"
    ),
    # The whole network.
    "reset_network": _declare(
        "reset_network",
        "clients workers started stop loops queued running finished failed idle waiting log "
        "reports unique about notes format hosts",
        "wakes alives",
    ),
}
