"""The golden packets under ``data/wire``: what they mean, and how they are made.

``python tests/golden.py`` writes them anew. Do that only for a new protocol version: that old bytes keep their meaning
is what they are for.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from audio_avif.config import EncoderConfig, MelConfig, TileConfig
from audio_avif.link.messages import (
    Bundle,
    Bye,
    Gap,
    Hello,
    Message,
    PausePacket,
    Ping,
    Pong,
    Receipt,
    Report,
    TilePacket,
    Welcome,
)
from audio_avif.still.avif import encode_still
from audio_avif.still.template import StillTemplate
from support.paths import DATA

FOLDER = DATA / "wire"
STILL_FILE = FOLDER / "still.avif"


def golden_still() -> bytes:
    """An 8x80 still that was encoded once; another encoder version would make another one."""
    return STILL_FILE.read_bytes()


def golden_messages() -> dict[str, Message]:
    """Every kind of message, by the name of its file."""
    still = golden_still()
    template = StillTemplate.of(still)
    frame_body = template.strip(still)
    assert frame_body is not None
    older = TilePacket(6, 48, 8, b"\x16")
    return {
        "hello": Hello(MelConfig(), TileConfig(8, -11.0, 4.0), template, "0123456789abcdef", agent="golden/1"),
        "hello_file": Hello(MelConfig(), TileConfig(8, -5.5, 1.0), template, "", live=False, report=True, agent="grün"),
        "tile": TilePacket(7, 56, 8, frame_body),
        "tile_last": TilePacket(8, 64, 3, frame_body),
        "tile_whole_still": TilePacket(0xFFFFFFFF, 0xFFFFFFFE, 1, still, is_whole_still=True),
        "noise": PausePacket(9, 72, 8, bytes(range(10, 90, 10))),
        "bundle": Bundle(TilePacket(7, 56, 8, frame_body), (older, TilePacket(5, 40, 8, b"\x17"))),
        "bundle_pause": Bundle(PausePacket(9, 72, 8, bytes(8)), (older,)),
        "bye": Bye(9, 17_000),
        "gap": Gap(12),
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
    return struct.pack(">BBH", 0x01, 1, len(text.encode())) + text.encode() + rest


def _malformed() -> Iterator[tuple[str, bytes, str]]:
    """Name, bytes and what the error says."""
    good = {name: message.to_bytes() for name, message in golden_messages().items()}
    mel, tile = MelConfig().to_dict(), TileConfig(8, -11.0, 4.0).to_dict()
    (json_bytes,) = struct.unpack_from(">H", good["hello"], 2)
    template = good["hello"][4 + json_bytes :]

    yield "empty", b"", "without a byte in it"
    yield "unknown_type", b"\x09\0\0\0\0", "unknown type 0x09"

    yield "hello_truncated_header", good["hello"][:3], "truncated"
    yield "hello_truncated_json", good["hello"][: 4 + json_bytes // 2], "JSON that cannot be read"
    yield "hello_truncated_offsets", good["hello"][: 4 + json_bytes + 3], "ends before its template"
    yield "hello_truncated_template", good["hello"][:-1], "length fields|no AVIF still|not where"
    yield "hello_version_2", good["hello"][:1] + b"\x02" + good["hello"][2:], "speaks version 2"
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
    yield "hello_template_offset_outside", _hello(b"\xff\xff\xff\xff" + template[4:]), "lie outside"
    yield "hello_template_offset_wrong", _hello(b"\0\x20" + template[2:]), "not where|no AVIF still"
    yield "hello_template_none", _hello(template[:4]), "lie outside"
    yield "hello_template_jpeg", _hello(template[:4] + b"\xff\xd8\xff\xe0" + bytes(300)), "no AVIF still"
    yield "hello_template_with_frame", _hello(_template_with_frame(template)), "not where"

    yield "tile_truncated", good["tile"][:9], "truncated"
    yield "tile_without_payload", good["tile"][:10], "tile 7 is empty"
    yield "tile_without_frames", good["tile"][:9] + b"\0" + good["tile"][10:], "tile 7 is empty"
    yield "tile_too_many_frames", good["tile"][:9] + b"\x09" + good["tile"][10:], "more frames than its picture"
    yield "noise_truncated", good["noise"][:-1], "truncated"
    yield "noise_long", good["noise"] + b"\0", "longer than its kind"
    yield "noise_without_frames", good["noise"][:9] + b"\0" + good["noise"][10:], "pause 9 is empty"
    yield "noise_too_many_frames", good["noise"][:9] + b"\x09" + good["noise"][10:], "more frames than its picture"
    yield "bundle_without_parts", b"\x07\0", "too few or too many"
    yield "bundle_without_copies", b"\x07\x01" + _part(good["tile"]), "too few or too many"
    yield "bundle_truncated", good["bundle"][:-1], "do not fill it"
    yield "bundle_empty_part", b"\x07\x04" + good["bundle"][2:] + b"\0\0", "do not fill it"
    yield "bundle_miscounted", b"\x07\x02" + good["bundle"][2:], "do not fill it"
    yield "bundle_of_many", b"\x07\x0a" + 10 * _part(good["tile"]), "too few or too many"
    yield "bundle_of_pings", b"\x07\x02" + 2 * _part(good["ping"]), "neither tile nor pause"
    yield "bundle_copy_of_bundle", b"\x07\x02" + _part(good["tile"]) + _part(good["bundle"]), "copies are not all tiles"
    yield "bundle_out_of_order", b"\x07\x02" + 2 * _part(good["tile"]), "not older than it"
    yield "bundle_copy_too_wide", _wide_copy(good["bundle"]), "tile 5 claims more frames"
    yield "bye_truncated", good["bye"][:-1], "truncated"
    yield "bye_long", good["bye"] + b"\0", "longer than its kind"
    yield "bye_samples", b"\x04" + struct.pack(">IQ", 1, 2**63), "more samples than can be"
    yield "ping_truncated", good["ping"][:-1], "truncated"
    yield "ping_long", good["ping"] + b"\0", "longer than its kind"

    yield "gap_truncated", good["gap"][:-1], "truncated"
    yield "gap_long", good["gap"] + b"\0", "longer than its kind"

    yield "welcome_truncated", good["welcome"][:-1], "JSON that cannot be read"
    yield (
        "welcome_no_vocoder",
        b"\x81" + b'{"vocoder_latency_samples":0,"agent":"","received":-1}',
        "'vocoder' is missing",
    )
    yield "welcome_latency_negative", good["welcome"].replace(b"768", b"-68"), "delay that cannot be"
    yield "welcome_latency_huge", good["welcome"].replace(b"768", b"9" * 400), "delay that cannot be"
    yield "welcome_received_negative", _welcome(received=-2), "a tile that cannot be"
    yield "welcome_received_huge", _welcome(received=2**32), "a tile that cannot be"
    yield "receipt_truncated", good["receipt"][:-1], "truncated"
    yield "receipt_long", good["receipt"] + b"\0", "longer than its kind"
    yield "pong_truncated", good["pong"][:-1], "truncated"
    yield "pong_clock", b"\x85" + bytes(8) + b"\xff" * 8, "time that cannot be"
    yield "report_truncated", good["report"][:-1], "truncated"
    yield "report_long", good["report"] + b"\0", "longer than its kind"


def _part(message: bytes) -> bytes:
    return struct.pack(">H", len(message)) + message


def _wide_copy(bundle: bytes) -> bytes:
    assert bundle[-2:] == b"\x08\x17"  # the last copy's frames and its payload
    return bundle[:-2] + b"\x09\x17"


def _welcome(**changes: Any) -> bytes:
    welcome = golden_messages()["welcome"].to_bytes()
    return welcome[:1] + json.dumps({**json.loads(welcome[1:]), **changes}).encode()


def _template_with_frame(offsets_and_prefix: bytes) -> bytes:
    """A template that ends within a frame unit which only a one-byte body would complete."""
    iloc_length_at, mdat_size_at = struct.unpack_from(">HH", offsets_and_prefix)
    prefix = bytearray(offsets_and_prefix[4:] + b"\x32\x04\0")
    for at in (iloc_length_at, mdat_size_at):
        struct.pack_into(">I", prefix, at, struct.unpack_from(">I", prefix, at)[0] + 3)
    return offsets_and_prefix[:4] + bytes(prefix)


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
