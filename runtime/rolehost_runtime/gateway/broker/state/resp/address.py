"""Where Redis is, as one URL says it: a single server, one that Sentinels watch, or a cluster."""

import re
from dataclasses import dataclass
from enum import Enum
from urllib.parse import parse_qsl, unquote

from rolehost_api.errors import BadRequest
from rolehost_api.names import host_port

PORT, SENTINEL_PORT = 6379, 26379
MAX_REPLICAS = 5
FORMS = (
    "Use redis://host:6379/0, unix:///path, redis+sentinel://host:26379,host:26379/master/0 or "
    "redis+cluster://host:6379,host:6379 (rediss… for TLS), and ?replicas=1 where a turn must be on a replica too"
)
_URL = re.compile(
    r"(?P<scheme>[^:/?#]*):?(?://(?P<netloc>[^/?#]*))?(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?(?:#.*)?", re.DOTALL
)
"""RFC 3986, appendix B. Python's own reader takes no list of hosts where one is an IPv6 address, from 3.11.12 on."""
_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?")


class Kind(Enum):
    SINGLE = "single"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class Address:
    """One server; a unix socket where there is a path."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        return self.path or host_port(self.host, self.port)


@dataclass(frozen=True, slots=True)
class Target:
    kind: Kind
    addresses: tuple[Address, ...]
    """Of the server; of the Sentinels; of some of the cluster's nodes."""
    tls: bool = False
    user: str = ""
    database: int = 0
    master: str = ""
    """What the Sentinels call it."""
    replicas: int = 0
    """How many replicas must have a write before it is acknowledged."""

    @property
    def durability(self) -> str:
        """What an acknowledged write has survived, in one word.

        >>> parse("redis://r").durability, parse("redis://r?replicas=1").durability
        ('local-fsync', 'replicated-1')
        """
        return f"replicated-{self.replicas}" if self.replicas else "local-fsync"


def parse(url: str) -> Target:
    """What a URL names. Raises BadRequest `invalid_redis_url`, which never repeats the URL: it may hold a password.

    >>> [str(address) for address in parse("redis+sentinel://a,[::1]:7/main/2?replicas=1").addresses]
    ['a:26379', '[::1]:7']
    >>> parse("rediss://rolehost@r:6380/3")  # doctest: +NORMALIZE_WHITESPACE
    Target(kind=<Kind.SINGLE: 'single'>, addresses=(Address(host='r', port=6380, path=''),), tls=True,
           user='rolehost', database=3, master='', replicas=0)
    >>> str(parse("unix:///run/a%20b.sock").addresses[0])
    '/run/a b.sock'
    """
    parts = _URL.fullmatch(url)
    assert parts is not None, "any text has these parts"
    query, path = _query(parts["query"] or ""), parts["path"]
    user, hosts = _user(parts["netloc"] or "")
    replicas = _number(query.pop("replicas", "0"), "replicas", MAX_REPLICAS)
    transport, _, family = parts["scheme"].lower().partition("+")
    if transport == "unix" and not family:
        database = _number(query.pop("db", "0"), "db", 1 << 16)
        socket = unquote(path)
        if hosts or not socket.strip("/"):
            raise _wrong("a unix socket is named by its path alone")
        _nothing_more(query)
        return Target(Kind.SINGLE, (Address(path=socket),), user=user, database=database, replicas=replicas)
    if transport not in ("redis", "rediss") or family not in ("", "sentinel", "cluster"):
        raise _wrong("its scheme is not known")
    _nothing_more(query)
    kind = Kind(family or "single")
    words = [unquote(word) for word in path.split("/") if word]
    master = words.pop(0) if kind is Kind.SENTINEL and words else ""
    if kind is Kind.SENTINEL and not master:
        raise _wrong("the master's name is missing")
    if len(words) > 1 or (kind is Kind.CLUSTER and words and words != ["0"]):
        raise _wrong("a cluster has database 0 only" if kind is Kind.CLUSTER else "its path says too much")
    return Target(
        kind,
        _addresses(hosts, kind),
        tls=transport == "rediss",
        user=user,
        database=_number(words[0], "the database", 1 << 16) if words else 0,
        master=master,
        replicas=replicas,
    )


def _addresses(hosts: str, kind: Kind) -> tuple[Address, ...]:
    default = SENTINEL_PORT if kind is Kind.SENTINEL else PORT
    found = [_HOST.fullmatch(host) for host in hosts.split(",")]
    if kind is Kind.SINGLE and len(found) != 1:
        raise _wrong("several hosts need redis+sentinel:// or redis+cluster://")
    addresses = []
    for host in found:
        port = int(host["port"] or default) if host else 0
        if host is None or not 0 < port < 65_536:
            raise _wrong("a host in it is not host:port")
        addresses.append(Address(host["host"].strip("[]"), port))
    return tuple(addresses)


def _user(netloc: str) -> tuple[str, str]:
    user, at, hosts = netloc.rpartition("@")
    if ":" in user:
        raise _wrong("it holds a password; that goes into a Secret, ROLEHOST_REDIS_PASSWORD")
    if at and not user:
        raise _wrong("there is no user before its @")
    return unquote(user), hosts


def _query(query: str) -> dict[str, str]:
    return dict(parse_qsl(query, keep_blank_values=True))


def _nothing_more(query: dict[str, str]) -> None:
    if query:
        raise _wrong("after its ? only replicas (and, of a unix socket, db) may stand")


def _number(word: str, name: str, most: int) -> int:
    if not (word.isascii() and word.isdigit() and len(word) < 7 and int(word) <= most):
        raise _wrong(f"{name} is not a number from 0 to {most}")
    return int(word)


def _wrong(why: str) -> BadRequest:
    return BadRequest(f"this is no URL of a Redis: {why}", hint=FORMS, code="invalid_redis_url")
