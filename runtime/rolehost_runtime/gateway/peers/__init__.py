"""The other gateways: who is alive, and sessions that one answers for the clients of another.

`identity` is how two gateways know each other, `dialer` how one is reached, `connection` one
link between them, `mesh` keeps a link to every other gateway and relays this one's clients
over it, `relay` is such a client's place, `guests` takes in the clients of the others. Who answers a session is decided by its log's epoch and nothing here.

Does not belong here: what a session is (sessions), and links to pods (link).
"""
