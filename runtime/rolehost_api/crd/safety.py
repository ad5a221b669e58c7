"""Safety: what a Role does not let in, does not let out, and says where somebody is in danger."""

from enum import Enum
from typing import Annotated, ClassVar

from msgspec import Meta

from rolehost_api.crd.common import Spec

Cel = tuple[tuple[str, str], ...]
MAX_GUARDS, MAX_RULES, MAX_WORDS, MAX_WORD_CHARS = 8, 32, 256, 64
"""Of a Role, of a guard, of a rule, of one entry of `words`."""
DEFAULT_REFUSAL = "I can't answer that."


class Category(Enum):
    """What a text is about. A closed list: metrics carry it, and a tenant's own word would be a label of their own."""

    SELF_HARM = "SelfHarm"
    VIOLENCE = "Violence"
    SEXUAL = "Sexual"
    MINORS = "Minors"
    HATE = "Hate"
    HARASSMENT = "Harassment"
    ILLEGAL = "Illegal"
    PERSONAL_DATA = "PersonalData"
    SECRETS = "Secrets"
    PROFANITY = "Profanity"
    JAILBREAK = "Jailbreak"
    OFF_TOPIC = "OffTopic"
    OTHER = "Other"


class GuardAction(Enum):
    """What becomes of a text that a guard has something against."""

    BLOCK = "Block"
    REPLACE = "Replace"
    FLAG = "Flag"


class GuardStage(Enum):
    """Where a guard listens: to what users say, or to what is said to them."""

    INPUT = "Input"
    OUTPUT = "Output"


class FailurePolicy(Enum):
    """What counts where a guard itself fails: the text passes, or it is blocked."""

    OPEN = "Open"
    CLOSED = "Closed"


class Language(Enum):
    """What the platform's own rules know."""

    AR = "ar"
    DE = "de"
    EN = "en"
    ES = "es"
    FR = "fr"
    IT = "it"
    JA = "ja"
    KO = "ko"
    PT = "pt"
    RU = "ru"
    ZH = "zh"


class CrisisReply(Spec, frozen=True, kw_only=True):
    """What is said in one language."""

    language: Annotated[Language, Meta(description="The language in which a message was understood.")]
    text: Annotated[str, Meta(description="What is said then.", min_length=1, max_length=4096)]


class GuardRule(Spec, frozen=True, kw_only=True):
    """Words of one category, and what is done about them."""

    __cel__: ClassVar[Cel] = (
        (
            "(has(self.action) && self.action == 'Replace') == (has(self.text) && self.text.size() > 0)",
            "an action Replace needs text, what to write instead; no other action has one",
        ),
    )

    category: Annotated[Category, Meta(description="What the words are about.")]
    words: Annotated[
        tuple[
            Annotated[
                str,
                Meta(
                    description="A word or a phrase, in any case. `#` stands for one digit; `*` at the end for the rest "
                    "of the word.",
                    min_length=1,
                    max_length=MAX_WORD_CHARS,
                ),
            ],
            ...,
        ],
        Meta(description="Words and phrases, found as whole words.", min_length=1, max_length=MAX_WORDS),
    ]
    action: Annotated[
        GuardAction,
        Meta(description="Block: the answer is the refusal. Replace: with text. Flag: it passes, and is counted."),
    ] = GuardAction.BLOCK
    text: Annotated[str, Meta(description="For Replace: what is written instead.", max_length=64)] = ""


class GuardModel(Spec, frozen=True, kw_only=True):
    """A model that is asked about a text. It sees what users say, and costs a call for each of them."""

    backend: Annotated[str, Meta(description="Name of a ModelBackend of this cluster.", min_length=1, max_length=253)]
    name: Annotated[str, Meta(description="One of the backend's models; empty means its first.", max_length=253)] = ""
    question: Annotated[
        str,
        Meta(
            description="What it is asked about the text, e.g. whether it is about medicine. The categories to choose "
            "from, and None, are told behind it.",
            min_length=1,
            max_length=4096,
        ),
    ]
    categories: Annotated[
        tuple[Annotated[Category, Meta(description="A category.")], ...],
        Meta(description="Those it may answer with.", min_length=1, max_length=13),
    ]
    action: Annotated[GuardAction, Meta(description="Block or Flag: which words to replace, a model does not say.")] = (
        GuardAction.BLOCK
    )
    timeout_seconds: Annotated[int, Meta(description="Most time for one question, in seconds.", ge=1, le=60)] = 5
    max_characters: Annotated[
        int,
        Meta(
            description="A text that is longer is not judged by its beginning: it counts as the guard's failure.",
            ge=100,
            le=262_144,
        ),
    ] = 16_384
    max_questions: Annotated[
        int, Meta(description="Most questions in one turn; one more counts as the guard's failure.", ge=1, le=16)
    ] = 4


class GuardPlugin(Spec, frozen=True, kw_only=True):
    """A guard that whoever runs the platform has installed."""

    name: Annotated[
        str, Meta(description="As it is installed.", pattern="^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$", max_length=63)
    ]
    timeout_seconds: Annotated[int, Meta(description="Most time for one text, in seconds.", ge=1, le=60)] = 5
    max_questions: Annotated[
        int, Meta(description="Most texts of one turn; one more counts as the guard's failure.", ge=1, le=16)
    ] = 4


class GuardSpec(Spec, frozen=True, kw_only=True):
    """One guard: rules, a model that is asked, or a plugin. Exactly one of the three."""

    __cel__: ClassVar[Cel] = (
        (
            "[has(self.rules) && self.rules.size() > 0, has(self.model), has(self.plugin)].filter(x, x).size() == 1",
            "give exactly one of rules, model and plugin",
        ),
        (
            "!has(self.model) || !has(self.model.action) || self.model.action != 'Replace'",
            "a model's action is Block or Flag",
        ),
    )

    name: Annotated[
        str, Meta(description="Unique in this Role.", pattern="^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$", max_length=63)
    ]
    stages: Annotated[
        tuple[Annotated[GuardStage, Meta(description="Input or Output.")], ...],
        Meta(
            description="Input: what users say. Output: what is said to them; a model or a plugin holds an "
            "answer back until it was judged. Default: both.",
            min_length=1,
            max_length=2,
        ),
    ] = (GuardStage.INPUT, GuardStage.OUTPUT)
    rules: Annotated[list[GuardRule], Meta(description="Words by category.", max_length=MAX_RULES)] = []
    model: Annotated[GuardModel | None, Meta(description="A model that is asked.")] = None
    plugin: Annotated[GuardPlugin | None, Meta(description="A guard that the platform has installed.")] = None
    on_failure: Annotated[
        FailurePolicy,
        Meta(description="Where the guard itself fails, of which rules are not capable: Open lets the text pass."),
    ] = FailurePolicy.OPEN


class Safety(Spec, frozen=True, kw_only=True):
    """What is not let in, what is not let out, and what is said where somebody is in danger."""

    __cel__: ClassVar[Cel] = (
        (
            "!has(self.crisisReplies) || self.crisisReplies.size() == 0 || "
            "(has(self.crisisReply) && self.crisisReply.size() > 0)",
            "crisisReplies needs crisisReply, which is said in every other language",
        ),
    )

    guards: Annotated[
        list[GuardSpec],
        Meta(description="Who listens.", max_length=MAX_GUARDS, extra={"list_map_key": "name"}),
    ] = []
    refusal: Annotated[
        str, Meta(description="Said in place of what was blocked; empty: nothing is.", max_length=2048)
    ] = DEFAULT_REFUSAL
    crisis_reply: Annotated[
        str,
        Meta(
            description="Said in place of an answer where a message speaks of suicide or self-harm: whom to call, where "
            "your users are. It also switches on the platform's own rules for that, in several languages; without it "
            "there are none, for the platform knows no number that would help.",
            max_length=4096,
        ),
    ] = ""
    crisis_replies: Annotated[
        list[CrisisReply],
        Meta(
            description="The same by the language in which the message was understood by the platform's own rules.",
            max_length=16,
        ),
    ] = []
