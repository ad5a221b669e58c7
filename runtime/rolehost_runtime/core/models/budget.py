"""What a tenant may spend on a backend in a day: reserved before a call, settled after it.

One counter in the store holds what was handed out. A gateway takes a *lease* of it, a part of the day's budget, and
spends from that without asking: the store is asked once in many calls. What a call took beyond its reservation is a
debt, which the next lease pays first. So what all gateways spent is never more than the budget and the
debts of calls that ran at the same time; a gateway that dies takes with it what was left of its lease, until the day ends.
"""

from typing import NamedTuple

from rolehost_api.crd.modelbackend import Price, TokenBudget
from rolehost_api.wire import Usage

DAY_MS = 86_400_000
LEASE_PART = 100
"""A lease is at least this part of the day's budget, so that one gateway alone asks about so often a day."""
UNKNOWN_ANSWER = 1024
"""Tokens that are reserved for an answer whose bound nobody declared."""


class Amount(NamedTuple):
    """Tokens, and their cost in millionths of a unit."""

    tokens: int = 0
    micros: int = 0

    def plus(self, other: "Amount") -> "Amount":
        return Amount(self.tokens + other.tokens, self.micros + other.micros)

    def minus(self, other: "Amount") -> "Amount":
        return Amount(self.tokens - other.tokens, self.micros - other.micros)

    def covers(self, other: "Amount", bound: "Amount") -> bool:
        """It is enough for `other`, in whatever is bounded (not 0) at all.

        >>> Amount(5, 0).covers(Amount(5, 9), Amount(100, 0)), Amount(5, 8).covers(Amount(5, 9), Amount(100, 10))
        (True, False)
        """
        return (not bound.tokens or self.tokens >= other.tokens) and (not bound.micros or self.micros >= other.micros)


def cost(price: Price, usage: Usage) -> int:
    """In millionths of a unit, rounded up.

    >>> price = Price(input_micros=150_000, cached_micros=75_000, output_micros=600_000)
    >>> cost(price, Usage(input_tokens=10_000, cached_tokens=8_000, output_tokens=1_000))      # 300 + 600 + 600
    1500
    >>> cost(price, Usage(input_tokens=1)), cost(Price(), Usage(input_tokens=10_000))
    (1, 0)
    """
    cached = price.input_micros if price.cached_micros is None else price.cached_micros
    plain = max(0, usage.input_tokens - usage.cached_tokens)
    total = plain * price.input_micros + usage.cached_tokens * cached + usage.output_tokens * price.output_micros
    return -(-total // 1_000_000)


def amount(price: Price, usage: Usage) -> Amount:
    return Amount(usage.input_tokens + usage.output_tokens, cost(price, usage))


def bound_of(budget: TokenBudget) -> Amount:
    return Amount(budget.tokens_per_day, budget.cost_micros_per_day)


def day_of(now_ms: int) -> tuple[int, int]:
    """The day's number, and milliseconds until it ends. Days are UTC.

    >>> day_of(0), day_of(86_399_999), day_of(86_400_000)
    ((0, 86400000), (0, 1), (1, 86400000))
    """
    day = now_ms // DAY_MS
    return day, (day + 1) * DAY_MS - now_ms


def wanted(bound: Amount, short: Amount) -> Amount:
    """How large a lease is asked for where `short` is lacking: nothing of what is not bounded.

    >>> wanted(Amount(100_000, 0), Amount(20, 5)), wanted(Amount(100_000, 0), Amount(5_000, 0))
    (Amount(tokens=1000, micros=0), Amount(tokens=5000, micros=0))
    """
    return Amount(
        *(max(need, whole // LEASE_PART, 1) if whole else 0 for need, whole in zip(short, bound, strict=True))
    )


class Lease:
    """What this gateway may spend of one tenant's budget on one backend, today.

    >>> lease, bound = Lease(), Amount(100_000, 0)
    >>> lease.reserve(Amount(600), bound), lease.short(Amount(600))
    (False, Amount(tokens=600, micros=0))
    >>> lease.grant(Amount(1000)), lease.reserve(Amount(600), bound)
    (None, True)
    >>> lease.settle(Amount(600), Amount(1500)), lease.left      # a debt, which the next lease pays
    (None, Amount(tokens=-500, micros=0))
    """

    def __init__(self) -> None:
        self.left = Amount()

    def reserve(self, need: Amount, bound: Amount) -> bool:
        if not self.left.covers(need, bound):
            return False
        self.left = self.left.minus(need)
        return True

    def short(self, need: Amount) -> Amount:
        """What is lacking for `need`, debts among it; nothing below 0."""
        lacking = need.minus(self.left)
        return Amount(max(0, lacking.tokens), max(0, lacking.micros))

    def grant(self, more: Amount) -> None:
        self.left = self.left.plus(more)

    def settle(self, reserved: Amount, spent: Amount) -> None:
        self.left = self.left.plus(reserved).minus(spent)
