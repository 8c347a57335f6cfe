"""Whether a server is fit for networks: each client checks it when it connects."""

from __future__ import annotations

from rush_core.connection.connection import (
    OLDEST_SERVER,
    Connection,
    ReplyError,
    pack,
    parse_info,
    refusal,
)
from rush_core.connection.url import redact
from rush_core.errors import ServerRefusedError

__all__ = ["check_server", "check_version", "evicting_policy"]

_QUESTIONS = [
    pack(("INFO", "server")),
    pack(("INFO", "memory")),
    pack(("EVAL", "return 0", 0)),
]


def check_server(connection: Connection) -> None:
    """Raise unless the server is new enough, keeps what is written and runs scripts.

    One round trip.

    Raises
    ------
    ServerRefusedError
        The message says what to do.
    ServerUnreachableError
        If the server does not answer.
    """
    about, memory, script = connection.execute_many(_QUESTIONS)
    for reply in (about, memory):
        if isinstance(reply, ReplyError):
            raise refusal(reply)
    url = redact(connection.url)
    # The name of a file in it may have any bytes.
    check_version(about.decode(errors="replace"), url)
    if policy := evicting_policy(parse_info(memory.decode())):
        raise ServerRefusedError(
            f"need a server that keeps what is written, and {url} deletes data, also tasks, when "
            f"its memory is used up (maxmemory-policy {policy}); CONFIG SET maxmemory-policy "
            "noeviction there, or use another server",
            expected="noeviction",
            found=policy,
        )
    if isinstance(script, ReplyError):
        text = str(script)
        if "unknown command" in text.lower() or text.startswith("NOPERM"):
            raise ServerRefusedError(
                f"need a server that runs scripts, and {url} refused one: {text}; permit EVAL, "
                "EVALSHA and SCRIPT there (`rush doctor` prints the rule for ACL SETUSER), or use "
                "another server",
                found=text,
            )
        raise refusal(script)


def check_version(info: str, url: str) -> None:
    """Raise unless the server that gave this answer to INFO is new enough."""
    # Valkey reports the Redis version it is compatible with under the old name.
    version = parse_info(info).get("redis_version", "0")
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_SERVER:
        needed = ".".join(map(str, OLDEST_SERVER))
        raise ServerRefusedError(
            f"need a Redis server >= {needed} or any Valkey, found {version} at "
            f"{redact(url)}; upgrade it, or give no URL to use an embedded server",
            expected=needed,
            found=version,
        )


def evicting_policy(info: dict[str, str]) -> str | None:
    """Return the policy by which a server deletes data when its memory is used up, if it does."""
    policy = info.get("maxmemory_policy", "noeviction")
    return policy if int(info.get("maxmemory", 0)) and policy != "noeviction" else None
