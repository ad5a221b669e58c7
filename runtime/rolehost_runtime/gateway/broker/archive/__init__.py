"""Where segments are kept: an object store (`objects`), or this process's memory (`memory`)."""
