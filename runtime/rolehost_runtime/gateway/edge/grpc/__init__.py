"""gRPC: the same conversations as on a WebSocket of role.v1, on a port of their own.

`messages` and `codec` turn frames to bytes and back; `status` says an error in gRPC's words;
`call` carries events to one client; `converse` and `watch` are the two calls; `health` tells
what /readyz tells; `server` puts them together. What is said, in which order and by whom, is
`edge.dialect`'s, as on every other carrier.

Nothing but the composition root imports this, and only where the port is served: grpcio and
protobuf take some 14 MiB of every process that loads them.
"""

import os

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its core writes lines that are no JSON to stderr, about every hang-up
