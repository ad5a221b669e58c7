"""Where sessions' logs are kept: Redis (`redis_store`), or this process's memory (`memory_store`)."""
