"""Character cards, the persona files that people own already: V1, V2 and V3, as JSON, in a PNG, or as CHARX.

`reading` finds the card in a file's bytes, `png` and `charx` know their containers, `card`
is what a card says, `conversion` makes a Role's persona of it and a card of a Role again.
Bytes in, values out; files are opened by `rolehost import` and `rolehost export`.

A card is kept whole beside the Role, so that an export has every field back that we
do not know, and changes only what was changed in the Role.

The formats: character-card-spec-v2 (malfoyslastname) and character-card-spec-v3 (kwaroran).
"""
