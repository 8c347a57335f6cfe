"""Servers of ours that belong together: a primary with a replica and a sentinel, and a cluster."""

from __future__ import annotations

import binascii
import re
from pathlib import Path

from tests.core.loopback import PASSWORD, QUOTED_PASSWORD, LoopbackServer
from tests.ports import free_port
from tests.typed import present
from tests.waiting import wait_until

N_SLOTS = 16_384


class Replicated:
    """A primary, its replica, and a sentinel that lets the replica take over.

    Parameters
    ----------
    folder : Path

    Attributes
    ----------
    primary, replica : LoopbackServer
        As they are in the beginning.
    url : str
        Where the primary is found, whichever it is.
    """

    def __init__(self, folder: Path) -> None:
        for name in ("primary", "replica", "sentinel"):
            (folder / name).mkdir()
        common = [f'masterauth "{PASSWORD}"', "repl-diskless-sync-delay 0"]
        self.primary = LoopbackServer(folder / "primary", common)
        self.primary.start()
        follow = f"replicaof 127.0.0.1 {self.primary.port}"
        self.replica = LoopbackServer(folder / "replica", [*common, follow])
        self.replica.start()
        self._sentinel = LoopbackServer(
            folder / "sentinel",
            [
                f"sentinel monitor study 127.0.0.1 {self.primary.port} 1",
                f'sentinel auth-pass study "{PASSWORD}"',
                "sentinel down-after-milliseconds study 400",
                "sentinel failover-timeout study 2000",
            ],
            ["--sentinel"],
        )
        wait_until(lambda: b"master_link_status:up" in self.replica.ask("INFO", "replication"))
        self._sentinel.start()
        # The first address leads nowhere: one sentinel that answers is enough.
        hosts = f"127.0.0.1:{free_port()},127.0.0.1:{self._sentinel.port}"
        self.url = f"redis+sentinel://:{QUOTED_PASSWORD}@{hosts}/study/0"
        self._sentinel.url = self._sentinel.bare_url
        wait_until(lambda: len(self._sentinel.ask("SENTINEL", "REPLICAS", "study")) == 1)

    def wait_for_replica(self) -> None:
        """Wait until the replica has all that the primary has acknowledged up to now."""
        position = re.search(rb"master_repl_offset:(\d+)", self.primary.ask("INFO", "replication"))
        wait_until(lambda: self._position_of_replica() >= int(present(position)[1]))

    def _position_of_replica(self) -> int:
        found = re.search(rb"slave_repl_offset:(\d+)", self.replica.ask("INFO", "replication"))
        return int(present(found)[1])

    def swap(self) -> None:
        """Let the replica take over while the primary lives on, as its replica."""
        self._sentinel.ask("SENTINEL", "FAILOVER", "study")
        wait_until(lambda: self.replica.ask("ROLE")[0] == b"master")
        # What the sentinel does, too, some ten seconds later.
        self.primary.ask("REPLICAOF", "127.0.0.1", self.replica.port)

    def close(self) -> None:
        """End all three."""
        for server in (self._sentinel, self.primary, self.replica):
            server.stop()


class Cluster:
    """Three nodes, each with a third of the slots.

    Parameters
    ----------
    folder : Path

    Attributes
    ----------
    nodes : list of LoopbackServer
    """

    def __init__(self, folder: Path) -> None:
        self.nodes = []
        for i in range(3):
            (folder / f"node-{i}").mkdir()
            settings = ["cluster-enabled yes", "cluster-node-timeout 5000"]
            self.nodes.append(LoopbackServer(folder / f"node-{i}", settings))
            self.nodes[i].start()
        self._ids = [node.ask("CLUSTER", "MYID") for node in self.nodes]
        for i, node in enumerate(self.nodes):
            node.ask("CLUSTER", "ADDSLOTS", *range(i * N_SLOTS // 3, (i + 1) * N_SLOTS // 3))
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", i + 1)
            if i:
                node.ask("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port)
        for node in self.nodes:
            wait_until(lambda: b"cluster_state:ok" in node.ask("CLUSTER", "INFO"))  # noqa: B023
            wait_until(lambda: b"known_nodes:3" in node.ask("CLUSTER", "INFO"))  # noqa: B023

    def holder(self, network_id: str) -> int:
        """Return the number of the node that has the network's slot in the beginning."""
        return slot_of(network_id) * 3 // N_SLOTS

    def move(self, network_id: str, source: int, target: int) -> None:
        """Move the network's slot, with its keys, from one node to another."""
        slot = slot_of(network_id)
        self.begin_move(network_id, source, target)
        old, new = self.nodes[source], self.nodes[target]
        while keys := old.ask("CLUSTER", "GETKEYSINSLOT", slot, 100):
            destination = ("127.0.0.1", new.port, "", 0, 5000)
            old.ask("MIGRATE", *destination, "AUTH", PASSWORD, "KEYS", *keys)
        for node in (new, old, *self.nodes):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", self._ids[target])

    def begin_move(self, network_id: str, source: int, target: int) -> None:
        """Announce that the network's slot moves: between the nodes nothing new can be written."""
        slot = slot_of(network_id)
        self.nodes[target].ask("CLUSTER", "SETSLOT", slot, "IMPORTING", self._ids[source])
        self.nodes[source].ask("CLUSTER", "SETSLOT", slot, "MIGRATING", self._ids[target])

    def close(self) -> None:
        """End all nodes."""
        for node in self.nodes:
            node.stop()


def slot_of(network_id: str) -> int:
    """Return the slot of all keys that have the network's id in braces."""
    return binascii.crc_hqx(network_id.encode(), 0) % N_SLOTS
