"""The files of the page, and the headers that keep a browser from doing anything else with it."""

from __future__ import annotations

from importlib.resources import files

CONTENT_TYPES = {
    "index.html": "text/html; charset=utf-8",
    "dashboard.css": "text/css; charset=utf-8",
    "dashboard.js": "text/javascript; charset=utf-8",
}
"""Every file there is; no path from outside is ever looked up."""

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing from elsewhere, nothing inline, in nobody's frame."""


def read_files() -> dict[str, tuple[str, bytes]]:
    """(content type, content) of every file, by the path at which it is served."""
    folder = files("qbft_server.web") / "static"
    served = {
        f"/{name}": (kind, (folder / name).read_bytes()) for name, kind in CONTENT_TYPES.items()
    }
    return {"/": served["/index.html"], **served}
