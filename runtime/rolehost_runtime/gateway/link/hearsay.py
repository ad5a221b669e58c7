"""What a pod says of its logic's failures, cut down to what may be repeated. Pure.

After import the pod is hostile, and these words would reach conditions, clients and the
log of a session. So only what has a known form is kept: a code, a type's name, a place in
a source file, a hook's name. What to do about it is said in our own words.
"""

import re
from collections.abc import Sequence
from math import isfinite
from typing import Any

import msgspec
from msgspec.structs import replace

from rolehost_api.link.messages import Degraded, LoadError, Probe, TimerSpec, Transition
from rolehost_api.link.tools import ALL_TOOLS, MAX_TOOLS_BYTES, ToolSpec
from rolehost_api.link.tracing import TracedGraph
from rolehost_runtime.core.tooling import FOREIGN, arguments_of

MAX_SCHEMA_DEPTH = 24
UNKNOWN = "logic_invalid"
"""For a load error whose code nobody here has heard of."""
MAX_NAME = 64
MAX_WHERE = 128

_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")
_WHERE = re.compile(r"((?:[\w+-][\w.+-]*/)*[\w+-][\w.+-]*\.py):[0-9]{1,7}")
_HOOK = re.compile(
    r"(on_start|on_message|on_reply|on_interrupt|edge|enter|exit|on_idle|every|on_resume|on_end|on_delta|tool)(?::(.*?)(#[0-9]{1,4})?)?",
    re.DOTALL,
)
_ADDRESS = re.compile(r"[0-9A-Fa-f.:\[\]]{1,64}")
_KERNEL = re.compile(r"Linux version [0-9][0-9A-Za-z.+~-]{0,63}")
_SESSION = re.compile(r"[\x21-\x7e]{1,128}")
_LAMBDA = "<lambda>"

_TRACEBACK = "The whole traceback is in `rolehost logs`"
_PUSH = "Make bundles with `rolehost push`"
_PLUGIN = "The platform team installs packages in the image and allows them in ROLEHOST_PLUGINS"
_HINTS = {
    "already_bound": "The pod serves another revision; a pod is bound once",
    "bundle_digest_mismatch": "The archive is not the one that spec.template.logic.bundle names; push it again",
    "bundle_duplicate": "Two entries of the bundle have the same name, at least but for case or accents",
    "bundle_forbidden_name": "A file in the bundle has a name that the interpreter would run by itself",
    "bundle_link": f"The bundle holds something else than plain files. {_PUSH}",
    "bundle_malformed": f"The archive is broken or not in canonical form. {_PUSH}",
    "bundle_path": "A path in the bundle is not plain and relative, or too long or too deep",
    "bundle_ratio": "The bundle unpacks to too many times its size",
    "bundle_too_large": "The bundle is over its cap, or does not fit into /tmp; raise resources.memoryMebibytes",
    "bundle_too_many_files": "The bundle has more files than it may",
    "declared_twice": "The persona, an edge or the initial node is in the manifest and in the logic; remove one of them",
    "entrypoint_shadowed": "The entrypoint's module has the name of one of the platform's own; rename yours",
    "import_deadline": "Importing the logic took too long; do work in hooks, not at import",
    "invalid_behavior": "The behaviour graph cannot be walked; `rolehost check` and `rolehost logs` say why",
    "invalid_bundle": _PUSH,
    "invalid_hook": "A hook is a def or async def with one argument, the turn, and there are only so many of them",
    "invalid_role": "Role takes a name, and as persona plain text only",
    "invalid_tool": "A tool is a def or async def with the turn and typed arguments, and a docstring; `rolehost check` says more",
    "invalid_timer": 'A timer is from a minute to 30 days long, e.g. on_idle("10m"), and there are at most 8 of them',
    "no_such_hook": "The logic declares a hook that there is not; `rolehost logs` says why",
    "invalid_state": "Role takes one State per scope, state=… and user_state=…; a Counter begins at 0, a Set empty, with scope user",
    "logic_died": "The process ended, or ran out of memory, while it imported the logic",
    "logic_error": _TRACEBACK,
    "logic_raised": _TRACEBACK,
    "plugin_declared_twice": f"{_PLUGIN}. Two of them declare what behavior.policy names",
    "plugin_not_found": f"behavior.policy names what the sandbox's image has not. {_PLUGIN}",
    "plugin_not_installed": f"{_PLUGIN}. One of them is not installed",
    "plugin_not_loaded": f"{_PLUGIN}. One of them does not load",
    "plugin_protocol": f"{_PLUGIN}. One of them was written for another release",
    "scope_not_supported": "State has the scope user, or session where `scope` is left out",
    "unknown_node": "The logic or the manifest names a node that the graph has not; `rolehost check` says which is near",
    "unknown_subgraph": "The logic names a subgraph that there is not",
    "state_needs_defaults": "Give every field of the State a default, e.g. `dragons: int = 0`",
    UNKNOWN: "`rolehost logs` may say more",
}
_ENTRYPOINT_CODES = frozenset({"entrypoint_not_found", "not_a_role"})


def load_error(said: LoadError, entrypoint: str = "") -> LoadError:
    """What may be repeated of why logic did not load; `entrypoint` is the revision's own.

    >>> load_error(LoadError(code="logic_raised", error="NameError", where="story.py:3", hint="buy now")).hint
    'The whole traceback is in `rolehost logs`'
    >>> load_error(LoadError(code="Send money", error="to me", where="at once"))
    LoadError(code='logic_invalid', error='', where='', hint='`rolehost logs` may say more')
    """
    code = said.code if said.code in _HINTS or said.code in _ENTRYPOINT_CODES else UNKNOWN
    hint = _entrypoint_hint(entrypoint) if code in _ENTRYPOINT_CODES else _HINTS[code]
    return LoadError(code=code, error=type_name(said.error), where=place(said.where), hint=hint)


def _entrypoint_hint(entrypoint: str) -> str:
    module, _, attribute = entrypoint.partition(":")
    if attribute:
        hint = f"logic.entrypoint is {entrypoint}: the logic needs a module {module} with a rolehost.Role {attribute}"
    else:
        hint = f"The logic needs a module {module or 'logic'} that holds exactly one rolehost.Role"
    return hint[:256]


def degradations(said: Sequence[Degraded]) -> tuple[Degraded, ...]:
    """What may be repeated of the hooks that a turn went on without; as many as were said.

    >>> degradations([Degraded("on_message:answer", "hook_failed", "story.py:7"), Degraded("Call", "Us!", "now")])
    (Degraded(hook='on_message:answer', code='hook_failed', where='story.py:7'), \
Degraded(hook='hook', code='hook_failed', where=''))
    """
    return tuple(
        Degraded(
            hook=hook_name(one.hook),
            code=one.code if _CODE.fullmatch(one.code) else "hook_failed",
            where=place(one.where),
        )
        for one in said
    )


def type_name(said: str) -> str:
    """The name of an exception's type, or nothing.

    >>> type_name("NameError"), type_name("Name Error"), type_name("E" * 65)
    ('NameError', '', '')
    """
    return said if len(said) <= MAX_NAME and said.isascii() and said.isidentifier() else ""


def place(said: str) -> str:
    """file:line of a source file within the bundle, or nothing. No blanks: that would be room for prose.

    >>> place("tales/dragon.py:12"), place("故事.py:1")
    ('tales/dragon.py:12', '故事.py:1')
    >>> place("/etc/passwd.py:1"), place("a/../b.py:1"), place("call us now.py:1"), place("story.py")
    ('', '', '', '')
    """
    return said if len(said) <= MAX_WHERE and _WHERE.fullmatch(said) else ""


def hook_name(said: str) -> str:
    """event:function, the event alone where no function is called that, `hook` where there is no such event.

    >>> hook_name("on_message:answer#2"), hook_name("on_reply:<lambda>"), hook_name("commit")
    ('on_message:answer#2', 'on_reply:<lambda>', 'commit')
    >>> hook_name("on_interrupt:sulk"), hook_name("on_start:send us money"), hook_name("anything at all")
    ('on_interrupt:sulk', 'on_start', 'hook')
    """
    if said in ("commit", "behavior"):  # the engine's own: what no single hook is to blame for
        return said
    match = _HOOK.fullmatch(said)
    if match is None:
        return "hook"
    event, function, number = match.groups()
    if function is None or len(function) > MAX_NAME or not (function.isidentifier() or function == _LAMBDA):
        return str(event)
    return f"{event}:{function}{number or ''}"


def timers(said: Sequence[TimerSpec], least_seconds: int) -> tuple[TimerSpec, ...]:
    """Timers that a Role can have; what says it is another hook's, or goes off too often, is none.

    >>> timers([TimerSpec("every:tick", "every", 60), TimerSpec("every:tick", "every", 9), TimerSpec("us", "every", 99)], 60)
    (TimerSpec(hook='every:tick', event='every', seconds=60),)
    """
    return tuple(
        one
        for one in said
        if one.seconds >= least_seconds and one.hook.startswith(one.event) and hook_name(one.hook) == one.hook
    )


def transitions(said: Sequence[Transition]) -> tuple[Transition, ...]:
    """What may be repeated, to this session's own clients, of how its behaviour graph moved: names of one line, numbers
    that are some. The names are the tenant's; as many as were said.

    >>> transitions([Transition(subgraph="main", source="Idle", target="Ex\\nplore", weight=float("nan"), of=-1.0)])
    (Transition(subgraph='main', source='Idle', target='Ex plore', weight=0.0, of=0.0, why='', place=0, draw=0),)
    """
    return tuple(
        replace(
            one,
            subgraph=_line(one.subgraph),
            source=_line(one.source),
            target=_line(one.target),
            why=_line(one.why),
            weight=_weight(one.weight),
            of=_weight(one.of),
            draw=one.draw & 0xFFFF_FFFF_FFFF_FFFF,
        )
        for one in said
    )


def tools(said: Sequence[ToolSpec]) -> tuple[ToolSpec, ...]:
    """Of what a pod says its logic's tools are, those that a model can be told of: with names that are not other
    servers', and schemas that are some. Their words go to this Role's own model and nowhere else.

    >>> ok = ToolSpec(name="stars", parameters=b'{ "type": "object" }')
    >>> tools([ok, ok, ToolSpec(name="maps__route"), ToolSpec(name="*"), ToolSpec(name="x", parameters=b"{")])
    (ToolSpec(name='stars', description='', parameters=b'{"type":"object"}'),)
    """
    found: dict[str, ToolSpec] = {}
    room = MAX_TOOLS_BYTES
    for one in said:
        schema = arguments_of(one.parameters.decode("utf-8", "replace"))
        room -= len(one.parameters) + len(one.description.encode(errors="replace"))
        if room < 0:
            break
        if one.name in found or one.name == ALL_TOOLS or FOREIGN in one.name:
            continue
        if schema is not None and schema.get("type") == "object" and _is_shallow(schema):
            found[one.name] = replace(one, parameters=msgspec.json.encode(schema))
    return tuple(found.values())


def _is_shallow(schema: Any) -> bool:
    layer = [schema]
    for _ in range(MAX_SCHEMA_DEPTH):
        layer = [
            inner
            for one in layer
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
        if not layer:
            return True
    return False


def traces(said: Sequence[TracedGraph]) -> tuple[TracedGraph, ...]:
    """The same of a whole graph, for the tenant's own eyes."""
    return tuple(
        replace(
            one,
            name=_line(one.name),
            initial=_line(one.initial),
            node=_line(one.node),
            to=_line(one.to),
            share=_weight(one.share),
            draw=one.draw & 0xFFFF_FFFF_FFFF_FFFF,
            nodes=tuple(replace(node, name=_line(node.name)) for node in one.nodes),
            edges=tuple(
                replace(
                    edge,
                    source=_line(edge.source),
                    target=_line(edge.target),
                    why=_line(edge.why),
                    weight=_weight(edge.weight),
                )
                for edge in one.edges
            ),
        )
        for one in said
    )


def _line(said: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in said)


def _weight(said: float) -> float:
    return said if isfinite(said) and said >= 0 else 0.0


def session_word(said: str) -> str:
    """What a client may call a session, or nothing.

    >>> session_word("abc123"), session_word("two words"), session_word("x" * 129)
    ('abc123', '', '')
    """
    return said if _SESSION.fullmatch(said) else ""


def probe(said: Probe) -> Probe:
    """A probe with addresses and a kernel's version only; a pod that was bound already may say anything.

    >>> probe(Probe(gvisor=True, token=False, reached=("10.96.0.1:443", "our shop"), kernel="Linux version 4.19 (x)"))
    Probe(gvisor=True, token=False, reached=('10.96.0.1:443', '?'), tried=(), kernel='Linux version 4.19')
    """
    kernel = _KERNEL.match(said.kernel)
    return Probe(
        gvisor=said.gvisor,
        token=said.token,
        reached=_addresses(said.reached),
        tried=_addresses(said.tried),
        kernel=kernel[0] if kernel else "",
    )


def _addresses(said: Sequence[str]) -> tuple[str, ...]:
    """As many as were said: one that was reached counts, whatever it is called."""
    return tuple(one if _ADDRESS.fullmatch(one) else "?" for one in said)
