"""What a pod is told about its revision, and whether it may be told anything. Pure."""

from rolehost_api.crd.role import LogPolicy
from rolehost_api.errors import Unavailable
from rolehost_api.link.messages import Bind, Hello, LoadError, LogicSource, Probe
from rolehost_api.names import SANDBOX_BREACHED
from rolehost_runtime.gateway.tables import RevisionEntry, RoleEntry

PERSONA = "persona/"
LOGIC = "logic/"


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
