"""The form of a file of scenarios. Bounds and descriptions stand here alone; the schema for editors is rendered from them."""

from typing import Annotated, Any

from msgspec import Meta, Struct, field

MAX_SCENARIOS, MAX_TURNS, MAX_REPEATS, MAX_AT_ONCE = 500, 64, 1000, 64
MAX_TEXT, MAX_EXPECTED = 16_384, 32
Text = Annotated[str, Meta(max_length=MAX_TEXT)]
Texts = Annotated[list[Text], Meta(max_length=MAX_EXPECTED)]


class TransitionForm(Struct, frozen=True, forbid_unknown_fields=True):
    """A step of the behaviour graph."""

    source: Annotated[str, Meta(description="The node that is left.", max_length=64)] = field(name="from", default="")
    target: Annotated[str, Meta(description="The node that is entered.", max_length=64)] = field(name="to", default="")
    subgraph: Annotated[str, Meta(description="Of which subgraph; empty: of any.", max_length=64)] = ""


class MemoryForm(Struct, frozen=True, forbid_unknown_fields=True):
    """Something that the turn remembers."""

    kind: Annotated[str, Meta(description="short, long or rel; empty: any.", max_length=8)] = ""
    contains: Annotated[str, Meta(description="A part of its text.", max_length=MAX_TEXT)] = ""


class JudgeForm(Struct, frozen=True, forbid_unknown_fields=True):
    """What a model is asked about the reply: `--judge` says which."""

    rubric: Annotated[str, Meta(description="What a good reply is, in a sentence or some.", max_length=MAX_TEXT)] = ""
    mark: Annotated[int, Meta(description="The least mark of 0 to 10 that passes.", ge=1, le=10)] = field(
        name="pass", default=7
    )


class ExpectForm(Struct, frozen=True, forbid_unknown_fields=True):
    """What must come of a turn; what is not given is not looked at."""

    contains: Annotated[Texts, Meta(description="Each of these is a part of the reply, in this case.")] = []
    notContains: Annotated[Texts, Meta(description="None of these is, in any case.")] = []
    regex: Annotated[Texts, Meta(description="Each of these matches somewhere in the reply (Python's `re`).")] = []
    transition: Annotated[TransitionForm, Meta(description="The behaviour graph takes this step.")] = TransitionForm()
    node: Annotated[str, Meta(description="The current node after the turn.", max_length=64)] = ""
    memory: Annotated[MemoryForm, Meta(description="The turn remembers this.")] = MemoryForm()
    state: Annotated[
        dict[str, Any], Meta(description="Field of the state → its value after the turn.", max_length=64)
    ] = {}
    latencyMs: Annotated[
        int, Meta(description="The whole answer is there in so many milliseconds; 0: whenever.", ge=0, le=3_600_000)
    ] = 0
    finishReason: Annotated[str, Meta(description="stop, length or content_filter.", max_length=32)] = ""
    error: Annotated[str, Meta(description="The turn fails with this code.", max_length=64)] = ""
    judge: Annotated[JudgeForm, Meta(description="A model's opinion of the reply.")] = JudgeForm()


class TurnForm(Struct, frozen=True, forbid_unknown_fields=True):
    """One message of a user, and what must come of it."""

    say: Annotated[str, Meta(description="What the user says.", max_length=32_768)]
    expect: Annotated[ExpectForm, Meta(description="What must come of it.")] = ExpectForm()


class ScenarioForm(Struct, frozen=True, forbid_unknown_fields=True):
    """A conversation, in a session of its own."""

    name: Annotated[str, Meta(description="Unique in the file.", max_length=128)]
    turns: Annotated[list[TurnForm], Meta(description="In order.", min_length=1, max_length=MAX_TURNS)]
    user: Annotated[str, Meta(description="The end user; empty: the tenant itself.", max_length=128)] = ""
    repeats: Annotated[
        int, Meta(description="So often, each time with another seed; 0: as the file says.", ge=0, le=MAX_REPEATS)
    ] = 0
    model: Annotated[
        list[Text],
        Meta(description="What the model answers, in order, where no real one is asked.", max_length=256),
    ] = []


class EvalForm(Struct, frozen=True, forbid_unknown_fields=True):
    """Scenarios for one Role."""

    role: Annotated[
        str,
        Meta(
            description="A manifest or a .py file beside this one; or, with --url, the name of a Role that runs.",
            max_length=512,
        ),
    ]
    scenarios: Annotated[list[ScenarioForm], Meta(description="Conversations.", min_length=1, max_length=MAX_SCENARIOS)]
    repeats: Annotated[int, Meta(description="How often each is played.", ge=1, le=MAX_REPEATS)] = 1
    atOnce: Annotated[int, Meta(description="How many are played at once.", ge=1, le=MAX_AT_ONCE)] = 4
    minPassRate: Annotated[float, Meta(description="The part of all runs that must pass, from 0 to 1.", ge=0, le=1)] = (
        1.0
    )
    seed: Annotated[int, Meta(description="The first repeat's; each next one has the next.", ge=0, le=2**31)] = 0
