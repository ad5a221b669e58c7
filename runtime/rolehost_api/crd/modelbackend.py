"""ModelBackend: a model server that Roles of this cluster may name."""

from enum import Enum
from typing import Annotated, Any, ClassVar

from msgspec import Meta, Struct, field

from rolehost_api.crd.common import ObjectMeta, Spec
from rolehost_api.crd.role import Cel
from rolehost_api.names import API_VERSION


class BackendType(Enum):
    """What the server speaks."""

    OPENAI = "OpenAI"
    SCRIPTED = "Scripted"
    ANTHROPIC = "Anthropic"
    OLLAMA = "Ollama"
    EMBEDDINGS = "Embeddings"
    PLUGIN = "Plugin"


class ApiKey(Spec, frozen=True, kw_only=True):
    key: Annotated[
        str,
        Meta(
            description="An entry of the Secret rolehost-model-keys in the platform's namespace.",
            pattern="^[-._a-zA-Z0-9]+$",
            max_length=253,
        ),
    ]


class LateText(Enum):
    """Where a model is told what goes for one turn only."""

    SYSTEM = "System"
    MESSAGE = "Message"
    OPENING = "Opening"


class CacheSalt(Enum):
    """What keeps tenants apart in what a server keeps of prompts."""

    FIELD = "Field"
    PROMPT = "Prompt"
    NONE = "None"


class Abilities(Spec, frozen=True, kw_only=True):
    """What a model can do, where it is not what is usual for its backend's type."""

    stream: Annotated[bool | None, Meta(description="It answers piece by piece; false: it is asked for the whole.")] = (
        None
    )
    tools: Annotated[bool | None, Meta(description="It can call tools.")] = None
    token_counting: Annotated[
        bool | None, Meta(description="The server says what a call took; false: it is estimated.")
    ] = None
    local: Annotated[bool | None, Meta(description="What is said to it does not leave what you run yourself.")] = None
    context_tokens: (
        Annotated[
            int,
            Meta(
                description="Most tokens of prompt and answer; a longer prompt is not sent. 0: unknown.", ge=0, le=2**31
            ),
        ]
        | None
    ) = None
    max_output_tokens: (
        Annotated[
            int,
            Meta(description="Most tokens of one answer. 0: the server's own bound. Anthropic: 4096.", ge=0, le=2**31),
        ]
        | None
    ) = None
    late_text: Annotated[
        LateText | None,
        Meta(
            description="Where what goes for one turn only (prompts of nodes, t.prompt.add) is told. System: in a system "
            "message behind the history, which not every chat template takes. Message: at the head of the user's "
            "message, marked as not theirs. Opening: in the first system message; then the server can reuse nothing of "
            "the history. Default: System for api.openai.com and Scripted, else Message."
        ),
    ] = None
    cache_salt: Annotated[
        CacheSalt | None,
        Meta(
            description="How tenants are kept from seeing, by the count of cached tokens or by time, what others' prompts "
            "begin with. Field: the request's cache_salt, as vLLM has it. Prompt: a word of the tenant's own opens every "
            "prompt. None: not at all, for a server of one tenant. Default: Prompt."
        ),
    ] = None
    cache_key: Annotated[
        bool | None,
        Meta(
            description="The request may say which others begin like it (prompt_cache_key). Default: for api.openai.com."
        ),
    ] = None


class Price(Spec, frozen=True, kw_only=True):
    """What a million tokens cost, in millionths of a unit of your currency: 150000 is 0.15."""

    input_micros: Annotated[int, Meta(description="A million tokens of prompt.", ge=0, le=10**12)] = 0
    cached_micros: (
        Annotated[
            int,
            Meta(description="A million tokens that the server had cached. Default: as inputMicros.", ge=0, le=10**12),
        ]
        | None
    ) = None
    output_micros: Annotated[int, Meta(description="A million tokens of answer.", ge=0, le=10**12)] = 0


class ServedModel(Spec, frozen=True, kw_only=True):
    """One model of the server, and the name by which Roles call it."""

    name: Annotated[str, Meta(description="What Roles call it.", min_length=1, max_length=253)]
    model: Annotated[str, Meta(description="What the server calls it.", min_length=1, max_length=253)]
    abilities: Annotated[Abilities, Meta(description="Where they are not what is usual for the type.")] = Abilities()
    price: Annotated[Price, Meta(description="What its tokens cost, for budgets and metrics.")] = Price()


class Timeouts(Spec, frozen=True, kw_only=True):
    """Bounds on one call.

    >>> Timeouts().first_token, Timeouts(first_token_milliseconds=800).first_token
    (30.0, 0.8)
    """

    connect_seconds: Annotated[int, Meta(description="To connect, in seconds.", ge=1, le=60)] = 5
    first_token_seconds: Annotated[int, Meta(description="From request to first token, in seconds.", ge=1, le=600)] = 30
    first_token_milliseconds: (
        Annotated[
            int,
            Meta(
                description="Counts in the place of firstTokenSeconds where it is given, in milliseconds.",
                ge=50,
                le=600_000,
            ),
        ]
        | None
    ) = None
    idle_seconds: Annotated[int, Meta(description="Between two tokens, in seconds.", ge=1, le=600)] = 30
    total_seconds: Annotated[int, Meta(description="For the whole answer, in seconds.", ge=1, le=3600)] = 300

    @property
    def first_token(self) -> float:
        """Seconds from request to first token."""
        given = self.first_token_milliseconds
        return float(self.first_token_seconds) if given is None else given / 1000


class Retries(Spec, frozen=True, kw_only=True):
    """Tries after the first one. Only before the first token: text that was shown is never asked for again."""

    max_retries: Annotated[int, Meta(description="More tries of one call; 0: none.", ge=0, le=10)] = 2
    budget_percent: Annotated[
        int,
        Meta(description="Retries in a hundred calls, with 10 in hand: a storm is not made larger.", ge=0, le=100),
    ] = 20
    max_wait_seconds: Annotated[
        int, Meta(description="A server that asks for a longer pause (Retry-After) is not waited for.", ge=0, le=60)
    ] = 5


class Breaker(Spec, frozen=True, kw_only=True):
    """A backend that keeps failing is left alone for a while, then tried with one call."""

    failure_percent: Annotated[int, Meta(description="So many of a hundred calls failed: it opens.", ge=1, le=100)] = 50
    min_calls: Annotated[int, Meta(description="Fewer calls in the window say nothing.", ge=1, le=10_000)] = 10
    window_seconds: Annotated[int, Meta(description="Calls of this time count, in seconds.", ge=1, le=600)] = 30
    open_seconds: Annotated[int, Meta(description="Left alone for this long, in seconds.", ge=1, le=600)] = 15


class Concurrency(Spec, frozen=True, kw_only=True):
    """Calls at the same time, in each gateway. Who waits, waits in line with others of the same tenant; tenants take turns."""

    max_calls: Annotated[int, Meta(description="Calls at once.", ge=1, le=10_000)] = 256
    max_queue: Annotated[
        int, Meta(description="Calls that wait; the longest line loses its last.", ge=0, le=10_000)
    ] = 256
    queue_seconds: Annotated[int, Meta(description="Longest wait, in seconds.", ge=1, le=600)] = 30


class TokenBudget(Spec, frozen=True, kw_only=True):
    """What may be spent on this backend in one day (UTC). 0: no bound."""

    tokens_per_day: Annotated[int, Meta(description="Tokens of prompts and answers.", ge=0, le=2**53 - 1)] = 0
    cost_micros_per_day: Annotated[
        int, Meta(description="Cost by the models' prices, in millionths of a unit.", ge=0, le=2**53 - 1)
    ] = 0


class TenantBudget(TokenBudget, frozen=True, kw_only=True):
    """What one tenant may spend, in place of perTenant."""

    name: Annotated[str, Meta(description="The tenant's namespace.", min_length=1, max_length=63)]


class Budgets(Spec, frozen=True, kw_only=True):
    """What tenants may spend here. A call is not begun where what it may take is not left."""

    per_tenant: Annotated[TokenBudget, Meta(description="For every tenant.")] = TokenBudget()
    tenants: Annotated[
        list[TenantBudget],
        Meta(description="For some in place of that.", max_length=1024, extra={"list_map_key": "name"}),
    ] = []


class Batching(Spec, frozen=True, kw_only=True):
    """How texts of one tenant travel together to an Embeddings backend."""

    max_texts: Annotated[int, Meta(description="Texts in one request.", ge=1, le=2048)] = 64
    max_tokens: Annotated[int, Meta(description="Tokens in one request, as estimated.", ge=1, le=1_000_000)] = 8192
    window_milliseconds: Annotated[
        int, Meta(description="How long the first text waits for others.", ge=0, le=1000)
    ] = 5


class ScriptCall(Spec, frozen=True, kw_only=True):
    """A tool that the scripted model calls."""

    tool: Annotated[str, Meta(description="Its name.", min_length=1, max_length=64)]
    arguments: Annotated[
        dict[str, Any],
        Meta(
            description="What it is called with. In text, {message} is the user's message.",
            max_length=32,
            extra={"free_form": True},
        ),
    ] = {}


class ScriptLine(Spec, frozen=True, kw_only=True):
    """What the scripted model answers to a message that matches."""

    match: Annotated[
        str, Meta(description="Found in the message, in any case; empty matches all.", max_length=1024)
    ] = ""
    reply: Annotated[
        str,
        Meta(
            description="The answer. {message} is the user's message, {previous} their message before, "
            "{system} the first line of the prompt, {results} what the tools of `calls` gave back.",
            min_length=1,
            max_length=8192,
        ),
    ]
    calls: Annotated[
        list[ScriptCall],
        Meta(description="Tools that it calls before it answers, where it is offered any.", max_length=16),
    ] = []


class BackendSpec(Spec, frozen=True, kw_only=True):
    __cel__: ClassVar[Cel] = (
        ("self.type != 'Scripted' || !has(self.apiKey)", "a Scripted backend takes no apiKey"),
        (
            "self.type in ['Scripted', 'Plugin'] || (has(self.baseURL) && self.baseURL.size() > 0)",
            "give baseURL: http://vllm.models:8000/v1 for OpenAI, https://api.anthropic.com/v1 for Anthropic, "
            "http://ollama.models:11434 for Ollama, http://tei.models:8080/v1 for Embeddings",
        ),
        (
            "self.type in ['Scripted', 'Plugin'] || (has(self.models) && self.models.size() > 0)",
            "this backend needs at least one model",
        ),
        (
            "(self.type == 'Plugin') == (has(self.plugin) && self.plugin.size() > 0)",
            "a Plugin backend needs plugin, the name of a ModelProvider, and no other backend takes one",
        ),
        (
            "self.type != 'Embeddings' || !has(self.fallbacks) || self.fallbacks.size() == 0",
            "an Embeddings backend takes no fallbacks: vectors of two models do not compare",
        ),
    )

    type: Annotated[
        BackendType,
        Meta(
            description="OpenAI: any server of that wire (OpenAI, vLLM, llama.cpp …). Anthropic: the Messages API. "
            "Ollama: its own wire. Embeddings: /embeddings of the OpenAI wire, for memory. "
            "Scripted: answers from `script`, no model. Plugin: whatever the ModelProvider that `plugin` names speaks."
        ),
    ]
    base_url: Annotated[
        str,
        Meta(
            description="Of the server, up to and with /v1; of an Ollama without it.",
            pattern=r"^(https?://[^\s]+)?$",
            max_length=2048,
        ),
    ] = field(default="", name="baseURL")
    api_key: Annotated[ApiKey | None, Meta(description="The key to send; none where it is left out.")] = None
    models: Annotated[
        list[ServedModel], Meta(description="What is served.", max_length=64, extra={"list_map_key": "name"})
    ] = []
    timeouts: Annotated[Timeouts, Meta(description="Bounds on one call.")] = Timeouts()
    retries: Annotated[Retries, Meta(description="More tries of a call that failed before its first token.")] = (
        Retries()
    )
    breaker: Annotated[Breaker, Meta(description="When the backend is left alone.")] = Breaker()
    concurrency: Annotated[Concurrency, Meta(description="Calls at the same time.")] = Concurrency()
    fallbacks: Annotated[
        list[
            Annotated[
                str,
                Meta(
                    description="backend, or backend/model by the name that Roles use.",
                    pattern=r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?(/[^\s]+)?$",
                    max_length=507,
                ),
            ]
        ],
        Meta(
            description="Who is asked instead, in this order, where this backend fails before its first token. "
            "Their own fallbacks are not.",
            max_length=8,
        ),
    ] = []
    budgets: Annotated[Budgets, Meta(description="What tenants may spend here.")] = Budgets()
    batching: Annotated[Batching, Meta(description="For Embeddings: how texts travel together.")] = Batching()
    script: Annotated[
        list[ScriptLine], Meta(description="For Scripted: the first line that matches answers.", max_length=256)
    ] = []
    plugin: Annotated[
        str,
        Meta(
            description="For Plugin: the name of a ModelProvider that a package of the gateway's image declares.",
            pattern=r"^([A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?)?$",
            max_length=63,
        ),
    ] = ""

    def served(self, name: str) -> ServedModel | None:
        """The model that Roles call `name`; the first where they name none. None: there is no such one.

        >>> backend = BackendSpec(type=BackendType.OPENAI, models=[ServedModel(name="small", model="qwen3")])
        >>> backend.served("small").model, backend.served("").model, backend.served("big")
        ('qwen3', 'qwen3', None)
        """
        return next((one for one in self.models if name in ("", one.name)), None)

    def budget_of(self, tenant: str) -> TokenBudget:
        """What that tenant may spend here.

        >>> vip = TenantBudget(name="acme", tokens_per_day=9)
        >>> budgets = Budgets(per_tenant=TokenBudget(tokens_per_day=1), tenants=[vip])
        >>> backend = BackendSpec(type=BackendType.SCRIPTED, budgets=budgets)
        >>> [backend.budget_of(one).tokens_per_day for one in ("acme", "evil")]
        [9, 1]
        """
        return next((one for one in self.budgets.tenants if one.name == tenant), self.budgets.per_tenant)


class ModelBackend(Struct, frozen=True, kw_only=True, rename="camel"):
    """A model server, for the whole cluster. A change takes effect without a restart."""

    api_version: str = API_VERSION
    kind: str = "ModelBackend"
    metadata: ObjectMeta = ObjectMeta()
    spec: BackendSpec
