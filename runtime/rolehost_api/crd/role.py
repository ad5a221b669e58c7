"""Role: what a tenant declares. Only `spec.template` makes revisions."""

from enum import Enum
from typing import Annotated, Any, ClassVar

from msgspec import Meta, Struct

from rolehost_api.crd.common import Condition, ObjectMeta, Spec
from rolehost_api.names import API_VERSION

Cel = tuple[tuple[str, str], ...]
MAX_INLINE_BYTES = 16_384
MAX_FROZEN_BYTES = 262_144
RETENTION_SECONDS = 2_592_000
"""30 days: how long a session is kept after its last turn, where its Role does not say."""
DEFAULT_PERMISSIONS = ("model.call", "memory.read", "memory.write")


def _given(field: str) -> str:
    """In CEL: the field is there and not empty, which is the same as not there."""
    return f"(has(self.{field}) && self.{field}.size() > 0)"


class LogPolicy(Enum):
    """Who may read what role logic prints."""

    TENANT = "Tenant"
    OFF = "Off"


class Measure(Enum):
    """Which moment of a turn a latency objective counts to."""

    FIRST_TOKEN = "FirstToken"
    COMPLETE = "Complete"


class ObjectiveType(Enum):
    """What an objective counts."""

    LATENCY = "Latency"
    SUCCESS = "Success"


class ConfigMapRef(Spec, frozen=True, kw_only=True):
    name: Annotated[str, Meta(description="A ConfigMap in the Role's own namespace.", min_length=1, max_length=253)]


class Persona(Spec, frozen=True, kw_only=True):
    """The text of a Role."""

    system: Annotated[
        str, Meta(description="The system prompt: who the Role is and how it speaks.", max_length=65_536)
    ] = ""
    greeting: Annotated[
        str, Meta(description="Said first in a new session, without asking the model.", max_length=8_192)
    ] = ""


class PersonaFrom(Spec, frozen=True, kw_only=True):
    """A persona kept in a ConfigMap: keys `system` and `greeting`."""

    config_map_ref: Annotated[
        ConfigMapRef,
        Meta(description="Its content (at most 256 KiB) is frozen with the revision; a change makes a new revision."),
    ]


class Logic(Spec, frozen=True, kw_only=True):
    """Role logic: Python of the tenant's own, run under gVisor. Exactly one source."""

    __cel__: ClassVar[Cel] = (
        (
            f"[{_given('bundle')}, {_given('inline')}, has(self.configMapRef)].filter(x, x).size() == 1",
            "give exactly one of bundle, inline and configMapRef",
        ),
        (
            f"!{_given('bundle')} || {_given('entrypoint')}",
            "a bundle needs an entrypoint, e.g. story:storyteller",
        ),
        (
            f"!{_given('entrypoint')} || {_given('bundle')} || {_given('inline')} || has(self.configMapRef)",
            "an entrypoint alone means the files beside the manifest: `rolehost deploy` pushes them and fills in bundle",
        ),
    )

    bundle: Annotated[
        str,
        Meta(
            description="Digest of a pushed bundle, as `rolehost push` prints it.",
            pattern="^(sha256:[0-9a-f]{64})?$",
            max_length=71,
        ),
    ] = ""
    entrypoint: Annotated[
        str,
        Meta(
            description="module:object of the Role in the code, e.g. story:storyteller. "
            "For inline logic the module is `logic` and the object is found by its type.",
            pattern=r"^([A-Za-z_][\w.]*:[A-Za-z_]\w*)?$",
            max_length=256,
        ),
    ] = ""
    inline: Annotated[str, Meta(description="Python source, at most 16 KiB.", max_length=MAX_INLINE_BYTES)] = ""
    config_map_ref: Annotated[
        ConfigMapRef | None,
        Meta(description="A ConfigMap whose keys are file names (*.py). Its content is frozen with the revision."),
    ] = None


class Model(Spec, frozen=True, kw_only=True):
    """Which model answers."""

    backend: Annotated[
        str, Meta(description="Name of a ModelBackend of this cluster.", min_length=1, max_length=253)
    ] = "default"
    name: Annotated[str, Meta(description="One of the backend's models; empty means its first.", max_length=253)] = ""
    params: Annotated[
        dict[str, Any],
        Meta(
            description="Passed to the model as they are, e.g. temperature.", max_length=64, extra={"free_form": True}
        ),
    ] = {}


class StateSpec(Spec, frozen=True, kw_only=True):
    """Bounds on what the logic keeps."""

    schema_version: Annotated[
        int, Meta(description="Raise it when the State class changes shape.", ge=1, le=10_000)
    ] = 1
    max_bytes: Annotated[
        int,
        Meta(
            description="Largest state of one session, encoded, in bytes; it may hold at most 32,768 values.",
            ge=1024,
            le=262_144,
        ),
    ] = 65_536


class Resources(Spec, frozen=True, kw_only=True):
    """Of one sandbox pod."""

    cpu_milli: Annotated[int, Meta(description="CPU limit of a pod in thousandths of a core.", ge=50, le=64_000)] = 1000
    memory_mebibytes: Annotated[
        int,
        Meta(
            description="Memory limit of a pod in MiB. At rest a pod takes about 90; less than 256 would leave too "
            "little for hooks that run at the same time. One that takes more than its share, of 512 about 53, "
            "meets a MemoryError.",
            ge=256,
            le=65_536,
        ),
    ] = 512


class RoleTemplate(Spec, frozen=True, kw_only=True):
    """The hashed part: another content is another revision, the same content the same one."""

    __cel__: ClassVar[Cel] = (
        (
            "(has(self.persona) && has(self.persona.system) && self.persona.system.size() > 0) || has(self.personaFrom)",
            "give persona.system, or personaFrom",
        ),
        ("!(has(self.persona) && has(self.personaFrom))", "give persona or personaFrom, not both"),
    )

    persona: Annotated[Persona, Meta(description="Who the Role is.")] = Persona()
    persona_from: Annotated[PersonaFrom | None, Meta(description="The persona, kept in a ConfigMap.")] = None
    permissions: Annotated[
        tuple[
            Annotated[
                str,
                Meta(
                    description="A permission.",
                    pattern=r"^(model\.call|memory\.(read|write|forget)|tool:[\w*.-]+|http:[\w*.:-]+)$",
                    max_length=253,
                ),
            ],
            ...,
        ],
        Meta(
            description="What the logic may ask for; nothing else is carried out. "
            "Default: model.call, memory.read, memory.write.",
            max_length=64,
        ),
    ] = DEFAULT_PERMISSIONS
    logic: Annotated[
        Logic | None,
        Meta(
            description="Role logic: Python of the tenant's own, from exactly one of bundle, inline and configMapRef. "
            "Without it every message goes to the model."
        ),
    ] = None
    model: Annotated[Model, Meta(description="Which model answers.")] = Model()
    state: Annotated[StateSpec, Meta(description="Bounds on the state of a session.")] = StateSpec()
    resources: Annotated[Resources, Meta(description="Of one sandbox pod.")] = Resources()


class Sessions(Spec, frozen=True, kw_only=True):
    """Bounds on sessions. Not hashed: a change takes effect without a new revision."""

    max_per_pod: Annotated[int, Meta(description="Most sessions that one pod serves.", ge=1, le=10_000)] = 64
    idle_timeout_seconds: Annotated[
        int, Meta(description="After this silence a session lets go of its revision, in seconds.", ge=10, le=86_400)
    ] = 900
    turn_timeout_seconds: Annotated[
        int,
        Meta(description="Most time for a turn's hooks and queue, in seconds; the model has its own.", ge=1, le=600),
    ] = 30
    retention_seconds: Annotated[
        int,
        Meta(
            description="So long after its last turn a session is deleted with all that is kept of it, in seconds; "
            "what the sessions of a user share, so long after the user's last turn. Default: 30 days. A change counts "
            "for each session from its next turn on.",
            ge=3600,
            le=31_536_000,
        ),
    ] = RETENTION_SECONDS


class Scaling(Spec, frozen=True, kw_only=True):
    """Pods of each live revision, by its own sessions. Not hashed."""

    __cel__: ClassVar[Cel] = (
        ("self.minReplicas <= self.maxReplicas", "minReplicas must not be above maxReplicas, which is 10 by default"),
    )

    min_replicas: Annotated[int, Meta(description="Fewest pods, sessions or not.", ge=1, le=1000)] = 1
    max_replicas: Annotated[int, Meta(description="Most pods, whatever the sessions.", ge=1, le=1000)] = 10
    target_sessions_per_pod: Annotated[
        int,
        Meta(
            description="There is a pod for every so many sessions; with more than sessions.maxPerPod, for that many.",
            ge=1,
            le=10_000,
        ),
    ] = 32


class Objective(Spec, frozen=True, kw_only=True):
    """One promise about turns."""

    __cel__: ClassVar[Cel] = (
        (
            "self.type != 'Latency' || (has(self.thresholdMilliseconds) && self.thresholdMilliseconds > 0)",
            "a Latency objective needs thresholdMilliseconds",
        ),
        (
            "self.target.matches('^[0-9.]+$') && double(self.target) >= 50.0 && double(self.target) < 100.0",
            "target must be at least 50 and below 100: 100 leaves no error budget and can never be kept",
        ),
    )

    name: Annotated[
        str, Meta(description="Unique in this Role.", pattern="^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$", max_length=63)
    ]
    type: Annotated[ObjectiveType, Meta(description="Latency or Success.")]
    target: Annotated[
        str,
        Meta(
            description='Percent of good turns as a string, from "50" to below "100", e.g. "99.5".',
            pattern=r"^[0-9]{1,3}(\.[0-9]{1,3})?$",
            max_length=7,
        ),
    ]
    measure: Annotated[Measure, Meta(description="For Latency: to which moment of the turn.")] = Measure.FIRST_TOKEN
    threshold_milliseconds: (
        Annotated[
            int, Meta(description="For Latency: a turn at or under this is good, in milliseconds.", ge=1, le=600_000)
        ]
        | None
    ) = None


class Slo(Spec, frozen=True, kw_only=True):
    """What users were promised."""

    window_days: Annotated[int, Meta(description="Rolling window of the budget, in days.", ge=1, le=90)] = 28
    objectives: Annotated[
        list[Objective],
        Meta(description="The promises.", min_length=1, max_length=8, extra={"list_map_key": "name"}),
    ]


class RoleSpec(Spec, frozen=True, kw_only=True):
    display_name: Annotated[
        str, Meta(description="What people see; the object's name where it is empty.", max_length=128)
    ] = ""
    template: Annotated[RoleTemplate, Meta(description="The hashed part: a change makes a new revision.")]
    sessions: Annotated[Sessions, Meta(description="Bounds on sessions.")] = Sessions()
    scaling: Annotated[
        Scaling,
        Meta(description="How many pods; for an autoscaler of your own see the annotation rolehost.io/replicas."),
    ] = Scaling()
    slo: Annotated[Slo | None, Meta(description="What users were promised; alerts and canaries follow it.")] = None
    logs: Annotated[
        LogPolicy,
        Meta(
            description='Who may read what the logic prints: Tenant, or "Off" (in quotes: bare, YAML reads it as false).'
        ),
    ] = LogPolicy.TENANT
    revision_history_limit: Annotated[
        int, Meta(description="Old revisions kept beside those in use.", ge=0, le=100)
    ] = 10


class Address(Spec, frozen=True, kw_only=True):
    url: Annotated[str, Meta(description="Where clients connect.", max_length=2048)] = ""


class RoleStatus(Spec, frozen=True, kw_only=True):
    observed_generation: Annotated[int, Meta(description="The generation that this status speaks of.", ge=0)] = 0
    conditions: Annotated[
        list[Condition],
        Meta(
            description="Ready, Accepted, LogicLoaded, SandboxVerified; while an upgrade of the platform has not "
            "reached the Role's pods, RuntimeDrift.",
            max_length=16,
            extra={"list_map_key": "type"},
        ),
    ] = []
    latest_created_revision: Annotated[
        str, Meta(description="The revision of the newest template.", max_length=253)
    ] = ""
    latest_ready_revision: Annotated[
        str, Meta(description="The newest revision whose logic loaded.", max_length=253)
    ] = ""
    stable_revision: Annotated[str, Meta(description="The revision that takes new sessions.", max_length=253)] = ""
    address: Annotated[Address, Meta(description="Where clients connect.")] = Address()


class Role(Struct, frozen=True, kw_only=True, rename="camel"):
    """An AI persona that people talk to: prompt, model, memory and logic, hosted for its tenant."""

    __cel__: ClassVar[Cel] = (
        (
            "self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')",
            "a Role's name is a DNS label: at most 63 of a-z, 0-9 and '-', e.g. storyteller",
        ),
    )

    api_version: str = API_VERSION
    kind: str = "Role"
    metadata: ObjectMeta = ObjectMeta()
    spec: RoleSpec
    status: RoleStatus = RoleStatus()
