"""Which plugins there are: those of allowed packages, and whatever is wrong with one is said with its name."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rolehost_runtime.plugins.finding import PluginMissing, PluginRefused, find, words
from rolehost_runtime.plugins.kinds import (
    BEHAVIOR_POLICY,
    IN_GATEWAY,
    IN_SANDBOX,
    KINDS,
    MEMORY_STORE,
    MODEL_PROVIDER,
)

GOOD = "class Made:\n    rolehost_protocol = 1\n    def __init__(self, *given): self.given = given\n"
Package = Callable[..., str]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """Lays a package with one module out as pip does; the folder is on sys.path."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def lay(name: str, code: str, group: str = MODEL_PROVIDER.group, entry: str = "one", what: str = "Made") -> str:
        module = f"{name.lower().replace('-', '_')}_module"
        monkeypatch.delitem(sys.modules, module, raising=False)  # another test's
        (tmp_path / f"{module}.py").write_text(code)
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{entry} = {module}:{what}\n")
        return module

    return lay


def test_what_is_allowed_is_found_however_its_name_is_written(package: Package) -> None:
    package("Acme_Models", GOOD)
    plugins = find(["acme.models"])
    assert plugins.get(MODEL_PROVIDER, "one").make("key").given == ("key",)
    assert list(plugins.of(MODEL_PROVIDER)) == ["one"]
    assert plugins.of(MEMORY_STORE) == {}


def test_what_is_not_allowed_is_not_even_imported(package: Package) -> None:
    package("other", "raise SystemExit")
    package("acme", GOOD)
    with pytest.raises(PluginMissing) as missing:
        find(["acme"]).get(MODEL_PROVIDER, "two")
    assert missing.value.code == "plugin_not_found"
    assert "two" in str(missing.value)
    with pytest.raises(PluginMissing):
        find([]).get(MODEL_PROVIDER, "one")


def test_a_process_loads_only_its_own_kinds(package: Package) -> None:
    package("acme", "raise RuntimeError", BEHAVIOR_POLICY.group)
    assert find(["acme"], IN_GATEWAY).of(BEHAVIOR_POLICY) == {}
    with pytest.raises(PluginRefused):
        find(["acme"], IN_SANDBOX)
    assert {*IN_GATEWAY, *IN_SANDBOX} == set(KINDS)


def test_only_the_folders_that_are_named_are_searched(package: Package, tmp_path: Path) -> None:
    """As the sandbox does before a bundle's folder is on sys.path."""
    package("acme", GOOD)
    with pytest.raises(PluginRefused):
        find(["acme"], search=[str(tmp_path / "elsewhere")])


@pytest.mark.parametrize(
    ("code", "said", "named"),
    [
        ("import nothing_of_the_kind", "plugin_not_loaded", "ModuleNotFoundError"),
        ("x = 1", "plugin_not_loaded", "AttributeError"),
        ("raise ValueError('my password is swordfish')", "plugin_not_loaded", "ValueError"),
        ("class Made: pass", "plugin_protocol", "does not say"),
        ("class Made:\n    rolehost_protocol = 2", "plugin_protocol", "is for version 2"),
    ],
)
def test_whatever_is_wrong_is_said_with_package_and_entry_point(
    package: Package, code: str, said: str, named: str
) -> None:
    package("acme", code)
    with pytest.raises(PluginRefused) as refused:
        find(["acme"])
    assert refused.value.code == said
    assert all(word in str(refused.value) for word in ("acme", "one", MODEL_PROVIDER.group, named))
    assert "swordfish" not in str(refused.value)


def test_a_plugin_that_cannot_be_made_is_said_so(package: Package) -> None:
    package("acme", "class Made:\n    rolehost_protocol = 1\n    def __init__(self): raise OSError('secret')\n")
    with pytest.raises(PluginRefused) as refused:
        find(["acme"]).get(MODEL_PROVIDER, "one").make()
    assert refused.value.code == "plugin_not_loaded"
    assert "secret" not in str(refused.value)


def test_what_is_allowed_and_not_there_is_said(package: Package) -> None:
    package("acme", GOOD)
    with pytest.raises(PluginRefused, match="nobodys") as refused:
        find(["acme", "nobodys"])
    assert refused.value.code == "plugin_not_installed"


def test_two_packages_with_one_name_are_refused(package: Package) -> None:
    package("acme", GOOD)
    package("other", GOOD)
    assert find(["acme"]).get(MODEL_PROVIDER, "one").package == "acme"
    with pytest.raises(PluginRefused, match=r"acme and other both") as refused:
        find(["acme", "other"])
    assert refused.value.code == "plugin_declared_twice"


def test_the_protocols_are_those_of_the_classes_that_import_them() -> None:
    assert words(" A-b, a_B ,,c") == ("a-b", "c")
    assert len({kind.group for kind in KINDS}) == len(KINDS)
