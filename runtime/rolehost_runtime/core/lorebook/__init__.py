"""The lorebook: what a persona knows of the world, told to the model only where it is spoken of.

By the rules of character cards (V2 `character_book`, V3 with its decorators): an entry is found where one of its keys is
in the last messages, or in an entry that was found (recursion); what is found is told in the order of `order` until
the budget is full. Chance comes from the turn's own seed, so a turn that is run again tells the same.

`matching` finds all keys of a book in one pass, `patterns` those that are patterns, `decorators` reads `@@…` lines,
`compiling` makes a book ready once for a revision, `telling` decides for a turn, `placing` puts the texts into a
prompt, `checking` says what of a book can never be told. Nothing here keeps anything: what a session remembers of
its entries is a part of its fold.
"""
