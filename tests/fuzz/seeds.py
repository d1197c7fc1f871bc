"""Where each target starts from: real tiles and messages, made anew so that they fit the encoder at hand."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from importlib.util import find_spec
from itertools import islice, pairwise, product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
from PIL import Image

from audio_avif.config import EncoderConfig, MelConfig, TileConfig
from audio_avif.link.hello import Hello
from audio_avif.link.messages import Place
from audio_avif.link.packets import Bundle, PausePacket, TilePacket
from audio_avif.recording.codec import encode
from audio_avif.recording.grid import GridWriter
from audio_avif.recording.layout import PictureInfo, to_pixels
from audio_avif.recording.metadata import FORMAT
from audio_avif.recording.picture_encoder import FileConfig, encode_cell
from audio_avif.signal.features import log_mel
from audio_avif.still.avif import encode_still
from audio_avif.still.template import StillTemplate
from audio_avif.still.tiles import TileCutter
from audio_avif.types import Pixels
from audio_avif_stream.receiving.stream_recording import MAGIC, Recorder
from audio_avif_tools.shared.signals import demo_clip
from support.golden import FOLDER, golden_messages

SIZES = ((2, 80), (4, 80), (8, 80), (16, 80), (32, 80), (64, 80), (2, 8), (64, 256))
"""(columns, rows) of the stills; the first byte of an input of the target ``tile`` chooses among them."""
ENCODERS = (EncoderConfig(5, 10), EncoderConfig(30, 6), EncoderConfig(60, 6), EncoderConfig(90, 10))
WAIT = 0x00
"""No message of the protocol: in a sequence, a pause of as many hundredths of a second as its second byte says."""
_TILES_OF_A_SIZE = 4


def join_messages(messages: Sequence[bytes]) -> bytes:
    """A sequence of messages as one input: each after its size in two bytes."""
    return b"".join(struct.pack(">H", len(message)) + message for message in messages)


def split_messages(data: bytes) -> list[bytes]:
    """The messages of an input; a size that promises too much takes what is there."""
    messages = []
    at = 0
    while at + 2 <= len(data):
        size = int.from_bytes(data[at : at + 2], "big")
        messages.append(data[at + 2 : at + 2 + size])
        at += 2 + size
    return messages


@lru_cache
def speech_tiles(columns: int, rows: int) -> list[Pixels]:
    """Tiles of the bundled clip, evenly spread over it, and one of noise."""
    mel = MelConfig(n_mels=rows)
    cutter = TileCutter(rows, TileConfig(columns))
    tiles = [tile.pixels for tile in cutter.push(log_mel(demo_clip(), mel))]
    noise = np.random.default_rng(columns).integers(0, 256, (rows, columns), np.uint8)
    return [*tiles[:: -(-len(tiles) // _TILES_OF_A_SIZE)], noise]


@lru_cache
def blank_still(columns: int, rows: int) -> bytes:
    """The still a stream of this size takes its template from."""
    return encode_still(np.zeros((rows, columns), np.uint8), EncoderConfig())


@lru_cache
def frame_bodies(columns: int, rows: int) -> list[bytes]:
    """Real frame bodies that fit the template of this size, at several qualities."""
    template = StillTemplate.of(blank_still(columns, rows))
    stills = (encode_still(pixels, config) for pixels, config in product(speech_tiles(columns, rows), ENCODERS))
    return [body for still in stills if (body := template.strip(still)) is not None]


def real_stills() -> Iterator[bytes]:
    """Whole stills of every size, and pictures that are no tiles: colour, 10 bit, animated, with metadata."""
    for columns, rows in SIZES:
        for config in ENCODERS:
            yield encode_still(speech_tiles(columns, rows)[0], config)
    grey = Image.fromarray(speech_tiles(8, 80)[0])
    for mode, options in (
        ("RGB", {}),
        ("RGBA", {}),
        ("L", {"subsampling": "4:4:4"}),
        ("L", {"subsampling": "4:0:0", "range": "limited"}),
        (
            "L",
            {
                "subsampling": "4:0:0",
                "exif": b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0",
                "xmp": b"<x/>",
                "icc_profile": bytes(128),
            },
        ),
        ("L", {"subsampling": "4:0:0", "save_all": True, "append_images": [grey]}),
    ):
        out = io.BytesIO()
        grey.convert(mode).save(out, "AVIF", codec="aom", speed=10, **options)
        yield out.getvalue()


def sender_messages() -> dict[str, bytes]:
    """What a sender may say, by its golden name."""
    return {name: message.to_bytes() for name, message in golden_messages().items() if message.TYPE < 0x40}


def receiver_messages() -> dict[str, bytes]:
    """What a receiver may say, by its golden name."""
    return {name: message.to_bytes() for name, message in golden_messages().items() if message.TYPE >= 0x40}


def malformed_messages() -> list[bytes]:
    """The golden messages that break the protocol."""
    return [file.read_bytes() for file in sorted((FOLDER / "malformed").glob("*.bin"))]


def receiver_wire() -> Iterator[bytes]:
    """Every message alone and behind a hello, and all of them in their order."""
    messages = sender_messages()
    hello = messages["hello"]
    yield join_messages(list(messages.values()))
    for message in (*messages.values(), *malformed_messages()):
        yield join_messages([message])
        yield join_messages([hello, message, messages["ping"]])


def sender_wire() -> Iterator[bytes]:
    """Every message alone and behind a welcome, and all of them in their order."""
    messages = receiver_messages()
    yield join_messages(list(messages.values()))
    for message in (*messages.values(), *malformed_messages()):
        yield join_messages([message])
        yield join_messages([messages["welcome"], message, messages["pong"]])


def still() -> Iterator[bytes]:
    """Whole AVIF files."""
    yield from real_stills()


def tile() -> Iterator[bytes]:
    """Frame bodies behind the number of their size."""
    for index, size in enumerate(SIZES):
        for body in frame_bodies(*size):
            yield bytes([index]) + body


def _grid(info: PictureInfo, cells: int, columns: int = 16) -> bytes:
    """A picture of sound with cells narrower than real ones, and room behind its settings for longer ones."""
    log_mel = np.stack([np.roll(_clip_mel(info.mel), 40 * channel, axis=1) for channel in range(info.channels)])
    config = FileConfig(60, 10, depth=info.depth, layout=info.layout)
    out = io.BytesIO()
    with GridWriter() as writer:
        while writer.cells < cells or writer.missing_cells():
            at = 100 + columns * writer.cells
            pixels = to_pixels(log_mel[:, :, at : at + columns], info, info.is_side(writer.cells))
            writer.add(encode_cell(pixels, config))
        frames = cells * columns if cells > 6 else writer.cells * columns - 3
        exif = Image.Exif()
        exif[0x010E] = json.dumps({"audio_avif": FORMAT, **replace(info, samples=256 * frames - 1).to_dict()}).ljust(
            900
        )
        writer.write(
            out, min(6, writer.cells) * columns - (3 if cells <= 6 else 0), exif.tobytes().removeprefix(b"Exif\0\0")
        )
    return out.getvalue()


@lru_cache
def _clip_mel(mel: MelConfig) -> npt.NDArray[np.float32]:
    return log_mel(demo_clip(), mel)


def grid() -> Iterator[bytes]:
    """Pictures of sound of every kind, and stills that are none."""
    for cells in (1, 2, 6, 7):
        yield _grid(PictureInfo(), cells)
    yield _grid(PictureInfo(channels=2, side_cells="101"), 3)
    yield _grid(PictureInfo(channels=3, layout="planes"), 2)
    yield _grid(PictureInfo(mel=MelConfig(n_mels=40)), 2)
    if find_spec("imagecodecs") is not None:
        yield _grid(PictureInfo(depth=10), 2)
        yield _grid(PictureInfo(depth=12, channels=2, layout="planes"), 1)
    yield encode(demo_clip()[:8000], 16_000)
    yield from islice(real_stills(), 0, None, 7)


_RECORD = struct.Struct(">BQI")


def split_records(data: bytes) -> list[bytes]:
    """A recording as its head and its records."""
    at = len(MAGIC) + 1
    parts = [data[:at]]
    while at + _RECORD.size <= len(data):
        size = _RECORD.size + _RECORD.unpack_from(data, at)[2]
        parts.append(data[at : at + size])
        at += size
    return [*parts, data[at:]] if at < len(data) else parts


def join_records(parts: Sequence[bytes]) -> bytes:
    """What ``split_records`` took apart."""
    return b"".join(parts)


def recording() -> Iterator[bytes]:
    """Recordings as a receiver writes them: of one connection, of several, cut short, and empty."""
    streams = [list(sender_messages().values()), [], malformed_messages()]
    for count in (1, 3):
        with TemporaryDirectory() as folder:
            file = Path(folder) / "recording"
            with Recorder(file) as recorder:
                for start_s, messages in enumerate(streams[:count]):
                    recorder.opened(start_s)
                    for number, message in enumerate(messages):
                        recorder.message(message, start_s + number / 100)
                    recorder.closed(start_s + 0.9)
            whole = file.read_bytes()
        yield whole
        yield whole[:-100]
    yield MAGIC
    yield b""


def _hellos() -> Iterator[Hello]:
    """Streams of other sizes, live and not."""
    for columns, rows in SIZES:
        mel, template = MelConfig(n_mels=rows), StillTemplate.of(blank_still(columns, rows))
        for is_live in (True, False):
            yield Hello(mel, TileConfig(columns), template, "", live=is_live)


def decoder() -> Iterator[bytes]:
    """Streams of an 8-frame tile each 128 ms: whole, with gaps, out of order, with pauses, copies and a new start."""
    bodies = frame_bodies(8, 80)
    tiles = [TilePacket(number, 8 * number, 8, body) for number, body in enumerate(bodies[:12])]
    wait = bytes([WAIT, 13])

    def paced(packets: Sequence[TilePacket | PausePacket | Bundle | Place]) -> bytes:
        return join_messages([part for packet in packets for part in (packet.to_bytes(), wait)])

    levels = bytes(range(20, 60, 5))
    pauses = [PausePacket(number, 8 * number, 8, levels) for number in range(4, 8)]
    yield paced(tiles)
    yield paced([*tiles[:3], *tiles[6:]])
    yield paced([tiles[number ^ 1] for number in range(len(tiles))])
    yield paced([*tiles[:4], *pauses, *tiles[8:]])
    yield paced([*tiles[:4], PausePacket(4, 32, 8, levels), TilePacket(5, 8 * 400, 8, bodies[5])])
    yield paced([tiles[0], *(Bundle(new, (old,)) for old, new in pairwise(tiles))])
    yield paced([*tiles[:4], Bundle(pauses[2], (tiles[5], tiles[4])), *tiles[7:]])
    yield paced([*tiles[:6], *tiles[:6]])
    yield paced([TilePacket(number, 8 * number, 8, blank_still(8, 80), True) for number in range(4)])
    for hello in _hellos():
        own = frame_bodies(hello.tile.frames, hello.mel.n_mels)[:6]
        packets = [TilePacket(number, number * hello.tile.frames, 2, body) for number, body in enumerate(own)]
        pause = PausePacket(6, 6 * hello.tile.frames, 2, levels)
        yield join_messages([hello.to_bytes(), *[packet.to_bytes() for packet in (*packets, pause)], wait])
    yield paced([*tiles[:2], Place(2**40, 2**40), TilePacket(2**40 - 1, 2**40 - 8, 8, bodies[0]), *tiles[2:6]])
    yield paced([Place(65_534, 524_272), *(replace(tile, sequence=65_534 + n) for n, tile in enumerate(tiles[:4]))])
    yield paced([replace(tile, payload=tile.payload[5:], header=1) for tile in tiles])
    yield join_messages([tile.to_bytes() for tile in tiles])
    yield join_messages([tiles[0].to_bytes(), *[bytes([WAIT, 255])] * 8, tiles[1].to_bytes()])
