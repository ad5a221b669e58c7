"""Who may send a bundle: never more than there is room for, every tenant in turn, nobody left behind."""

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rolehost_runtime.gateway.link.budget import Budget, Parcel

TENANTS = st.sampled_from("abc")
PARCELS = st.builds(Parcel, TENANTS, st.sampled_from("12345"))
LARGEST, BYTES = 10, 40


class Books:
    """A budget, and what must be so at every moment of its life."""

    def __init__(self) -> None:
        self.budget = Budget(transfers=4, per_tenant=3, bytes=BYTES, largest=LARGEST)
        self.parcels: dict[int, Parcel] = {}
        self.waiting: list[int] = []
        self.moving: list[int] = []
        self.sizes: dict[Parcel, int] = {}

    def join(self, parcel: Parcel) -> None:
        ticket = len(self.parcels)
        self.parcels[ticket] = parcel
        self.waiting.append(ticket)
        self.budget.join(ticket, parcel)

    def admit(self) -> list[int]:
        admitted: list[Any] = self.budget.admit()
        for ticket in admitted:
            parcel = self.parcels[ticket]
            line = [one for one in self.waiting if self.parcels[one].tenant == parcel.tenant]
            assert ticket == line[0], "within a tenant, first come, first served"
            self.waiting.remove(ticket)
            self.moving.append(ticket)
            self.sizes.setdefault(parcel, LARGEST)
        self.check()
        return admitted

    def check(self) -> None:
        assert len(self.moving) <= 4
        assert all(count <= 3 for count in Counter(self.parcels[one].tenant for one in self.moving).values())
        assert self.budget.waiting == len(self.waiting)
        assert self.budget.held == sum(self.sizes.values()) <= BYTES

    def weigh(self, parcel: Parcel, size: int) -> None:
        self.budget.weigh(parcel, size)
        if parcel in self.sizes:
            self.sizes[parcel] = size

    def leave(self, ticket: int) -> None:
        let_go = self.budget.leave(ticket)
        (self.moving if ticket in self.moving else self.waiting).remove(ticket)
        unused = self.sizes.keys() - {self.parcels[one] for one in self.moving}
        assert (self.parcels[ticket] in unused) == let_go
        for parcel in unused:
            del self.sizes[parcel]


@given(st.lists(st.tuples(st.sampled_from(["join", "weigh", "leave"]), PARCELS, st.integers(0, 1000)), max_size=60))
def test_the_bounds_hold_and_everybody_gets_there(steps: list[tuple[str, Parcel, int]]) -> None:
    books = Books()
    for what, parcel, number in steps:
        tickets = books.waiting + books.moving
        if what == "join":
            books.join(parcel)
        elif what == "weigh":
            books.weigh(parcel, number % (LARGEST + 1))
        elif tickets:
            books.leave(tickets[number % len(tickets)])
        books.admit()
    for _ in range(len(steps)):  # whatever happened: as transfers end, all the others get their turn
        if books.moving:
            books.leave(books.moving[0])
        books.admit()
    assert books.waiting == []


@given(st.integers(1, 500), st.integers(1, 3))
def test_a_tenant_with_many_pods_holds_another_up_by_its_own_share_at_most(many: int, few: int) -> None:
    books = Books()
    for _ in range(many):
        books.join(Parcel("a", "1"))
    books.admit()
    before = len(books.parcels)
    for _ in range(few):
        books.join(Parcel("b", "2"))
    order = books.admit()
    while any(ticket >= before for ticket in books.waiting):
        books.leave(next(one for one in books.moving if books.parcels[one].tenant == "a"))
        order += books.admit()
    assert sum(books.parcels[ticket].tenant == "a" for ticket in order) <= few


def test_pods_of_one_bundle_share_its_bytes_and_a_large_one_is_overtaken_by_nobody() -> None:
    budget = Budget(transfers=8, per_tenant=8, bytes=20, largest=10)
    same, large = Parcel("a", "same"), Parcel("b", "large")
    for ticket in ("a1", "a2", "a3"):
        budget.join(ticket, same)
    assert (budget.admit(), budget.held) == (["a1", "a2", "a3"], 10)
    budget.join("c1", Parcel("c", "1"))
    budget.join("b1", large)
    budget.join("c2", Parcel("c", "2"))
    budget.join("a4", same)
    assert (budget.admit(), budget.held) == (["c1"], 20)
    assert budget.leave("c1")
    assert budget.admit() == ["b1", "a4"]
    assert [budget.leave(ticket) for ticket in ("a1", "a2", "b1")] == [False, False, True]
    assert budget.admit() == ["c2"]


def test_a_bundle_over_the_whole_budget_goes_alone() -> None:
    budget = Budget(transfers=4, bytes=5, largest=10)
    budget.join("a1", Parcel("a", "1"))
    budget.join("b1", Parcel("b", "1"))
    assert budget.admit() == ["a1"]
    assert budget.leave("a1")
    assert budget.admit() == ["b1"]
