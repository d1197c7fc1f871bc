"""Read the fields of a message from bytes that a peer sent."""

from __future__ import annotations

import json
import struct
from typing import Any

from audio_avif.errors import RemoteProtocolError


def unpack(layout: str, data: bytes) -> tuple[Any, ...]:
    """Read the fields that a message begins with. Raises RemoteProtocolError for a truncated one."""
    size = struct.calcsize(layout)
    if len(data) < size:
        raise RemoteProtocolError(
            f"a message of type {data[0]:#04x} is truncated: {len(data)} of at least {size} bytes"
        )
    return struct.unpack_from(layout, data)


def unpack_exactly(layout: str, data: bytes) -> tuple[Any, ...]:
    """Read the fields that fill a message. Raises RemoteProtocolError for one of another size."""
    if len(data) > struct.calcsize(layout):
        raise RemoteProtocolError(f"a message of type {data[0]:#04x} is {len(data)} bytes, longer than its kind")
    return unpack(layout, data)


def unpack_json(data: bytes, keys: dict[str, type]) -> dict[str, Any]:
    """Read a JSON object that has ``keys`` of these types. Raises RemoteProtocolError for any other."""
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RemoteProtocolError("a message holds JSON that cannot be read") from error
    if not isinstance(values, dict):
        raise RemoteProtocolError("a message holds JSON that is not an object")
    for key, kind in keys.items():
        if type(values.get(key)) is not kind:
            raise RemoteProtocolError(f"a message's {key!r} is missing or not of type {kind.__name__}")
    return values


def label(text: str) -> str:
    """A peer's text as it may be shown in a terminal: 64 characters of it, without control codes."""
    return "".join(character for character in text[:64] if character.isprintable())
