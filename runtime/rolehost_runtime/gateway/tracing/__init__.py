"""What became of a turn, for whoever looks at traces: one trace a turn, told when the turn is over.

    turn                    SERVER: from the message's coming to its response.done
    ├ queue                 in the session's line
    ├ session.load          until the session stood as its log says
    ├ guard.message         what guards have against the message
    ├ route                 a pod's ear
    ├ hooks                 what the gateway waited for the pod, once for each word of the pod's
    ├ recall                memory
    ├ tool.list             which tools other servers have, where they had to be asked
    ├ model.call            CLIENT: one call of a model, in the words of OpenTelemetry's GenAI conventions
    ├ guard.reply           what guards have against the reply, where it was waited for
    ├ tool.call, fetch      CLIENT: servers outside
    └ commit                until the record was durable

While a turn runs only numbers are kept (`turn`); spans are made of them behind its back (`spans`), written as OTLP
(`otlp`) and sent (`sending`), all bounded: what has no room is dropped and counted, and no turn ever waits. The pod is
hostile and says nothing here: what it reports is named so.

No name of a span and no attribute holds a word of a conversation, of a client, or of a key. What was said is there only
where the platform was told to keep it (`capture`), and then cut.

OpenTelemetry's SDK was measured against this in the same run (tests/bench/telemetry.py): it takes several times the CPU
that telemetry may cost a turn. Its wire format is what we share: in the tests its own classes read what is written here.
"""
