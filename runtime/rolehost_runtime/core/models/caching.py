"""Who may share what a server keeps of prompts.

A server that keeps what it computed of a prompt's beginning tells by the count of cached tokens, or by its speed, that
somebody sent that beginning before. Tenants share servers, so no two tenants' prompts may begin alike: the server
keeps them apart by a salt where it has a field for one, and else the prompt itself begins with it.
"""

import hashlib

JOINT = "\n\n"


def cache_key(tenant_uid: str, revision_hash: str) -> str:
    """Names a tenant's revision to a server, and tells it neither: 128 bits over both, each with its length before it.

    >>> cache_key("uid-1", "ab"), cache_key("uid-1", "ac") == cache_key("uid-1", "ab")
    ('da3f20821ac8bac61936e3785937e06c', False)
    >>> cache_key("a", "bc") == cache_key("ab", "c")
    False
    """
    parts = b"".join(len(part).to_bytes(4) + part for part in (tenant_uid.encode(), revision_hash.encode()))
    return hashlib.blake2b(parts, digest_size=16, person=b"rolehost prompt").hexdigest()


def salted(text: str, key: str) -> str:
    """The opening words with the salt before them.

    >>> salted("You are a cat.", "0f"), salted("", "0f")
    ('[0f]\\n\\nYou are a cat.', '[0f]')
    """
    return f"[{key}]{JOINT}{text}" if text else f"[{key}]"
