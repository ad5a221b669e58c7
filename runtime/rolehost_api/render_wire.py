"""The wire's types as JSON Schema, AsyncAPI and `.proto`: `python -m rolehost_api.render_wire [--check]`.

All are made of the same types, so that a client generated from any of them reads the same
frames. What is new gets its numbers for the `.proto` here, and keeps them.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, get_args

import msgspec
import yaml

from rolehost_api import __version__, wire
from rolehost_api.proto import numbers, shapes, text

SCHEMA = Path("docs/reference/wire.schema.json")
ASYNCAPI = Path("docs/reference/asyncapi.yaml")
PROTO = Path("docs/reference/role_session.proto")
NUMBERS = Path("runtime/rolehost_api/proto") / numbers.FILE
NOTICE = "Rendered from the types by `make render`; do not edit."
FRAMES = {"ClientFrame": wire.ClientFrame, "ServerFrame": wire.ServerFrame}


def components(template: str) -> dict[str, dict[str, Any]]:
    """Every struct of the wire by name, and the two unions; `template` is how they refer to each other."""
    unions, found = msgspec.json.schema_components(FRAMES.values(), ref_template=template)
    for union in unions:
        # An OpenAPI word; and a client's frame may leave its `type` out, so nothing may rest on it.
        union.pop("discriminator", None)
    found["Said"]["required"].remove("type")
    return {**dict(zip(FRAMES, unions, strict=True)), **dict(sorted(found.items()))}


def json_schema() -> dict[str, Any]:
    """A frame of either direction; `#/$defs/ClientFrame` and `#/$defs/ServerFrame` are the two by themselves."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": NOTICE,
        "title": f"rolehost wire {wire.SUBPROTOCOL}",
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name in FRAMES],
        "$defs": components("#/$defs/{name}"),
    }


def asyncapi() -> dict[str, Any]:
    """The WebSocket at /role/{name}: what it takes, what it sends, what its address may say."""
    schemas = components("#/components/schemas/{name}")
    for name in FRAMES:
        del schemas[name]
    said = {name: [kind.__name__ for kind in get_args(union)] for name, union in FRAMES.items()}
    messages = {
        name: {
            "name": _tag(schemas[name]),
            "contentType": "application/json",
            "payload": {"$ref": f"#/components/schemas/{name}"},
        }
        for names in said.values()
        for name in names
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "rolehost",
            "version": __version__,
            "description": f"{NOTICE}\n\nOne session, one ordered log. Ask for the subprotocol `{wire.SUBPROTOCOL}` to hear "
            "every event; without a subprotocol only session.created, deltas, response.done and errors are sent.",
        },
        "defaultContentType": "application/json",
        "servers": {"local": {"host": "localhost:8080", "protocol": "ws", "description": "`rolehost dev`"}},
        "channels": {
            "role": {
                "address": "/role/{name}",
                "parameters": {"name": {"description": "The Role, in any case; `name@r3` is one of its revisions."}},
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
                "bindings": {"ws": {"query": _query(), "bindingVersion": "0.1.0"}},
            }
        },
        "operations": {
            "say": _operation("receive", said["ClientFrame"]),
            "hear": _operation("send", said["ServerFrame"]),
        },
        "components": {"messages": messages, "schemas": schemas},
    }


def _tag(schema: dict[str, Any]) -> str:
    [tag] = schema["properties"]["type"]["enum"]
    return str(tag)


def _operation(action: str, names: list[str]) -> dict[str, Any]:
    messages = [{"$ref": f"#/channels/role/messages/{name}"} for name in names]
    return {"action": action, "channel": {"$ref": "#/channels/role"}, "messages": messages}


def _query() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "session_id": {"type": "string", "description": "Open or resume this session; 1 to 128 printable ASCII."},
            "after_seq": {
                "type": "integer",
                "minimum": 0,
                "description": "Replay the session's events after this one.",
            },
            "fmt": {
                "enum": ["json", "msgpack"],
                "description": "msgpack: the same fields in binary frames, both ways.",
            },
            "stream": {"enum": ["0", "1"], "description": "0: no deltas, only the frame with `done`."},
        },
    }


class _Dumper(yaml.SafeDumper):
    """No aliases: what is written twice reads better than a reference."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def rendered() -> dict[Path, str]:
    """Every rendered file, by its path under the root. Raises ValueError where a field has changed its type."""
    messages = shapes.messages()
    table = numbers.extended(numbers.read(NUMBERS.read_bytes()) if NUMBERS.is_file() else {}, messages)
    return {
        SCHEMA: json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n",
        ASYNCAPI: yaml.dump(asyncapi(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110),
        NUMBERS: numbers.written(table),
        PROTO: text.proto(table, messages, NOTICE),
    }


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m rolehost_api.render_wire", description="Render the wire's schemas."
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a file is stale")
    check = parser.parse_args(arguments).check
    try:
        whole = rendered()
    except ValueError as error:
        print(error)
        return 1
    stale = [path for path, text in whole.items() if not path.is_file() or path.read_text() != text]
    for path in stale:
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(whole[path])
        print(f"{path} is not what the types say; run `make render`" if check else f"wrote {path}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
