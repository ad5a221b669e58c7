"""The bytes that we write, as OpenTelemetry's own classes read them."""

from hypothesis import given
from hypothesis import strategies as st
from tests.support.otlp import Told, read

from rolehost_runtime.gateway.tracing import otlp
from rolehost_runtime.gateway.tracing.spans import Kind, Span

TEXT = st.text(st.characters(codec="utf-8"), max_size=200)
VALUES = (
    TEXT
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.lists(TEXT, max_size=4).map(tuple)
)
TIMES = st.integers(0, 2**64 - 1)
SPANS = st.builds(
    Span,
    name=st.text(st.characters(codec="ascii"), max_size=40),
    kind=st.sampled_from(Kind),
    trace_id=st.binary(min_size=16, max_size=16),
    span_id=st.binary(min_size=8, max_size=8),
    parent_id=st.just(b"") | st.binary(min_size=8, max_size=8),
    start_ns=TIMES,
    end_ns=TIMES,
    attributes=st.dictionaries(TEXT, VALUES, max_size=6).map(lambda found: tuple(found.items())),
    error=st.sampled_from(["", "model_timeout"]),
)


def _told(span: Span) -> Told:
    return Told(
        span.name, span.kind, span.trace_id.hex(), span.span_id.hex(), span.parent_id.hex(), span.start_ns, span.end_ns,
        dict(span.attributes), span.error,
    )  # fmt: skip


@given(st.lists(SPANS, max_size=5), st.dictionaries(TEXT, VALUES, max_size=3))
def test_opentelemetry_reads_what_was_written(spans: list[Span], resource: dict[str, object]) -> None:
    body = otlp.encode(tuple(resource.items()), [otlp.encode_span(span) for span in spans])  # type: ignore[arg-type]
    assert read(body) == (resource, [_told(span) for span in spans])


def test_what_repeats_is_the_same_of_whatever_type() -> None:
    """1, True and 1.0 are equal to Python, and are not the same to who reads a trace."""
    one = Span("turn", Kind.SERVER, b"t" * 16, b"s" * 8, b"", 1, 2, (("a", 1), ("b", True), ("c", 1.0), ("d", "1")))
    (told,) = read(otlp.encode((), [otlp.encode_span(one)] * 1))[1]
    assert [(key, type(value)) for key, value in told.attributes.items()] == [
        ("a", int), ("b", bool), ("c", float), ("d", str),
    ]  # fmt: skip
