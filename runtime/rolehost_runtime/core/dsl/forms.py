"""The form of `spec.template.behavior`. Bounds and descriptions stand here alone; the schema for editors is rendered
from them, and `reading` holds manifests to them."""

from enum import Enum
from typing import Annotated, Any

from msgspec import Meta, Struct, field

from rolehost_runtime.core.dsl.expressions.lexing import MAX_CHARS

MAX_NODES, MAX_EDGES, MAX_SUBGRAPHS = 256, 1024, 4
MAX_FIELDS = 64
MAX_PROMPT = 8_192
MAX_PROMPTS = 131_072
"""Characters of all prompts together."""
MAX_EXPRESSIONS = 65_536
"""Characters of all expressions together."""
MAX_NAME = 64
NAME = r"^\w[\w .-]*$"
FIELD = r"^[A-Za-z][A-Za-z0-9_]*$"


class Scope(Enum):
    """Whose a field is."""

    SESSION = "session"
    USER = "user"


class FieldType(Enum):
    """What a field holds; `list` holds text."""

    BOOL = "bool"
    INT = "int"
    FLOAT = "float"
    STR = "str"
    LIST = "list"


class Cooldown(Struct, frozen=True, forbid_unknown_fields=True):
    """How long an edge rests after it was taken."""

    turns: Annotated[
        int, Meta(description="Turns that must lie between two uses; 0: none need to.", ge=0, le=1_000_000)
    ] = 0
    seconds: Annotated[
        int, Meta(description="Seconds that must lie between the turns that use it.", ge=0, le=31_622_400)
    ] = 0


class EdgeForm(Struct, frozen=True, forbid_unknown_fields=True):
    """A way from one node to another."""

    source: Annotated[str, Meta(description="The node that it leaves.", max_length=MAX_NAME)] = field(name="from")
    target: Annotated[str, Meta(description="The node that it leads to; may be the same.", max_length=MAX_NAME)] = (
        field(name="to")
    )
    weight: Annotated[
        float,
        Meta(
            description="Among the edges that may be taken now, one is taken with probability weight / sum of weights.",
            ge=0,
        ),
    ] = 1.0
    when: Annotated[
        str,
        Meta(description="A condition over the turn, e.g. message.size() > 3; empty: always.", max_length=MAX_CHARS),
    ] = ""
    cooldown: Annotated[Cooldown, Meta(description="How long it rests after it was taken.")] = Cooldown()


class Changes(Struct, frozen=True, forbid_unknown_fields=True):
    """What is done at a node's door."""

    set: Annotated[
        dict[str, Any],
        Meta(
            description="Field of the state → its new value: a number, true or false, or an expression in quotes, "
            'e.g. "state.score + 1".',
            max_length=MAX_FIELDS,
        ),
    ] = {}


class NodeForm(Struct, frozen=True, forbid_unknown_fields=True):
    """A place where a session can be."""

    prompt: Annotated[
        str, Meta(description="What the model is told while this node is current.", max_length=MAX_PROMPT)
    ] = ""
    disabled: Annotated[bool, Meta(description="Nobody enters it. Who is in it may leave.")] = False
    enter: Annotated[Changes, Meta(description="What is done on the way in.")] = Changes()
    exit: Annotated[Changes, Meta(description="What is done on the way out.")] = Changes()


class SubgraphForm(Struct, frozen=True, forbid_unknown_fields=True):
    """One graph among several that are active at once."""

    nodes: Annotated[
        dict[str, NodeForm], Meta(description="Its nodes by name.", min_length=1, max_length=MAX_NODES)
    ] = {}
    initial: Annotated[str, Meta(description="The node that a new session is in.", max_length=MAX_NAME)] = ""
    edges: Annotated[list[EdgeForm], Meta(description="The ways between its nodes.", max_length=MAX_EDGES)] = []
    weight: Annotated[
        float, Meta(description="Its share: prompts of current nodes are told to the model with it.", ge=0)
    ] = 1.0


class StateField(Struct, frozen=True, forbid_unknown_fields=True):
    """A field of the state of a Role without Python."""

    type: Annotated[FieldType, Meta(description="bool, int, float, str, or list (of text).")]
    default: Annotated[Any, Meta(description="What it begins with; without: false, 0, 0.0, '' or [].")] = None
    scope: Annotated[
        Scope, Meta(description="session: one per session (default). user: one per person, over all their sessions.")
    ] = Scope.SESSION


class BehaviorForm(Struct, frozen=True, forbid_unknown_fields=True):
    """The behaviour graph of a Role: one of initial, nodes and edges; or several as subgraphs."""

    nodes: Annotated[dict[str, NodeForm], Meta(description="Its nodes by name.", max_length=MAX_NODES)] = {}
    initial: Annotated[str, Meta(description="The node that a new session is in.", max_length=MAX_NAME)] = ""
    edges: Annotated[list[EdgeForm], Meta(description="The ways between the nodes.", max_length=MAX_EDGES)] = []
    subgraphs: Annotated[
        dict[str, SubgraphForm], Meta(description="Graphs that are active at once, by name.", max_length=MAX_SUBGRAPHS)
    ] = {}
    state: Annotated[
        dict[str, StateField],
        Meta(
            description="The state of a Role without Python, by field. With Python, a class derived from State says it.",
            max_length=MAX_FIELDS,
        ),
    ] = {}
    policy: Annotated[
        str,
        Meta(
            description="Name of a BehaviorPolicy that the platform has; it chooses among edges in place of their weights.",
            max_length=63,
        ),
    ] = ""
