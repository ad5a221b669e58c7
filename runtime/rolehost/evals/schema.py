"""The JSON schema of files of scenarios, for editors."""

from typing import Any

import msgspec

from rolehost.evals.forms import EvalForm

ID = "https://rolehost.io/schemas/v1alpha1/eval.schema.json"


def schema() -> dict[str, Any]:
    """JSON Schema 2020-12."""
    (root,), parts = msgspec.json.schema_components([EvalForm], ref_template="#/$defs/{name}")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": ID, **root, "$defs": parts}
