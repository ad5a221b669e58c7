"""Vectors of one partition, in one block: exact search over rows of one byte a number.

A partition is small, so looking at every row is faster than any index, and always right. Only who searches by meaning
loads this: numpy is heavy.

No processor multiplies bytes by numpy as fast as it does whole numbers, and making whole ones of bytes costs more than
the search: what was searched last is kept as both, within a bound.
"""

import weakref
from collections import OrderedDict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

NEAR = 0.2
"""Cosine from which on two texts have to do with each other at all."""
MAX_WHOLE_BYTES = 16_777_216
"""16 MiB of whole numbers, in all: some ten full partitions of 384 numbers a memory."""
FEW = 128
"""Rows that are sorted sooner than those that are near are picked out."""
Rows = NDArray[np.int8]
Whole = NDArray[np.float32]


class Arena:
    def __init__(self) -> None:
        self._names: list[str] = []
        self._rows: Rows = np.zeros((0, 0), np.int8)
        self._scales: NDArray[np.float32] = np.zeros(0, np.float32)
        self.whole: Whole | None = None
        """The same rows, where they were searched lately."""

    def __len__(self) -> int:
        return len(self._names)

    @property
    def nbytes(self) -> int:
        """Of what is kept for good; the whole numbers have a bound of their own."""
        return int(self._rows.nbytes + self._scales.nbytes)

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self._names)

    def add(self, names: Sequence[str], vectors: Sequence[Iterable[float]]) -> None:
        """Of texts that are not there yet. Vectors of another length than those there begin anew: another model made
        them. One that is not finite, nothing but zeros, or not as long as the first, is near nothing."""
        fresh = _normalised(vectors)
        if len(self._names) and fresh.shape[1] != self._rows.shape[1]:
            self.keep(frozenset())
        scales = np.abs(fresh).max(axis=1, initial=0.0) / 127.0
        rows = np.rint(fresh / np.where(scales > 0, scales, 1.0)[:, None]).astype(np.int8)
        self._rows = np.concatenate([self._rows, rows]) if len(self._names) else rows
        self._scales = np.concatenate([self._scales, scales.astype(np.float32)])
        self._names += names
        HOT.drop(self)

    def keep(self, names: frozenset[str]) -> None:
        """Let go of all others."""
        if names >= self.names:
            return
        HOT.drop(self)
        if not names:
            self._names, self._rows, self._scales = [], np.zeros((0, 0), np.int8), np.zeros(0, np.float32)
            return
        places = [place for place, name in enumerate(self._names) if name in names]
        self._names = [self._names[place] for place in places]
        self._rows, self._scales = self._rows[places], self._scales[places]

    def nearest(self, vector: Iterable[float], k: int) -> list[str]:
        """At most `k` names, the nearest first, none further away than NEAR."""
        asked = np.asarray(vector, np.float32)
        if not len(self._names) or asked.shape != self._rows.shape[1:]:
            return []
        length = float(asked @ asked) ** 0.5
        if not 0.0 < length < np.inf:  # nothing, or so large that its square is not a number
            asked, length = _normalised([asked])[0], 1.0
        apart = HOT.whole(self) @ -asked
        apart *= self._scales
        if len(apart) <= FEW:
            best = apart.argsort(kind="stable")[:k]
        else:
            near = (apart <= -NEAR * length).nonzero()[0]
            best = near[apart[near].argsort(kind="stable")[:k]]
        return [self._names[place] for place in best.tolist() if apart[place] <= -NEAR * length]

    def expanded(self) -> Whole:
        """All rows as whole numbers, newly made; not scaled, for that would take longer than the rest."""
        return self._rows.astype(np.float32)


class Hot:
    """Which arenas have whole numbers beside their bytes: those that were searched last."""

    def __init__(self, max_bytes: int = MAX_WHOLE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._sizes: OrderedDict[weakref.ref[Arena], int] = OrderedDict()
        self.nbytes = 0

    def whole(self, arena: Arena) -> Whole:
        found = arena.whole
        if found is not None:
            self._sizes.move_to_end(weakref.ref(arena))
            return found
        found = arena.whole = arena.expanded()
        self._sizes[weakref.ref(arena, self._forget)] = found.nbytes
        self.nbytes += found.nbytes
        while self.nbytes > self._max_bytes:
            oldest = next(iter(self._sizes))
            known = oldest()
            self._forget(oldest)
            if known is not None:
                known.whole = None
        return found

    def drop(self, arena: Arena) -> None:
        """Its rows are others now."""
        if arena.whole is not None:
            arena.whole = None
            self._forget(weakref.ref(arena))

    def _forget(self, arena: "weakref.ref[Arena]") -> None:
        self.nbytes -= self._sizes.pop(arena, 0)


HOT = Hot()
"""One bound for all arenas of the process."""


def _normalised(vectors: Sequence[Iterable[float]]) -> NDArray[np.float32]:
    each = [np.asarray(one, np.float32) for one in vectors]
    block = np.zeros((len(each), len(each[0]) if each else 0), np.float64)
    for place, one in enumerate(each):
        if one.shape == block[place].shape and np.isfinite(one).all():
            block[place] = one
    lengths = np.linalg.norm(block, axis=1, keepdims=True)
    return (block / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)
