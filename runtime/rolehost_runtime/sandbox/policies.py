"""BehaviorPolicies of the sandbox's image. They are found before any of the tenant's code is: what a bundle calls a plugin
is not looked at."""

from typing import TYPE_CHECKING

from rolehost_api.link.messages import LoadError
from rolehost_runtime.core.behavior.choosing import BehaviorPolicy
from rolehost_runtime.core.dsl.compiled import Compiled
from rolehost_runtime.sandbox.loading import NotLoaded

if TYPE_CHECKING:
    from rolehost_runtime.plugins.finding import PluginRefused, Plugins

SETTING = "ROLEHOST_PLUGINS"


class Policies:
    """`allowed` names packages, separated by commas."""

    def __init__(self, allowed: str = "") -> None:
        self._found: Plugins | PluginRefused | None = _found(allowed) if allowed.strip() else None

    def named(self, compiled: Compiled | None) -> BehaviorPolicy | None:
        """The one that the manifest names; None where it names none. Raises NotLoaded `plugin_not_found`, or as
        `plugins.finding` has it where an allowed package cannot be used."""
        if compiled is None or not compiled.policy:
            return None
        from rolehost_api.errors import RolehostError
        from rolehost_runtime.plugins.finding import Plugins
        from rolehost_runtime.plugins.kinds import BEHAVIOR_POLICY

        try:
            if isinstance(self._found, RolehostError):
                raise self._found
            made: BehaviorPolicy = (self._found or Plugins()).get(BEHAVIOR_POLICY, compiled.policy).make()
            return made
        except RolehostError as error:
            raise NotLoaded(LoadError(code=error.code, hint=f"{error.message}. {error.hint}"[:256])) from None


def _found(allowed: str) -> "Plugins | PluginRefused":
    """Loaded only where something is allowed: it takes milliseconds of a pod's start."""
    from rolehost_runtime.plugins.finding import PluginRefused, find, words
    from rolehost_runtime.plugins.kinds import IN_SANDBOX

    try:
        return find(words(allowed), IN_SANDBOX)
    except PluginRefused as refused:
        return refused
