"""The record of a host, which its node writes into the network with each heartbeat.

It is a MessagePack array: ``host``, ``n_workers``, ``cores``, ``memory``, ``read_age_s``,
``period_s``, and the server's time, which the script appends.
"""

from __future__ import annotations

import socket

import msgspec

from rush_core.connection.connection import Connection
from rush_core.connection.script import read_atomically, retry_unreachable
from rush_core.errors import CorruptRecordError
from rush_core.kernel.codec import array_header, encode
from rush_core.keys import NetworkKeys

__all__ = ["HostInfo", "Usage", "fetch_hosts", "host_record"]

_N_FIELDS = 7

# A node that has sent nothing for so many periods has probably died.
_SILENT_PERIODS = 5


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What the workers of one node use.

    Attributes
    ----------
    cores : float
        CPU time of the workers divided by time, since the last record.
    memory : int or None
        Memory of the workers in bytes. A page that k processes share counts 1/k in each of them.
        Estimated from a part of the workers if there are many; None if the system does not tell.
    read_age_s : float or None
        When the node last read what all workers have finished, seconds before the record was
        written; None if no worker needs that.
    """

    cores: float
    memory: int | None
    read_age_s: float | None


class HostInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What one node, which looks after workers of one host, last wrote about them.

    Attributes
    ----------
    node_id : str
    host : str
    n_workers : int
        How many processes of workers it has.
    usage : Usage
    period_s : float
        It writes the record anew after so many seconds.
    age_s : float
        How long ago it wrote, seconds by the server's clock.
    """

    node_id: str
    host: str
    n_workers: int
    usage: Usage
    period_s: float
    age_s: float

    @property
    def is_silent(self) -> bool:
        """Whether the node has written nothing for five periods: it has probably died."""
        return self.age_s > _SILENT_PERIODS * self.period_s


class _Record(msgspec.Struct, array_like=True, frozen=True):
    host: str
    n_workers: int
    cores: float
    memory: int | None
    read_age_s: float | None
    period_s: float
    at: float


_decode_record = msgspec.msgpack.Decoder(_Record).decode


def host_record(n_workers: int, usage: Usage, period_s: float) -> bytes:
    """Pack the record of this host, without the time: the server appends that."""
    used = (usage.cores, usage.memory, usage.read_age_s)
    fields = (socket.gethostname(), n_workers, *used, period_s)
    return bytes((array_header(_N_FIELDS),)) + encode(fields)[1:]


def fetch_hosts(connection: Connection, keys: NetworkKeys) -> list[HostInfo]:
    """Fetch what the nodes of a network wrote about their hosts, by name; one round trip.

    Raises
    ------
    CorruptRecordError
        If the key holds something else than such records.
    """
    reads = ((b"HGETALL", keys.hosts), (b"TIME",))
    found, time = retry_unreachable(lambda: read_atomically(connection, reads))
    now = int(time[0]) + int(time[1]) / 1e6
    pairs = zip(found[::2], found[1::2], strict=True)
    try:
        hosts = [_info(node_id.decode(), _decode_record(record), now) for node_id, record in pairs]
    except ValueError as error:  # also that of msgspec
        raise CorruptRecordError(
            f"{keys.hosts.decode()} holds bytes that are no record of a host ({error}); another "
            "program wrote to it: reset this network",
            key=keys.hosts.decode(),
        ) from None
    return sorted(hosts, key=lambda info: (info.host, info.node_id))


def _info(node_id: str, record: _Record, now: float) -> HostInfo:
    return HostInfo(
        node_id=node_id,
        host=record.host,
        n_workers=record.n_workers,
        usage=Usage(cores=record.cores, memory=record.memory, read_age_s=record.read_age_s),
        period_s=record.period_s,
        age_s=max(now - record.at, 0.0),
    )
