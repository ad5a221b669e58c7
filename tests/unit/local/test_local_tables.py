"""Files become revisions as objects of a cluster would."""

from pathlib import Path

import pytest

from rolehost.cli import checkout
from rolehost_api.crd.modelbackend import BackendSpec, BackendType, ServedModel
from rolehost_api.errors import InvalidManifest, NotFound
from rolehost_runtime.gateway.tables import RevisionEntry, RoleEntry, Tables, Tenant
from rolehost_runtime.local.tables import LOCAL, FileTables, wanted

MANIFEST = """\
apiVersion: rolehost.io/v1alpha1
kind: Role
metadata: {name: cat}
spec:
  template:
    persona: {system: %s}
    logic: {entrypoint: 'cat:cat'}
"""
MODEL = BackendSpec(type=BackendType.OPENAI, base_url="http://m/v1", models=[ServedModel(name="m", model="m")])


class Desk:
    """A folder with one Role, and the tables that follow it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tables = Tables()
        self.files = FileTables(self.tables, folder.parent / "ordinals.json", MODEL)
        self.write("You are a cat.")
        (folder / "cat.py").write_text("cat = 1\n")

    def write(self, persona: str) -> None:
        (self.folder / "role.yaml").write_text(MANIFEST % persona)

    def declare(self) -> str:
        self.files.declare(wanted(checkout.read(self.folder / "role.yaml")), {})
        return self.files.newest["cat"]

    def serve(self) -> str:
        """Declare and, as the pods' report would, take over."""
        revision = self.declare()
        self.files.promote("cat", revision)
        return revision

    @property
    def role(self) -> RoleEntry:
        entry = self.tables.roles.get("local", "cat")
        assert entry is not None
        return entry

    def revision(self, name: str) -> RevisionEntry:
        entry = self.tables.revisions.get("local", name)
        assert entry is not None
        return entry

    @property
    def running(self) -> set[str]:
        return {pod.revision for pod in self.tables.pods.values()}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    (tmp_path / "cat").mkdir()
    return Desk(tmp_path / "cat")


def test_the_tables_are_filled_before_any_file_was_read(desk: Desk) -> None:
    assert desk.tables.filled


def test_a_role_serves_only_when_its_logic_is_loaded(desk: Desk) -> None:
    revision = desk.declare()
    assert desk.role.stable == ""
    assert desk.files.promote("cat", revision)
    assert (desk.role.stable, desk.role.follow) == (revision, True)
    assert not desk.files.promote("cat", revision)


def test_a_pod_is_ready_when_its_logic_is_loaded_and_stays_so(desk: Desk) -> None:
    revision = desk.declare()
    (pod,) = desk.tables.pods.of(LOCAL, revision)
    assert not pod.ready
    desk.files.loaded(pod.uid)
    desk.files.promote("cat", revision)
    assert [pod.ready for pod in desk.tables.pods.of(LOCAL, revision)] == [True]
    desk.files.loaded("gone")
    assert desk.declare() == revision
    assert [pod.ready for pod in desk.tables.pods.of(LOCAL, revision)] == [True]


def test_the_same_files_make_no_second_revision(desk: Desk) -> None:
    assert desk.serve() == desk.serve()
    assert desk.running == {desk.role.stable}


def test_an_edit_of_persona_or_code_makes_a_revision_with_the_next_ordinal(desk: Desk) -> None:
    first = desk.serve()
    desk.write("You are a tired cat.")
    second = desk.serve()
    (desk.folder / "cat.py").write_text("cat = 2\n")
    third = desk.serve()
    assert len({first, second, third}) == 3
    assert [desk.revision(name).spec.sequence for name in (second, third)] == [2, 3]


def test_an_edit_taken_back_is_the_old_revision_also_after_a_restart(desk: Desk) -> None:
    first = desk.serve()
    desk.write("You are a tired cat.")
    desk.serve()
    again = Desk(desk.folder)
    again.write("You are a cat.")
    assert again.serve() == first
    assert again.revision(first).spec.sequence == 1


def test_only_the_serving_revision_and_the_one_before_run(desk: Desk) -> None:
    seen = []
    for mood in ("calm", "tired", "hungry"):
        desk.write(f"You are a {mood} cat.")
        seen.append(desk.serve())
    assert desk.running == set(seen[1:])


def test_logic_that_does_not_load_goes_and_what_serves_stays(desk: Desk) -> None:
    first = desk.serve()
    (desk.folder / "cat.py").write_text("raise SystemExit\n")
    broken = desk.declare()
    desk.files.give_up("cat", broken)
    assert desk.role.stable == first
    assert desk.running == {first}


def test_a_late_report_of_an_older_edit_does_not_take_over(desk: Desk) -> None:
    first = desk.declare()
    desk.write("You are a tired cat.")
    second = desk.declare()
    assert not desk.files.promote("cat", first)
    assert desk.files.promote("cat", second)


def test_a_manifest_that_went_takes_its_role_along(desk: Desk) -> None:
    desk.serve()
    desk.files.declare([], {})
    assert desk.tables.roles.get("local", "cat") is None
    assert not desk.running


async def test_files_are_fetched_by_digest_and_by_nobody_else(desk: Desk) -> None:
    logic = desk.revision(desk.serve()).spec.template.logic
    assert logic is not None
    assert await desk.files.fetch(LOCAL, logic.bundle)
    with pytest.raises(NotFound):
        await desk.files.fetch(Tenant("other", "other"), logic.bundle)


def test_a_digest_in_the_manifest_does_not_hide_the_files(desk: Desk) -> None:
    before = desk.declare()
    text = (MANIFEST % "You are a cat.").replace("entrypoint:", f"bundle: 'sha256:{'0' * 64}', entrypoint:")
    (desk.folder / "role.yaml").write_text(text)
    assert desk.declare() == before


def test_a_syntax_error_is_told_with_its_line_and_makes_no_revision(desk: Desk) -> None:
    (desk.folder / "cat.py").write_text("cat = (\n")
    with pytest.raises(InvalidManifest, match=r"cat\.py:1: "):
        desk.declare()


def test_config_maps_of_the_same_file_are_frozen(desk: Desk) -> None:
    text = (
        "apiVersion: rolehost.io/v1alpha1\nkind: Role\nmetadata: {name: cat}\nspec:\n  template:\n"
        "    personaFrom: {configMapRef: {name: who}}\n    logic: {configMapRef: {name: how}}\n"
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: who}\ndata: {system: You are a cat., other: x}\n"
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: how}\ndata: {logic.py: x = 1, notes.txt: y}\n"
    )
    (desk.folder / "role.yaml").write_text(text)
    frozen = desk.revision(desk.declare()).spec.frozen
    assert frozen == {"persona/system": "You are a cat.", "logic/logic.py": "x = 1"}


def test_the_machines_model_answers_to_every_name(desk: Desk) -> None:
    text = MANIFEST % "You are a cat." + "    model: {backend: prod, name: large}\n"
    (desk.folder / "role.yaml").write_text(text)
    desk.declare()
    backend = desk.tables.backends.get("prod")
    assert backend is not None
    assert [(model.name, model.model) for model in backend.models] == [("m", "m"), ("large", "m")]
