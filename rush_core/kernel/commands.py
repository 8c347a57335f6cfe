"""The commands of one client: each is executed once, although connections break.

Each client has an *epoch*, a number. The server stores it, and every command carries it. A command
with another epoch than the stored one is refused.

If the connection breaks, the client cannot know whether its last command was executed, or will be
later. So it raises the epoch first: from then on the server refuses all that was sent before. Then
it searches the data for the effect of the command (`rush_core.kernel.lost_replies`). If there is
none, it sends the command again. Thus no command is executed twice, and none is lost.

A worker that was removed has no epoch in the server any more, so it can change nothing.

Several threads may share a client. If the command of one of them is lost, this thread raises the
epoch before any other sends a command; theirs would be refused otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import hiredis

from rush_core.connection.connection import Connection, refusal
from rush_core.connection.script import (
    Script,
    execute_all_on,
    is_missing,
    name_culprit,
    retry_unreachable,
)
from rush_core.errors import ServerFullError, ServerUnreachableError
from rush_core.kernel.codec import encode
from rush_core.keys import NetworkKeys

__all__ = ["OUT", "Command", "Commands"]

# What every script of the client replies if the client has another epoch than it sent, or none.
OUT = -1

# Gets the arguments of a command that was sent before the epoch was raised. Returns the reply that
# was lost, or None if the command was not executed.
FindReply = Callable[[tuple[bytes, ...]], Any | None]


@dataclass(frozen=True, eq=False, slots=True)
class Command:
    """One kind of command.

    Attributes
    ----------
    script : Script
    find_reply : callable
    is_in_log : bool
        Whether a log still shows the effect of a worker's command after the worker was removed.
    """

    script: Script
    find_reply: FindReply
    is_in_log: bool


class Commands:
    """Sends the commands of one client.

    Parameters
    ----------
    connection : Connection
    keys : NetworkKeys
    client_id : str
    epoch : int
        The epoch of a worker's registration, from 1. 0 for a manager, which the server registers
        with its first command.
    check_process : callable
        Called before a worker raises its epoch; raises in a process that must not do so.

    Attributes
    ----------
    epoch : int
    budget : tuple of int or None, float or None
        The limit and the deadline that the commands carry.
    """

    def __init__(
        self,
        connection: Connection,
        keys: NetworkKeys,
        client_id: str,
        epoch: int,
        check_process: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._keys = keys
        self._client_id = client_id
        self._is_worker = epoch > 0
        self._check_process = check_process
        self.epoch = epoch
        # The generation of the connection in which the epoch was raised; in a later one, commands
        # of the earlier may still arrive.
        self._generation = connection.generation if self._is_worker else -1
        self.budget: tuple[int | None, float | None] = (None, None)
        self._scripts: list[Script] = []
        self._renew = Script("renew_client", keys, client_id, self._prefix())

    def script(self, name: str) -> Script:
        """Return a script whose prefix follows the epoch and the budget from now on."""
        script = Script(name, self._keys, self._client_id, self._prefix())
        self._scripts.append(script)
        return script

    def command(self, name: str, find_reply: FindReply, *, is_in_log: bool = False) -> Command:
        """Return the command that calls this script."""
        return Command(self.script(name), find_reply, is_in_log)

    def set_budget(self, limit: int | None, deadline: float | None) -> None:
        """Send this limit and deadline with all commands that take a place in the budget."""
        self.budget = limit, deadline
        self._renew_prefixes()

    def run(self, command: Command, arguments: tuple[bytes, ...]) -> Any:
        """Execute a command once and return its reply; one round trip unless a reply is lost."""
        with self._connection.exclusive:
            is_sent = self._generation == self._connection.generation
            if is_sent:
                try:
                    reply = command.script.run(self._connection, *arguments)
                except ServerFullError:
                    is_sent = False  # nothing was written: try again until there is room
                except ServerUnreachableError:
                    pass
                else:
                    if reply != OUT or self._is_worker:
                        return reply
                    # The network was reset: a manager goes on, with a new epoch.
                    is_sent = False
            return self._run_in_new_epoch(command, arguments, is_sent)

    def run_and_read(
        self,
        command: Command,
        arguments: tuple[bytes, bytes],
        logs: tuple[bytes, ...],
        reads: tuple[bytes, ...],
    ) -> tuple[Any, list[Any]]:
        """Execute a command once and then read logs; one round trip unless a reply is lost.

        Parameters
        ----------
        command : Command
        arguments : tuple of bytes
        logs : tuple of bytes
            The Redis keys that are read.
        reads : tuple of bytes
            Packed requests that read them.

        Returns
        -------
        reply : object
            The reply to the command.
        replies : list
            The replies to `reads`, which were executed after the command.
        """
        with self._connection.exclusive:
            is_sent = self._generation == self._connection.generation
            if is_sent:
                requests = (command.script.pack(*arguments), *reads)
                try:
                    reply, *replies = self._connection.execute_many(requests)
                except ServerUnreachableError:
                    pass  # continues below, like any command whose reply was lost
                else:
                    for read in replies:
                        if isinstance(read, hiredis.ReplyError):
                            raise name_culprit(refusal(read), self._connection, logs)
                    if not isinstance(reply, hiredis.ReplyError):
                        return reply, replies
                    refused = command.script.refused(self._connection, reply)
                    if not (is_missing(reply) or isinstance(refused, ServerFullError)):
                        raise refused
                    is_sent = False
            reply = self._run_in_new_epoch(command, arguments, is_sent)
            return reply, retry_unreachable(lambda: execute_all_on(self._connection, logs, reads))

    def _run_in_new_epoch(
        self, command: Command, arguments: tuple[bytes, ...], is_sent: bool
    ) -> Any:
        """Raise the epoch, then execute a command unless it was executed when it was sent."""

        def attempt() -> Any:
            nonlocal is_sent
            try:
                is_registered = self._raise_epoch()
            except ServerFullError as error:
                if not is_sent:
                    raise
                raise ServerUnreachableError(
                    f"cannot find out whether the last command was executed: {error}"
                ) from None
            # What the server did before it removed the worker is still in the log.
            if is_sent and (is_registered or command.is_in_log):
                reply = command.find_reply(arguments)
                if reply is not None:
                    return reply
            if not is_registered:
                return OUT
            is_sent = True
            try:
                return command.script.run(self._connection, *arguments)
            except ServerFullError:
                is_sent = False
                raise

        return retry_unreachable(attempt)

    def _raise_epoch(self) -> bool:
        """Raise the epoch; return whether the client is registered."""
        if self._is_worker:
            self._check_process()  # in a forked child this would put the parent's worker out
        self.epoch += 1
        may_register = b"" if self._is_worker else b"1"
        try:
            reply = self._renew.run(self._connection, b"%d" % self.epoch, may_register)
        except ServerFullError:
            self.epoch -= 1  # nothing was written: what is sent next carries the old one
            raise
        self._renew_prefixes()
        self._generation = self._connection.generation
        return bool(reply != OUT)

    def _renew_prefixes(self) -> None:
        prefix = self._prefix()
        for script in self._scripts:
            script.set_prefix(prefix)

    def _prefix(self) -> dict[str, bytes]:
        limit, deadline = (b"" if most is None else str(most).encode() for most in self.budget)
        return {
            "client": self._client_id.encode(),
            "worker": encode(self._client_id),
            "epoch": b"%d" % self.epoch,
            "limit": limit,
            "deadline": deadline,
        }
