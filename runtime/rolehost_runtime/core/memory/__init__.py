"""What a persona remembers. Sans-IO: time is an argument, and the store's bytes come in and go out as they are.

    atoms       one memory, and the partition of one person: what is kept there, byte by byte
    partition   what of it holds: tombstones, confirmations, relations that another one took the place of
    words       text to tokens, in any script
    keywords    BM25 over them
    fusion      several rankings into one
    recalling   a question to a partition, and what it is answered with
    short       what a session keeps in mind for minutes, in its own state
    tidying     what goes first where there is too much
    turn        what one turn remembers, until it commits

Nothing here is learnt by a model: what is kept is what logic said.
"""
