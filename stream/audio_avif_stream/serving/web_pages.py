"""The files of the web page that shows and plays a stream, by request path; see ``docs/guides/browser.md``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from importlib.resources.abc import Traversable

_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "onnx": "application/octet-stream",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
    "wasm": "application/wasm",
}
_MODELS = ("embedded.onnx", "embedded-low.onnx")
_KEPT = ("ort-", "avif-")  # files that carry their version in their name
_PACKED = ".gz"

_POLICY = "; ".join(
    [
        "default-src 'self'",
        "script-src 'self' 'wasm-unsafe-eval'",
        "worker-src 'self' blob:",
        "connect-src 'self' ws: wss:",
        "img-src 'self' blob: data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    ]
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class Page:
    """An HTTP answer: its status, what it is, its bytes, and the headers beside Content-Type and Content-Length."""

    status: int
    content_type: str
    body: bytes
    headers: dict[str, str]


@lru_cache(maxsize=64)
def _answer(path: str) -> Page:
    file = _files()[path]
    name = file.name.removesuffix(_PACKED)
    headers = dict(_HEADERS)
    if file.name.endswith(_PACKED):
        headers["Content-Encoding"] = "gzip"
    if name.startswith(_KEPT):
        headers["Cache-Control"] = "public, max-age=31536000, immutable"
    else:
        headers["Cache-Control"] = "public, max-age=3600" if name in _MODELS else "no-cache"
    return Page(200, _TYPES[name.rpartition(".")[2]], file.read_bytes(), headers)


@lru_cache(maxsize=1)
def _files() -> dict[str, Traversable]:
    """Return the file of every path that is served, without its leading slash."""
    files = {}
    for file in resources.files("audio_avif_stream").joinpath("web", "dist").iterdir():
        name = file.name.removesuffix(_PACKED)
        if name.rpartition(".")[2] in _TYPES:
            files[name] = file
    models = resources.files("audio_avif_onnx.models")
    return files | {"": files["index.html"]} | {f"models/{name}": models.joinpath(name) for name in _MODELS}


def page(path: str) -> Page | None:
    """Return the answer to a GET of ``path``; None for an unknown path."""
    wanted = path.partition("?")[0]
    return _answer(wanted[1:]) if wanted.startswith("/") and wanted[1:] in _files() else None
