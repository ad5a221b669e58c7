"""The command `python -m rolehost_dashboards.picture`."""

import argparse
import sys
import time
from pathlib import Path

from rolehost_dashboards.boards import boards
from rolehost_dashboards.boards.board import document
from rolehost_dashboards.picture.asking import NotAnswered, Prometheus, asked, png
from rolehost_dashboards.picture.data import Span
from rolehost_dashboards.picture.drawing import WIDTH, picture

POINTS = 120
"""Over the width of a panel."""
ALL = ".*"


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    board = document(next(one for one in boards() if one.name == options.board))
    given = dict(pair.split("=", 1) for pair in options.var)
    names = {one["name"]: one for one in board["templating"]["list"]}
    end = options.end or time.time()
    seconds = 60.0 * options.minutes
    span = Span(end - seconds, end, max(1.0, seconds / POINTS))
    variables = {name: given.get(name, ALL) for name in names}
    unset = [name for name, one in names.items() if one["type"] == "query" and name not in given and not one["multi"]]
    if unset or given.keys() - names.keys():
        print(
            f"--var {(unset or sorted(given.keys() - names.keys()))[0]}: the board has {', '.join(names)}",
            file=sys.stderr,
        )
        return 2
    try:
        drawn = asked(board, Prometheus(options.prometheus), span, variables, options.scrape)
    except NotAnswered as error:
        print(error, file=sys.stderr)
        return 1
    svg = picture(board, drawn, span, "  ".join(f"{name}={value}" for name, value in given.items()))
    target: Path = options.out
    drawing = target.with_suffix(".svg")
    drawing.write_text(svg, encoding="utf-8")
    empty = [one.panel["title"] for one in drawn if not one.series]
    print(f"{drawing}: {len(drawn)} panels, {len(empty)} without data{': ' + ', '.join(empty) if empty else ''}")
    if target.suffix == ".png":
        height = int(svg.split('height="', 1)[1].split('"', 1)[0].split(".")[0])
        if not png(drawing, target, int(WIDTH), height):
            print("no Chromium on PATH: the SVG is all there is", file=sys.stderr)
            return 1
        drawing.unlink()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m rolehost_dashboards.picture", description="Draw a board.")
    parser.add_argument("--prometheus", required=True, help="e.g. http://127.0.0.1:9090")
    parser.add_argument("--board", required=True, choices=[one.name for one in boards()])
    parser.add_argument(
        "--var", action="append", default=[], metavar="NAME=VALUE", help="of the board, e.g. tenant=acme"
    )
    parser.add_argument("--minutes", type=float, default=60, help="how far back")
    parser.add_argument("--end", type=float, help="Unix seconds; now where left out")
    parser.add_argument("--scrape", type=float, default=15, help="the Prometheus' scrape interval in seconds")
    parser.add_argument("--out", type=Path, required=True, help="a .svg, or a .png where Chromium is on PATH")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
