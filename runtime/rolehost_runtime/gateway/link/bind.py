"""What a pod is told about its revision, and whether it may be told anything. Pure."""

from collections import OrderedDict

from rolehost_api.canonical import template_hash
from rolehost_api.crd.role import LogPolicy
from rolehost_api.errors import BadRequest, Unavailable
from rolehost_api.link.messages import Bind, Hello, LoadError, LogicSource, Probe
from rolehost_api.names import SANDBOX_BREACHED, revision_name
from rolehost_runtime.gateway.tables import RevisionEntry, RoleEntry

PERSONA = "persona/"
LOGIC = "logic/"
MAX_CHECKED = 4096
"""Revisions whose verdict is remembered."""


def persona_of(revision: RevisionEntry) -> tuple[str, ...]:
    """Segments of the prompt that never change within the revision; 0 is the system prompt."""
    template = revision.spec.template
    if template.persona_from is not None:
        return (revision.spec.frozen.get(PERSONA + "system", ""),)
    return (template.persona.system,)


def greeting_of(revision: RevisionEntry) -> str:
    """What the persona says first in a new session; empty where it waits to be spoken to."""
    template = revision.spec.template
    if template.persona_from is not None:
        return revision.spec.frozen.get(PERSONA + "greeting", "")
    return template.persona.greeting


def bind_message(role: RoleEntry, revision: RevisionEntry, bundle: bytes | None) -> Bind:
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
