"""Only the code layer of an image changes after an edit, and only what is new travels to the node."""

import doctest
import io
import json
import tarfile
from pathlib import Path

import pytest
from tests.cluster import requirements, trees
from tests.cluster.common import ClusterError, paths
from tests.cluster.layout import Layout, code_layer

LAYER = "application/vnd.oci.image.layer.v1.tar"


def packed(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def unpacked(layer: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        return {entry.name: tar.extractfile(entry).read() for entry in tar if entry.isfile()}  # type: ignore[union-attr]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """An image of two layers, named `img`."""
    made = Layout(tmp_path / "layout")
    (made.folder / "blobs/sha256").mkdir(parents=True)
    layers = [made.add(packed({"base": b"b"}), LAYER), made.add(packed({"app/old.py": b"old"}), LAYER)]
    config = {"rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]}, "config": {"User": "1"}}
    described = made.add(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json")
    manifest = {"schemaVersion": 2, "config": described, "layers": layers}
    made.name("img", made.add(json.dumps(manifest).encode(), "application/vnd.oci.image.manifest.v1+json"))
    return made


def sent(layout: Layout, there: set[str], tmp_path: Path) -> set[str]:
    layout.archive(["img"], there, tmp_path / "out.tar")
    with tarfile.open(tmp_path / "out.tar") as tar:
        return {name.removeprefix("blobs/").replace("/", ":") for name in tar.getnames() if name.startswith("blobs/")}


def test_a_swapped_layer_changes_the_layer_the_config_and_the_manifest_only(layout: Layout, tmp_path: Path) -> None:
    before = layout.names()["img"]
    known = set(layout.blobs_of(before))
    layout.name("img", layout.with_last_layer(before, packed({"app/new.py": b"new"})))
    after = layout.names()["img"]
    fresh = set(layout.blobs_of(after)) - known
    assert len(fresh) == 3
    assert sent(layout, known, tmp_path) == fresh
    content = layout.read(after["digest"])
    config = layout.read(content["config"]["digest"])
    assert config["config"] == {"User": "1"}
    assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in content["layers"]]


def test_the_same_code_is_the_same_image(layout: Layout, tmp_path: Path) -> None:
    manifest = layout.names()["img"]
    one = layout.with_last_layer(manifest, packed({"app/new.py": b"new"}))
    two = layout.with_last_layer(manifest, packed({"app/new.py": b"new"}))
    assert one == two


def test_what_no_name_leads_to_is_pruned(layout: Layout) -> None:
    before = layout.names()["img"]
    layout.name("img", layout.with_last_layer(before, packed({"app/new.py": b"new"})))
    layout.prune()
    left = {f"sha256:{file.name}" for file in (layout.folder / "blobs/sha256").iterdir()}
    assert left == set(layout.blobs_of(layout.names()["img"]))


def test_the_sandbox_gets_no_gateway_no_command_line_and_no_metadata(tmp_path: Path) -> None:
    for name in (
        "runtime/rolehost_api/names.py",
        "runtime/rolehost/role.py",
        "runtime/rolehost/cli/new.py",
        "runtime/rolehost_runtime/__init__.py",
        "runtime/rolehost_runtime/core/engine.py",
        "runtime/rolehost_runtime/core/__pycache__/engine.pyc",
        "runtime/rolehost_runtime/sandbox/agent.py",
        "runtime/rolehost_runtime/gateway/app.py",
        "operator/rolehost_operator/run.py",
    ):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    rule = tmp_path / "tests/cluster/trees.py"
    rule.parent.mkdir(parents=True)
    rule.write_text(Path(trees.__file__).read_text())
    old = tmp_path / "old.tar"
    old.write_bytes(packed({"app/rolehost-1.dist-info/METADATA": b"m", "app/gone.py": b"x"}))
    files = {image: set(unpacked(code_layer(tmp_path, image, old))) for image in trees.IMAGES}
    assert files["sandbox"] == {
        "app/rolehost_api/names.py",
        "app/rolehost/role.py",
        "app/rolehost_runtime/__init__.py",
        "app/rolehost_runtime/core/engine.py",
        "app/rolehost_runtime/sandbox/agent.py",
    }
    assert "app/rolehost-1.dist-info/METADATA" in files["runtime"] & files["operator"]
    assert "app/rolehost_runtime/gateway/app.py" in files["runtime"]
    assert "app/rolehost_operator/run.py" in files["operator"] - files["runtime"]
    assert code_layer(tmp_path, "runtime", old) == code_layer(tmp_path, "runtime", old)


def test_the_cache_may_not_lie_below_tmp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLEHOST_CACHE", "/tmp/cache")
    with pytest.raises(ClusterError, match="gVisor mounts over /tmp"):
        paths()


@pytest.mark.parametrize("module", [trees, requirements])
def test_the_examples_in_the_docstrings_hold(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.failed == 0
    assert result.attempted > 1
