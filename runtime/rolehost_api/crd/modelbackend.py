"""ModelBackend: a model server that Roles of this cluster may name."""

from enum import Enum
from typing import Annotated, ClassVar

from msgspec import Meta, Struct, field

from rolehost_api.crd.common import ObjectMeta, Spec
from rolehost_api.crd.role import Cel
from rolehost_api.names import API_VERSION


class BackendType(Enum):
    """What the server speaks."""

    OPENAI = "OpenAI"
    SCRIPTED = "Scripted"


class ApiKey(Spec, frozen=True, kw_only=True):
    key: Annotated[
        str,
        Meta(
            description="An entry of the Secret rolehost-model-keys in the platform's namespace.",
            pattern="^[-._a-zA-Z0-9]+$",
            max_length=253,
        ),
    ]


class ServedModel(Spec, frozen=True, kw_only=True):
    """One model of the server, and the name by which Roles call it."""

    name: Annotated[str, Meta(description="What Roles call it.", min_length=1, max_length=253)]
    model: Annotated[str, Meta(description="What the server calls it.", min_length=1, max_length=253)]


class Timeouts(Spec, frozen=True, kw_only=True):
    connect_seconds: Annotated[int, Meta(description="To connect, in seconds.", ge=1, le=60)] = 5
    first_token_seconds: Annotated[int, Meta(description="From request to first token, in seconds.", ge=1, le=600)] = 30
    idle_seconds: Annotated[int, Meta(description="Between two tokens, in seconds.", ge=1, le=600)] = 30
    total_seconds: Annotated[int, Meta(description="For the whole answer, in seconds.", ge=1, le=3600)] = 300


class ScriptLine(Spec, frozen=True, kw_only=True):
    """What the scripted model answers to a message that matches."""

    match: Annotated[
        str, Meta(description="Found in the message, in any case; empty matches all.", max_length=1024)
    ] = ""
    reply: Annotated[
        str,
        Meta(
            description="The answer. {message} is the user's message, {previous} their message before, "
            "{system} the first line of the prompt.",
            min_length=1,
            max_length=8192,
        ),
    ]


class BackendSpec(Spec, frozen=True, kw_only=True):
    __cel__: ClassVar[Cel] = (
        (
            "self.type != 'OpenAI' || (has(self.baseURL) && self.baseURL.size() > 0)",
            "an OpenAI backend needs baseURL, e.g. http://vllm.models:8000/v1",
        ),
        (
            "self.type != 'OpenAI' || (has(self.models) && self.models.size() > 0)",
            "an OpenAI backend needs at least one model",
        ),
        ("self.type != 'Scripted' || !has(self.apiKey)", "a Scripted backend takes no apiKey"),
    )

    type: Annotated[
        BackendType,
        Meta(
            description="OpenAI: any server of that wire (OpenAI, vLLM, llama.cpp …). Scripted: answers from `script`, no model."
        ),
    ]
    base_url: Annotated[
        str, Meta(description="Of the server, up to and with /v1.", pattern=r"^(https?://[^\s]+)?$", max_length=2048)
    ] = field(default="", name="baseURL")
    api_key: Annotated[ApiKey | None, Meta(description="The key to send; none where it is left out.")] = None
    models: Annotated[
        list[ServedModel], Meta(description="What is served.", max_length=64, extra={"list_map_key": "name"})
    ] = []
    timeouts: Annotated[Timeouts, Meta(description="Bounds on one call.")] = Timeouts()
    script: Annotated[
        list[ScriptLine], Meta(description="For Scripted: the first line that matches answers.", max_length=256)
    ] = []


class ModelBackend(Struct, frozen=True, kw_only=True, rename="camel"):
    """A model server, for the whole cluster. A change takes effect without a restart."""

    api_version: str = API_VERSION
    kind: str = "ModelBackend"
    metadata: ObjectMeta = ObjectMeta()
    spec: BackendSpec
