"""Role: what a tenant declares. Only `spec.template` makes revisions."""

from enum import Enum
from typing import Annotated, Any, ClassVar

from msgspec import Meta, Struct

from rolehost_api.crd.common import Condition, ObjectMeta, Spec
from rolehost_api.crd.lorebook import Lorebook
from rolehost_api.crd.rollout import Leaving, Past, Rollout, RolloutStatus, Share
from rolehost_api.crd.safety import Safety
from rolehost_api.names import API_VERSION

Cel = tuple[tuple[str, str], ...]
MAX_INLINE_BYTES = 16_384
MAX_FROZEN_BYTES = 262_144
RETENTION_SECONDS = 2_592_000
"""30 days: how long a session is kept after its last turn, where its Role does not say."""
FASTEST_BURN = 14.4
"""An error budget that is spent so many times too fast pages somebody within the hour."""
LEAST_TARGET = 93.056
"""In percent. Of a lower target not even an outage of everything spends the budget that fast: nobody would be paged.

>>> (100 - LEAST_TARGET) * FASTEST_BURN < 100 < (100 - 93.055) * FASTEST_BURN
True
"""
_LABEL = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_PORT = "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
HTTP_PERMISSION = rf"http:(\*\.{_LABEL}\.)?{_LABEL}(\.{_LABEL})*(:{_PORT})?"
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


class Example(Spec, frozen=True, kw_only=True):
    """A message, and how the Role would answer it."""

    user: Annotated[str, Meta(description="What somebody says.", min_length=1, max_length=4_096)]
    persona: Annotated[str, Meta(description="What the Role answers.", min_length=1, max_length=4_096)]


class Persona(Spec, frozen=True, kw_only=True):
    """The text of a Role."""

    system: Annotated[
        str, Meta(description="The system prompt: who the Role is and how it speaks.", max_length=65_536)
    ] = ""
    greeting: Annotated[
        str, Meta(description="Said first in a new session, without asking the model.", max_length=8_192)
    ] = ""
    template: Annotated[
        str,
        Meta(
            description="A persona that is built in: companion_v1, fantasy_narrator_v1, support_v1 or tutor_v1. What is "
            "given here beside it stands in place of its own, where the variable original is what the template says there.",
            pattern="^([a-z][a-z0-9_]*_v[1-9][0-9]*)?$",
            max_length=64,
        ),
    ] = ""
    variables: Annotated[
        dict[str, Annotated[str, Meta(description="The text that stands for the name.", max_length=8_192)]],
        Meta(
            description="What the names in double braces in the texts stand for, and what if asks for; see docs/prompts.md. "
            "With neither template nor variables the texts are taken as they are.",
            max_length=32,
        ),
    ] = {}
    greetings: Annotated[
        tuple[Annotated[str, Meta(description="A greeting.", min_length=1, max_length=8_192)], ...],
        Meta(
            description="Others that a client may show instead: session.created tells them, and the session's first "
            "message says which one it was (`greeting`, from 1; 0 is the field above).",
            max_length=16,
        ),
    ] = ()
    examples: Annotated[
        tuple[Example, ...],
        Meta(description="How the Role speaks: told to the model behind system, always.", max_length=32),
    ] = ()
    lorebook: Annotated[
        Lorebook,
        Meta(description="What the Role knows of the world, told to the model only where it is spoken of."),
    ] = Lorebook()


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
    reads_schema_versions: Annotated[
        list[Annotated[int, Meta(description="A version.", ge=1, le=10_000)]],
        Meta(
            description="State of which other versions this logic can read as well. A rollback needs the stable revision "
            "to read the new one's.",
            max_length=16,
        ),
    ] = []
    max_bytes: Annotated[
        int,
        Meta(
            description="Largest state of one session, encoded, in bytes; it may hold at most 32,768 values.",
            ge=1024,
            le=262_144,
        ),
    ] = 65_536


class MemoryPrompt(Spec, frozen=True, kw_only=True):
    """What the model is reminded of by itself."""

    enabled: Annotated[
        bool,
        Meta(
            description="Put what is remembered of the user, and has to do with their message, in front of it whenever "
            "the model is asked. Logic can do so itself with t.memory.recall and t.prompt.add."
        ),
    ] = False
    max_items: Annotated[int, Meta(description="At most so many memories.", ge=1, le=32)] = 6
    max_characters: Annotated[int, Meta(description="Of all of them, in characters.", ge=100, le=16_384)] = 2000


class MemoryEmbeddings(Spec, frozen=True, kw_only=True):
    """By what memories are found that mean the same in other words."""

    backend: Annotated[
        str,
        Meta(
            description="Name of a ModelBackend of type Embeddings. Empty: memories are found by their words only.",
            max_length=253,
        ),
    ] = ""
    model: Annotated[str, Meta(description="One of the backend's models; empty means its first.", max_length=253)] = ""


class PromptSpec(Spec, frozen=True, kw_only=True):
    """How prompts are laid out."""

    plugin: Annotated[
        str,
        Meta(
            description="An installed PromptTemplate that words and orders what the system tells the model, see "
            "docs/plugins.md. Empty: the persona, and below the conversation what goes for this turn.",
            pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$",
            max_length=63,
        ),
    ] = ""


class MemorySpec(Spec, frozen=True, kw_only=True):
    """What is done with what the logic remembers."""

    prompt: Annotated[MemoryPrompt, Meta(description="What the model is reminded of by itself.")] = MemoryPrompt()
    embeddings: Annotated[
        MemoryEmbeddings, Meta(description="By what memories are found that mean the same in other words.")
    ] = MemoryEmbeddings()


class ServerHeader(Spec, frozen=True, kw_only=True):
    """A header that only the gateway knows the value of."""

    name: Annotated[
        str, Meta(description="E.g. Authorization.", pattern=r"^[A-Za-z0-9][-_A-Za-z0-9]*$", max_length=128)
    ]
    key: Annotated[
        str,
        Meta(
            description="Its value is the entry <namespace>.<key> of the Secret rolehost-tool-keys in the platform's namespace.",
            pattern="^[-_a-zA-Z0-9]+$",
            max_length=128,
        ),
    ]
    prefix: Annotated[
        str,
        Meta(description="Before the value, with a space between, e.g. Bearer.", pattern="^[A-Za-z]*$", max_length=16),
    ] = ""


class McpServer(Spec, frozen=True, kw_only=True):
    """A server of the Model Context Protocol, over streamable HTTP."""

    url: Annotated[
        str,
        Meta(
            description="Its endpoint, e.g. https://mcp.acme.com/mcp.", pattern=r"^https?://[^\s@]+$", max_length=2048
        ),
    ]
    headers: Annotated[
        list[ServerHeader], Meta(description="Sent with every request.", max_length=8, extra={"list_map_key": "name"})
    ] = []


class ToolServer(Spec, frozen=True, kw_only=True):
    """A server whose tools the model may call, as far as permissions grant: tool:NAME__TOOL, tool:NAME__* or tool:*."""

    name: Annotated[
        str,
        Meta(description="Before the names of its tools.", pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=24),
    ]
    mcp: Annotated[McpServer, Meta(description="A server of the Model Context Protocol.")]


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
            "(has(self.persona) && has(self.persona.system) && self.persona.system.size() > 0) || has(self.personaFrom)"
            " || (has(self.persona) && has(self.persona.template) && self.persona.template.size() > 0)",
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
                    pattern=rf"^(model\.call|memory\.(read|write|forget)|tool:[\w*.-]+|{HTTP_PERMISSION})$",
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
    behavior: Annotated[
        dict[str, Any],
        Meta(
            description="The behaviour graph: initial, nodes, edges; or subgraphs of these. `rolehost check` and "
            "POST /v1/roles:check compile it; editors take docs/reference/role.schema.json.",
            max_length=64,
            extra={"free_form": True},
        ),
    ] = {}
    prompt: Annotated[PromptSpec, Meta(description="How prompts are laid out.")] = PromptSpec()
    memory: Annotated[MemorySpec, Meta(description="What is done with what the logic remembers.")] = MemorySpec()
    tools: Annotated[
        list[ToolServer],
        Meta(
            description="Servers of tools for the model, beside the logic's own.",
            max_length=8,
            extra={"list_map_key": "name"},
        ),
    ] = []
    resources: Annotated[Resources, Meta(description="Of one sandbox pod.")] = Resources()
    safety: Annotated[
        Safety,
        Meta(description="What is not let in, what is not let out, and what is said where somebody is in danger."),
    ] = Safety()


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
    max_turn_tokens: Annotated[
        int,
        Meta(
            description="Most tokens of one turn, prompts and answers of all its calls of the model.",
            ge=1,
            le=100_000_000,
        ),
    ] = 1_000_000


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
            f"self.target.matches('^[0-9.]+$') && double(self.target) >= {LEAST_TARGET} && double(self.target) < 100.0",
            f"target must be at least {LEAST_TARGET} and below 100: of a lower one an outage of everything would page "
            "nobody, and 100 leaves no error budget and can never be kept",
        ),
    )

    name: Annotated[
        str, Meta(description="Unique in this Role.", pattern="^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$", max_length=63)
    ]
    type: Annotated[ObjectiveType, Meta(description="Latency or Success.")]
    target: Annotated[
        str,
        Meta(
            description='Percent of good turns as a string, from "93.056" to below "100", e.g. "99.5". See docs/alerts.md.',
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
    rollout: Annotated[Rollout, Meta(description="How a changed template comes to serve.")] = Rollout()
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
    stable_revision: Annotated[
        str, Meta(description="The revision that takes new sessions, but for those of traffic.", max_length=253)
    ] = ""
    canary_revision: Annotated[
        str, Meta(description="The revision that earns its traffic; empty while there is none.", max_length=253)
    ] = ""
    traffic: Annotated[
        list[Share], Meta(description="Where new sessions go; empty: all to the stable revision.", max_length=4)
    ] = []
    leaving: Annotated[
        list[Leaving], Meta(description="Revisions whose sessions go elsewhere or end.", max_length=4)
    ] = []
    rollout: Annotated[RolloutStatus | None, Meta(description="What goes on, or what ended last.")] = None
    history: Annotated[list[Past], Meta(description="Rollouts that ended, newest first.", max_length=10)] = []
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
