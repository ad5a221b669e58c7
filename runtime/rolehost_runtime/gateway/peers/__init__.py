"""The other gateways: who is alive, and sessions that one answers for the clients of another.

`identity` is how two gateways know each other, `dialer` how one is reached, `connection` one
link between them, `mesh` keeps a link to every other gateway and relays this one's clients
over it, `relay` is such a client's place, `guests` takes in the clients of the others, `lease` says
of a process that it lives where no link can. Who answers a session is decided by its log's epoch
and nothing here.

A client's session is answered by whoever opened it last, which mostly is the gateway that the
client came in at: no frame of it then crosses another process. A ring over the gateways would
put all but one in n of the clients behind a relay, move sessions whenever a gateway joins, and
save nothing: what a gateway holds of a session is read back from the log in one round trip. A
client whose session is spoken in elsewhere is relayed there; who finds nobody speaking takes over.

Does not belong here: what a session is (sessions), and links to pods (link).
"""
