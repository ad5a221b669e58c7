"""What is rendered is what lies in the repository, and nothing else does."""

from pathlib import Path

import pytest

from rolehost_dashboards import render


def test_what_changed_is_written_once_and_what_nobody_renders_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ["--root", str(tmp_path)]
    assert render.main([*at, "--check"]) == 1
    assert render.main(at) == 0
    assert render.main([*at, "--check"]) == 0
    some = next(iter(render.rendered()))
    (tmp_path / some).write_text("something else")
    left = render.GENERATED / "old.yaml"
    (tmp_path / left).write_text("")
    capsys.readouterr()
    assert render.main([*at, "--check"]) == 1
    told = capsys.readouterr().out
    assert f"{some} is not what the code says" in told
    assert f"{left} is rendered by nobody" in told
    assert render.main(at) == 0
    assert not (tmp_path / left).exists()
    assert render.main([*at, "--check"]) == 0


def test_two_parts_do_not_write_one_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "PARTS", (*render.PARTS, render.PARTS[0]))
    with pytest.raises(ValueError, match="rendered twice"):
        render.rendered()
