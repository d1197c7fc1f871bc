"""The tokens of a relay's rooms: the same for all rooms, or from a file that lists them."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from audio_avif.errors import FileError
from audio_avif_stream.serving.security import is_token, shows_token

Role = Literal["publish", "listen"]

BEARER_SUBPROTOCOL = "audio-avif.bearer."
"""The prefix of a token in base64url as a second subprotocol, for web pages, which cannot set headers."""

ROOM_NAME_RULE = "use 1 to 64 ASCII letters, digits, dots, hyphens or underscores"
_ROOM_NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,64}")  # within a URL . and .. are no names
_MAX_FILE_BYTES = 1 << 20


def is_room_name(text: str) -> bool:
    """Whether this is a valid room name: 1 to 64 letters, digits, dots, hyphens or underscores."""
    return _ROOM_NAME.fullmatch(text) is not None


@dataclass(frozen=True)
class Tokens:
    """The tokens of a room; None means that no token is needed."""

    publish: str | None = field(default=None, repr=False)
    listen: str | None = field(default=None, repr=False)

    def of(self, role: Role) -> str | None:
        """Return the token for a role."""
        return self.publish if role == "publish" else self.listen


@dataclass(frozen=True)
class RoomTokens:
    """The tokens of the listed rooms, or ``usual`` for any room where ``rooms`` is None."""

    usual: Tokens = field(default_factory=Tokens)
    rooms: dict[str, Tokens] | None = None

    def keys(self, name: str) -> Tokens | None:
        """Return the tokens of a room, None where there is no such room."""
        if not is_room_name(name):
            return None
        return self.usual if self.rooms is None else self.rooms.get(name)


def read_rooms(path: Path) -> dict[str, Tokens]:
    """Read ``[rooms.NAME]`` tables with ``publish`` and ``listen``. Raises FileError for an unusable file."""
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_FILE_BYTES).decode()
        tables = tomllib.loads(text)
    except OSError as error:
        raise FileError(f"the rooms file {path} cannot be read: {error.strerror} (--rooms)") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise FileError(f"the rooms file {path} is not valid TOML: {error} (--rooms)") from error
    rooms = tables.get("rooms")
    if set(tables) != {"rooms"} or not isinstance(rooms, dict) or not rooms:
        raise FileError(f"{path} has no rooms; write a line [rooms.NAME] for each, and its tokens below it")
    return {name: _keys(path, name, values) for name, values in rooms.items()}


def _keys(path: Path, name: str, values: object) -> Tokens:
    if not is_room_name(name):
        raise FileError(f"{path}: {name!r} is not a room name; {ROOM_NAME_RULE}")
    if not isinstance(values, dict) or not set(values) <= {"publish", "listen"}:
        raise FileError(f"{path}: room {name} may have only publish = and listen =")
    for role, token in values.items():
        if not isinstance(token, str) or not is_token(token):
            raise FileError(f"{path}: {role} of room {name} is not a token; a token is visible ASCII without spaces")
    return Tokens(values.get("publish"), values.get("listen"))


def has_key(token: str, authorization: Sequence[str], subprotocols: Sequence[str]) -> bool:
    """Whether a request has the token, in ``Authorization`` or a subprotocol; compared in constant time."""
    offered = [_unpacked(one) for one in subprotocols if one.startswith(BEARER_SUBPROTOCOL)]
    in_subprotocol = len(offered) == 1 and hmac.compare_digest(offered[0], token.encode())
    return shows_token(list(authorization), token) or in_subprotocol


def _unpacked(subprotocol: str) -> bytes:
    text = subprotocol.removeprefix(BEARER_SUBPROTOCOL)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""
