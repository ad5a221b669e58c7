"""From what a tenant writes of a Role's behaviour to what runs, with every fault found at once and shown in its place.

`forms` is what may be written, `reading` holds YAML nodes to it and `places` knows where they stand; `compiling` makes
tables, predicates and changes of it (`compiled`), with what `graphs`, `states`, `holding` and `expressions` find wrong.
`manifests` hands that to the contract's `check`, which knows no language. `drawing`, `prompting` and `modules` show what
was compiled; `permits` reads what Python asks for, `declared` what it keeps; `schema` is the forms for editors.

Nothing here runs what a tenant wrote, and none of it is unbounded: in size, depth, findings or comparisons.
"""
