"""Elements of an SVG, as text. Pure."""

from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

from rolehost_dashboards.picture.frame import Box

BACKGROUND, PAPER, EDGE = "#111217", "#181b1f", "#2c3235"
TEXT, FAINT = "#ccccdc", "#8e9199"
PALETTE = (
    "#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#b877d9", "#37872d", "#8ab8ff", "#fade2a", "#ff7383",
    "#96d98d", "#ca95e5",
)  # fmt: skip
COLORS = {"green": "#73bf69", "yellow": "#f2cc0c", "red": "#f2495c", "blue": "#5794f2", "orange": "#ff9830"}
MEAN_WIDTH = 0.56
"""Of a letter, in parts of the font's size."""


def color_of(number: int) -> str:
    return PALETTE[number % len(PALETTE)]


def element(name: str, content: str = "", /, **attributes: str | float) -> str:
    """
    >>> element("text", "a < b", x=1.25, text_anchor="end")
    '<text x="1.25" text-anchor="end">a &lt; b</text>'
    """
    told = "".join(f" {key.replace('_', '-')}={_quoted(value)}" for key, value in attributes.items())
    return f"<{name}{told}>{escape(content)}</{name}>" if content else f"<{name}{told}/>"


def words(
    text: str, x: float, y: float, size: float = 11, fill: str = TEXT, anchor: str = "start", weight: str = "normal"
) -> str:
    placed: dict[str, str | float] = {"x": x, "y": y, "font_size": size, "fill": fill}
    if anchor != "start":
        placed["text_anchor"] = anchor
    if weight != "normal":
        placed["font_weight"] = weight
    return element("text", text, **placed)


def path(points: Sequence[tuple[float, float]], *, close: bool = False, **attributes: str | float) -> str:
    """
    >>> path([(0, 0), (1.26, 2)], stroke="red")
    '<path d="M0 0L1.3 2" stroke="red"/>'
    """
    drawn = "L".join(f"{_short(x)} {_short(y)}" for x, y in points)
    return element("path", d=f"M{drawn}{'Z' if close else ''}", **attributes)


def rectangles(boxes: Sequence[Box], fill: str) -> str:
    """Many of one colour, as one element.

    >>> rectangles([Box(1, 2, 3, 4)], "red")
    '<path d="M1 2h3v4h-3z" fill="red"/>'
    """
    drawn = (
        f"M{_short(box.x)} {_short(box.y)}h{_short(box.width)}v{_short(box.height)}h{_short(-box.width)}z"
        for box in boxes
    )
    return element("path", d="".join(drawn), fill=fill)


def clipped(text: str, width: float, size: float = 11) -> str:
    """As much of it as fits.

    >>> clipped("a very long name", 40)
    'a ver…'
    """
    most = int(width / (size * MEAN_WIDTH))
    return text if len(text) <= most else f"{text[: max(most - 1, 1)]}…"


def width_of(text: str, size: float = 11) -> float:
    return len(text) * size * MEAN_WIDTH


def wrapped(elements: Sequence[str], width: float, height: float) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_short(width)}" height="{_short(height)}" '
        f'viewBox="0 0 {_short(width)} {_short(height)}" font-family="Inter, Helvetica, Arial, sans-serif">'
    )
    return "\n".join((head, *elements, "</svg>", ""))


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _quoted(value: str | float) -> str:
    return quoteattr(value) if isinstance(value, str) else f'"{value:.2f}"'.replace(".00", "")
