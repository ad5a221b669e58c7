"""Servers outside: asked for role logic, which itself has no way out.

    lookup    names to addresses, by the system's resolver
    dialing   a connection to an address that was checked, and to no other
    exchange  one request and its answer over it: HTTP/1.1, every size bounded
    inflating gzip, as far as there is room for it
    client    redirects, each judged like the first request
    limits    how many at once, and how many a minute
    service   who may ask, how often, and what is counted; implements ports.Web
    mcp       a conversation with a server of tools
    toolbox   the tools that Roles' servers offer; implements ports.Toolbox
    opening   all of it put together from the operators' settings

No proxy of the environment, no cookies, no credentials but what the request itself carries, and no connection that two
requests share. Logs and metrics know hosts at most; paths and queries are conversation.
"""
