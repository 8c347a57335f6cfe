"""TLS: who is trusted, who is let in, and that everything works over it."""

import pickle
import secrets
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from rush_core import Heartbeat, Network, ServerUnreachableError, Worker
from rush_core.connection.connection import Connection, pack
from rush_core.kernel.invariants import check_network
from tests.core.loopback import PASSWORD
from tests.core.processes import sharing
from tests.core.tls import Certificates, TlsServer
from tests.fixture_types import Launch

PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def tls(
    tmp_path_factory: pytest.TempPathFactory, certificates: Certificates
) -> Iterator[TlsServer]:
    server = TlsServer(tmp_path_factory.mktemp("tls"), certificates, ask_clients=False)
    yield server
    server.close()


def test_a_whole_run_goes_over_tls(tls: TlsServer, network_id: str, launch: Launch) -> None:
    with Network(network_id, tls.url) as network:
        network.start_workers(sharing, 2, args=(20,))
        network.wait_for_workers(timeout_s=PATIENCE_S)
        assert network.join_workers(PATIENCE_S)
        assert network.count_tasks() == (0, 0, 20, 0)
        # A worker of a printed command gets there, too, with a heart of its own.
        beat = Heartbeat(period_s=0.05, expire_s=30.0, own_process=True)
        command = network.worker_command(sharing, args=(25,), heartbeat=beat)
        assert PASSWORD not in command
        assert "correct-horse" not in command
        process = launch(command, RUSH_REDIS_PASSWORD=PASSWORD)
        errors = process.communicate(timeout=PATIENCE_S)[1]
        assert (process.returncode, errors) == (0, "")
        assert network.count_tasks() == (0, 0, 25, 0)
        assert network.fetch_new_tasks(timeout_s=0.05).keys
        assert network.fetch_new_tasks(timeout_s=0.05).keys == []
    check_network(network_id, tls.url)


def test_replies_of_any_size_arrive_whole(tls: TlsServer) -> None:
    connection = Connection(tls.url)
    for n_bytes in (1, 16_383, 16_384, 16_385, 65_536, 3_000_000):  # a TLS record has 16 KiB
        content = secrets.token_bytes(n_bytes)
        assert connection.execute(pack(("ECHO", content))) == content
        assert connection.execute_many([pack(("ECHO", content))] * 2) == [content] * 2
    connection.close()


def test_a_silent_server_is_not_waited_for_over_tls(tls: TlsServer) -> None:
    connection = Connection(tls.url, timeout_s=0.2)
    request = pack(("BLPOP", "nothing", 0.4))
    assert connection.execute_many([request], block_s=0.5) == [None]
    with pytest.raises(ServerUnreachableError, match=r"no answer within 0\.2 s"):
        connection.execute(request)
    assert connection.execute(pack(("PING",))) == b"PONG"
    connection.close()


def test_a_certificate_of_nobody_known_is_refused(tls: TlsServer) -> None:
    with pytest.raises(ServerUnreachableError, match="CERTIFICATE_VERIFY_FAILED") as error:
        Network("any", tls.bare_url)
    assert "ssl_ca_certs=" in str(error.value)
    assert "correct-horse" not in str(error.value)


def test_a_certificate_of_another_authority_is_refused(tls: TlsServer, tmp_path: Path) -> None:
    Certificates(tmp_path)
    with pytest.raises(ServerUnreachableError, match="CERTIFICATE_VERIFY_FAILED"):
        Network("any", f"{tls.bare_url}?ssl_ca_certs={tmp_path}/ca.pem")


def test_a_certificate_for_another_host_is_refused(tls: TlsServer) -> None:
    elsewhere = tls.url.replace("127.0.0.1", "127.0.0.2")  # would be reached just as well
    with pytest.raises(ServerUnreachableError):
        Network("any", elsewhere)
    with pytest.raises(ServerUnreachableError, match=r"certificate is not valid for '127\.1'"):
        Network("any", tls.url.replace("127.0.0.1", "127.1"))


def test_verification_can_be_given_up_by_name_only(tls: TlsServer) -> None:
    with Network("any", f"{tls.bare_url}?ssl_cert_reqs=none") as network:
        assert network.count_tasks() == (0, 0, 0, 0)


def test_a_client_certificate_is_shown_where_one_is_asked_for(
    tmp_path: Path, certificates: Certificates, network_id: str
) -> None:
    server = TlsServer(tmp_path, certificates, ask_clients=True)
    try:
        with pytest.raises(ServerUnreachableError):
            Network(network_id, server.url)
        with Network(network_id, server.url + certificates.of_client) as network:
            network.start_workers(sharing, 1, args=(3,))
            assert network.join_workers(PATIENCE_S)
            assert network.count_tasks() == (0, 0, 3, 0)
            # The printed command names the files: they have to be there on the workers, too.
            assert (
                f"{certificates.folder}/client.key"
                in shlex.split(network.worker_command(sharing, args=(3,)))[0]
            )
    finally:
        server.close()


def test_a_connection_over_tls_survives_a_restart_and_pickling(
    tmp_path: Path, certificates: Certificates, network_id: str
) -> None:
    server = TlsServer(tmp_path, certificates, ask_clients=False)
    try:
        with (
            Network(network_id, server.url) as network,
            Worker(network_id, url=server.url) as worker,
        ):
            key = worker.start_task({"x": 1})
            assert key is not None
            server.kill()
            server.start()
            assert worker.finish_task(key, {"y": 1})
            copy = pickle.loads(pickle.dumps(Connection(server.url)))
            assert copy.execute(pack(("PING",))) == b"PONG"
            copy.close()
            assert network.count_tasks() == (0, 0, 1, 0)
    finally:
        server.close()
