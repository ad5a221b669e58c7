"""YAML text → nodes that know their lines. Bounded: size, depth, number of nodes; no aliases.

An alias is refused rather than counted: ten lines of them can stand for a billion nodes,
and a manifest of ours never needs one.
"""

import math
from typing import Any

import yaml

from rolehost_api.errors import Finding, InvalidManifest

MAX_BYTES = 1_048_576
MAX_DEPTH = 32
MAX_NODES = 50_000

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_STRINGS = {"tag:yaml.org,2002:str", "tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value"}
_NULL = "tag:yaml.org,2002:null"
_CONSTRUCT = {
    "tag:yaml.org,2002:int": "construct_yaml_int",
    "tag:yaml.org,2002:float": "construct_yaml_float",
    "tag:yaml.org,2002:bool": "construct_yaml_bool",
}


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
    name = _CONSTRUCT.get(node.tag)
    if name is None:
        raise ValueError(f"has the YAML tag {node.tag}, which is not allowed")
    try:
        value: int | float | bool = getattr(yaml.constructor.SafeConstructor(), name)(node)
    except (ValueError, OverflowError, KeyError):
        raise ValueError("is no number that can be read") from None
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("is not a finite number")
    if isinstance(value, int) and abs(value) > 2**53 - 1:
        raise ValueError("is a whole number beyond 2^53, which JSON cannot carry exactly")
    return value
