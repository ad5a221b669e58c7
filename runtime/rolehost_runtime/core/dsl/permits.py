"""Which permissions Python logic needs, as far as its text says: `t.ask(…)`, `t.memory.remember(…)`, `t.http.get(…)`,
`@role.tool`.

What a turn is asked is known where the turn is: in hooks, and where an argument is a `Turn`. What is done with memory is
known anywhere by its words. What only shows when it runs (`ask` of a turn under another name) is not seen here; the
platform refuses it then.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from rolehost_api.errors import BadRequest
from rolehost_runtime.core.reach.grants import granted as host_granted
from rolehost_runtime.core.reach.grants import wanted_for
from rolehost_runtime.core.reach.urls import parse
from rolehost_runtime.core.tooling import PERMISSION, granted

_HOOKS = frozenset(
    {"on_start", "on_message", "on_reply", "on_delta", "on_resume", "on_interrupt", "on_idle", "every", "on_drain", "on_end",
     "edge", "enter", "exit", "tool"}
)  # fmt: skip
_NEEDS = {
    "remember": "memory.write",
    "confirm": "memory.write",
    "recall": "memory.read",
    "forget": "memory.forget",
}
"""By what is done with `t.memory`."""
MAX_USES = 100


class Use(NamedTuple):
    permission: str
    """`http:` for a host that only shows when it runs."""
    said: str
    """As the logic says it, e.g. t.ask"""
    line: int
    column: int
    """Both from 1."""


def uses(source: str) -> list[Use]:
    """What a Python source asks of turns. Nothing where it does not parse: that is told elsewhere.

    >>> uses("async def f(t: Turn):\\n    await t.memory.forget(t.ask())")
    [Use(permission='memory.forget', said='t.memory.forget', line=2, column=11), \
Use(permission='model.call', said='t.ask', line=2, column=27)]

    A host is known where a URL begins with it, in the text itself or by a name of the module:

    >>> [use.permission for use in uses("API = 'https://api.acme.com'\\nasync def f(t: Turn):\\n"
    ...     "    await t.http.get(f'{API}/rooms/{t.message}')\\n    await t.http.post('http://shop.acme.com:8080/')")]
    ['http:api.acme.com', 'http:shop.acme.com:8080']

    A tool is the model's to call only where that is granted, by the name it is declared with:

    >>> uses("@cat.tool(name='stars')\\nasync def look(t): ...\\n\\n@cat.tool\\nasync def rain(t): ...")
    [Use(permission='tool:stars', said='cat.tool', line=1, column=2), \
Use(permission='tool:rain', said='cat.tool', line=4, column=2)]

    Of an object with a `memory` of its own, as `self.memory`, nothing is known:

    >>> [use.said for use in uses("later = turn.memory.recall; self.memory.forget(); self.turn.memory.forget('x')")]
    ['turn.memory.recall', 'self.turn.memory.forget']
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    names = _texts(tree)
    found = {use for node in ast.walk(tree) for use in (*_of_turn(node, names), *_of_memory(node), *_of_tool(node))}
    return sorted(found, key=lambda use: (use.line, use.column))[:MAX_USES]


def refused(found: Iterable[Use], permissions: Sequence[str]) -> list[Use]:
    """Those that no permission grants.

    >>> refused([Use("model.call", "t.ask", 1, 1), Use("http:", "t.http.get", 2, 1)], ["model.call", "http:api.acme.com"])
    []
    >>> [use.permission for use in refused([Use("http:api.acme.com", "t.http.get", 1, 1), Use("http:evil.org", "t.http.get", 2, 1)],
    ...                                    ["http:*.acme.com"])]
    ['http:evil.org']
    >>> [one.permission for one in refused([Use("tool:stars", "cat.tool", 1, 2), Use("tool:rain", "cat.tool", 4, 2)], ["tool:ra*"])]
    ['tool:stars']
    """
    return [use for use in found if not any(_grants(one, use.permission) for one in permissions)]


def _grants(permission: str, wanted: str) -> bool:
    if wanted.startswith("http:") and wanted != "http:":
        host, colon, port = wanted.removeprefix("http:").partition(":")
        return host_granted([permission], parse(f"http{'' if colon else 's'}://{host}{colon}{port}"))
    if wanted.startswith(PERMISSION):
        return granted((permission,), wanted.removeprefix(PERMISSION))
    return permission.startswith(wanted) if wanted.endswith(":") else permission == wanted


def _texts(tree: ast.Module) -> Mapping[str, str]:
    """Texts that the module gives a name."""
    return {
        target.id: one.value.value
        for one in tree.body
        if isinstance(one, ast.Assign) and isinstance(one.value, ast.Constant) and isinstance(one.value.value, str)
        for target in one.targets
        if isinstance(target, ast.Name)
    }


def _host(call: ast.Call, names: Mapping[str, str]) -> str:
    """The permission that a request takes, as far as its URL says."""
    url = call.args[0] if call.args else next((one.value for one in call.keywords if one.arg == "url"), None)
    text, whole = _beginning(url, names)
    _, slashes, rest = text.partition("://")
    if not slashes or not (whole or any(one in rest for one in "/?#")):
        return "http:"
    try:
        return wanted_for(parse("".join(text.split())))
    except BadRequest:
        return "http:"


def _beginning(node: ast.expr | None, names: Mapping[str, str]) -> tuple[str, bool]:
    """How a text begins, and whether that is all of it."""
    match node:
        case ast.Constant(value=str(text)):
            return text, True
        case ast.Name(id=name) if name in names:
            return names[name], True
        case ast.BinOp(left=left, op=ast.Add()):
            return _beginning(left, names)[0], False
        case ast.JoinedStr(values=values):
            begun = ""
            for one in values:
                text, whole = _beginning(one.value if isinstance(one, ast.FormattedValue) else one, names)
                begun += text
                if not whole:
                    return begun, False
            return begun, True
    return "", False


def _of_memory(node: ast.AST) -> Iterator[Use]:
    if not isinstance(node, ast.Attribute) or len(chain := _chain(node)) < 3:
        return
    *before, memory, verb = chain
    if memory == "memory" and verb in _NEEDS and before not in (["self"], ["cls"]):
        yield _use(node, _NEEDS[verb], chain)


def _of_tool(node: ast.AST) -> Iterator[Use]:
    """A function that `@role.tool` declares, under the name that the model knows."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return
    for decorator in node.decorator_list:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        chain = _chain(called)
        if len(chain) < 2 or chain[-1] != "tool":
            continue
        given = decorator.keywords if isinstance(decorator, ast.Call) else []
        named = next((one.value for one in given if one.arg == "name"), None)
        name = node.name if named is None else named.value if isinstance(named, ast.Constant) else None
        if isinstance(name, str):
            yield _use(called, f"{PERMISSION}{name}", chain)


def _use(node: ast.expr, permission: str, chain: Sequence[str]) -> Use:
    return Use(permission, ".".join(chain), node.lineno, node.col_offset + 1)


def _of_turn(function: ast.AST, names: Mapping[str, str]) -> Iterator[Use]:
    if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) or not function.args.args:
        return
    turn = function.args.args[0]
    if not (_is_turn(turn.annotation) or any(_is_hook(one) for one in function.decorator_list)):
        return
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and (chain := _chain(node.func)) and chain[0] == turn.arg:
            if chain[1:] == ("ask",):
                yield _use(node, "model.call", chain)
            elif chain[1:2] == ("http",):
                yield _use(node, _host(node, names), chain)


def _is_turn(annotation: ast.expr | None) -> bool:
    if isinstance(annotation, ast.Subscript):
        annotation = annotation.value
    return _chain(annotation)[-1:] == ("Turn",)


def _is_hook(decorator: ast.expr) -> bool:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return isinstance(called, ast.Attribute) and called.attr in _HOOKS


def _chain(node: ast.expr | None) -> tuple[str, ...]:
    """`t.memory.recall` as its words; empty for anything else."""
    words: list[str] = []
    while isinstance(node, ast.Attribute):
        words.append(node.attr)
        node = node.value
    return (node.id, *reversed(words)) if isinstance(node, ast.Name) else ()
