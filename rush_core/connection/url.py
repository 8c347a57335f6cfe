"""A server's URL: how to write, read and show it.

======================================================  ==========================================
``redis://user:password@host:port/db``                  one server, or any node of a cluster
``rediss://host:port/db?ssl_ca_certs=/path/ca.pem``     the same over TLS
``unix:///path/server.sock?db=0&password=secret``       a unix socket
``redis+sentinel://host:port,host:port/service/db``     the primary that sentinels name
``rediss+sentinel://...``                               the same, sentinels and servers over TLS
======================================================  ==========================================

User name and password are the server's; further options of the query are redis-py's, among them
``ssl_ca_certs``, ``ssl_certfile`` and ``ssl_keyfile``. The form with sentinels is that of
redis-sentinel-url, docket and limits.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

from redis.connection import parse_url

__all__ = [
    "add_password",
    "connection_arguments",
    "environment_of",
    "is_private",
    "redact",
    "split_sentinel_url",
    "without_password",
]

_SENTINEL_PORT = 26379

# A host that drops packets answers nothing at all: nobody wants to wait longer for a typing error.
_CONNECT_TIMEOUT_S = 5.0


def connection_arguments(url: str, timeout_s: float) -> dict[str, Any]:
    """Read what redis-py's connection to a single server needs; the class stands in it, too.

    Raises
    ------
    TypeError, ValueError
        If `url` is none of the forms above.
    """
    if not isinstance(url, str):
        raise TypeError(f"url must be a string, got {type(url).__name__}")
    try:
        arguments: dict[str, Any] = dict(parse_url(url))  # type: ignore[no-untyped-call]
    except ValueError:  # its text may contain what should have been the password
        raise ValueError(
            "url must start with redis://, rediss://, unix://, redis+sentinel:// or "
            f"rediss+sentinel:// and have a number as its port, got {redact(url)!r}; write special "
            "characters of a password as %2F and the like"
        ) from None
    if url.startswith("unix:"):
        arguments.pop("host", None)
    if url.startswith("rediss:") and arguments.get("ssl_cert_reqs") != "none":
        arguments.setdefault("ssl_check_hostname", True)  # not the default of every redis-py
    arguments["socket_timeout"] = timeout_s
    arguments["socket_connect_timeout"] = min(timeout_s, _CONNECT_TIMEOUT_S)
    return arguments


def split_sentinel_url(url: str) -> tuple[list[tuple[str, int]], str, str] | None:
    """Take a URL with sentinels apart; None for any other URL.

    Returns
    -------
    sentinels : list of (host, port)
    service : str
        Under which the sentinels know the primary.
    server_url : str
        The primary's, but for host and port.

    Raises
    ------
    ValueError
        If the service's name is missing or a port is no number.
    """
    if not isinstance(url, str) or not re.match("rediss?[+]sentinel://", url):
        return None
    parts = urlsplit(url)
    credentials, at, hosts = parts.netloc.rpartition("@")
    service, _, db = parts.path.strip("/").partition("/")
    sentinels = [re.fullmatch(r"(\[.+\]|[^:]+)(?::([0-9]+))?", host) for host in hosts.split(",")]
    if not service or None in sentinels:
        raise ValueError(
            "a url with sentinels must be redis+sentinel://host:port,host:port/service/db, got "
            f"{redact(url)!r}"
        )
    found = [
        (match[1].strip("[]"), int(match[2] or _SENTINEL_PORT)) for match in sentinels if match
    ]
    scheme = parts.scheme.removesuffix("+sentinel")
    query = f"?{parts.query}" if parts.query else ""
    return found, service, f"{scheme}://{credentials}{at}primary/{db or 0}{query}"


def is_private(url: str) -> bool:
    """Tell whether nobody on the way to the server can read along: TLS, or this machine only."""
    parts = urlsplit(url)
    hosts = parts.netloc.rpartition("@")[2].split(",")
    within = all(re.fullmatch(r"(localhost|127[.0-9]+|\[::1\])(:\d+)?", host) for host in hosts)
    return within or parts.scheme == "unix" or parts.scheme.startswith("rediss")


def redact(url: str) -> str:
    """Return `url` with its password replaced by ``***``, fit for logs and messages."""
    before, at, host = url.rpartition("@")
    scheme, _, secret = before.partition("://")
    if at and scheme != "unix" and re.search("[/?#]", secret):
        return f"{scheme}://***@{host}"  # written without quoting, it ends in the wrong place
    return _replace_password(url, "***")


def without_password(url: str) -> str:
    """Return `url` without its password, fit for a printed command."""
    return _replace_password(url, None)


def add_password(url: str, password: str) -> str:
    """Return `url` with a password put in, unless it has one."""
    parts = urlsplit(url)
    if parts.password is not None or re.search("(^|&)password=", parts.query):
        return url
    secret = quote(password, safe="")
    if parts.scheme == "unix":
        return f"{url}{'&' if parts.query else '?'}password={secret}"
    user, _, host = parts.netloc.rpartition("@")
    return _join(parts, f"{user}:{secret}@{host}", parts.query)


def environment_of(url: str) -> dict[str, str]:
    """Return the environment variables that lead another process to `url` exactly as it is.

    Its own environment may have a password: put into a URL that has none, the server would refuse
    it.
    """
    lead = {"RUSH_REDIS_URL": url}
    is_complete = add_password(url, "any") == url
    return lead if is_complete else {**lead, "RUSH_REDIS_PASSWORD": ""}


def _replace_password(url: str, password: str | None) -> str:
    """Replace the passwords of a URL, its key file's among them; None leaves them out."""
    parts = urlsplit(url)
    netloc, query = parts.netloc, parts.query
    if parts.password is not None:
        user, host = netloc.rsplit("@", 1)
        user = user.split(":", 1)[0]
        secret = "" if password is None else f":{password}"
        netloc = f"{user}{secret}@{host}" if user or secret else host
    if "password=" in query:
        pairs = [pair.partition("=") for pair in query.split("&")]
        query = "&".join(
            f"{name}={password}" if name.endswith("password") else f"{name}{equals}{value}"
            for name, equals, value in pairs
            if password is not None or not name.endswith("password")
        )
    return _join(parts, netloc, query)


def _join(parts: SplitResult, netloc: str, query: str) -> str:
    # urlunsplit would drop the empty host of a unix socket's URL.
    return f"{parts.scheme}://{netloc}{parts.path}{'?' if query else ''}{query}"
