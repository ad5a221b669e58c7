"""Spans as OTLP's protobuf: the bytes that OpenTelemetry's own exporter would send, at a tenth of the CPU.

Field numbers are those of opentelemetry/proto/trace/v1/trace.proto; they are stable. What repeats from turn to turn, which
is nearly every attribute, is written once.
"""

import struct
from collections.abc import Iterable
from functools import lru_cache

from rolehost_runtime.gateway.tracing.spans import Attributes, Span, Value

MEDIA_TYPE = "application/x-protobuf"
SCOPE = "rolehost.gateway"
MAX_REMEMBERED = 4096
"""Attributes whose bytes are kept."""
MAX_REMEMBERED_CHARS = 64
ERROR = 2
_times = struct.Struct("<cQcQ").pack
_double = struct.Struct("<d").pack


def _varint(number: int) -> bytes:
    """As protobuf writes them.

    >>> _varint(1), _varint(300)
    (b'\\x01', b'\\xac\\x02')
    """
    if number < 128:
        return number.to_bytes(1, "little")
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    found.append(number)
    return bytes(found)


def _framed(tag: bytes, body: bytes) -> bytes:
    return tag + _varint(len(body)) + body


def _value(value: Value) -> bytes:
    if isinstance(value, str):
        return _framed(b"\x0a", value.encode("utf-8", "replace"))
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int):
        return b"\x18" + _varint(value & 0xFFFF_FFFF_FFFF_FFFF)
    if isinstance(value, float):
        return b"\x21" + _double(value)
    return _framed(b"\x2a", b"".join(_framed(b"\x0a", _value(one)) for one in value))


@lru_cache(256)
def _key(key: str) -> bytes:
    return _framed(b"\x0a", key.encode())


def _pair(key: str, value: Value) -> bytes:
    return _key(key) + _framed(b"\x12", _value(value))


@lru_cache(MAX_REMEMBERED)
def _known(key: str, value: str) -> bytes:
    return _framed(b"\x4a", _pair(key, value))


def _attribute(key: str, value: Value) -> bytes:
    if isinstance(value, str) and len(value) <= MAX_REMEMBERED_CHARS:
        return _known(key, value)
    return _framed(b"\x4a", _pair(key, value))


@lru_cache(256)
def _named(name: str, kind: int) -> bytes:
    return _framed(b"\x2a", name.encode()) + b"\x30" + _varint(kind)


@lru_cache(256)
def _failed(code: str) -> bytes:
    return _framed(b"\x7a", _framed(b"\x12", code.encode()) + b"\x18" + _varint(ERROR))


def encode_span(span: Span) -> bytes:
    """One span, as a ScopeSpans holds it."""
    body = b"".join(
        (
            b"\x0a\x10",
            span.trace_id,
            b"\x12\x08",
            span.span_id,
            b"\x22\x08" + span.parent_id if span.parent_id else b"",
            _named(span.name, span.kind),
            _times(b"\x39", span.start_ns, b"\x41", span.end_ns),
            *[_attribute(key, value) for key, value in span.attributes],
            _failed(span.error) if span.error else b"",
        )
    )
    return b"\x12" + _varint(len(body)) + body


def encode(resource: Attributes, spans: Iterable[bytes]) -> bytes:
    """A request of these spans, each as `encode_span` made it, all of one process."""
    scope = _framed(b"\x0a", _framed(b"\x0a", SCOPE.encode())) + b"".join(spans)
    told = b"".join(_framed(b"\x0a", _pair(key, value)) for key, value in resource)
    return _framed(b"\x0a", _framed(b"\x0a", told) + _framed(b"\x12", scope))
