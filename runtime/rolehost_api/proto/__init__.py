"""The wire in Protocol Buffers: package `rolehost.v1`, made of the same types as JSON and msgpack.

`calls` holds what only gRPC says; `shapes` reads messages off the types; `numbers` keeps which
number a field was given, for ever; `text` writes the `.proto`. There is no generated code:
whoever serves makes its message classes of the same shapes at its start, so that neither a
compiler nor its version stands between the types and the bytes. Nothing here needs protobuf.
"""
