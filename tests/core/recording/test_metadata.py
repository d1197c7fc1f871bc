"""The settings of a picture travel in its Exif block, and other pictures are refused."""

from __future__ import annotations

import io
import json

import pytest
from PIL import Image

from audio_avif.config import MelConfig
from audio_avif.errors import FileError
from audio_avif.recording.codec import decode, encode
from audio_avif.recording.layout import PictureInfo
from audio_avif.recording.metadata import from_exif, to_exif
from support.pictures import FAST, RATE_HZ, TELLER, described, description, exif_of, original, read, voice
from support.stills import saved


def test_settings_travel_in_exif() -> None:
    info = PictureInfo(samples=99, channels=2, side_cells="1", source_rate_hz=8000)
    assert from_exif(to_exif(info)) == info
    picture = encode(voice(0.3), RATE_HZ, FAST)
    with Image.open(io.BytesIO(picture)) as image:
        exif = image.getexif()
    assert json.loads(exif[0x010E])["samples"] == 4800
    assert exif[0x0131] == "audio-avif"


@pytest.mark.parametrize(
    ("picture", "complaint"),
    [
        (described(description(audio_avif=2)), "have format 2; this version reads 1"),
        (described(description(audio_avif="x" * 500)), "have format 'x"),
        (described(description(samples="29")), "metadata are damaged: PictureInfo.samples must be"),
        (
            described(description(samples=30 * 256)),
            "describe 31 frames of 80 rows, 31x80 pixels, but it has 30x80",
        ),
        (described(description(samples=2**40)), "describe 4294967297 frames"),
        (described(description(samples=0)), "describe 0 frames"),
        (described(description(channels=2)), "describe 30 frames of 160 rows"),
        (described(description(layout="planes", channels=2)), "is gray, but its metadata describe 2 channels"),
        (
            described(description(mel={**MelConfig().to_dict(), "n_mels": 81})),
            "of 81 rows, 30x81 pixels, but it has 30x80",
        ),
        (described(description(mel=[])), "metadata are damaged: MelConfig needs exactly"),
        (described("a day at the sea"), "has no metadata of audio-avif"),
        (described('{"title": "a day at the sea"}'), "has no metadata of audio-avif"),
        (described("[1]"), "has no metadata of audio-avif"),
        (described("[" * 100_000), "has no metadata of audio-avif"),
        (described(None), "has no metadata of audio-avif"),
        (saved(Image.new("RGB", (64, 64))), "has no metadata of audio-avif"),
        (saved(Image.new("RGBA", (64, 64))), "has no metadata of audio-avif"),
        (described(description(), Image.new("L", (626, 80))), "describe 30 frames"),
        (
            described(description(), Image.new("L", (20, 80))),
            "has 20x80: it was cropped or scaled; --range=-5.5,1 plays",
        ),
        (
            described(description(), Image.new("L", (30, 40))),
            "it was cropped or scaled; use the original picture",
        ),
        (saved(Image.new("L", (64, 64)), "PNG"), "has no metadata of audio-avif"),
        (saved(Image.new("F", (30, 80)), "TIFF", exif=exif_of(description())), "has floating-point pixels"),
        (b"", "not a readable picture"),
        (b"RIFF" * 10, "not a readable picture"),
    ],
)
def test_other_pictures_are_refused_in_a_sentence(picture: bytes, complaint: str) -> None:
    with pytest.raises(FileError, match=complaint) as caught:
        decode(picture, TELLER)
    assert len(str(caught.value)) < 300 and str(caught.value).isprintable()


def test_the_smallest_settings_are_taken() -> None:
    assert decode(described(description()), TELLER)[0].size == 29 * 256


@pytest.mark.parametrize("kind", ["AVIF", "PNG"])
@pytest.mark.parametrize("change", ["cropped", "wider", "longer", "taller", "one row of two"])
def test_a_picture_that_was_cropped_or_scaled_is_refused(kind: str, change: str) -> None:
    picture = original(61.0 if change == "one row of two" else 3.0, 1)
    with Image.open(io.BytesIO(picture)) as image:
        exif, gray = image.getexif(), image.convert("L")
    width, height = gray.size
    made = {
        "cropped": gray.crop((0, 0, width - 40, height)),
        "wider": gray.resize((2 * width, height)),
        "longer": gray.crop((0, 0, width + 1, height)),
        "taller": gray.resize((width, 2 * height)),
        "one row of two": gray.crop((0, 0, width, height // 2)),
    }[change]
    options = {"subsampling": "4:0:0"} if kind == "AVIF" else {}
    changed = saved(made, kind, exif=exif, **options)
    remedy = "use the original picture" if change == "taller" else "--range=-5.5,1 plays it as it is"
    with pytest.raises(FileError) as caught:
        decode(changed, TELLER)
    assert str(caught.value).endswith(
        f"{width}x{height} pixels, but it has {made.width}x{made.height}: it was cropped or scaled; {remedy}"
    )
    if "--range" in remedy:
        assert read(changed, PictureInfo()).shape == (1, 80, made.width)
