"""The plugins of allowed packages: found by their entry points, loaded, and held to the protocol that is spoken."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, distributions
from typing import Any

from rolehost_api.errors import RolehostError, Unavailable
from rolehost_runtime.plugins.kinds import KINDS, Kind

SETTING = "ROLEHOST_PLUGINS"
VERSION = "rolehost_protocol"


class PluginRefused(RolehostError):
    """A package that the platform team allowed cannot be used. Codes: plugin_not_installed, plugin_not_loaded,
    plugin_protocol, plugin_declared_twice."""

    code = "plugin_not_loaded"
    status = 500


class PluginMissing(Unavailable):
    """A manifest or a setting names a plugin that is not there."""

    code = "plugin_not_found"
    retryable = False


@dataclass(frozen=True, slots=True)
class Found:
    """A plugin that was loaded, and not made yet."""

    kind: Kind
    name: str
    package: str
    factory: Any

    def make(self, *given: Any) -> Any:
        """The plugin itself. Raises PluginRefused `plugin_not_loaded`."""
        try:
            return self.factory(*given)
        except Exception as error:
            raise _not_loaded(self.package, self.kind, self.name, error) from error


class Plugins:
    """Those of one process. An empty one is as good: nothing was allowed."""

    def __init__(self, found: Iterable[Found] = ()) -> None:
        """Raises PluginRefused `plugin_declared_twice`."""
        self._found: dict[tuple[Kind, str], Found] = {}
        for one in found:
            other = self._found.setdefault((one.kind, one.name), one)
            if other is not one:
                raise PluginRefused(
                    f"{other.package} and {one.package} both declare the {one.kind.name} {one.name}",
                    hint=f"Allow one of them in {SETTING}",
                    code="plugin_declared_twice",
                )

    def of(self, kind: Kind) -> Mapping[str, Found]:
        """By name."""
        return {name: one for (other, name), one in self._found.items() if other is kind}

    def made(self, kind: Kind) -> dict[str, Any]:
        """All of a kind, by name. Raises PluginRefused `plugin_not_loaded`."""
        return {name: found.make() for name, found in self.of(kind).items()}

    def get(self, kind: Kind, name: str) -> Found:
        """Raises PluginMissing."""
        found = self._found.get((kind, name))
        if found is None:
            raise missing(kind, name)
        return found


def missing(kind: Kind, name: str) -> PluginMissing:
    return PluginMissing(
        f"there is no {kind.name} {name}",
        hint=f"Install the package that declares it in the image, and name the package in {SETTING}",
    )


def words(said: str) -> tuple[str, ...]:
    """Names of packages, separated by commas, as the packaging world compares them.

    >>> words("Acme_Models, acme.models,  other ,")
    ('acme-models', 'other')
    """
    names = [re.sub(r"[-_.]+", "-", word.strip()).lower() for word in said.split(",") if word.strip()]
    return tuple(dict.fromkeys(names))


def find(allowed: Collection[str], kinds: Sequence[Kind] = KINDS, search: Sequence[str] | None = None) -> Plugins:
    """All plugins of these kinds that the allowed packages declare, loaded. `search`: folders; without, sys.path as it
    is now, so ask before any code of a tenant's may be found there. Nothing of another package is imported.

    Raises PluginRefused, which names the package and the entry point.
    """
    if not allowed:
        return Plugins()
    wanted = set(words(",".join(allowed)))
    installed: dict[str, Distribution] = {}
    for one in distributions(path=list(search)) if search is not None else distributions():
        named = words(one.metadata["Name"] or "")
        if named and named[0] in wanted:
            installed.setdefault(named[0], one)
    for name in sorted(wanted - installed.keys()):
        raise PluginRefused(
            f"the package {name} is allowed as a plugin, and is not installed",
            hint=f"Install it in the image, or take it out of {SETTING}",
            code="plugin_not_installed",
        )
    return Plugins(
        _loaded(name, kind, entry)
        for name in sorted(installed)
        for kind in kinds
        for entry in installed[name].entry_points.select(group=kind.group)
    )


def _loaded(package: str, kind: Kind, entry: EntryPoint) -> Found:
    try:
        factory = entry.load()
    except Exception as error:
        raise _not_loaded(package, kind, entry.name, error) from error
    version = getattr(factory, VERSION, None)
    if version != kind.version:
        said = (
            "does not say for which version of it" if version is None else f"is for version {str(version)[:16]} of it"
        )
        raise PluginRefused(
            f"the entry point {entry.name} of {package} ({kind.group}) is a {kind.name}, and {said}; "
            f"{kind.version} is spoken here",
            hint=f"{VERSION} = {kind.version} says so; or install a release of {package} that was written for it",
            code="plugin_protocol",
        )
    return Found(kind, entry.name, package, factory)


def _not_loaded(package: str, kind: Kind, name: str, error: Exception) -> PluginRefused:
    """By type alone: what others' errors say may hold anything."""
    return PluginRefused(
        f"the entry point {name} of {package} ({kind.group}) does not load: {type(error).__name__}",
        hint=f"Mend or remove the package, or take it out of {SETTING}",
    )
