"""YAML text → nodes that know their lines. Bounded: size, depth, number of nodes; no aliases.

An alias is refused rather than counted: ten lines of them can stand for a billion nodes,
and a manifest of ours never needs one.
"""

import math
import re
from collections.abc import Callable
from typing import Any

import yaml

from rolehost_api.errors import Finding, InvalidManifest

MAX_BYTES = 1_048_576
MAX_DEPTH = 32
MAX_NODES = 50_000

_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_BASE):  # type: ignore[misc]
    """YAML as kubectl reads it, for a manifest means what it means there.

    kubectl takes y and n for booleans, 0o17 and 1e3 for numbers, and 1:30 for text; the
    library's own rules say otherwise.
    """

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":int", ":float", ":bool"))]
        for first, resolvers in _BASE.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool",
    re.compile(r"(?:y|Y|yes|Yes|YES|n|N|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)\Z"),
    list("yYnNtTfFoO"),
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"[-+]?(?:0[bB][01_]+|0[oO]?[0-7_]+|0[xX][0-9a-fA-F_]+|[1-9][0-9_]*|0)\Z"),
    list("-+0123456789"),
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"[-+]?(?:(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
    ),
    list("-+.0123456789"),
)
_STRINGS = {"tag:yaml.org,2002:str", "tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value"}
_NULL = "tag:yaml.org,2002:null"
MOST_EXACT = 2**53 - 1


def fault(path: str, message: str, hint: str = "", line: int | None = None) -> InvalidManifest:
    """A manifest that cannot even be walked, for one reason."""
    return InvalidManifest("the manifest", [Finding(path, message, hint, line)])


def read(text: str | bytes) -> list[yaml.Node]:
    """The documents of a manifest, empty ones left out. Raises InvalidManifest."""
    if len(text if isinstance(text, bytes) else text.encode("utf-8", "replace")) > MAX_BYTES:
        raise fault("manifest", "is over 1 MiB", "Keep long texts in a ConfigMap or in the bundle")
    try:
        text = text if isinstance(text, str) else text.decode()
        _bound(text)
        nodes = [node for node in yaml.compose_all(text, Loader=_Loader) if node is not None]
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else None
        raise fault("manifest", f"is not valid YAML: {error.problem}", "Check indentation and quotes", line) from None
    except (yaml.YAMLError, UnicodeError):
        raise fault("manifest", "holds characters that YAML does not allow", "Save it as plain UTF-8 text") from None
    return [node for node in nodes if not is_null(node)]


def _bound(text: str) -> None:
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=_Loader)):
        line = event.start_mark.line + 1 if event.start_mark is not None else 0
        if isinstance(event, yaml.AliasEvent):
            raise fault("manifest", "uses a YAML alias (*name)", "Write the value out where it is needed", line)
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise fault("manifest", f"is nested more than {MAX_DEPTH} levels deep", line=line)
        if count > MAX_NODES:
            raise fault("manifest", f"has more than {MAX_NODES} values", "Split it into several files", line)


def line_of(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def is_null(node: yaml.Node) -> bool:
    return bool(node.tag == _NULL)


def plain(node: yaml.Node) -> Any:
    """The node's value as JSON would hold it. Raises ValueError with a sentence where JSON cannot.

    Dates stay strings, as kubectl reads them; of a key that is given twice the last one
    counts (`checking` reports it).
    """
    if isinstance(node, yaml.MappingNode):
        return {str(key.value): plain(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [plain(item) for item in node.value]
    return _scalar(node)


def _scalar(node: yaml.Node) -> str | int | float | bool | None:
    if node.tag in _STRINGS:
        return str(node.value)
    if node.tag == _NULL:
        return None
    word = str(node.value)
    try:
        value = _READ[node.tag](word)
    except KeyError:
        raise ValueError(f"has the YAML tag {node.tag}, which is not allowed") from None
    except (ValueError, OverflowError):
        raise ValueError("is no number that can be read") from None
    if isinstance(value, float) and math.isinf(value) and not word.lower().endswith(".inf"):
        return word  # too large for a number, so it is text
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("is not a finite number")
    if isinstance(value, float) and value.is_integer() and abs(value) <= MOST_EXACT:
        return int(value)  # 1.0 and 1e3 are whole numbers, as they are in JSON
    if isinstance(value, int) and abs(value) > MOST_EXACT:
        raise ValueError("is a whole number beyond 2^53, which JSON cannot carry exactly")
    return value


def _whole(word: str) -> int:
    """
    >>> [_whole(word) for word in ("1_000", "010", "0o17", "-0x1F", "+0b11")]
    [1000, 8, 15, -31, 3]
    """
    digits = word.replace("_", "").lower()
    octal = re.match(r"([-+]?)0([0-7]+)\Z", digits)
    return int(f"{octal[1]}0o{octal[2]}" if octal else digits, 0)


_READ: dict[str, Callable[[str], int | float | bool]] = {
    "tag:yaml.org,2002:int": _whole,
    "tag:yaml.org,2002:float": lambda word: float(
        word.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan")
    ),
    "tag:yaml.org,2002:bool": lambda word: word.lower() in ("y", "yes", "true", "on"),
}
