"""A trace as a flame graph, for a terminal or as SVG. Pure: spans in, text out."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from rolehost.cli.terminal import visible

WIDTH, ROW, LABELS = 1000, 22, 260
COLOURS = {"model.call": "#d9822b", "tool.call": "#8f398f", "fetch": "#8f398f", "commit": "#29a634", "hooks": "#2b95d6"}
ELSE, FAILED = "#8a9ba8", "#db3737"
EIGHTHS = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True, slots=True)
class Flame:
    """One span. Times in nanoseconds of one clock."""

    span_id: str
    parent_id: str
    name: str
    start: int
    end: int
    what: str = ""
    """Who was asked, or what ran."""
    error: str = ""

    @property
    def label(self) -> str:
        return _shown(f"{self.name} {self.what}".strip())[:60]

    @property
    def failed(self) -> str:
        return _shown(self.error)[:60]


def ordered(spans: Sequence[Flame]) -> list[tuple[int, Flame]]:
    """Each with its depth: parents before their children, children by when they began. Whoever's parent is missing, or is
    its own, stands by itself.

    >>> inner, outer = Flame("b", "a", "route", 1, 2), Flame("a", "", "turn", 0, 9)
    >>> [(depth, one.name) for depth, one in ordered([inner, outer])]
    [(0, 'turn'), (1, 'route')]
    """
    known, found, seen = {one.span_id for one in spans}, list[tuple[int, Flame]](), set[str]()
    roots = [one for one in spans if one.parent_id not in known or one.parent_id == one.span_id]
    waiting = [(0, one) for one in sorted(roots, key=lambda one: one.start, reverse=True)]
    while waiting:
        depth, one = waiting.pop()
        if one.span_id in seen:
            continue
        seen.add(one.span_id)
        found.append((depth, one))
        children = [child for child in spans if child.parent_id == one.span_id]
        waiting += [(depth + 1, child) for child in sorted(children, key=lambda child: child.start, reverse=True)]
    return found


def longest(spans: Sequence[Flame]) -> Flame | None:
    """The one that itself took longest: what its children took is theirs.

    >>> longest([Flame("a", "", "turn", 0, 9), Flame("b", "a", "model.call", 1, 8)]).name
    'model.call'
    """

    def own(one: Flame) -> int:
        return one.end - one.start - sum(child.end - child.start for child in spans if child.parent_id == one.span_id)

    return max(spans, key=own, default=None)


def as_text(spans: Sequence[Flame], width: int = 100) -> str:
    """A line for each span: what it is, where in the whole it lies, and how long it took.

    >>> print(as_text([Flame("a", "", "turn", 0, 4_000_000), Flame("b", "a", "route", 2_000_000, 4_000_000)], 40))
    turn      ████████████      4.0 ms
      route         ██████      2.0 ms
    turn itself took longest: 50 %
    """
    rows = ordered(spans)
    if not rows:
        return "no spans"
    begin, whole = _extent(spans)
    labels = [f"{'  ' * depth}{one.label}" for depth, one in rows]
    left = max(map(len, labels)) + 3
    room = max(10, width - left - 18)
    lines = []
    for label, (_, one) in zip(labels, rows, strict=True):
        first, last = (8 * room * (moment - begin) // whole for moment in (one.start, one.end))
        bar = " " * (first // 8) + (("█" * (last // 8 - first // 8) + EIGHTHS[last % 8]).strip() or "▏")
        tail = f"  ! {one.failed}" if one.error else ""
        lines.append(f"{label:{left}}{bar:{room}}{_ms(one):>9.1f} ms{tail}".rstrip())
    slowest = longest(spans)
    if slowest is not None:
        inside = sum(child.end - child.start for child in spans if child.parent_id == slowest.span_id)
        share = round(100 * (slowest.end - slowest.start - inside) / whole)
        lines.append(f"{slowest.label} itself took longest: {share} %")
    return "\n".join(lines)


def as_svg(spans: Sequence[Flame], title: str = "") -> str:
    """The same as a picture that needs nothing else. A span's whole text shows where the pointer rests."""
    rows, (begin, whole) = ordered(spans), _extent(spans)
    height = ROW * (len(rows) + 1) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH + LABELS} {height}" font-family="monospace" '
        f'font-size="12"><rect width="100%" height="100%" fill="#fff"/><text x="8" y="16">{escape(title)}</text>'
    ]
    for number, (depth, one) in enumerate(rows, 1):
        left = LABELS + (WIDTH - 110) * (one.start - begin) / whole
        wide = max(1.0, (WIDTH - 110) * (one.end - one.start) / whole)
        top, label = ROW * number + 4, escape(one.label)
        fill = FAILED if one.error else COLOURS.get(one.name, ELSE)
        shown = f"{_ms(one):.1f} ms" + (f" {escape(one.failed)}" if one.error else "")
        parts.append(
            f'<g><title>{label} {shown}</title><text x="{8 + 14 * depth}" y="{top + 13}">{label}</text>'
            f'<rect x="{left:.1f}" y="{top}" width="{wide:.1f}" height="{ROW - 4}" fill="{fill}"/>'
            f'<text x="{left + wide + 4:.1f}" y="{top + 13}">{shown}</text></g>'
        )
    return "".join(parts) + "</svg>\n"


def _extent(spans: Sequence[Flame]) -> tuple[int, int]:
    """Where all of it begins, and how long it is; at least a nanosecond."""
    begin = min((one.start for one in spans), default=0)
    return begin, max(1, max((one.end for one in spans), default=0) - begin)


def _shown(text: str) -> str:
    return visible(text.encode("utf-8", "replace").decode())


def _ms(one: Flame) -> float:
    return (one.end - one.start) / 1e6
