"""Clients' side of the gateway: one port for WebSocket, REST and the page.

`handshake`, `auth` and `dialect` decide; `guarded` (HTTP bytes) and `websocket` (WebSocket
bytes) are the protocol classes that uvicorn is given; `hub` knows every open socket;
`rest` is the FastAPI app; `internal` the ports that only the platform reaches.

Does not belong here: what a turn is, who stores it, where keys come from. The rooms
behind are known by their ports only.
"""
