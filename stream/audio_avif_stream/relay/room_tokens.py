"""Who may enter which room: tokens for all rooms, or a file that names the rooms and theirs."""

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
"""Before a token in base64url, offered as a second subprotocol by pages in browsers, which can set no header."""

ROOM_NAME_RULE = "use 1 to 64 letters of the alphabet, digits, dots, hyphens or underscores"
_ROOM_NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,64}")  # within a URL . and .. are no names
_MOST_FILE_BYTES = 1 << 20


def is_room_name(text: str) -> bool:
    """Whether a room may be called so: 1 to 64 letters, digits, dots, hyphens or underscores."""
    return _ROOM_NAME.fullmatch(text) is not None


@dataclass(frozen=True)
class Keys:
    """The tokens of a room; None lets everybody in."""

    publish: str | None = field(default=None, repr=False)
    listen: str | None = field(default=None, repr=False)

    def of(self, role: Role) -> str | None:
        """The token for one who comes to do this."""
        return self.publish if role == "publish" else self.listen


@dataclass(frozen=True)
class Doors:
    """The keys of the rooms that there are, or of any room where ``rooms`` is None."""

    usual: Keys = field(default_factory=Keys)
    rooms: dict[str, Keys] | None = None

    def keys(self, name: str) -> Keys | None:
        """The keys of the room of this name, None where there is no such room."""
        if not is_room_name(name):
            return None
        return self.usual if self.rooms is None else self.rooms.get(name)


def read_rooms(path: Path) -> dict[str, Keys]:
    """Read ``[rooms.NAME]`` tables with ``publish`` and ``listen``. Raises FileError for a file that does not serve."""
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_FILE_BYTES).decode()
        tables = tomllib.loads(text)
    except OSError as error:
        raise FileError(f"the file of rooms {path} cannot be read: {error.strerror} (--rooms)") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise FileError(f"the file of rooms {path} is no TOML: {error} (--rooms)") from error
    rooms = tables.get("rooms")
    if set(tables) != {"rooms"} or not isinstance(rooms, dict) or not rooms:
        raise FileError(f"{path} holds no rooms; write a line [rooms.NAME] for each, and their tokens below it")
    return {name: _keys(path, name, values) for name, values in rooms.items()}


def _keys(path: Path, name: str, values: object) -> Keys:
    if not is_room_name(name):
        raise FileError(f"{path}: {name!r} is no room's name; {ROOM_NAME_RULE}")
    if not isinstance(values, dict) or not set(values) <= {"publish", "listen"}:
        raise FileError(f"{path}: room {name} takes publish = and listen =, and nothing else")
    for role, token in values.items():
        if not isinstance(token, str) or not is_token(token):
            raise FileError(f"{path}: {role} of room {name} is no token; it must be visible ASCII without spaces")
    return Keys(values.get("publish"), values.get("listen"))


def has_key(token: str, authorization: Sequence[str], subprotocols: Sequence[str]) -> bool:
    """Whether a request shows the token, in its ``Authorization`` or a subprotocol; the time taken tells nothing."""
    offered = [_unpacked(one) for one in subprotocols if one.startswith(BEARER_SUBPROTOCOL)]
    in_subprotocol = len(offered) == 1 and hmac.compare_digest(offered[0], token.encode())
    return shows_token(list(authorization), token) or in_subprotocol


def _unpacked(subprotocol: str) -> bytes:
    text = subprotocol.removeprefix(BEARER_SUBPROTOCOL)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""
