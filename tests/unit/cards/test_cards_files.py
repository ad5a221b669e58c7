"""Where a card lies in a file: PNG chunks, archives, JSON; and files that are broken or mean harm."""

import base64
import io
import json
import struct
import zipfile
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolehost.cards import charx, png, reading
from rolehost.cards.reading import Container
from rolehost_api.errors import BadRequest

V2: dict[str, Any] = {"spec": "chara_card_v2", "spec_version": "2.0", "data": {"name": "Mira"}}
V3: dict[str, Any] = {"spec": "chara_card_v3", "spec_version": "3.0", "data": {"name": "Mira, newer"}}


def card_png(**cards: dict[str, Any]) -> bytes:
    return png.with_texts(
        png.blank(), {name.encode(): json.dumps(document).encode() for name, document in cards.items()}
    )


def archive(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in files.items():
            made.writestr(name, data)
    return out.getvalue()


def test_the_newer_of_two_cards_in_a_picture_counts() -> None:
    assert reading.read(card_png(chara=V2)).document == V2
    assert reading.read(card_png(chara=V2, ccv3=V3)) == (Container.PNG, V3)


def test_a_card_is_found_by_what_the_file_is() -> None:
    assert reading.read(json.dumps(V2).encode()) == (Container.JSON, V2)
    assert reading.read(b"\xef\xbb\xbf" + json.dumps(V2).encode()).document == V2
    assert reading.read(archive({"card.json": json.dumps(V3).encode(), "assets/a.png": b"x"})) == (Container.CHARX, V3)


@given(st.binary(max_size=200), st.binary(min_size=1, max_size=200))
def test_a_picture_keeps_all_else_byte_for_byte(pixels: bytes, card: bytes) -> None:
    picture = png.SIGNATURE + b"".join(
        png._chunk(kind, data)
        for kind, data in ((b"IHDR", b"h" * 13), (b"tEXt", b"Title\0x"), (b"IDAT", pixels), (b"IEND", b""))
    )
    once = png.with_texts(picture, {png.V2: b"{}"})
    again = png.with_texts(once, {png.V2: card, png.V3: card})
    assert png.texts(again) == {png.V2: card, png.V3: card}
    kept = [chunk for chunk in png.chunks(again) if not chunk.data.startswith((b"chara\0", b"ccv3\0"))]
    assert kept == list(png.chunks(picture))


@given(st.binary(max_size=400))
def test_bytes_that_are_no_card_are_refused(junk: bytes) -> None:
    for content in (junk, png.SIGNATURE + junk, b"PK\x03\x04" + junk):
        with pytest.raises(BadRequest) as refused:
            reading.read(content)
        assert refused.value.code == "invalid_card"


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_picture_with_a_wrong_byte_is_refused(at: int, flip: int) -> None:
    good = bytearray(card_png(chara=V2))
    good[at % len(good)] ^= flip
    with pytest.raises(BadRequest):
        reading.read(bytes(good))


@pytest.mark.parametrize("cut", [9, 20, 60, -1, -13])
def test_a_picture_that_ends_early_is_refused(cut: int) -> None:
    with pytest.raises(BadRequest, match="PNG"):
        reading.read(card_png(chara=V2)[:cut])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (png.blank(), "no character card in this PNG"),
        (png.SIGNATURE + struct.pack(">I", 0x7FFFFFFF) + b"tEXt" + b"x" * 20, "longer than the file"),
        (png.with_texts(png.blank(), {}).replace(b"IEND", b"IENd"), "checksum"),
        (archive({"other.json": b"{}"}), "no card.json"),
        (b"[]", "is no object"),
        (b"NaN", "not JSON"),
        (b'{"a":' * 200_000, "JSON"),
        (b'{"a":' * 100 + b"1" + b"}" * 100, "nested over 64 deep"),
        (json.dumps({"x": "y" * (5 << 20)}).encode(), "over 4 MiB"),
        (archive({"card.json": b" " * (5 << 20)}), "unpacks to more than 4 MiB"),
    ],
)
def test_what_is_wrong_is_said(content: bytes, says: str) -> None:
    with pytest.raises(BadRequest, match=says):
        reading.read(content)


def test_a_chunk_that_is_not_base64_is_refused() -> None:
    good = card_png(chara=V2)
    text = base64.b64encode(json.dumps(V2).encode())
    start = good.index(text)
    data = b"chara\0" + b"!" * len(text)
    broken = good[: start - 6] + data + struct.pack(">I", zlib.crc32(b"tEXt" + data)) + good[start + len(text) + 4 :]
    with pytest.raises(BadRequest, match="not base64"):
        reading.read(broken)


def test_an_archive_keeps_its_other_files() -> None:
    before = archive({"card.json": b"{}", "assets/icon/images/main.png": b"pixels", "x.txt": b"y"})
    after = charx.with_card(before, b'{"a":1}')
    with zipfile.ZipFile(io.BytesIO(after)) as read:
        assert {name: read.read(name) for name in read.namelist()} == {
            "card.json": b'{"a":1}',
            "assets/icon/images/main.png": b"pixels",
            "x.txt": b"y",
        }
    assert charx.with_card(before, b'{"a":1}') == after
    assert charx.card_of(charx.with_card(None, b"{}")) == b"{}"


def test_an_archive_that_unpacks_without_end_stops_at_the_bound() -> None:
    bomb = archive({"card.json": b"{}"} | {f"{n}.bin": b"\0" * (17 << 20) for n in range(4)})
    assert len(bomb) < 200_000
    with pytest.raises(BadRequest, match="unpacks to more"):
        charx.with_card(bomb, b"{}")


def test_an_archive_with_too_many_files_is_refused() -> None:
    with pytest.raises(BadRequest, match="over 2000 files"):
        reading.read(archive({f"{n}": b"" for n in range(2_001)}))
