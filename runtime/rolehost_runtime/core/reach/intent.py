"""The key of a request that changes something: the same whenever its turn runs again, and no other request's.

A turn may run twice, for the gateway that ran it died after it had sent the request and before the turn was durable. The
gateway that gives it anew sends the request with the same key, so a server that knows `Idempotency-Key` does it once. The
turn's number alone would not do: a turn that failed leaves its number to the next message, which is another turn.
"""

import base64
import hashlib

HEADER = "Idempotency-Key"


def of_turn(log_id: str, turn: int, message: str) -> str:
    """`message` is the client's id of the turn's message, or the response's where it gave none.

    >>> of_turn("01j", 7, "c-1")
    'rh-bxnki2rvc22jyvebazw65atz'
    >>> len({of_turn("01j", turn, message) for turn in (1, 11) for message in ("1", "11")})
    4
    """
    words = "\0".join((log_id, str(turn), message))
    digest = hashlib.blake2b(words.encode(), digest_size=15, person=b"rolehost-intent").digest()
    return f"rh-{base64.b32encode(digest).decode().lower()}"


def of_effect(turn_key: str, index: int) -> str:
    """Of the turn's effect with that number.

    >>> of_effect("rh-aa", 3)
    'rh-aa/3'
    """
    return f"{turn_key}/{index}"
