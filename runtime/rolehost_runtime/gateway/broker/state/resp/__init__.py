"""Our own client for Redis: what is asked within one tick of the loop goes out in one write, and answers come in order.

Pure: `address` (URLs), `refusals` (what an error of Redis means), `slots` (a cluster's map), `lines` (what must keep its
order). Shell: `connection` (one socket), `greeting` (its first words), `node` (one server's sockets), `topology`,
`sentinel`, `cluster` (which server a key is at), `lookout` (asking for it), `client` (the queue in front of all of it,
with its deadlines and its bounds). Nothing here knows what a session is.
"""
