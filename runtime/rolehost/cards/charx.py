"""CHARX: a zip with `card.json` at its root, and the card's pictures and sounds beside it.

Nothing is extracted. What a member says of its size is not believed: it is read up to a bound.
"""

import io
import zipfile
import zlib

from rolehost_api.errors import BadRequest

CARD = "card.json"
MAX_MEMBERS = 2_000
MAX_CARD_BYTES = 4 << 20
MAX_ASSETS_BYTES = 64 << 20


def card_of(file: bytes) -> bytes:
    """The bytes of `card.json`. Raises BadRequest `invalid_card`."""
    try:
        with zipfile.ZipFile(io.BytesIO(file)) as archive:
            if len(archive.infolist()) > MAX_MEMBERS:
                raise _broken(f"has over {MAX_MEMBERS} files")
            return _read(archive, CARD, MAX_CARD_BYTES)
    except KeyError:
        raise _broken(f"has no {CARD} at its root") from None
    except _BROKEN:
        raise _broken("cannot be read") from None


def with_card(file: bytes | None, card: bytes) -> bytes:
    """`file` with `card` in its card's place, all other members kept; None: an archive with nothing else."""
    out = io.BytesIO()
    try:
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
            made.writestr(_info(CARD), card)
            if file is None:
                return _closed(made, out)
            with zipfile.ZipFile(io.BytesIO(file)) as archive:
                room = MAX_ASSETS_BYTES
                for member in archive.infolist()[:MAX_MEMBERS]:
                    if member.filename == CARD or member.is_dir():
                        continue
                    data = _read(archive, member.filename, room)
                    room -= len(data)
                    made.writestr(_info(member.filename), data)
            return _closed(made, out)
    except _BROKEN:
        raise _broken("cannot be read") from None


_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError)
"""What zipfile raises for archives that are broken, encrypted, or packed in a way that it does not know."""


def _read(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    with archive.open(name) as member:
        data = member.read(limit + 1)
    if len(data) > limit:
        raise _broken(f"has a file that unpacks to more than {limit >> 20} MiB")
    return data


def _info(name: str) -> zipfile.ZipInfo:
    """Without a time, so that the same card gives the same file."""
    info = zipfile.ZipInfo(name)
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


def _closed(made: zipfile.ZipFile, out: io.BytesIO) -> bytes:
    made.close()
    return out.getvalue()


def _broken(what: str) -> BadRequest:
    return BadRequest(
        f"the CHARX archive {what}", hint="Save the card again from where you have it", code="invalid_card"
    )
