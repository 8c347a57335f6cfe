"""A TLS endpoint: a server that speaks TLS itself, or one behind a terminator of ours.

The tests run the same with either. Servers are often built without TLS, the one that comes with
pip among them; `RUSH_TEST_SERVER` names one that has it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from pathlib import Path

import trustme

from tests.core.loopback import QUOTED_PASSWORD, LoopbackServer
from tests.ports import free_port


class Certificates:
    """An authority of our own, and what it issued for a server and a client, as files.

    Parameters
    ----------
    folder : Path
        Where ``ca.pem``, ``server.pem``, ``server.key``, ``client.pem`` and ``client.key`` go.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        for owner, names in (("server", ("localhost", "127.0.0.1")), ("client", ("client",))):
            issued = authority.issue_cert(*names)
            issued.private_key_pem.write_to_path(str(folder / f"{owner}.key"))
            issued.cert_chain_pems[0].write_to_path(str(folder / f"{owner}.pem"))

    @property
    def of_client(self) -> str:
        """The part of a URL's query that names the client's certificate."""
        return f"&ssl_certfile={self.folder}/client.pem&ssl_keyfile={self.folder}/client.key"


class TlsServer:
    """A server with a password that is reached over TLS only.

    Parameters
    ----------
    folder : Path
    certificates : Certificates
    ask_clients : bool
        Whether clients need a certificate.
    """

    def __init__(self, folder: Path, certificates: Certificates, *, ask_clients: bool) -> None:
        self._certificates = certificates
        files = certificates.folder
        self._terminator: TlsTerminator | None = None
        self._server = LoopbackServer(
            folder,
            [
                *(
                    "port 0",
                    "tls-port {port}",
                    f"tls-auth-clients {'yes' if ask_clients else 'no'}",
                ),
                *(f"tls-cert-file {files}/server.pem", f"tls-key-file {files}/server.key"),
                f"tls-ca-cert-file {files}/ca.pem",
            ],
        )
        self.port = self._server.port
        try:
            self._server.start()
        except AssertionError:  # built without TLS
            self._server = LoopbackServer(folder)
            self._server.start()
            self._terminator = TlsTerminator(self._server.port, certificates, ask_clients)
            self.port = self._terminator.port

    @property
    def url(self) -> str:
        """Where it listens, with its password and its authority."""
        return f"{self.bare_url}?ssl_ca_certs={self._certificates.folder}/ca.pem"

    @property
    def bare_url(self) -> str:
        """Where it listens, without saying whom to trust."""
        return f"rediss://:{QUOTED_PASSWORD}@127.0.0.1:{self.port}/0"

    def kill(self) -> None:
        """End the server as a power failure does."""
        self._server.kill()

    def start(self) -> None:
        """Start it again on its data."""
        self._server.start()

    def close(self) -> None:
        """End everything."""
        if self._terminator is not None:
            self._terminator.close()
        self._server.stop()


class TlsTerminator:
    """Speaks TLS with clients, and hands what they say to a server on a loopback port.

    Parameters
    ----------
    server_port : int
    certificates : Certificates
    ask_clients : bool
        Whether clients need a certificate.
    """

    def __init__(self, server_port: int, certificates: Certificates, ask_clients: bool) -> None:
        self.port = free_port()
        self._server_port = server_port
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        files = certificates.folder
        self._context.load_cert_chain(files / "server.pem", files / "server.key")
        if ask_clients:
            self._context.load_verify_locations(files / "ca.pem")
            self._context.verify_mode = ssl.CERT_REQUIRED
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._listening.wait(20.0)

    def close(self) -> None:
        """End all connections."""
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(
            self._forward, "127.0.0.1", self.port, ssl=self._context
        )
        self._listening.set()
        await self._over.wait()
        server.close()

    async def _forward(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            server, to_server = await asyncio.open_connection("127.0.0.1", self._server_port)
        except OSError:  # it is gone: so is this connection
            to_client.close()
            return
        both = [
            asyncio.create_task(_pump(client, to_server)),
            asyncio.create_task(_pump(server, to_client)),
        ]
        with contextlib.suppress(asyncio.CancelledError):  # the terminator closes
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for task, writer in zip(both, (to_server, to_client), strict=True):
            task.cancel()
            writer.close()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while part := await source.read(1 << 16):
            target.write(part)
            await target.drain()
    except OSError:  # either side broke off
        return
