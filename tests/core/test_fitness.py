"""Servers and networks that are refused at the first connection."""

from collections.abc import Callable

import pytest

from rush_core import CorruptRecordError, EmbeddedServer, Network, ServerRefusedError, Worker
from rush_core.connection.connection import Connection, pack
from rush_core.keys import NetworkKeys
from tests.core.loopback import LoopbackServer

Ask = Callable[[str, str], object]


def open_network(network_id: str, url: str) -> None:
    Network(network_id, url).close()


def join(network_id: str, url: str) -> None:
    Worker(network_id, url=url).close()


both = pytest.mark.parametrize("ask", [open_network, join])


@both
def test_a_server_that_deletes_data_is_refused(
    loopback_server: LoopbackServer, network_id: str, ask: Ask
) -> None:
    loopback_server.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    ask(network_id, loopback_server.url)  # without a limit it deletes nothing
    loopback_server.ask("CONFIG", "SET", "maxmemory", "1gb")
    refused = "allkeys-lru.*CONFIG SET maxmemory-policy noeviction"
    with pytest.raises(ServerRefusedError, match=refused) as error:
        ask(network_id, loopback_server.url)
    assert (error.value.expected, error.value.found) == ("noeviction", "allkeys-lru")
    loopback_server.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
    ask(network_id, loopback_server.url)


@both
def test_a_server_that_runs_no_scripts_is_refused(
    loopback_server: LoopbackServer, network_id: str, ask: Ask
) -> None:
    loopback_server.ask("ACL", "SETUSER", "study", "on", ">secret", "allkeys", "+@all", "-eval")
    url = f"redis://study:secret@127.0.0.1:{loopback_server.port}/0"
    with pytest.raises(ServerRefusedError, match=r"runs scripts.*permit EVAL, EVALSHA and SCRIPT"):
        ask(network_id, url)


@both
def test_a_network_of_a_newer_version_is_refused(
    server: EmbeddedServer, network_id: str, ask: Ask
) -> None:
    ask(network_id, server.url)
    connection = Connection(server.url)
    connection.execute(pack(("SET", NetworkKeys(network_id).format, "2")))
    with pytest.raises(ServerRefusedError, match=r"format 2.*up to 1.*Upgrade rush") as error:
        ask(network_id, server.url)
    assert (error.value.expected, error.value.found) == (1, 2)
    connection.execute(pack(("SET", NetworkKeys(network_id).format, "x")))
    with pytest.raises(CorruptRecordError, match=f"rush:.{network_id}.:format holds b'x'"):
        ask(network_id, server.url)
    connection.execute(pack(("SET", NetworkKeys(network_id).format, "9" * 5000)))
    with pytest.raises(CorruptRecordError, match="which is no number of a format"):
        ask(network_id, server.url)
    connection.execute(pack(("DEL", NetworkKeys(network_id).format)))  # as in earlier versions
    ask(network_id, server.url)
    connection.close()


def test_workers_and_descriptions_store_the_format(network: Network) -> None:
    connection = Connection(network.url)
    read = pack(("GET", NetworkKeys(network.network_id).format))
    assert connection.execute(read) is None
    network.describe({"metric": "loss"})
    assert connection.execute(read) == b"1"
    network.reset(workers=False)
    assert connection.execute(read) == b"1"
    network.reset()
    assert connection.execute(read) is None
    Worker(network.network_id, url=network.url).close()
    assert connection.execute(read) == b"1"
    connection.close()
