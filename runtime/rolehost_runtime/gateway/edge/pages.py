"""The playground's files, under a policy that lets nothing in but themselves; and the client library, for pages elsewhere too."""

import hashlib
from pathlib import Path

from fastapi import FastAPI, Request
from starlette.responses import Response

FOLDER = Path(__file__).parent / "page"
CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
LIBRARY = "rolehost.js"
LIBRARY_HEADERS = {
    "cross-origin-resource-policy": "cross-origin",
    "x-content-type-options": "nosniff",
    "cache-control": "public, no-cache",
}
"""It holds no secret; a page of another site may load it where its origin may connect at all. Kept by browsers, and
asked for at each load, so that it fits this gateway's wire."""


def serve(app: FastAPI, folder: Path = FOLDER) -> None:
    """Each file by its own route: a path from outside is never joined to one of ours."""
    for file in sorted(folder.iterdir()):
        if file.suffix in CONTENT_TYPES and file.is_file() and file.name != LIBRARY:
            _route(app, "/" if file.name == "index.html" else f"/{file.name}", file)


def _route(app: FastAPI, path: str, file: Path) -> None:
    content = file.read_bytes()

    async def page() -> Response:
        return Response(content, media_type=CONTENT_TYPES[file.suffix], headers=HEADERS)

    app.add_api_route(path, page, include_in_schema=False)


def serve_library(app: FastAPI, file: Path = FOLDER / LIBRARY) -> None:
    """rolehost.js, whether or not there is a page here."""
    content = file.read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {**LIBRARY_HEADERS, "etag": tag}

    async def library(request: Request) -> Response:
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=CONTENT_TYPES[".js"], headers=headers)

    app.add_api_route(f"/{LIBRARY}", library, include_in_schema=False)
