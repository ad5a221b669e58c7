"""The playground's files, under a policy that lets nothing in but themselves."""

from pathlib import Path

from fastapi import FastAPI
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


def serve(app: FastAPI, folder: Path = FOLDER) -> None:
    """Each file by its own route: a path from outside is never joined to one of ours."""
    for file in sorted(folder.iterdir()):
        if file.suffix in CONTENT_TYPES and file.is_file():
            _route(app, "/" if file.name == "index.html" else f"/{file.name}", file)


def _route(app: FastAPI, path: str, file: Path) -> None:
    content = file.read_bytes()

    async def page() -> Response:
        return Response(content, media_type=CONTENT_TYPES[file.suffix], headers=HEADERS)

    app.add_api_route(path, page, include_in_schema=False)
