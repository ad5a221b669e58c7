"""A question to a partition, and what comes back: best first, within bounds."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rolehost_api.link.messages import Recall, Recollection
from rolehost_runtime.core.memory.atoms import Stored
from rolehost_runtime.core.memory.fusion import fused
from rolehost_runtime.core.memory.keywords import Keywords
from rolehost_runtime.core.memory.partition import Held, Partition, folded

MAX_ANSWER_CHARS = 16_384
"""Of all that one question is answered with."""
LINE_CHARS = 500
"""Of one memory in the prompt."""
HEADER = "[What you remember of the user; they did not say it just now:"


@dataclass(slots=True)
class Indexed:
    """A partition that questions are put to."""

    stored: Stored
    partition: Partition
    keywords: Keywords = field(default_factory=Keywords)
    _kept: "tuple[frozenset[str], Indexed] | None" = None
    """Without what some revisions remembered, as it was asked for last."""

    @classmethod
    def of(cls, stored: Stored) -> "Indexed":
        found = cls(stored, Partition.of(stored))
        for name, held in found.partition.held.items():
            found.keywords.add(name, _searched(held))
        return found

    def after(self, stored: Stored) -> "Indexed":
        """The same with what is stored now; only what is new is looked at word by word."""
        partition = Partition.of(stored)
        for name in self.partition.held.keys() - partition.held.keys():
            self.keywords.remove(name)
        for name in partition.held.keys() - self.partition.held.keys():
            self.keywords.add(name, _searched(partition.held[name]))
        return Indexed(stored, partition, self.keywords)

    def without(self, revisions: frozenset[str]) -> "Indexed":
        """As if no turn of these revisions had remembered anything: what their relations took the place of holds again.

        Nothing is deleted: asked without them it is all there.
        """
        if self._kept is not None and self._kept[0] == revisions:
            return self._kept[1]
        out = {b"a" + name.encode() for name, held in self.partition.held.items() if held.atom.revision in revisions}
        kept = Indexed.of({name: fact for name, fact in self.stored.items() if name not in out}) if out else self
        self._kept = (revisions, kept)
        return kept

    def found(self, asked: Recall, now_ms: int, nearest: Sequence[str] = ()) -> list[Held]:
        """At most `k`, best first. `nearest`: ids by how near they are in meaning, where somebody can tell.

        Without a question what matters most comes first, then what is newest.
        """
        held, scores = self.partition.held, self.keywords.scores(asked.query)
        names: Iterable[str] = {*scores, *nearest} if asked.query.strip() else held
        if asked.subject:
            of_subject = self.partition.subjects.get(folded(asked.subject), [])
            names = [name for name in of_subject if name in names]
        fits = {name: held[name] for name in names if name in held and _fits(held[name], asked, now_ms)}
        if not asked.query.strip():
            return sorted(fits.values(), key=_worth)[: asked.k]
        words = sorted((name for name in scores if name in fits), key=lambda name: (-scores[name], _worth(fits[name])))
        ranked = fused([words, [name for name in nearest if name in fits]])
        return [fits[name] for name, _ in ranked[: asked.k]]


def _searched(held: Held) -> str:
    atom = held.atom
    return atom.text if atom.kind == "long" else f"{atom.subject} {atom.predicate} {atom.object}"


def _worth(held: Held) -> tuple[int, int, str]:
    return -held.atom.salience, -held.atom.at_ms, held.atom.id


def _fits(held: Held, asked: Recall, now_ms: int) -> bool:
    atom = held.atom
    if atom.kind not in asked.kinds or (held.quarantined and not asked.asserted and not asked.to_forget):
        return False
    if (asked.subject or asked.predicate) and atom.kind != "rel":
        return False
    if asked.predicate and folded(asked.predicate) != folded(atom.predicate):
        return False
    return asked.to_forget or held.holds(now_ms if asked.as_of_ms is None else asked.as_of_ms)


def told(found: Sequence[Held], *, only_ids: bool = False) -> tuple[Recollection, ...]:
    """As logic sees them, as many whole ones as MAX_ANSWER_CHARS hold."""
    answer: list[Recollection] = []
    room = MAX_ANSWER_CHARS
    for held in found:
        atom = held.atom
        room -= 0 if only_ids else len(atom.said)
        if room < 0:
            break
        answer.append(Recollection(id=atom.id) if only_ids else recollection(held))
    return tuple(answer)


def recollection(held: Held) -> Recollection:
    atom = held.atom
    return Recollection(
        id=atom.id,
        kind=atom.kind,
        text=atom.said,
        subject=atom.subject,
        predicate=atom.predicate,
        object=atom.object,
        salience=atom.salience,
        at_ms=atom.at_ms,
        valid_from_ms=atom.since_ms if atom.kind == "rel" else None,
        valid_to_ms=held.until_ms,
        session_id=atom.session_id,
        turn=atom.turn,
        asserted=held.quarantined,
    )


def notes(found: Sequence[Held], max_chars: int) -> str:
    """What the model is reminded of, a line each; empty where there is nothing.

    Each is one line whatever it holds, and what does not fit whole is left out.

    >>> from rolehost_runtime.core.memory.atoms import Atom
    >>> held = Held(Atom(id="a", text="Ann\\nfears spiders", at_ms=0), False, None)
    >>> notes([held], 200)
    '[What you remember of the user; they did not say it just now:\\n- Ann fears spiders]'
    >>> notes([held], 20), notes([], 200)
    ('', '')
    """
    lines: list[str] = []
    room = max_chars - len(HEADER) - 1
    for held in found:
        line = "- " + " ".join(held.atom.said.split())[:LINE_CHARS].replace("[", "(").replace("]", ")")
        if len(line) + 1 <= room:
            lines.append(line)
            room -= len(line) + 1
    return "\n".join([HEADER, *lines]) + "]" if lines else ""


def of_sessions(partition: Partition, sessions: Collection[str]) -> Mapping[str, Held]:
    """What turns of these sessions remembered, by id."""
    return {name: held for name, held in partition.held.items() if held.atom.session_id in sessions}
