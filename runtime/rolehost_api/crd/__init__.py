"""The Kubernetes objects as types: Role, RoleRevision, ModelBackend.

`schema` turns them into structural schemas, `render` into the CRD YAML that the chart
installs and the manifest reference that people read. A class says the rules that go
beyond one field in `__cel__`, as (expression, message) pairs.

Conventions: conditions, not phases; no floats; durations as `…Seconds` integers; enums
over booleans; every field has a description, a bound and, where it has one, a default.
"""
