"""What one turn may do with memory: what its pod asks for is checked against the Role's permissions, and answered."""

from dataclasses import dataclass

from rolehost_api.crd.role import RoleTemplate
from rolehost_api.errors import Forbidden, RolehostError
from rolehost_api.identity import tag_of
from rolehost_api.link.messages import MAX_QUERY_CHARS, Commit, InputSegment, Recall, Recalled, Segment, TextSegment
from rolehost_runtime.core.memory.partition import Held
from rolehost_runtime.core.memory.recalling import notes, told
from rolehost_runtime.gateway.sessions.meanings import Meanings, Whose
from rolehost_runtime.gateway.sessions.memories import Memories
from rolehost_runtime.gateway.tables import Tenant

READ, WRITE, FORGET = "memory.read", "memory.write", "memory.forget"


@dataclass(slots=True)
class Remembering:
    """Of one turn, however often it runs."""

    memories: Memories
    meanings: Meanings
    tenant: Tenant
    key: str
    template: RoleTemplate
    now_ms: int
    """As the turn knows it."""
    quarantined: frozenset[str] = frozenset()
    """Revisions whose memories are not recalled; who is to forget something finds them all the same."""
    _notes: str | None = None
    reminded_of: tuple[str, ...] = ()
    """Ids of what the reminder tells."""

    @property
    def reminder(self) -> str:
        """What the model is reminded of in this turn; empty: nothing, or it was not asked yet."""
        return self._notes or ""

    async def recall(self, asked: Recall) -> Recalled:
        """Its failure is an answer too: the logic may handle it."""
        try:
            self._permit(FORGET if asked.to_forget else READ)
            found = await self._found(asked)
        except RolehostError as error:
            self.memories.count("recall", error.code)
            return Recalled(index=asked.index, error=error.code)
        self.memories.count("recall", "ok")
        return Recalled(index=asked.index, atoms=told(found, only_ids=asked.to_forget))

    async def _found(self, asked: Recall) -> list[Held]:
        """By words, and where a model tells meanings by those too; what is to be forgotten by words alone."""
        known = await self.memories.newest(self.key)
        if self.quarantined and not asked.to_forget:
            known = known.without(self.quarantined)
        nearest: list[str] = []
        if not asked.to_forget:
            whose = Whose(self.tenant, tag_of(self.key), self.template.memory.embeddings)
            texts = {name: held.atom.said for name, held in known.partition.held.items()}
            nearest = await self.meanings.nearest(whose, texts, asked.query, 2 * asked.k)
        return known.found(asked, self.now_ms, nearest)

    async def reminded(self, segments: tuple[Segment, ...], message: str) -> tuple[Segment, ...]:
        """With what is remembered of whoever wrote the message, right before it, where the Role wants that.

        There, and not above the history: all that a provider has cached of the prompt so far stays as it was.
        """
        wanted = self.template.memory.prompt
        if not wanted.enabled or READ not in self.template.permissions or InputSegment() not in segments:
            return segments
        if self._notes is None:
            asked = Recall(index=0, query=message[:MAX_QUERY_CHARS], k=wanted.max_items)
            try:
                found = await self._found(asked)
                self._notes = notes(found, wanted.max_characters)
                self.reminded_of = tuple(held.atom.id for held in found) if self._notes else ()
                self.memories.count("remind", "ok")
            except RolehostError as error:  # the answer is worth more than what it would be reminded of
                self._notes = ""
                self.memories.count("remind", error.code)
        if not self._notes:
            return segments
        place = segments.index(InputSegment())
        return (*segments[:place], TextSegment("user", self._notes), *segments[place:])

    def check(self, commit: Commit) -> None:
        """Raise Forbidden unless the Role may remember and forget so."""
        if commit.atoms or commit.confirmed:
            self._permit(WRITE)
        if commit.forgotten:
            self._permit(FORGET)

    def _permit(self, permission: str) -> None:
        if permission not in self.template.permissions:
            raise Forbidden(
                f"this Role lacks the permission {permission}",
                hint=f"Add {permission} to spec.template.permissions",
                code="permission_denied",
            )
