"""Importing the tenant's code, and saying what is wrong with it by type and place only."""

import importlib
import sys
import traceback
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

import msgspec

from rolehost import Role, State
from rolehost.timers import written
from rolehost_api.errors import InvalidManifest, RolehostError
from rolehost_api.link.messages import LoadError, TimerSpec
from rolehost_runtime.core.behavior.choosing import BehaviorPolicy
from rolehost_runtime.core.behavior.declaring import graph_of
from rolehost_runtime.core.behavior.graph import Graph, InvalidBehavior
from rolehost_runtime.core.behavior.stating import bare
from rolehost_runtime.core.dsl.compiled import Compiled
from rolehost_runtime.core.dsl.compiling import Surroundings, compile_behavior
from rolehost_runtime.core.dsl.expressions import Names
from rolehost_runtime.core.guard import error_type

INLINE_MODULE = "logic"


class NotLoaded(RolehostError):
    """The logic cannot serve; `error` is what the gateway and the condition are told."""

    code = "logic_invalid"

    def __init__(self, error: LoadError) -> None:
        super().__init__(f"the logic did not load: {error.code}", code=error.code, hint=error.hint)
        self.error = error


def load(
    folder: str, entrypoint: str, role: str, *, persona_bound: bool, compiled: Compiled | None = None
) -> Role[Any]:
    """The Role that `entrypoint` names in the code under `folder`. Raises NotLoaded.

    Without a folder it is a Role without hooks. Without an entrypoint the module is
    `logic` and the Role is found by its type.
    """
    if not folder:
        return bare(role, compiled)
    module_name, _, attribute = (entrypoint or INLINE_MODULE).partition(":")
    module = _import(folder, module_name)
    found = _find(module, attribute)
    if found.persona and persona_bound:
        at = f"{relative(found.declared_at[0], folder)}:{found.declared_at[1]}"
        raise _refused(
            "declared_twice", f"persona is in spec.template.persona and in {at}; remove one of them", where=at
        )
    return found


def behavior(said: bytes, *, has_logic: bool, names: Names | None = None) -> Compiled | None:
    """The manifest's behaviour, compiled; None where it has none. `names` are the types of what the logic keeps, where
    it is loaded. Raises NotLoaded."""
    if not said:
        return None
    try:
        around = Surroundings(has_logic=has_logic, names=names)
        return compile_behavior(msgspec.json.decode(said, type=dict[str, Any]), around)
    except (InvalidManifest, msgspec.MsgspecError, RecursionError) as error:
        first = f"{error.findings[0]}" if isinstance(error, InvalidManifest) and error.findings else ""
        raise _refused("invalid_behavior", first, where="") from error


def graph(
    role: Role[Any], folder: str, compiled: Compiled | None = None, policy: BehaviorPolicy | None = None
) -> Graph | None:
    """The Role's behaviour graph, in which `policy` chooses; None where it has none. Raises NotLoaded."""
    try:
        found = graph_of(role, compiled, placed=lambda at: f"{relative(at[0], folder)}:{at[1]}")
        return found if found is None or policy is None else replace(found, policy=policy)
    except InvalidBehavior as error:
        file, line = error.declared_at
        at = f"{relative(file, folder)}:{line}" if file else ""
        raise _refused(error.code, f"{error.message}. {error.hint}", where=at) from error


def timers_of(role: Role[Any], folder: str, least_seconds: int) -> tuple[TimerSpec, ...]:
    """What the gateway has to know of the Role's timers. Raises NotLoaded for one that is shorter than may be."""
    found = []
    for hook in role.hooks:
        if hook.event not in ("on_idle", "every"):
            continue
        if hook.seconds < least_seconds:
            code = hook.function.__code__
            at = f"{relative(code.co_filename, folder)}:{code.co_firstlineno}"
            short = f"{hook.event}({written(hook.seconds)!r}) is shorter than {written(least_seconds)}"
            raise _refused("invalid_timer", short, where=at)
        found.append(TimerSpec(hook.name, "on_idle" if hook.event == "on_idle" else "every", hook.seconds))
    return tuple(found)


def fields(state: type[State] | None) -> tuple[str, ...]:
    """Names of a state's fields, for people to read."""
    return () if state is None else tuple(field.name[:256] for field in msgspec.structs.fields(state)[:256])


def _import(folder: str, name: str) -> ModuleType:
    if folder not in sys.path:
        sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            raise _refused("entrypoint_not_found", f"the bundle has no module {name}") from None
        raise _raised(error, folder) from error
    except BaseException as error:  # the tenant's code may raise anything at all
        raise _raised(error, folder) from error
    if not _inside(getattr(module, "__file__", None), folder):
        raise _refused("entrypoint_shadowed", f"{name} is a module of the platform's own; rename yours")
    return module


def _find(module: ModuleType, attribute: str) -> Role[Any]:
    if attribute:
        found = getattr(module, attribute, None)
        if found is None:
            raise _refused("entrypoint_not_found", f"module {module.__name__} has no {attribute}")
        if not isinstance(found, Role):
            raise _refused("not_a_role", f"{attribute} is not a rolehost.Role")
        return found
    roles = {id(value): value for value in vars(module).values() if isinstance(value, Role)}
    if len(roles) != 1:
        raise _refused("entrypoint_not_found", f"module {module.__name__} must hold exactly one Role")
    return roles.popitem()[1]


def _refused(code: str, hint: str, where: str = "") -> NotLoaded:
    return NotLoaded(LoadError(code=code, hint=hint[:256], where=where[:256]))


def _raised(error: BaseException, folder: str) -> NotLoaded:
    """The tenant's import failed. A RolehostError is our own: its code and hint are worth more than its type."""
    if isinstance(error, RolehostError):
        told = LoadError(code=error.code, error=error_type(error), where=where(error, folder), hint=error.hint[:256])
    else:
        told = LoadError(
            code="logic_raised",
            error=error_type(error),
            where=where(error, folder),
            hint="The whole traceback is in `rolehost logs`",
        )
    return NotLoaded(told)


# ── places ──────────────────────────────────────────────────────────────────────────


def where(error: BaseException, folder: str) -> str:
    """file:line of the innermost frame of the tenant's own; empty where there is none."""
    found = ""
    if isinstance(error, SyntaxError) and _inside(error.filename, folder):
        found = f"{relative(error.filename or '', folder)}:{error.lineno or 0}"
    step = error.__traceback__
    while step and not isinstance(error, SyntaxError):
        name = step.tb_frame.f_code.co_filename
        if _inside(name, folder):
            found = f"{relative(name, folder)}:{step.tb_lineno}"
        step = step.tb_next
    return found[:256]


def show(error: BaseException, folder: str) -> None:
    """Print a traceback for the tenant, from the first frame of their own on; never raises."""
    with suppress(BaseException):
        traceback.print_exception(error.with_traceback(_own(error.__traceback__, folder)), chain=False)


def _own(step: TracebackType | None, folder: str) -> TracebackType | None:
    first = step
    while step and not _inside(step.tb_frame.f_code.co_filename, folder):
        step = step.tb_next
    return step or first


def _inside(name: str | None, folder: str) -> bool:
    return bool(folder and name and name.startswith(folder.rstrip("/") + "/"))


def relative(name: str, folder: str) -> str:
    return str(Path(name).relative_to(folder)) if _inside(name, folder) else Path(name).name
