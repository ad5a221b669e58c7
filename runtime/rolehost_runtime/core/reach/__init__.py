"""What logic may ask of servers outside, and of which. Sans-IO: names are resolved and bytes carried elsewhere.

    urls        a URL, read in one strict way: what is judged is what is connected to
    grants      which of them a Role's permissions grant
    addresses   which addresses a name may lead to
    headers     which headers a request may carry
    hops        the request that a redirect asks for
    intent      the key by which a server knows a request that comes twice
    pace        how many requests a minute

Nothing is resolved here, and nothing is allowed that is not said: a grant names a host, an address must be public.
"""
