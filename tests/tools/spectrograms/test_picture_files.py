"""Pictures and arrays as they are read: turned as viewers turn them, with every make of pixel and number."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from audio_avif.errors import AudioAvifError
from audio_avif.types import FloatArray
from audio_avif_tools.spectrograms.figures import Box
from audio_avif_tools.spectrograms.guess import settle
from audio_avif_tools.spectrograms.picture_files import Source, read_spectrogram
from support.turned import ORIENTATIONS, turned

RAMP = np.linspace(0, 255, 40 * 64).astype(np.uint8).reshape(40, 64)
RAMP[:12, :20] = 255  # so that every turn looks different


def read(path: Path, crop: Box | None = None) -> Source:
    (source,) = read_spectrogram(path, crop)
    return source


def shown(path: Path, crop: Box | None = None) -> FloatArray:
    """The shares of a gray picture, however it is stored."""
    source = read(path, crop)
    if source.shares is not None:
        return source.shares
    assert source.colours is not None
    return source.colours[:, :, 0].astype(np.float32) / 255


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF", "TIFF"])
def test_pictures_are_turned_as_viewers_turn_them(tmp_path: Path, kind: str, orientation: int) -> None:
    (tmp_path / "p").write_bytes(turned(Image.fromarray(RAMP), kind, orientation))
    found = shown(tmp_path / "p")
    assert found.shape == RAMP.shape
    assert np.abs(found - RAMP / 255).mean() < 0.03


def test_a_crop_is_of_the_turned_picture(tmp_path: Path) -> None:
    (tmp_path / "p.png").write_bytes(turned(Image.fromarray(RAMP), "PNG", 6))
    np.testing.assert_allclose(shown(tmp_path / "p.png", Box(5, 10, 30, 20)), RAMP[10:30, 5:35] / 255, atol=1e-6)


def gray_png(bits: int, pixels: bytes, columns: int, rows: int, clear: int) -> bytes:
    """A gray PNG of any depth with one transparent value; Pillow writes no such."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    size = len(pixels) // rows
    lines = b"".join(b"\0" + pixels[row * size : (row + 1) * size] for row in range(rows))
    header = struct.pack(">IIBBBBB", columns, rows, bits, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"tRNS", struct.pack(">H", clear)), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_transparent_pixels_of_gray_pictures_are_silent(tmp_path: Path, bits: int) -> None:
    clear = (1 << bits) - 1
    dark, bright = (0).to_bytes(2, "big"), (0xFFFF).to_bytes(2, "big")  # sixteen bits of the least and greatest value
    pixels = (dark * bits + bright * bits) * 32  # 32 columns, of which the right half is transparent
    (tmp_path / "p.png").write_bytes(gray_png(bits, pixels, 32, 32, clear))
    source = read(tmp_path / "p.png")
    assert source.transparent is not None
    assert source.transparent[:, 16:].all() and not source.transparent[:, :16].any()
    readable = settle(source, {"colour": "gray_r"}, None)
    bins = readable.values[:32]  # the last of 33 is not shown
    assert np.isneginf(bins[:, 16:]).all() and not np.isneginf(bins[:, :16]).any()
    assert "50% of the picture is transparent and was taken as silent" in readable.remarks


@pytest.mark.parametrize("kind", ["u1", "<u2", ">u2"])
def test_unsigned_integers_of_either_byte_order_are_pixels(tmp_path: Path, kind: str) -> None:
    white = np.iinfo(np.dtype(kind)).max
    np.save(tmp_path / "p.npy", (np.eye(9) * white).astype(kind))
    source = read(tmp_path / "p.npy")
    assert source.shares is not None
    np.testing.assert_array_equal(source.shares, np.eye(9, dtype=np.float32))


@pytest.mark.parametrize("kind", [">f4", ">f8", ">i2", ">i4", "<i8", ">u4", "f2"])
def test_other_numbers_of_either_byte_order_are_values(tmp_path: Path, kind: str) -> None:
    np.save(tmp_path / "p.npy", np.arange(99).reshape(9, 11).astype(kind))
    source = read(tmp_path / "p.npy")
    assert source.values is not None
    np.testing.assert_array_equal(source.values, np.arange(99).reshape(9, 11))


@pytest.mark.parametrize(
    ("shape", "given", "rows"),
    [
        ((300, 80), {}, 80),
        ((80, 300), {}, 80),
        ((1, 300, 80), {"kind": "mel"}, 80),
        ((1, 80, 300), {"kind": "mel"}, 80),
        ((300, 72), {"n_mels": 72}, 72),
        ((128, 80), {"n_mels": 80}, 80),
        ((80, 513), {"kind": "mel"}, 80),
        ((80, 513), {"kind": "linear"}, 513),
        ((80, 512), {}, 80),
        ((300, 512), {}, 512),
        ((300, 513), {}, 513),
        ((80, 201), {"n_fft": 400}, 201),
        ((300, 65), {"n_fft": 512, "kind": "linear", "rate_hz": 16_000, "fmax_hz": 2000.0}, 65),
        ((20_000, 80), {}, 80),
    ],
)
def test_the_length_of_a_side_tells_which_is_frequency(
    tmp_path: Path, shape: tuple[int, ...], given: dict[str, Any], rows: int
) -> None:
    np.save(tmp_path / "p.npy", np.random.default_rng(0).normal(-5, 2, shape).astype(np.float32))
    readable = settle(read(tmp_path / "p.npy"), given, None)
    frames = int(np.prod(shape)) // rows
    assert readable.values.shape[1] == frames
    assert readable.samples == frames * readable.config.hop_samples
    layout = "bands-first" if shape[-2] == rows else "frames-first"
    assert readable.assumed[0] == f"--layout {layout}"
    assert ("the array holds frames first and was transposed" in readable.remarks) == (layout == "frames-first")


@pytest.mark.parametrize(
    ("shape", "given"),
    [((80, 80), {}), ((100, 80), {}), ((300, 70), {}), ((300, 80), {"n_mels": 64}), ((1025, 128), {})],
)
def test_an_array_that_tells_nothing_needs_the_layout(
    tmp_path: Path, shape: tuple[int, int], given: dict[str, Any]
) -> None:
    np.save(tmp_path / "p.npy", np.random.default_rng(0).normal(-5, 2, shape))
    with pytest.raises(AudioAvifError, match="--layout bands-first or --layout frames-first"):
        settle(read(tmp_path / "p.npy"), given, None)
    for layout, frames in (("bands-first", shape[1]), ("frames-first", shape[0])):
        readable = settle(read(tmp_path / "p.npy"), given, None, layout)
        assert readable.values.shape[1] == frames
        assert not any("--layout" in assumed for assumed in readable.assumed)


def test_the_layout_is_for_arrays(tmp_path: Path) -> None:
    Image.fromarray(RAMP).save(tmp_path / "p.png")
    with pytest.raises(AudioAvifError, match="--layout is for arrays"):
        settle(read(tmp_path / "p.png"), {}, None, "frames-first")


def test_a_crop_is_for_pictures(tmp_path: Path) -> None:
    np.save(tmp_path / "p.npy", np.zeros((80, 99)))
    with pytest.raises(AudioAvifError, match="--crop is for pictures"):
        read_spectrogram(tmp_path / "p.npy", Box(0, 0, 9, 9))


def test_what_standard_input_holds_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    np.save(file, np.eye(9))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(file.getvalue())))
    source = read(Path("-"))
    assert source.values is not None and source.values.shape == (9, 9)
