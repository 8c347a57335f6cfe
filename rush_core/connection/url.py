"""The URL of a server: how it is written, read and shown.

======================================================  ==========================================
``redis://user:password@host:port/db``                  one server, or any node of a cluster
``rediss://host:port/db?ssl_ca_certs=/path/ca.pem``     the same over TLS
``unix:///path/server.sock?db=0&password=secret``       a unix socket
``redis+sentinel://host:port,host:port/service/db``     the primary that sentinels name
``rediss+sentinel://...``                               the same; sentinels and servers over TLS
======================================================  ==========================================

In a path, ``%``, ``?``, ``#`` and bytes that are no printable ASCII are written as ``%`` and two
digits: `unix_url` does this. User name and password are those of the server. The query may have any
option of redis-py's connections, for example ``ssl_ca_certs``, ``ssl_certfile`` and
``ssl_keyfile``. The form with sentinels is the one that redis-sentinel-url, docket and limits use.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, quote, unquote_to_bytes, urlsplit

from redis.connection import parse_url

__all__ = [
    "add_password",
    "connection_arguments",
    "environment_of",
    "is_private",
    "redact",
    "split_sentinel_url",
    "unix_url",
    "without_password",
]

_SENTINEL_PORT = 26379

# A host that drops packets never answers. A user with a mistyped address should not wait longer.
_CONNECT_TIMEOUT_S = 5.0


def connection_arguments(url: str, timeout_s: float) -> dict[str, Any]:
    """Return the arguments of redis-py's connection to one server, among them its class.

    Raises
    ------
    TypeError, ValueError
        If `url` has none of the forms above.
    """
    if not isinstance(url, str):
        raise TypeError(f"url must be a string, got {type(url).__name__}")
    try:
        arguments: dict[str, Any] = dict(parse_url(url))  # type: ignore[no-untyped-call]
    except ValueError:  # its message may contain a part of the password
        raise _no_url(url) from None
    if url.startswith("unix:"):
        arguments.pop("host", None)
        # redis-py would replace bytes that are no UTF-8.
        arguments["path"] = os.fsdecode(unquote_to_bytes(os.fsencode(urlsplit(url).path)))
    if url.startswith("rediss:") and arguments.get("ssl_cert_reqs") != "none":
        arguments.setdefault(
            "ssl_check_hostname", True
        )  # some versions of redis-py do not by default
    arguments["socket_timeout"] = timeout_s
    arguments["socket_connect_timeout"] = min(timeout_s, _CONNECT_TIMEOUT_S)
    return arguments


def unix_url(socket_path: Path) -> str:
    """Return the URL of a server that listens on a unix socket."""
    return f"unix://{quote(os.fsencode(socket_path))}"


def split_sentinel_url(url: str) -> tuple[list[tuple[str, int]], str, str] | None:
    """Split a URL with sentinels into its parts; return None for any other URL.

    Returns
    -------
    sentinels : list of (host, port)
    service : str
        The name of the primary in the configuration of the sentinels.
    server_url : str
        The URL of the primary, with a wrong host and port.

    Raises
    ------
    ValueError
        If the service's name is missing or a port is no number.
    """
    if not isinstance(url, str) or not re.match("rediss?[+]sentinel://", url):
        return None
    parts = _split(url)
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
    """Tell whether the way to the server is private: over TLS, or within this machine."""
    parts = _split(url)
    hosts = parts.netloc.rpartition("@")[2].split(",")
    within = all(re.fullmatch(r"(localhost|127[.0-9]+|\[::1\])(:\d+)?", host) for host in hosts)
    return within or parts.scheme == "unix" or parts.scheme.startswith("rediss")


def redact(url: str) -> str:
    """Return `url` with ``***`` as its password, for logs and messages.

    If it is not clear where the password is, everything is replaced that may belong to it.
    """
    begin = re.match("(?:[a-z+]+:)?/*", url)
    scheme = begin[0] if begin else ""
    before, at, host = url.rpartition("@")
    if at and not url.startswith("unix:") and not re.fullmatch("[a-z][a-z+]*://[^/?#]*", before):
        return f"{scheme}***@{re.split('[?#]', host)[0]}"
    try:
        return _replace_password(url, "***")
    except ValueError:  # it is no URL
        return f"{scheme}***"


def without_password(url: str) -> str:
    """Return a valid `url` without its password, for a command that is printed."""
    return _replace_password(url, None)


def add_password(url: str, password: str) -> str:
    """Return `url` with this password, unless it has one already."""
    parts = _split(url)
    if parts.password is not None or re.search("(^|&)password=", parts.query):
        return url
    secret = quote(password, safe="")
    if parts.scheme == "unix":
        return f"{url}{'&' if parts.query else '?'}password={secret}"
    user, _, host = parts.netloc.rpartition("@")
    return _join(parts, f"{user}:{secret}@{host}", parts.query)


def environment_of(url: str) -> dict[str, str]:
    """Return environment variables with which another process connects to exactly this URL.

    The environment may have `RUSH_REDIS_PASSWORD`. If `url` has no password, the variable is set to
    the empty text: a server without a password would refuse one.
    """
    variables = {"RUSH_REDIS_URL": url}
    is_complete = add_password(url, "any") == url
    return variables if is_complete else {**variables, "RUSH_REDIS_PASSWORD": ""}


def _split(url: str) -> SplitResult:
    """Split a URL; the error for what is none does not show the password."""
    try:
        return urlsplit(url)
    except ValueError:
        raise _no_url(url) from None


def _no_url(url: str) -> ValueError:
    return ValueError(
        "url must start with redis://, rediss://, unix://, redis+sentinel:// or "
        f"rediss+sentinel:// and have a number as its port, got {redact(url)!r}; write special "
        "characters of a password as %2F and the like"
    )


def _replace_password(url: str, password: str | None) -> str:
    """Replace all passwords of a URL, also the one of a key file; None removes them."""
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
    # urlunsplit would drop the ``//`` of a unix socket's URL, which has an empty host.
    return f"{parts.scheme}://{netloc}{parts.path}{'?' if query else ''}{query}"
