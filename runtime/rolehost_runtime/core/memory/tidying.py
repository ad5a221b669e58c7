"""What goes first where a partition holds too much, and which traces of the forgotten may go. Decisions only."""

from dataclasses import dataclass

from rolehost_runtime.core.memory.atoms import GONE_MS, MAX_ATOMS, MAX_BYTES, Stored, marked
from rolehost_runtime.core.memory.partition import Held, Partition

EASE = 0.9
"""Down to which share of the bounds it is tidied, so that not every turn has to."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """What is to be taken out."""

    atoms: tuple[str, ...] = ()
    traces: tuple[str, ...] = ()
    """Ids of forgotten atoms that nobody needs to remember any more."""

    def __bool__(self) -> bool:
        return bool(self.atoms or self.traces)


def sweep(stored: Stored, now_ms: int, *, most: int = MAX_ATOMS, max_bytes: int = MAX_BYTES) -> Sweep:
    """Nothing while it is within its bounds. Else, first to go: relations that do not hold any more, the longest past
    first; then what users asserted and nobody confirmed, oldest first; then the least salient, oldest first."""
    gone = marked(stored, b"x")
    traces = {name for name, at_ms in gone.items() if at_ms + GONE_MS <= now_ms}
    left = sorted(gone.keys() - traces, key=lambda name: (gone[name], name))
    traces.update(left[: max(0, len(left) - most // 2)])
    held = Partition.of(stored).held
    sizes = {name: len(stored[b"a" + name.encode()]) for name in held}
    count, size = len(held), sum(sizes.values())
    out: list[str] = []
    if count > most or size > max_bytes:
        for name in sorted(held, key=lambda name: _rank(held[name], now_ms)):
            if count <= EASE * most and size <= EASE * max_bytes:
                break
            out.append(name)
            count, size = count - 1, size - sizes[name]
    return Sweep(tuple(out), tuple(sorted(traces)))


def _rank(held: Held, now_ms: int) -> tuple[int, int, int, str]:
    atom = held.atom
    if held.until_ms is not None and held.until_ms <= now_ms:
        return 0, 0, held.until_ms, atom.id
    return (1, 0, atom.at_ms, atom.id) if held.quarantined else (2, atom.salience, atom.at_ms, atom.id)


def is_over(stored: Stored, *, most: int = MAX_ATOMS, max_bytes: int = MAX_BYTES) -> bool:
    """Cheap: whether it is worth to look for what should go."""
    return len(stored) > most + 3 or int(stored.get(b"#", b"0")) > max_bytes
