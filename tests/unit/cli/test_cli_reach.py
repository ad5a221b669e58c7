"""What a person is told when a gateway refuses, and that others' text cannot drive a terminal."""

import click
import pytest

from rolehost.cli.reach import checked, refusal
from rolehost.cli.terminal import visible


def test_a_missing_key_says_how_to_come_by_one() -> None:
    said = refusal(b'{"error": {"code": "unauthorized", "message": "a key is needed"}}', 401)
    assert "rolehost keys create" in said


@pytest.mark.parametrize("body", [b"", b"[]", b'{"error": "x"}', b"\xff", b"null"])
def test_a_body_that_is_not_ours_still_gives_a_sentence(body: bytes) -> None:
    assert refusal(body, 502) == "the gateway answered 502"


def test_addresses_of_sockets_and_of_pages_mean_the_same_gateway() -> None:
    assert checked("wss://roles.example.com/") == "https://roles.example.com"
    with pytest.raises(click.BadParameter):
        checked("roles.example.com")


def test_control_characters_are_shown_and_not_obeyed() -> None:
    assert visible("a\x1b]0;x\x07\r\nb\u200d龙") == "a\\x1b]0;x\\x07\\r\nb\u200d龙"
