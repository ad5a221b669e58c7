"""Clients' side of the gateway: one port for WebSocket, REST and the page.

`handshake`, `auth` and `dialect` decide; `guarded` (HTTP bytes) and `websocket` (WebSocket
bytes) are the protocol classes that uvicorn is given; `hub` knows everything that is open.
`rest` is the FastAPI app, with its routes in `sessions` (reading, waiting), `talking` (saying,
event streams) and `openai` (the facade); `internal` the ports that only the platform reaches.

Whatever carries events to a client is an `outbox.Carrier`: a socket, or a `stream`, which says
them in a tongue of its own (`sse`, `openai.replies`). What waits for a slow client is bounded
in one place, the outbox.

Does not belong here: what a turn is, who stores it, where keys come from. The rooms
behind are known by their ports only.
"""
