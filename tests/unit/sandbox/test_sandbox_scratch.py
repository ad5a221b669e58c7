"""Logic that does not fit into the pod's writable place is told as that."""

import errno
from pathlib import Path

import pytest

from rolehost_api import bundle
from rolehost_api.link.messages import Bind, LogicSource
from rolehost_runtime.sandbox.binding import Binding
from rolehost_runtime.sandbox.pool import Pool

BIND = Bind(
    role="cat",
    revision="cat-1",
    hash="0" * 64,
    persona=("You are a cat.",),
    permissions=(),
    logic=LogicSource(files={"logic.py": "x = 1"}),
)


def binding(scratch: Path) -> Binding:
    return Binding(Pool(memory_bytes=1, import_seconds=1, printed=lambda *_: None), scratch)


def failing(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def write(*_: object) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(bundle, "write_files", write)


async def test_a_full_scratch_leaves_the_pod_unbound_and_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    failing(monkeypatch, errno.ENOSPC)
    made = binding(tmp_path)
    bound = await made.bind(BIND, b"")
    assert bound.error is not None
    assert bound.error.code == "bundle_too_large"
    assert "resources.memoryMebibytes" in bound.error.hint
    assert not made.ready


async def test_another_fault_of_the_disk_is_not_the_bundles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    failing(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="no"):
        await binding(tmp_path).bind(BIND, b"")
