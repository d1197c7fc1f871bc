"""The sender's first message, which describes the stream and carries the template of its stills."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import ClassVar

from audio_avif.config import MelConfig, TileConfig
from audio_avif.errors import RemoteProtocolError, TileError
from audio_avif.link.fields import label, unpack, unpack_json
from audio_avif.still.boxes import inspect_still
from audio_avif.still.template import MAX_FRAME_HEADERS, StillTemplate

VERSION = 2
_TEMPLATE_HEAD = ">HHBB"  # places of two lengths, number and length of the frame headers


@dataclass(frozen=True)
class Hello:
    """The sender's first message: what the stream is, and the bytes all its stills share.

    ``live`` asks for playout against the clock; otherwise every tile is decoded in its own time. ``report`` asks for a
    Report per tile.
    """

    TYPE: ClassVar[int] = 0x01

    mel: MelConfig
    tile: TileConfig
    template: StillTemplate
    session: str
    live: bool = True
    report: bool = False
    agent: str = ""

    def to_bytes(self) -> bytes:
        text = json.dumps(
            {
                "mel": self.mel.to_dict(),
                "tile": self.tile.to_dict(),
                "session": self.session,
                "live": self.live,
                "report": self.report,
                "agent": self.agent,
            },
            separators=(",", ":"),
        ).encode()
        return struct.pack(">BBH", self.TYPE, VERSION, len(text)) + text + _template_bytes(self.template)

    @classmethod
    def parse(cls, data: bytes) -> Hello:
        """Raises RemoteProtocolError for another version, damaged bytes, or a template of another size."""
        _, version, json_bytes = unpack(">BBH", data)
        if version != VERSION:
            raise RemoteProtocolError(
                f"the peer speaks version {version} of the protocol; this program speaks {VERSION}"
            )
        text, rest = data[4 : 4 + json_bytes], data[4 + json_bytes :]
        kinds = {"mel": dict, "tile": dict, "session": str, "live": bool, "report": bool, "agent": str}
        values = unpack_json(text, kinds)
        try:
            mel, tile = MelConfig.from_dict(values["mel"]), TileConfig.from_dict(values["tile"])
        except ValueError as error:
            raise RemoteProtocolError(f"the stream's settings make no sense: {error}") from error
        template = _parse_template(rest)
        _check_template(template, tile.frames, mel.n_mels)
        session, agent = label(values["session"]), label(values["agent"])
        return cls(mel, tile, template, session, values["live"], values["report"], agent)


def _template_bytes(template: StillTemplate) -> bytes:
    headers = template.frame_headers
    head = struct.pack(
        _TEMPLATE_HEAD, template.iloc_length_at, template.mdat_size_at, len(headers), len(headers[0]) if headers else 0
    )
    return head + b"".join(headers) + template.prefix


def _parse_template(data: bytes) -> StillTemplate:
    head_bytes = struct.calcsize(_TEMPLATE_HEAD)
    if len(data) < head_bytes:
        raise RemoteProtocolError("the hello message ends before its template")
    iloc_length_at, mdat_size_at, count, size = struct.unpack_from(_TEMPLATE_HEAD, data)
    if count > MAX_FRAME_HEADERS or bool(count) != bool(size):
        raise RemoteProtocolError(f"the hello message has {count} frame headers of {size} bytes, which cannot be")
    prefix_at = head_bytes + count * size
    if len(data) < prefix_at:
        raise RemoteProtocolError("the hello message ends within its frame headers")
    headers = tuple(data[at : at + size] for at in range(head_bytes, prefix_at, size or 1))
    return StillTemplate(data[prefix_at:], iloc_length_at, mdat_size_at, headers)


def _check_template(template: StillTemplate, width: int, height: int) -> None:
    if max(template.iloc_length_at, template.mdat_size_at) + 4 > len(template.prefix):
        raise RemoteProtocolError("the template's length fields lie outside it")
    try:
        layout = inspect_still(template.rebuild(b"\0"))
    except TileError as error:
        raise RemoteProtocolError(f"the template is no AVIF still: {error}") from error
    promised = (template.iloc_length_at, template.mdat_size_at, len(template.prefix))
    if (layout.iloc_length_at, layout.mdat_size_at, layout.frame_at) != promised:
        raise RemoteProtocolError("the template's fields are not where the hello message says")
    if (layout.width, layout.height, layout.bit_depth, layout.monochrome) != (width, height, 8, True):
        raise RemoteProtocolError(
            f"the template is of {layout.width}x{layout.height} pixels at {layout.bit_depth} bit, "
            f"not {width}x{height} monochrome at 8 bit as the hello message says"
        )
