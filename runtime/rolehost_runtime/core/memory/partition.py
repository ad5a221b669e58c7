"""What holds of what is kept of one person: worked out of facts that come in any order.

A forgotten atom is gone whatever else is said of it. A relation holds from its beginning until its stated end, or until
a later relation of the same subject and predicate takes its place; it is not deleted then, and can be asked for as of
its time. An asserted relation that nobody confirmed takes no other's place: users do not rewrite what is known.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from rolehost_runtime.core.memory.atoms import Atom, Stored, atoms_of, marked


@dataclass(frozen=True, slots=True)
class Held:
    """An atom, and what follows for it from the others."""

    atom: Atom
    quarantined: bool
    """The user asserted it, and nobody confirmed it."""
    until_ms: int | None
    """Of a relation: since when it does not hold any more."""

    def holds(self, at_ms: int) -> bool:
        """Whether it is true at that time; of what is no relation, always."""
        return self.atom.kind == "long" or (
            self.atom.since_ms <= at_ms and (self.until_ms is None or at_ms < self.until_ms)
        )


@dataclass(frozen=True, slots=True)
class Partition:
    """All that is remembered of one person, by id."""

    held: dict[str, Held]
    subjects: dict[str, list[str]]
    """Relations by who they are of."""

    @classmethod
    def of(cls, stored: Stored, *, known_ms: int | None = None) -> "Partition":
        """What was known at `known_ms` (None: all that is known)."""
        gone, confirmed = marked(stored, b"x"), marked(stored, b"c")
        atoms = [
            atom for atom in atoms_of(stored) if atom.id not in gone and (known_ms is None or atom.at_ms <= known_ms)
        ]
        vouched = {name for name, at_ms in confirmed.items() if known_ms is None or at_ms <= known_ms}
        trusted = [atom for atom in atoms if not atom.asserted or atom.id in vouched]
        ends = _ends(trusted)
        held: dict[str, Held] = {}
        subjects: defaultdict[str, list[str]] = defaultdict(list)
        for atom in sorted(atoms, key=_order):
            quarantined = atom.asserted and atom.id not in vouched
            held[atom.id] = Held(atom, quarantined, ends.get(atom.id, atom.valid_to_ms))
            if atom.kind == "rel":
                subjects[folded(atom.subject)].append(atom.id)
        return cls(held, dict(subjects))


def _order(atom: Atom) -> tuple[int, int, str]:
    return atom.since_ms, atom.at_ms, atom.id


def _ends(atoms: Iterable[Atom]) -> dict[str, int]:
    """When relations end because another one took their place.

    >>> lives = [Atom(id=str(at), kind="rel", subject="Ann", predicate="lives in", object=town, at_ms=at)
    ...          for at, town in ((1, "Oslo"), (5, "Rome"), (7, "Rome"), (9, "Oslo"))]
    >>> _ends(reversed(lives))
    {'1': 5, '5': 9, '7': 9}
    """
    facts: defaultdict[tuple[str, str], list[Atom]] = defaultdict(list)
    for atom in atoms:
        if atom.kind == "rel" and not atom.many:
            facts[folded(atom.subject), folded(atom.predicate)].append(atom)
    ends: dict[str, int] = {}
    for about in facts.values():
        about.sort(key=_order)
        later: Atom | None = None
        following: Atom | None = None
        """The next one that says something else than `later`."""
        for atom in reversed(about):
            if later is not None and folded(later.object) != folded(atom.object):
                following = later
            if following is not None and folded(following.object) != folded(atom.object):
                end = following.since_ms if atom.valid_to_ms is None else min(atom.valid_to_ms, following.since_ms)
                ends[atom.id] = end
            later = atom
    return dict(sorted(ends.items()))


def folded(term: str) -> str:
    """Relations are about the same thing however it is written in upper and lower case."""
    return " ".join(term.casefold().split())
