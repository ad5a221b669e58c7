"""Boards are rendered the same each time, fit into a Grafana, and are what is committed."""

import json
from pathlib import Path

from rolehost_dashboards.boards import CHART, GENERATED, boards, rendered
from rolehost_dashboards.boards.board import document, text
from rolehost_dashboards.boards.layout import COLUMNS, Size, placed
from rolehost_dashboards.picture.drawing import SIGNATURE

ROOT = Path(__file__).parents[3]


def test_what_is_committed_is_what_the_code_says() -> None:
    for path, wanted in rendered().items():
        assert (ROOT / path).read_text(encoding="utf-8") == wanted, f"{path}: run `make render`"


def test_the_same_boards_give_the_same_text() -> None:
    assert [text(board) for board in boards()] == [text(board) for board in boards()]


def test_the_chart_has_the_same_boards() -> None:
    files = rendered()
    assert {path.name: files[path] for path in files if path.parent == CHART} == {
        path.name: files[path] for path in files if path.parent == GENERATED
    }


def test_variables_have_safe_defaults() -> None:
    """Of what there may be many of, one is chosen; all only where the queries take the largest few."""
    for board in boards():
        for variable in document(board)["templating"]["list"]:
            if variable["type"] == "query" and variable["multi"]:
                assert (variable["allValue"], variable["current"]["value"]) == (".*", "$__all")
            elif variable["type"] == "query":
                assert not variable["includeAll"]


def test_boards_lead_to_each_other() -> None:
    uids = {board.uid for board in boards()}
    for board in boards():
        told = document(board)
        assert {link["url"].removeprefix("/d/") for link in told["links"]} == uids - {board.uid}
        assert all(link["includeVars"] and link["keepTime"] for link in told["links"])


def test_rollouts_are_marked_on_the_boards_of_one_tenant() -> None:
    noted = {board.name for board in boards() if document(board)["annotations"].get("list")}
    assert noted == {"tenant", "role", "rollout"}


def test_a_row_that_is_full_goes_on_below() -> None:
    places, below = placed([Size(10, 4), Size(10, 8), Size(10, 2), Size(COLUMNS, 1)], 0)
    assert [(place.x, place.y) for place in places] == [(0, 0), (10, 0), (0, 8), (0, 10)]
    assert below == 11


def test_panels_are_numbered_from_one() -> None:
    for board in boards():
        found = json.loads(text(board))["panels"]
        assert [panel["id"] for panel in found] == list(range(1, len(found) + 1))


def test_the_manual_shows_every_board_in_a_small_picture() -> None:
    page = (ROOT / "docs" / "dashboards.md").read_text(encoding="utf-8")
    for board in boards():
        picture = ROOT / "docs" / "pictures" / f"{board.name}.svg"
        assert f"](pictures/{picture.name})" in page
        assert SIGNATURE in picture.read_text(encoding="utf-8")
        assert picture.stat().st_size < 150_000
