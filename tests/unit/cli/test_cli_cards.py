"""`rolehost import` and `rolehost export` on files."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from rolehost.cards import png, reading
from rolehost.cli import main

CARD: dict[str, Any] = {
    "spec": "chara_card_v2",
    "spec_version": "2.0",
    "data": {
        "name": "Old Tom",
        "description": "A lighthouse keeper.\n\nKnows every: storm # by name",
        "first_mes": "Door's open.",
        "alternate_greetings": ["Go away."],
        "x-site": {"id": 123456789012345678901234567890},
    },
}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def card_file(tmp_path: Path) -> Path:
    file = tmp_path / "tom.png"
    file.write_bytes(png.with_texts(png.blank(), {png.V2: json.dumps(CARD).encode()}))
    return file


def test_a_picture_becomes_a_role_that_the_check_accepts(card_file: Path, tmp_path: Path) -> None:
    done = run("import", card_file, tmp_path / "tom")
    assert done.exit_code == 0, done.output
    manifest = tmp_path / "tom" / "role.yaml"
    assert run("check", tmp_path / "tom").exit_code == 0
    role = yaml.safe_load(manifest.read_text())
    assert role["metadata"]["name"] == "old-tom"
    assert role["spec"]["template"]["persona"]["greetings"] == ["Go away."]
    assert "Knows every: storm # by name" in role["spec"]["template"]["persona"]["system"]
    assert (tmp_path / "tom" / "card.png").read_bytes() == card_file.read_bytes()


@pytest.mark.parametrize("ending", ["png", "json", "charx"])
def test_it_comes_back_with_every_field(card_file: Path, tmp_path: Path, ending: str) -> None:
    run("import", card_file, tmp_path / "tom")
    out = tmp_path / f"again.{ending}"
    done = run("export", tmp_path / "tom", "--out", out)
    assert done.exit_code == 0, done.output
    assert reading.read(out.read_bytes()) == (reading.Container(ending), CARD)


def test_an_edit_of_the_manifest_is_in_the_export(card_file: Path, tmp_path: Path) -> None:
    run("import", card_file, tmp_path / "tom")
    manifest = tmp_path / "tom" / "role.yaml"
    manifest.write_text(manifest.read_text().replace("Door's open.", "Come in."))
    run("export", manifest, "--out", tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_bytes())["data"] == {**CARD["data"], "first_mes": "Come in."}


def test_a_v3_picture_has_the_older_card_beside_it(tmp_path: Path) -> None:
    (tmp_path / "role.yaml").write_text(
        "apiVersion: rolehost.io/v1alpha1\nkind: Role\nmetadata: {name: cat}\n"
        "spec: {template: {persona: {system: A cat.}}}\n"
    )
    assert run("export", tmp_path, "--out", tmp_path / "cat.png").exit_code == 0
    texts = png.texts((tmp_path / "cat.png").read_bytes())
    assert json.loads(texts[png.V3])["spec"] == "chara_card_v3"
    assert json.loads(texts[png.V2])["spec"] == "chara_card_v2"


def test_a_name_that_makes_none_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "card.json"
    file.write_text(json.dumps({"spec": "chara_card_v2", "data": {"name": "小龙", "description": "一条龙"}}))
    done = run("import", file, tmp_path / "dragon")
    assert done.exit_code == 1
    assert "--name" in done.output
    assert run("import", file, tmp_path / "dragon", "--name", "dragon").exit_code == 0
    assert yaml.safe_load((tmp_path / "dragon" / "role.yaml").read_text())["spec"]["displayName"] == "小龙"


def test_a_persona_that_is_too_long_names_the_field_and_writes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "card.json"
    file.write_text(json.dumps({"spec": "chara_card_v2", "data": {"name": "Big", "description": "x" * 70_000}}))
    done = run("import", file, tmp_path / "big")
    assert done.exit_code == 1
    assert "persona.system" in done.output
    assert not (tmp_path / "big").exists()


def test_nothing_is_overwritten(card_file: Path, tmp_path: Path) -> None:
    run("import", card_file, tmp_path / "tom")
    assert "already there" in run("import", card_file, tmp_path / "tom").output
    run("export", tmp_path / "tom", "--out", tmp_path / "a.json")
    assert "already there" in run("export", tmp_path / "tom", "--out", tmp_path / "a.json").output


def test_what_is_no_card_gets_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(png.blank())
    done = run("import", tmp_path / "photo.png")
    assert done.exit_code == 1
    assert "no character card in this PNG" in done.output
    assert "Traceback" not in done.output
    assert run("import", tmp_path / "nowhere.png").exit_code == 1
    assert run("export", tmp_path).exit_code == 1
