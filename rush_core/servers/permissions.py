"""The commands and keys that a user of the server needs for networks.

When a script reaches a command that its user must not run, it stops in the middle. So a user needs
all permissions before the first use of a network; `rush doctor` tries them.
"""

from __future__ import annotations

import secrets

import hiredis

from rush_core.connection.connection import Connection, pack
from rush_core.connection.script import retry_unreachable
from rush_core.keys import NetworkKeys

__all__ = ["ACL_RULE", "find_denied"]

# Every command except INFO and EVALSHA, with arguments; $ marks a key.
_TRIALS = (
    """
PING; TIME; MULTI; EXEC; SCRIPT LOAD return; EVAL return 0
TYPE $string; SET $string 1; GET $string; MGET $string; EXISTS $string; PEXPIRE $string 60000
INCR $number; INCRBY $number 1; DECR $number; DECRBY $number 1
HSET $hash a b; HGET $hash a; HEXISTS $hash a; HGETALL $hash; HKEYS $hash
HVALS $hash; HLEN $hash; HDEL $hash a
RPUSH $list a; LPUSH $list a; LRANGE $list 0 -1; LLEN $list; LPOP $list
LTRIM $list 0 0; BLPOP $list 0.01
SADD $set a; SMEMBERS $set; SISMEMBER $set a; SREM $set a
ZADD $zset 1 a; ZRANGE $zset 0 -1; ZREM $zset a; ZPOPMAX $zset 1
XADD $stream * a b; XREAD STREAMS $stream 0; XREVRANGE $stream + - COUNT 1
UNLINK $number; DEL $string $number $hash $list $set $zset $stream
""".strip()
    .replace("\n", "; ")
    .split("; ")
)

_COMMANDS = ["info", "evalsha", *(trial.split()[0].lower() for trial in _TRIALS)]

# The rule for ``ACL SETUSER name on >password RULE``. A database other than 0 needs +select, too.
ACL_RULE = "resetkeys ~rush:* -@all " + " ".join(f"+{name}" for name in _COMMANDS)


def find_denied(connection: Connection) -> tuple[list[str], bool]:
    """Try all commands, on keys outside every network, which are deleted again; one round trip.

    Returns
    -------
    commands : list of str
        The commands that the user must not run.
    keys : bool
        Whether the user must not use the keys of networks.
    """
    prefix = NetworkKeys(f"doctor-{secrets.token_hex(6)}").wake("").decode()
    requests = [pack(tuple(trial.replace("$", prefix).split())) for trial in _TRIALS]
    replies = retry_unreachable(lambda: connection.execute_many(requests))
    commands, keys = [], False
    for trial, reply in zip(_TRIALS, replies, strict=True):
        if not isinstance(reply, hiredis.ReplyError) or not str(reply).startswith("NOPERM"):
            continue
        if " key" in str(reply):
            keys = True
        else:
            commands.append(trial.split()[0].lower())
    return commands, keys
