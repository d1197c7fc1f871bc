"""The golden packets under ``data/wire``: what they mean, and how they are made.

``python -m support.golden``, run in ``tests``, writes them anew. Do that only for a new protocol version: that old
bytes keep their meaning is what they are for.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from audio_avif.config import EncoderConfig, MelConfig, TileConfig
from audio_avif.link.hello import Hello
from audio_avif.link.messages import Bye, Gap, Message, Ping, Place, Pong, Receipt, Report, Welcome
from audio_avif.link.packets import Bundle, PausePacket, TilePacket
from audio_avif.still.avif import encode_still
from audio_avif.still.template import StillTemplate
from support.paths import DATA

FOLDER = DATA / "wire"
STILL_FILE = FOLDER / "still.avif"
_HEADER_BYTES = 5


def golden_still() -> bytes:
    """An 8x80 still that was encoded once; another encoder version would make another one."""
    return STILL_FILE.read_bytes()


def golden_messages() -> dict[str, Message]:
    """Every kind of message, by the name of its file."""
    still = golden_still()
    template = StillTemplate.of(still)
    frame_body = template.strip(still)
    assert frame_body is not None
    own = frame_body[_HEADER_BYTES:]
    template = replace(template, frame_headers=(b"\x16\xc2\xce\xee\x30", frame_body[:_HEADER_BYTES]))
    older = TilePacket(6, 48, 8, b"\x16", header=0)
    return {
        "hello": Hello(MelConfig(), TileConfig(8, -11.0, 4.0), template, "0123456789abcdef", agent="golden/1"),
        "hello_file": Hello(MelConfig(), TileConfig(8, -5.5, 1.0), template, "", live=False, report=True, agent="grün"),
        "tile": TilePacket(7, 56, 8, own, header=1),
        "tile_whole_body": TilePacket(7, 56, 8, frame_body),
        "tile_last": TilePacket(8, 64, 3, frame_body),
        "tile_whole_still": TilePacket(0xFFFF, 0xFFFE, 1, still, is_whole_still=True),
        "noise": PausePacket(9, 72, 8, bytes(range(10, 90, 10))),
        "bundle": Bundle(TilePacket(7, 56, 8, own, header=1), (older, TilePacket(5, 40, 8, b"\x17"))),
        "bundle_pause": Bundle(PausePacket(9, 72, 8, bytes(8)), (older,)),
        "bye": Bye(9, 17_000),
        "gap": Gap(12),
        "place": Place(70_000, 560_000),
        "ping": Ping(1_000_000, 900_000, 0),
        "ping_negative": Ping(2_000_000, -5, -7_000_000),
        "welcome": Welcome("griffin-lim", 768, "golden/1"),
        "welcome_back": Welcome("griffin-lim", 768, "golden/1", 41),
        "receipt": Receipt(7),
        "pong": Pong(1_000_000, 8_000_123),
        "report": Report(7, 13_568, 8_100_000, 1, 200, 3_000, 40_000, 500_000),
    }


def _hello(template_bytes: bytes | None = None, text: str | None = None, **changes: Any) -> bytes:
    hello = golden_messages()["hello"].to_bytes()
    (size,) = struct.unpack_from(">H", hello, 2)
    if text is None:
        text = json.dumps({**json.loads(hello[4 : 4 + size]), **changes})
    rest = hello[4 + size :] if template_bytes is None else template_bytes
    return struct.pack(">BBH", 0x01, 2, len(text.encode())) + text.encode() + rest


Malformed = Iterator[tuple[str, bytes, str]]
"""Name, bytes and what the error says."""


def _malformed() -> Malformed:
    good = {name: message.to_bytes() for name, message in golden_messages().items()}
    yield "empty", b"", "without a byte in it"
    yield "unknown_type", b"\x0a\0\0\0\0", "unknown type 0x0a"
    yield from _malformed_hellos(good["hello"])
    yield from _malformed_templates(good["hello"])
    yield from _malformed_tiles(good["tile"], good["tile_whole_body"], good["noise"])
    yield from _malformed_bundles(good)
    yield from _malformed_messages(good)
    yield from _malformed_answers(good)


def _malformed_hellos(hello: bytes) -> Malformed:
    mel, tile = MelConfig().to_dict(), TileConfig(8, -11.0, 4.0).to_dict()
    (json_bytes,) = struct.unpack_from(">H", hello, 2)
    template = hello[4 + json_bytes :]

    yield "hello_truncated_header", hello[:3], "truncated"
    yield "hello_truncated_json", hello[: 4 + json_bytes // 2], "JSON that cannot be read"
    yield "hello_truncated_offsets", hello[: 4 + json_bytes + 3], "ends before its template"
    yield "hello_truncated_template", hello[:-1], "length fields|no AVIF still|not where"
    yield "hello_version_1", hello[:1] + b"\x01" + hello[2:], "speaks version 1 .* speaks 2"
    yield "hello_not_utf8", _hello(text="{}").replace(b"{}", b"\xff\xfe"), "JSON that cannot be read"
    yield "hello_json_list", _hello(text="[]"), "not an object"
    yield "hello_json_deep", _hello(template, "[" * 5_000), "JSON that cannot be read"
    yield "hello_json_long_number", _hello(text='{"mel":' + "9" * 5_000 + "}"), "JSON that cannot be read"
    yield "hello_no_mel", _hello(mel=None), "'mel' is missing"
    yield "hello_live_number", _hello(live=1), "'live' is missing or not of type bool"
    yield "hello_session_number", _hello(session=5), "'session' is missing or not of type str"
    yield "hello_mel_key_missing", _hello(mel={"n_mels": 80}), "exactly the keys"
    yield "hello_mel_key_unknown", _hello(mel={**mel, "power": 2}), "exactly the keys"
    yield "hello_mel_bool", _hello(mel={**mel, "n_mels": True}), "must be a number"
    yield "hello_mel_text", _hello(mel={**mel, "n_mels": "80"}), "must be a number"
    yield "hello_mel_nan", _hello(mel={**mel, "fmax_hz": float("nan")}), "mel bands must lie"
    yield "hello_mel_infinite", _hello(mel={**mel, "fmax_hz": float("inf")}), "mel bands must lie"
    yield "hello_mel_huge", _hello(mel={**mel, "fmax_hz": 10**400}), "too large a number"
    yield "hello_mel_huge_int", _hello(mel={**mel, "n_fft": 10**400}), "n_fft must be"
    yield "hello_mel_bands", _hello(mel={**mel, "n_mels": 40}), "not 8x40"
    yield "hello_tile_frames", _hello(tile={**tile, "frames": 16}), "not 16x80"
    yield "hello_tile_too_wide", _hello(tile={**tile, "frames": 65}), "2 to 64 frames"
    yield "hello_tile_range", _hello(tile={**tile, "log10_min": 5}), "value range"


def _malformed_templates(hello: bytes) -> Malformed:
    (json_bytes,) = struct.unpack_from(">H", hello, 2)
    template = hello[4 + json_bytes :]
    prefix_at = 6 + 2 * _HEADER_BYTES
    yield "hello_frame_headers_truncated", _hello(template[: prefix_at - 1]), "ends within its frame headers"
    yield "hello_frame_headers_empty", _hello(template[:5] + b"\0" + template[6:]), "2 frame headers of 0 bytes"
    yield "hello_frame_headers_none", _hello(template[:4] + b"\0" + template[5:]), "0 frame headers of 5 bytes"
    yield "hello_frame_headers_many", _hello(template[:4] + b"\x81" + template[5:]), "129 frame headers of 5 bytes"
    yield "hello_template_offset_outside", _hello(b"\xff\xff\xff\xff" + template[4:]), "lie outside"
    yield "hello_template_offset_wrong", _hello(b"\0\x20" + template[2:]), "not where|no AVIF still"
    yield "hello_template_none", _hello(template[:prefix_at]), "lie outside"
    yield "hello_template_jpeg", _hello(template[:prefix_at] + b"\xff\xd8\xff\xe0" + bytes(300)), "no AVIF still"
    yield "hello_template_with_frame", _hello(_template_with_frame(template)), "not where"


def _malformed_tiles(tile: bytes, whole: bytes, noise: bytes) -> Malformed:
    yield "tile_truncated", tile[:4], "truncated"
    yield "tile_without_payload", tile[:5], "tile 7 is empty"
    yield "tile_unknown_header", b"\x82" + tile[1:], "tile 7 begins with frame header 2, which the hello lacks"
    yield "tile_whole_body_truncated", whole[:4], "truncated"
    yield "tile_whole_body_without_payload", whole[:6], "tile 7 is empty"
    yield "tile_without_frames", whole[:5] + b"\0" + whole[6:], "tile 7 is empty"
    yield "tile_too_many_frames", whole[:5] + b"\x09" + whole[6:], "more frames than its picture"
    yield "noise_truncated", noise[:-1], "truncated"
    yield "noise_long", noise + b"\0", "longer than its kind"
    yield "noise_without_frames", noise[:5] + b"\0" + noise[6:], "pause 9 is empty"
    yield "noise_too_many_frames", noise[:5] + b"\x09" + noise[6:], "more frames than its picture"


def _malformed_bundles(good: dict[str, bytes]) -> Malformed:
    bundle, head, packet = good["bundle"], _copy_head(0x80, 1, 8, 1), good["tile"]
    yield "bundle_without_parts", b"\x07\0", "too few or too many"
    yield "bundle_without_copies", b"\x07\0" + packet, "too few or too many"
    yield "bundle_of_many", b"\x07\x09" + 9 * head + packet + bytes(9), "too few or too many"
    yield "bundle_truncated", bundle[:10], "do not fill it"
    yield "bundle_without_tile", b"\x07\x01" + head + b"\x16", "do not fill it"
    yield "bundle_tile_truncated", b"\x07\x01" + head + packet[:4] + b"\x16", "truncated"
    yield "bundle_empty_copy", b"\x07\x01" + _copy_head(0x80, 1, 8, 0) + packet, "tile 6 is empty"
    yield "bundle_of_pings", b"\x07\x01" + head + good["ping"] + b"\x16", "neither tile nor pause"
    yield (
        "bundle_copy_of_bundle",
        b"\x07\x01" + _copy_head(0x07, 1, 8, 1) + packet + b"\x16",
        "copies are not all tiles",
    )
    yield "bundle_out_of_order", b"\x07\x01" + _copy_head(0x80, 0, 8, 1) + packet + b"\x16", "not older than it"
    yield "bundle_before_the_stream", b"\x07\x01" + _copy_head(0x80, 8, 8, 1) + packet + b"\x16", "not older than it"
    yield "bundle_copy_too_wide", bundle[:-2] + b"\x09\x17", "tile 5 claims more frames"


def _malformed_messages(good: dict[str, bytes]) -> Malformed:
    yield "bye_truncated", good["bye"][:-1], "truncated"
    yield "bye_long", good["bye"] + b"\0", "longer than its kind"
    yield "bye_tiles", b"\x04" + struct.pack(">QQ", 2**41, 1), "more samples than can be"
    yield "bye_samples", b"\x04" + struct.pack(">QQ", 1, 2**63), "more samples than can be"
    yield "ping_truncated", good["ping"][:-1], "truncated"
    yield "ping_long", good["ping"] + b"\0", "longer than its kind"

    yield "gap_truncated", good["gap"][:-1], "truncated"
    yield "gap_long", good["gap"] + b"\0", "longer than its kind"
    yield "place_truncated", good["place"][:-1], "truncated"
    yield "place_long", good["place"] + b"\0", "longer than its kind"
    yield "place_sequence", b"\x09" + struct.pack(">QQ", 2**41, 1), "longer than can be"
    yield "place_frame", b"\x09" + struct.pack(">QQ", 1, 2**63), "longer than can be"


def _malformed_answers(good: dict[str, bytes]) -> Malformed:
    yield "welcome_truncated", good["welcome"][:-1], "JSON that cannot be read"
    yield (
        "welcome_no_vocoder",
        b"\x41" + b'{"vocoder_latency_samples":0,"agent":"","received":-1}',
        "'vocoder' is missing",
    )
    yield "welcome_latency_negative", good["welcome"].replace(b"768", b"-68"), "delay that cannot be"
    yield "welcome_latency_huge", good["welcome"].replace(b"768", b"9" * 400), "delay that cannot be"
    yield "welcome_received_negative", _welcome(received=-2), "a tile that cannot be"
    yield "welcome_received_huge", _welcome(received=2**41), "a tile that cannot be"
    yield "receipt_truncated", good["receipt"][:-1], "truncated"
    yield "receipt_long", good["receipt"] + b"\0", "longer than its kind"
    yield "pong_truncated", good["pong"][:-1], "truncated"
    yield "pong_clock", b"\x45" + bytes(8) + b"\xff" * 8, "time that cannot be"
    yield "report_truncated", good["report"][:-1], "truncated"
    yield "report_long", good["report"] + b"\0", "longer than its kind"


def _copy_head(kind: int, before: int, frames_before: int, size: int) -> bytes:
    return struct.pack(Bundle.COPY_HEAD, kind, before, frames_before, size)


def _welcome(**changes: Any) -> bytes:
    welcome = golden_messages()["welcome"].to_bytes()
    return welcome[:1] + json.dumps({**json.loads(welcome[1:]), **changes}).encode()


def _template_with_frame(offsets_and_prefix: bytes) -> bytes:
    """A template that ends within a frame unit which only a one-byte body would complete."""
    iloc_length_at, mdat_size_at = struct.unpack_from(">HH", offsets_and_prefix)
    prefix_at = 6 + 2 * _HEADER_BYTES
    prefix = bytearray(offsets_and_prefix[prefix_at:] + b"\x32\x04\0")
    for at in (iloc_length_at, mdat_size_at):
        struct.pack_into(">I", prefix, at, struct.unpack_from(">I", prefix, at)[0] + 3)
    return offsets_and_prefix[:prefix_at] + bytes(prefix)


def write() -> None:
    """Write all files; the still only where there is none."""
    for folder in ("good", "malformed"):
        (FOLDER / folder).mkdir(parents=True, exist_ok=True)
    if not STILL_FILE.exists():
        ramp = np.add.outer(np.arange(80) * 2, np.arange(8) * 5).astype(np.uint8)
        STILL_FILE.write_bytes(encode_still(ramp, EncoderConfig(20, 10)))
    for name, message in golden_messages().items():
        (FOLDER / "good" / f"{name}.bin").write_bytes(message.to_bytes())
    errors = {}
    for name, data, error in _malformed():
        (FOLDER / "malformed" / f"{name}.bin").write_bytes(data)
        errors[f"{name}.bin"] = error
    (FOLDER / "malformed" / "errors.json").write_text(json.dumps(errors, indent=1) + "\n")


if __name__ == "__main__":
    write()
