"""Events that the user of the library has not read yet: bounded, and neighbouring deltas are one. Pure."""

from collections import deque
from dataclasses import dataclass

from rolehost.client.frames import Frame

MAX_EVENTS = 1_024
MAX_WEIGHT = 1 << 20
"""Characters as they came, about."""
OVERHEAD = 128
DELTA = "response.output_text.delta"


@dataclass(slots=True)
class _Held:
    event: Frame
    weight: int
    deltas: list[str] | None
    """Of a delta: its text, and that of those that came right after it."""

    def continues(self, event: Frame) -> bool:
        return bool(event["type"] == DELTA and event["response_id"] == self.event["response_id"])


class Backlog:
    def __init__(self, max_events: int = MAX_EVENTS) -> None:
        self.open = False
        """Somebody reads. Before that nothing is kept."""
        self.most = max_events
        self._held: deque[_Held] = deque()
        self._weight = 0

    @property
    def full(self) -> bool:
        return len(self._held) >= self.most or self._weight >= MAX_WEIGHT

    @property
    def roomy(self) -> bool:
        """Half of it is free: events may come again."""
        return 2 * len(self._held) <= self.most and 2 * self._weight <= MAX_WEIGHT

    def put(self, event: Frame, weight: int) -> None:
        if not self.open:
            return
        last = self._held[-1] if self._held else None
        if last is not None and last.deltas is not None and last.continues(event):
            last.deltas.append(event["delta"])
            last.weight += weight
        else:
            weight += OVERHEAD
            self._held.append(_Held(event, weight, [event["delta"]] if event["type"] == DELTA else None))
        self._weight += weight

    def shut(self) -> None:
        """Who read is gone."""
        self.open, self._weight = False, 0
        self._held.clear()

    def take(self) -> Frame | None:
        if not self._held:
            return None
        held = self._held.popleft()
        self._weight -= held.weight
        return held.event if held.deltas is None else {**held.event, "delta": "".join(held.deltas)}
