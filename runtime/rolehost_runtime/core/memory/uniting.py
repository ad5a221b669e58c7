"""One partition that lies in two places: its *tail*, which commits write, and its *home*, where the rest of it is.

Facts move from the tail to the home and are taken out of the tail only then, so at every moment each fact is in at least
one of them; whoever reads the tail first and the home after it sees all. A fact that is in both is one fact.
"""

from rolehost_runtime.core.memory.atoms import MOST_FIELDS, Changes, Stored, atoms_of, mark_of, marked, version_of

BATCH = MOST_FIELDS // 4
"""Facts that move in one step."""


def united(tail: Stored, home: Stored) -> Stored:
    """What is kept in the two together, as if it were in one place.

    >>> united({b"aA": b"tea", b"@": b"1", b"!": b"t"}, {b"xA": b"7", b"aB": b"spiders", b"@": b"2", b"!": b"h"})
    {b'xA': b'7', b'aB': b'spiders', b'@': b'3', b'!': b'h+t', b'#': b'7'}
    >>> united({}, {})
    {}
    """
    if not tail and not home:
        return {}
    both = {**tail, **home}
    gone = {name[1:] for name in both if name[:1] == b"x"}
    found = {
        name: what
        for name, what in both.items()
        if name[:1] == b"x" or (name[:1] in (b"a", b"c") and name[1:] not in gone)
    }
    size = sum(len(what) for name, what in found.items() if name[:1] == b"a")
    found[b"@"] = b"%d" % (version_of(tail) + version_of(home))
    found[b"!"] = f"{mark_of(home)}+{mark_of(tail)}".encode()
    found[b"#"] = b"%d" % size
    return found


def moves(tail: Stored) -> tuple[list[Changes], Changes]:
    """(what the home is told, one after the other; what is taken out of the tail then). At most BATCH facts; each list is
    empty where there is nothing to move.

    An atom that cannot be read stays where it is.
    """
    confirmed, gone = marked(tail, b"c"), marked(tail, b"x")
    atoms = tuple(sorted(atoms_of(tail), key=lambda atom: atom.id)[:BATCH])
    forgotten = dict(sorted(gone.items())[: BATCH - len(atoms)])
    told = [Changes(added=atoms)] if atoms else []
    names = {atom.id for atom in atoms}
    for at_ms in sorted({at for name, at in confirmed.items() if name in names} | set(forgotten.values())):
        told.append(
            Changes(
                confirmed=tuple(name for name, at in confirmed.items() if at == at_ms and name in names),
                forgotten=tuple(name for name, at in forgotten.items() if at == at_ms),
                at_ms=at_ms,
            )
        )
    known = tuple((atom.id, tail.get(b"c" + atom.id.encode(), b"")) for atom in atoms)
    return told, Changes(moved=known, traces=tuple(forgotten))
