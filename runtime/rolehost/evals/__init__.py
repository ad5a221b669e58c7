"""`rolehost eval`: what users say, what must come of it, and how often it does.

`forms` is what may be written, `reading` holds a file to it with every fault in its place, `judging` compares what a turn
did with what was expected, `counting` makes a rate and an interval of it and `reporting` says so for people and for CI. All
of these are pure. `running` plays scenarios, some at a time: in the engine itself (`engine`) or through a gateway (`live`);
`asking` is a model that judges.
"""
