"""A partition in two places is what it would be in one, wherever moving was when it was looked at, or ended."""

from collections.abc import Iterator

import hypothesis.strategies as st
from hypothesis import example, given, settings

from rolehost_runtime.core.memory.atoms import Atom, Changes, Stored, atom_id, atoms_of, kept, marked
from rolehost_runtime.core.memory.uniting import BATCH, moves, united

NAMES = [atom_id(letter, 1, 0) for letter in "abcd"]
names = st.lists(st.sampled_from(NAMES), max_size=2, unique=True).map(tuple)
changed = st.builds(
    lambda added, forgotten, confirmed: (added, forgotten, confirmed), names, names, st.one_of(st.just(()), names)
)
steps = st.lists(
    st.one_of(changed, st.tuples(st.just("move"), st.integers(0, 1), st.integers(0, 4))), min_size=1, max_size=30
)


class Places:
    """Tail and home, two gateways that move, and the same in one place."""

    def __init__(self) -> None:
        self.tail: Stored = {}
        self.home: Stored = {}
        self.law: Stored = {}
        self.at_ms = 0
        self.movers: dict[int, Iterator[None]] = {}

    def commit(self, added: tuple[str, ...], forgotten: tuple[str, ...], confirmed: tuple[str, ...]) -> None:
        self.at_ms += 1
        changes = Changes(
            added=tuple(Atom(id=name, text=name, at_ms=1) for name in added),
            forgotten=forgotten,
            confirmed=confirmed,
            at_ms=self.at_ms,
        )
        back = tuple(atom for atom in atoms_of(self.home) if atom.id in confirmed)
        self.tail = kept(self.tail, Changes(added=back), "back")
        self.tail = kept(self.tail, changes, "commit")
        self.law = kept(self.law, changes, "law")

    def go_on(self, number: int, pieces: int) -> None:
        """One gateway moves so many pieces further, and may never go on after that."""
        for _ in range(pieces):
            mover = self.movers.setdefault(number, self._moving())
            if next(mover, "over") == "over":
                del self.movers[number]

    def _moving(self) -> Iterator[None]:
        told, taken = moves(self.tail)
        yield
        for changes in told:
            self.home = kept(self.home, changes, "home")
            yield
        self.tail = kept(self.tail, taken, "taken")
        yield


def said(stored: Stored) -> tuple[set[str], dict[str, int], dict[str, int]]:
    return {atom.id for atom in atoms_of(stored)}, marked(stored, b"c"), marked(stored, b"x")


@settings(max_examples=150, deadline=None)
@given(steps)
@example([((NAMES[0],), (), ()), ("move", 0, 3), ((), (), (NAMES[0],)), ("move", 0, 1), ("move", 1, 4)])
@example([((NAMES[0],), (), ()), ("move", 0, 1), ((), (), (NAMES[0],)), ("move", 0, 3), ("move", 1, 4)])
@example([((NAMES[0],), (), ()), ("move", 0, 1), ((), (NAMES[0],), ()), ("move", 1, 4), ("move", 0, 4)])
def test_two_places_come_to_what_one_would(given: list[tuple[object, ...]]) -> None:
    places = Places()
    for step in given:
        if step[0] == "move":
            places.go_on(step[1], step[2])  # type: ignore[arg-type]
        else:
            places.commit(*step)  # type: ignore[arg-type]
        assert said(united(places.tail, places.home)) == said(places.law)
    while any(piece[:1] in (b"a", b"x") for piece in places.tail):
        places.go_on(2, 1)
    assert said(places.home) == said(places.law), "in the end all of it is at home"


def test_what_moves_at_once_is_bounded_and_all_of_it_moves() -> None:
    many = tuple(Atom(id=f"a{number:04}", text="x", at_ms=1) for number in range(2 * BATCH + 7))
    tail: Stored = kept({}, Changes(added=many), "m")
    seen = 0
    while (step := moves(tail))[0]:
        told, taken = step
        assert sum(len(one.added) for one in told) <= BATCH
        seen += len(taken.moved)
        tail = kept(tail, taken, "t")
    assert seen == len(many)


def test_an_atom_that_cannot_be_read_stays_where_it_is() -> None:
    tail = {b"aX": b"\xff", b"@": b"1", b"!": b"m", b"#": b"1"}
    assert moves(tail) == ([], Changes())
    assert united(tail, {})[b"aX"] == b"\xff"
