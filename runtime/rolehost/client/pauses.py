"""How long to wait before the next try, and which ends of a connection are final. Pure."""

MOVED_MS = 200
"""After 1012 without a word: at once, but not all clients of a gateway in the same instant."""
LOSS_MS = 100
LOAD_MS = 1_000
"""First pause after a connection that was lost, or that was refused because there are too many."""
CAP_MS = 10_000
MOVED, TRY_AGAIN_LATER, CONFLICT, OVERLOADED, UNAUTHORIZED = 1012, 1013, 4409, 4429, 4401
LOADED = (TRY_AGAIN_LATER, CONFLICT, OVERLOADED)
FINAL_STATUS = (400, 401, 403, 404, 405, 426)
"""Of an HTTP answer where a socket was asked for: no gateway stands there, or not for this caller."""
CODES = {4400: "bad_request", 4401: "unauthorized", 4403: "forbidden", 4404: "not_found"}
"""What a close code is called where no error frame said it better."""


def next_pause(draw: float, previous: int, base: int = LOSS_MS, cap: int = CAP_MS) -> int:
    """Milliseconds: decorrelated jitter, between `base` and three times the pause before, at most `cap`.

    `draw` is a random number in [0, 1); `previous` is 0 for the first pause.

    >>> next_pause(0.0, 0), next_pause(0.5, 0), next_pause(0.5, 200), next_pause(0.99, 9_000)
    (100, 200, 350, 10000)
    """
    return min(cap, int(base + draw * (3 * max(base, previous) - base)))


def is_final(code: int) -> bool:
    """Whether a close code says that the same try can only fail again.

    >>> [is_final(code) for code in (4400, 4401, 4403, 4404, 4409, 4429, 1012, 1013, 1006)]
    [True, True, True, True, False, False, False, False, False]
    """
    return 4400 <= code < 4500 and code not in (CONFLICT, OVERLOADED)
