"""Names of what Redis holds of sessions. Whatever is one person's with one Role lies under one hash tag, so that one
server-side call may write all of it."""

from rolehost_api.identity import session_of, tag_of


def head(key: str) -> str:
    """
    >>> head("t:s"), head("k")
    ('rh:{t}:s:head', 'rh:{k}:k:head')
    """
    return f"{place(key)}:head"


def wal(key: str) -> str:
    return f"{place(key)}:wal"


def snap(key: str) -> str:
    return f"{place(key)}:snap"


def quarantine(key: str) -> str:
    return f"{place(key)}:quarantine"


def segments(key: str) -> str:
    return f"{place(key)}:segs"


def place(key: str) -> str:
    return f"rh:{{{tag_of(key)}}}:{session_of(key)}"


def user(tag: str) -> str:
    """
    >>> user("t")
    'rh:{t}:user'
    """
    return f"rh:{{{tag}}}:user"


def compensations(tag: str) -> str:
    return f"{user(tag)}:comp"
