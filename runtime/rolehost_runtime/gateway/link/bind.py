"""What a pod is told about its revision, and whether it may be told anything. Pure."""

from collections import OrderedDict

import msgspec

from rolehost_api.canonical import template_hash
from rolehost_api.crd.role import LogPolicy, Persona
from rolehost_api.errors import BadRequest, Unavailable
from rolehost_api.link.messages import MIN_TIMER_SECONDS, Bind, Hello, LoadError, LogicSource, Probe
from rolehost_api.names import SANDBOX_BREACHED, revision_name
from rolehost_api.persona.resolving import Texts, resolved
from rolehost_runtime.core.lorebook.playing import examples_text
from rolehost_runtime.core.sieve import Sieve
from rolehost_runtime.gateway.tables import RevisionEntry, RoleEntry

_encode = msgspec.json.Encoder(order="deterministic").encode
PERSONA = "persona/"
LOGIC = "logic/"
MAX_MADE_BYTES = 16_777_216
MAX_CHECKED = 4096
"""Revisions whose verdict is remembered."""


def persona_of(revision: RevisionEntry) -> tuple[str, ...]:
    """Segments of the prompt that never change within the revision; 0 is the system prompt."""
    persona = revision.spec.template.persona
    system, examples = texts_of(revision).system, examples_text([(one.user, one.persona) for one in persona.examples])
    return (system, examples) if examples else (system,)


def greeting_of(revision: RevisionEntry) -> str:
    """What the persona says first in a new session; empty where it waits to be spoken to."""
    return texts_of(revision).greeting


def texts_of(revision: RevisionEntry) -> Texts:
    """Empty where they cannot be made; `mismatch` says why then, and nobody is let in."""
    template = revision.spec.template
    if template.persona_from is not None:
        frozen = revision.spec.frozen
        return Texts(frozen.get(PERSONA + "system", ""), frozen.get(PERSONA + "greeting", ""))
    if not template.persona.template and not template.persona.variables:
        return Texts(template.persona.system, template.persona.greeting)
    key = (revision.tenant.uid, revision.spec.hash)
    known = _made.get(key)
    if known is None or known[0] != template.persona:
        texts, _ = resolved(template.persona)
        known = (template.persona, texts)
        _made.put(key, known, 4096 + 4 * (len(texts.system) + len(texts.greeting)))
    return known[1]


_made: Sieve[tuple[str, str], tuple[Persona, Texts]] = Sieve(MAX_MADE_BYTES)
"""What templates were made to, by tenant and revision: within one it never changes."""


def greetings_of(revision: RevisionEntry) -> tuple[str, ...]:
    """All that it may say first: the one above, and what a client may show instead; empty where there is none."""
    first = greeting_of(revision)
    others = () if revision.spec.template.persona_from is not None else revision.spec.template.persona.greetings
    return (first, *others) if first or others else ()


def bind_message(
    role: RoleEntry, revision: RevisionEntry, bundle: bytes | None, timer_min_seconds: int = MIN_TIMER_SECONDS
) -> Bind:
    """The Bind for a pod of this revision; `bundle` is the archive where the logic is one."""
    template = revision.spec.template
    return Bind(
        revision=revision.name,
        hash=revision.spec.hash,
        role=role.name,
        persona=persona_of(revision),
        permissions=template.permissions,
        logic=_logic(revision, bundle),
        state_max_bytes=template.state.max_bytes,
        logs=role.spec.logs is LogPolicy.TENANT,
        behavior=_encode(template.behavior) if template.behavior else b"",
        timer_min_seconds=timer_min_seconds,
    )


def _logic(revision: RevisionEntry, bundle: bytes | None) -> LogicSource | None:
    logic = revision.spec.template.logic
    if logic is None:
        return None
    if logic.bundle:
        return LogicSource(
            entrypoint=logic.entrypoint, bundle_digest=logic.bundle, bundle_bytes=len(bundle) if bundle else 0
        )
    if logic.inline:
        return LogicSource(entrypoint=logic.entrypoint, files={"logic.py": logic.inline})
    files = {name.removeprefix(LOGIC): text for name, text in revision.spec.frozen.items() if name.startswith(LOGIC)}
    return LogicSource(entrypoint=logic.entrypoint, files=files)


def mismatch(revision: RevisionEntry) -> LoadError | None:
    """Why this revision is not the content that its hash and name promise, or None.

    Hashed by the recipe that the revision records. What was edited behind the operator's
    back, or made by hand under a borrowed name, is given to no pod.
    """
    spec = revision.spec
    try:
        digest = template_hash(spec.template, spec.frozen, spec.hash_version)
    except BadRequest:
        return LoadError(
            code="revision_unknown_recipe",
            hint=f"hashVersion {spec.hash_version} is not known to this gateway; upgrade the gateway",
        )
    except ValueError:  # no canonical JSON says this, so no operator hashed it
        digest = ""
    if digest != spec.hash or revision.name != revision_name(spec.role_name, spec.hash):
        return LoadError(
            code="revision_mismatch",
            hint="Its content is not what its hash or name says. Change the Role, never a revision, and delete this "
            "one; if nobody edited it, the operator is newer than the gateway",
        )
    if spec.template.persona_from is None:
        for field, message, hint in resolved(spec.template.persona)[1]:
            where = f"spec.template.persona.{field}"
            return LoadError(code="invalid_persona", where=where[:256], hint=f"{message}. {hint}"[:256])
    return None


class Verdicts:
    """`mismatch`, worked out once for each row of the table and not for each pod or turn of it."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], tuple[RevisionEntry, LoadError | None]] = OrderedDict()

    def fault(self, revision: RevisionEntry) -> LoadError | None:
        """Rows are replaced and never edited, so the same object has the same verdict."""
        key = (revision.tenant.uid, revision.name)
        known = self._known.get(key)
        if known is None or known[0] is not revision:
            known = self._known[key] = (revision, mismatch(revision))
        self._known.move_to_end(key)
        while len(self._known) > MAX_CHECKED:
            self._known.popitem(last=False)
        return known[1]


def breach(probe: Probe, *, require_gvisor: bool) -> LoadError | None:
    """Why this sandbox must not be given a tenant's byte, or None."""
    if probe.token:
        return LoadError(code=SANDBOX_BREACHED, hint="A service-account token is mounted in the sandbox")
    if probe.reached and require_gvisor:
        return LoadError(code=SANDBOX_BREACHED, hint=f"The sandbox reached {', '.join(probe.reached)}"[:256])
    if require_gvisor and not probe.gvisor:
        return LoadError(code=SANDBOX_BREACHED, hint="The sandbox's kernel is not gVisor's")
    return None


def checked_hello(hello: Hello, protocols: tuple[int, ...], revision: RevisionEntry) -> int:
    """The protocol to speak with this pod. Raises Unavailable where there is none, or it is bound elsewhere."""
    protocol = next((known for known in protocols if known in hello.protocols), None)
    if protocol is None:
        raise Unavailable("the pod speaks no version of the link that is spoken here", code="link_version")
    if hello.bound and hello.bound != revision.spec.hash:
        raise Unavailable("the pod is bound to another revision", code="bound_elsewhere")
    return protocol
