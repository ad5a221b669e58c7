"""Our own client for Redis: what is asked within one tick of the loop goes out in one write, and answers come in order.

Pure: `address` (URLs), `refusals` (what an error of Redis means), `slots` (a cluster's map). Shell: `connection` (one
socket), `node` (one server's sockets), `single`, `sentinel`, `cluster` (which server a key is at), `client` (the queue
in front of all of it, with its deadline and its bounds). Nothing here knows what a session is.
"""
