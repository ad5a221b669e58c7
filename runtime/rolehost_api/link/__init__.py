"""The link between a gateway and a sandbox pod: `messages` on it, `framing` under it, `attestation` before it.

The gateway dials. One connection carries everything: channel 0 is the link's own talk
(hello, bind, logs), every other channel is one turn, named by a number that the gateway
chose. The pod is hostile after Bind, its agent included: it may name only a channel that
the gateway opened and has not closed, and nothing it says about tenant, session, time or
usage is believed, for no message has a field for it.

    pod      : TLS 1.3 with the certificate that its init container made
    pod      → Hello(nonce, probe, bound, attestation)     the gateway checks that it is the pod it means;
                                                           not a byte of its own before that
    gateway  → Prove(signature over nonce ‖ pod UID ‖ certificate)   the pod checks the platform's keys
    gateway  → Bind, BundleChunk…                          if the pod is not bound yet
    pod      → Bound(error?)
    gateway  → StartTurn                                   on a fresh channel
    pod      → Say, CallModel, Recall, Fetch, NeedState    effects, numbered from 0
    gateway  → ModelResult, StateGiven
    pod      → Commit | TurnFailed
    gateway  → Committed | Abort                           closes the channel
"""
