"""HTTP requests to a relay: tokens and origins of WebSocket connections, and files for browsers."""

from __future__ import annotations

import http
from collections.abc import Sequence
from urllib.parse import parse_qs, urlsplit

from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from audio_avif.errors import PeerRefused
from audio_avif.link.messages import CLOSE_UNAUTHORIZED, CLOSE_UNKNOWN_ROOM, UNFINISHED
from audio_avif_stream.relay.peers import RelayConnection, Visit
from audio_avif_stream.relay.room_tokens import Role, RoomTokens, has_key
from audio_avif_stream.serving.admission import Admission, address_of

PAGE_S = 60.0
"""How long a browser may take to fetch the largest file of the web page."""

_PAGES_AT_ONCE = 32
_OWN_NAMES = ("localhost", "127.0.0.1", "::1")
_NOTHING_HERE = "Nothing here; rooms are at /publish/ROOM and /listen/ROOM, over WebSocket.\n"
_PATHS: dict[str, Role] = {"/publish/": "publish", "/listen/": "listen"}


class RequestCheck:
    """Answers requests: with a file, with a refusal, or by letting the connection open.

    ``origins`` are web pages of other servers that may connect, ``*`` for all. Programs get HTTP 401 for a wrong token;
    a web page cannot see that, and gets a close code instead.
    """

    def __init__(self, admission: Admission, room_tokens: RoomTokens, origins: Sequence[str], has_web: bool) -> None:
        self.room_tokens = room_tokens
        self.is_local = True
        """Whether only this machine can connect."""
        self._admission = admission
        self._complaints = admission.complaints
        self._origins = origins
        self._has_web = has_web
        self._downloads: set[RelayConnection] = set()

    def check(self, connection: RelayConnection, request: Request) -> Response | None:
        """Return the answer to a request, or None where the connection may open; it then has its ``visit``."""
        self._admission.hear(connection)
        path, _, query = request.path.partition("?")
        prefix = next((prefix for prefix in _PATHS if path.startswith(prefix)), None)
        if prefix is None:
            return self._file(connection, path)
        if (other_version := self._admission.check_version(connection, request)) is not None:
            return other_version
        origins = request.headers.get_all("Origin")
        if origins and not self._is_allowed(origins, request.headers.get_all("Host")):
            self._complaints.tell(
                "origin", f"{address_of(connection)} came from a web page of another server (--allow-origin); refused"
            )
            reason = "This page comes from another server; allow it with the relay's --allow-origin.\n"
            return connection.respond(http.HTTPStatus.FORBIDDEN, reason)
        connection.visit = self._visit(connection, _PATHS[prefix], path.removeprefix(prefix), query, request)
        refusal = connection.visit.refusal
        if refusal is None or refusal.code != CLOSE_UNAUTHORIZED or origins:
            return None
        self._complaints.tell("token", f"{address_of(connection)} gave no valid token for that room; refused")
        response = connection.respond(http.HTTPStatus.UNAUTHORIZED, f"{refusal}\n")
        response.headers["WWW-Authenticate"] = "Bearer"
        return response

    def _visit(self, connection: RelayConnection, role: Role, room: str, query: str, request: Request) -> Visit:
        keys = self.room_tokens.keys(room)
        if keys is None:
            return Visit(role, room, refusal=PeerRefused(CLOSE_UNKNOWN_ROOM, f"this relay has no room {room[:64]!r}"))
        unfinished = parse_qs(query).get(UNFINISHED, [""])[0]
        token = keys.of(role)
        if token is None:
            return Visit(role, room, unfinished)
        lines = request.headers.get_all("Sec-WebSocket-Protocol")
        subprotocols = [one.strip() for line in lines for one in line.split(",")]
        if not has_key(token, request.headers.get_all("Authorization"), subprotocols):
            refusal = PeerRefused(CLOSE_UNAUTHORIZED, f"room {room} requires a token to {role}")
            return Visit(role, room, refusal=refusal)
        self._admission.trust(connection)
        return Visit(role, room, unfinished)

    def _is_allowed(self, origins: list[str], hosts: list[str]) -> bool:
        """Whether a web page of this origin may connect: one of this relay, or one that the options name."""
        if "*" in self._origins:
            return True
        if len(origins) != 1 or len(hosts) != 1:
            return False
        try:
            origin = urlsplit(origins[0])
            name = origin.hostname
        except ValueError:
            return False
        # An attacker's host name may resolve to this machine; to a browser that page is then of this origin.
        is_ours = not self.is_local or name in _OWN_NAMES
        return (is_ours and origin.netloc.lower() == hosts[0].lower()) or origins[0] in self._origins

    def _file(self, connection: RelayConnection, path: str) -> Response:
        if path == "/health":
            return connection.respond(http.HTTPStatus.OK, "ok\n")
        if not self._has_web:
            return connection.respond(http.HTTPStatus.NOT_FOUND, _NOTHING_HERE)
        from audio_avif_stream.serving.web_pages import page

        if (found := page(path)) is None:
            return connection.respond(http.HTTPStatus.NOT_FOUND, _NOTHING_HERE)
        if len(self._downloads) >= _PAGES_AT_ONCE:
            response = connection.respond(
                http.HTTPStatus.SERVICE_UNAVAILABLE, "Too many requests at once; try again.\n"
            )
            response.headers["Retry-After"] = "1"
            return response
        self._downloads.add(connection)
        connection.on_lost = self._downloads.discard
        connection.close_timeout = PAGE_S
        status = http.HTTPStatus(found.status)
        headers = {**found.headers, "Content-Type": found.content_type}
        headers |= {"Content-Length": str(len(found.body)), "Connection": "close"}
        return Response(status.value, status.phrase, Headers(headers), found.body)
