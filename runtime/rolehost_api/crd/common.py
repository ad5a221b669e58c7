"""What the three kinds share: the base of a spec, metadata, conditions."""

from typing import Annotated

from msgspec import Meta, Struct


class Spec(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A part of a declared object. Frozen: what was declared is never edited in place."""


class ObjectMeta(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The metadata that we read; the rest passes by unseen."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class Condition(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """An observation, in the shape of metav1.Condition. Unknown is not False."""

    type: Annotated[str, Meta(description="What is observed, e.g. Ready.", max_length=64)]
    status: Annotated[str, Meta(description="True, False or Unknown.", pattern="^(True|False|Unknown)$")]
    reason: Annotated[str, Meta(description="A stable CamelCase word for machines.", max_length=128)]
    message: Annotated[str, Meta(description="A sentence for people: what is so, and what to do.", max_length=4096)] = (
        ""
    )
    observed_generation: Annotated[int, Meta(description="The generation that this was observed of.", ge=0)] = 0
    last_transition_time: Annotated[str, Meta(description="When the status last changed, RFC 3339.", max_length=40)] = (
        ""
    )
