"""The report: its figures are right, its page is whole, and odd recordings get a page too."""

from __future__ import annotations

import base64
import importlib.util
import io
import itertools
import json
import math
import re
import shutil
import subprocess
import tracemalloc
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from audio_avif.config import RATE_HZ
from audio_avif.errors import FileError
from audio_avif.recording.codec import encode, resampled
from audio_avif.recording.layout import PictureInfo
from audio_avif.recording.picture_encoder import FileConfig
from audio_avif.recording.picture_reader import PictureReader
from audio_avif.signal.features import log_mel
from audio_avif.types import FloatArray
from audio_avif_tools.report import measurement as report_measure
from audio_avif_tools.report import page as report_page
from audio_avif_tools.report.charts import draw
from audio_avif_tools.report.figures import Rendition, Source
from audio_avif_tools.report.media import clock, duration, time_ticks
from audio_avif_tools.report.writer import write_report
from audio_avif_tools.shared.fidelity import Feed, MelError, WaveError, cut, excerpts_of
from audio_avif_tools.shared.signals import demo_clip

pytestmark = pytest.mark.slow

SCRIPT = Path(report_page.__file__).with_name("templates") / "report.js"
VOID = {"meta", "img", "input", "br", "hr", "link", "line", "circle", "polyline", "source"}


class PageReader(HTMLParser):
    """Reads a page; complains where a tag is closed that is not open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open and "script" not in self.open:
            self.text += data

    def all(self, tag: str, name: str) -> list[str]:
        return [attrs[name] or "" for each, attrs in self.tags if each == tag and name in attrs]


def make_source(
    folder: Path,
    name: str,
    samples: FloatArray,
    rate_hz: int = RATE_HZ,
    qualities: tuple[int, ...] = (70, 90),
    gain: float = 1.0,
    subtype: str | None = None,
) -> Source:
    """A recording and its renditions, whose sound is the original's at 16 kHz with a gain."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    soundfile.write(path, samples, rate_hz, subtype=subtype)
    heard, _ = soundfile.read(path, dtype="float32", always_2d=True)
    heard = resampled(heard, rate_hz)
    renditions = []
    for quality in qualities:
        stem = f"{path.stem}.q{quality}"
        (folder / f"{stem}.avif").write_bytes(encode(samples, rate_hz, FileConfig(quality=quality, speed=9)))
        soundfile.write(folder / f"{stem}.wav", heard * gain, RATE_HZ, subtype="PCM_16")
        renditions.append(Rendition(quality, folder / f"{stem}.avif", folder / f"{stem}.wav", 0.25, 0.5))
    return Source(path, renditions)


def report_of(folder: Path, *sources: Source) -> tuple[dict[str, Any], PageReader, str]:
    write_report(sources, folder)

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is not JSON")

    table = json.loads((folder / "report.json").read_text(), parse_constant=refuse)
    text = (folder / "report.html").read_text()
    assert not list(folder.glob("*.part"))
    return table, PageReader(text), text


@pytest.fixture(scope="module")
def speech() -> FloatArray:
    return demo_clip()[: 3 * RATE_HZ]


@pytest.fixture
def without_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the packages of the scores were not installed; reports are quicker then."""
    find_spec = importlib.util.find_spec
    absent = {"pesq", "pystoi", "pyloudnorm"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in absent else find_spec(name))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, speech: FloatArray) -> tuple[dict[str, Any], PageReader, str]:
    """The report of a mono and a stereo recording."""
    folder = tmp_path_factory.mktemp("two")
    wide = np.repeat(speech[: RATE_HZ * 2], 3)
    stereo = np.stack([wide, 0.3 * wide], axis=1)
    return report_of(
        folder,
        make_source(folder, "mono.flac", speech, gain=0.5),
        make_source(folder, "stereo.wav", stereo, 3 * RATE_HZ),
    )


def figures_in(values: Any) -> Iterator[float]:
    if isinstance(values, dict):
        for key, value in values.items():
            if key not in ("scored", "rate_hz"):
                yield from figures_in(value)
    elif isinstance(values, list):
        for value in values:
            yield from figures_in(value)
    elif isinstance(values, (int, float)):
        yield values


def test_the_page_is_whole_and_needs_no_network(two: tuple[dict[str, Any], PageReader, str]) -> None:
    _, page, text = two
    assert not re.search(r"https?:|//[a-z]", re.sub(r"base64,[^\"]*", "", text), re.IGNORECASE)
    assert all(uri.startswith("data:") for tag in ("img", "audio") for uri in page.all(tag, "src"))
    assert not page.all("script", "src") and not page.all("link", "href")
    ids = page.all("h2", "id") + page.all("input", "id")
    assert len(set(ids)) == len(ids)
    assert set(page.all("label", "for")) == set(page.all("input", "id"))
    assert all(page.all("img", "alt")) and len(page.all("img", "alt")) == len(page.all("img", "src"))
    assert len(page.all("audio", "aria-label")) == len(page.all("audio", "src")) == 6


def test_the_page_has_each_figure_of_the_json(two: tuple[dict[str, Any], PageReader, str]) -> None:
    table, page, _ = two
    shown = {float(value) for tag in ("td", "th") for value in page.all(tag, "data-value") if _is_number(value)}
    figures = list(figures_in(table))
    assert len(figures) > 100
    assert set(figures) <= shown


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def test_the_tables_can_be_sorted_by_button(two: tuple[dict[str, Any], PageReader, str]) -> None:
    _, page, _ = two
    heads = page.all("th", "aria-sort")
    assert heads and set(heads) == {"none"}
    assert len([tag for tag, _ in page.tags if tag == "button"]) == len(heads)


def test_tables_say_at_their_head_that_waveform_figures_do_not_rate_a_vocoder(
    two: tuple[dict[str, Any], PageReader, str],
) -> None:
    """Beside the figures, not only in the legend below all of them."""
    _, _, text = two
    before, *tables = re.split(r"<table>", text)
    has_snr = ["SNR, dB" in table.partition("</table>")[0] for table in tables]
    assert has_snr == [True, False, True, True, True, True]
    for is_needed, head in zip(has_snr, [before, *tables], strict=False):
        told = head.rpartition("</table>")[2]
        assert ("correlation compare the waveforms sample by sample" in told) == is_needed
        assert not is_needed or "say nothing about quality" in told
    assert text.count('<td class="waveform"') == 2 * 2 + 2 * 2 * 2 + 3 * (2 + 2 * 2)


def test_a_gain_is_found_and_loudness_told(two: tuple[dict[str, Any], PageReader, str]) -> None:
    table, _, _ = two
    [channel] = table["files"][0]["qualities"][0]["channels"]
    assert channel["gain"] == pytest.approx(2.0, abs=1e-3)
    assert channel["correlation"] == pytest.approx(1.0, abs=1e-4)
    assert channel["snr_db"] > 40
    assert channel["decoded_lufs"] - channel["original_lufs"] == pytest.approx(-6.02, abs=0.02)
    assert channel["pesq_wb"] > 4.5 and channel["stoi"] > 0.99


def test_sizes_and_rates_are_those_of_the_files(
    two: tuple[dict[str, Any], PageReader, str], speech: FloatArray
) -> None:
    table, _, _ = two
    mono, stereo = table["files"]
    assert (mono["name"], mono["rate_hz"], mono["channels"]) == ("mono.flac", RATE_HZ, 1)
    assert (stereo["rate_hz"], stereo["channels"], stereo["seconds"]) == (48_000, 2, 2)
    for figures in mono["qualities"]:
        assert figures["kbps"] == pytest.approx(8e-3 * figures["bytes"] / 3, rel=1e-5)
        assert figures["ratio"] == pytest.approx(2 * speech.size / figures["bytes"], rel=1e-5)
    for figures in stereo["qualities"]:
        assert figures["ratio"] == pytest.approx(2 * 2 * 2 * 48_000 / figures["bytes"], rel=1e-5)
        assert len(figures["channels"]) == 2
        one, other = (channel["mel_psnr_db"] for channel in figures["channels"])
        assert figures["mel_psnr_db"] == pytest.approx((one + other) / 2, rel=1e-5)
        assert (figures["encode_s"], figures["decode_s"]) == (0.25, 0.5)
    for quality, mean in enumerate(table["means"]):
        both = [file["qualities"][quality]["pesq_wb"] for file in table["files"]]
        assert mean["pesq_wb"] == pytest.approx(sum(both) / 2, rel=1e-4)


def test_the_mel_psnr_is_what_it_says(two: tuple[dict[str, Any], PageReader, str], tmp_path: Path) -> None:
    table, _, _ = two
    low, high = (figures["mel_psnr_db"] for figures in table["files"][0]["qualities"])
    assert 20 < low < high < 60
    samples = demo_clip()[: 3 * RATE_HZ]
    source = make_source(tmp_path, "mono.flac", samples, qualities=(70,))
    with source.renditions[0].picture.open("rb") as file:
        reader = PictureReader(file)
        shown = np.concatenate(list(reader.log_mels()), axis=2)[0]
    span = reader.info.log10_max - reader.info.log10_min
    first, second = (np.clip((mel - reader.info.log10_min) / span, 0, 1) for mel in (log_mel(samples), shown))
    assert low == pytest.approx(-10 * math.log10(float(np.square(first - second).mean())), abs=0.05)


@pytest.mark.usefixtures("without_scores")
def test_a_long_recording_is_heard_where_it_is_loudest(tmp_path: Path, speech: FloatArray) -> None:
    samples = np.resize(speech, 50 * RATE_HZ) * np.float32(0.1)
    samples[15 * RATE_HZ : 45 * RATE_HZ] *= 8
    table, page, _ = report_of(tmp_path, make_source(tmp_path, "long.flac", samples, qualities=(80,)))
    assert "the loudest 30 s, from 15 s to 45 s" in " ".join(page.text.split())
    for uri in page.all("audio", "src"):
        heard, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(uri.partition(",")[2])), dtype="float32")
        assert (heard.size, rate_hz) == (30 * RATE_HZ, RATE_HZ)
        np.testing.assert_allclose(heard, samples[938 * 256 :][: heard.size], atol=1e-4)  # from a whole frame on
    for uri in page.all("img", "src"):
        with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
            assert image.size == (1875, 80)
    assert [each["from_s"] for each in table["files"][0]["scored"]] == [0, 10, 20, 30, 40]
    assert "5 evenly spaced excerpts of 10 s" in " ".join(page.text.split())
    assert "long.q80.wav" in page.all("a", "href") and "long.flac" in page.all("a", "href")


SECOND = np.arange(RATE_HZ, dtype=np.float32) / RATE_HZ
ODD = {
    "silent": np.zeros(RATE_HZ, np.float32),
    "one sample": np.full(1, 0.5, np.float32),
    "very short": np.sin(2 * np.pi * 440 * SECOND[:3000]),
    "clipped": np.clip(9 * np.sin(2 * np.pi * 440 * SECOND), -1, 1),
    "four channels": np.stack([np.sin(2 * np.pi * (n + 1) * 150 * SECOND) / 2 for n in range(4)], axis=1),
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.filterwarnings("error")
def test_odd_recordings_get_a_page(kind: str, tmp_path: Path) -> None:
    source = make_source(tmp_path, f"{kind}.wav", ODD[kind].astype(np.float32), qualities=(80,))
    table, page, _ = report_of(tmp_path, source)
    [figures] = table["files"][0]["qualities"]
    has_score = kind in ("clipped", "four channels")
    assert (figures["pesq_wb"] is not None) == has_score
    if not has_score:
        assert figures["stoi"] is None and "" in page.all("td", "data-value")
    assert (figures["channels"][0]["original_lufs"] is not None) == has_score
    assert (figures["correlation"] is None) == (kind == "silent")
    assert not {"nan", "inf"} & set(re.findall(r"[A-Za-z]+", page.text))
    assert all(value == "" or _is_number(value) for value in page.all("td", "data-value"))
    with Image.open(io.BytesIO(base64.b64decode(page.all("img", "src")[0].partition(",")[2]))) as image:
        assert image.height == 80 * table["files"][0]["channels"]


def test_loud_float_samples_keep_their_gain(tmp_path: Path, speech: FloatArray) -> None:
    source = make_source(tmp_path, "loud.wav", 4 * speech, gain=0.25, qualities=(80,), subtype="FLOAT")
    table, _, _ = report_of(tmp_path, source)
    assert table["files"][0]["qualities"][0]["channels"][0]["gain"] == pytest.approx(4, rel=1e-3)


def test_a_mean_is_drawn_at_the_rate_of_what_it_is_over(tmp_path: Path, speech: FloatArray) -> None:
    silence = make_source(tmp_path, "silence.wav", np.zeros(RATE_HZ, np.float32), qualities=(80,))
    table, page, _ = report_of(tmp_path, make_source(tmp_path, "speech.wav", speech, qualities=(80,)), silence)
    [told] = {label for label in page.all("svg", "aria-label") if label.startswith("PESQ-WB")}
    assert told.endswith(f"at {table['files'][0]['qualities'][0]['kbps']:.3g} kbps")
    assert table["means"][0]["pesq_wb"] == table["files"][0]["qualities"][0]["pesq_wb"]


@pytest.mark.usefixtures("without_scores")
def test_missing_packages_are_told_once(tmp_path: Path, speech: FloatArray) -> None:
    table, page, text = report_of(tmp_path, make_source(tmp_path, "speech.flac", speech))
    assert table["missing_packages"] == ["pesq", "pystoi", "pyloudnorm"]
    assert page.text.count("pip install 'audio-avif[report]'") == 1
    for figures in table["files"][0]["qualities"]:
        assert figures["pesq_wb"] is figures["stoi"] is figures["channels"][0]["decoded_lufs"] is None
        assert figures["mel_psnr_db"] > 20
    assert '<td data-value="">-</td>' in text


@pytest.mark.usefixtures("without_scores")
def test_a_full_page_links_to_the_files(tmp_path: Path, speech: FloatArray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_page, "MAX_MEDIA_BYTES", 1000)
    source = make_source(tmp_path / "sounds & <i>more</i> #1", "100% näher.flac", speech[:RATE_HZ])
    _, page, text = report_of(tmp_path, source)
    assert "data:" not in text and "This page is full: these players load the files beside it" in page.text
    links = page.all("audio", "src") + page.all("img", "src")
    assert len(links) == 3 + 2
    for link in links:
        assert (tmp_path / unquote(link)).is_file()


@pytest.mark.usefixtures("without_scores")
def test_the_page_stays_within_its_size(tmp_path: Path, speech: FloatArray, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = [make_source(tmp_path, f"{n}.flac", speech[:RATE_HZ], qualities=(80,)) for n in range(4)]
    _, _, text = report_of(tmp_path, sources[0])
    one = len(re.findall(r"data:[^\"]*", text)[0]) * 5
    monkeypatch.setattr(report_page, "MAX_MEDIA_BYTES", 2 * one)
    _, page, text = report_of(tmp_path, *sources)
    assert 0 < sum(map(len, re.findall(r"data:[^\"]*", text))) <= 2 * one
    assert any(not uri.startswith("data:") for uri in page.all("audio", "src"))


@pytest.mark.usefixtures("without_scores")
def test_names_are_told_apart_and_escaped(tmp_path: Path, speech: FloatArray) -> None:
    sources = [
        make_source(tmp_path / folder, '<script>"a" & b.flac', speech[:RATE_HZ], qualities=(80,)) for folder in "xy"
    ]
    table, page, text = report_of(tmp_path, *sources)
    assert [file["name"] for file in table["files"]] == ['x/<script>"a" & b.flac', 'y/<script>"a" & b.flac']
    assert 'y/<script>"a" & b.flac' in page.text
    assert text.count("<script>") == 1


@pytest.mark.usefixtures("without_scores")
@pytest.mark.parametrize("broken", ["sound", "picture", "original"])
def test_a_missing_file_is_told_and_leaves_nothing(broken: str, tmp_path: Path, speech: FloatArray) -> None:
    source = make_source(tmp_path / "in", "speech.flac", speech[:RATE_HZ], qualities=(80,))
    gone = {"sound": source.renditions[0].sound, "picture": source.renditions[0].picture, "original": source.path}
    gone[broken].unlink()
    (tmp_path / "out").mkdir()
    with pytest.raises(FileError, match=re.escape(str(gone[broken]))):
        write_report([source], tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.usefixtures("without_scores")
def test_another_number_of_channels_is_told(tmp_path: Path, speech: FloatArray) -> None:
    source = make_source(tmp_path, "speech.wav", speech[:RATE_HZ], qualities=(80,))
    soundfile.write(source.renditions[0].sound, np.zeros((RATE_HZ, 2)), RATE_HZ)
    with pytest.raises(FileError, match="has 2 channels, its pictures have 1"):
        write_report([source], tmp_path)


def test_a_report_of_nothing_is_a_mistake(tmp_path: Path) -> None:
    for sources in ([], [Source(tmp_path / "a.wav", [])]):
        with pytest.raises(ValueError, match="needs sources"):
            write_report(sources, tmp_path)


def test_an_output_that_is_a_file_is_told(tmp_path: Path, speech: FloatArray) -> None:
    source = make_source(tmp_path, "speech.wav", speech[:RATE_HZ], qualities=(80,))
    with pytest.raises(FileError, match="cannot be written"):
        write_report([source], source.path)


@pytest.mark.usefixtures("without_scores")
def test_progress_ends_at_all(tmp_path: Path, speech: FloatArray) -> None:
    seen: list[tuple[int, int]] = []
    source = make_source(tmp_path, "speech.wav", speech[:RATE_HZ])
    write_report([source], tmp_path, lambda done, total: seen.append((done, total)))
    assert seen == [(done, len(seen)) for done in range(1, len(seen) + 1)]


def test_processes_find_the_same_figures(tmp_path: Path, speech: FloatArray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_measure, "_IN_PROCESSES_S", 5.0)  # so that two times three seconds are much
    real, processes = report_measure.run_jobs, []
    monkeypatch.setattr(report_measure, "run_jobs", lambda jobs, count: processes.append(count) or real(jobs, count))
    source = make_source(tmp_path, "long.flac", speech)
    seen: list[int] = []
    for name in ("many", "one"):
        (tmp_path / name).mkdir()
    write_report([source], tmp_path / "many", lambda done, total: seen.append(done), workers=2)
    write_report([source], tmp_path / "one")
    assert seen == [1, 2, 3, 4] and processes == [2, 1]
    assert (tmp_path / "many" / "report.json").read_text() == (tmp_path / "one" / "report.json").read_text()


def test_cutting_excerpts_does_not_hold_the_recording(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", np.ones(300 * RATE_HZ, np.float32) / 2, RATE_HZ)
    tracemalloc.start()
    first, last = cut(tmp_path / "long.wav", [(0, RATE_HZ), (299 * RATE_HZ, 2 * RATE_HZ)])
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert first.shape == last.shape == (1, RATE_HZ)
    assert peak_bytes < 20 * 4 * RATE_HZ


@given(st.integers(0, 4000 * RATE_HZ))
def test_excerpts_lie_within_and_cover_what_they_can(samples: int) -> None:
    excerpts = excerpts_of(samples)
    assert all(start >= 0 and 0 < length <= 20 * RATE_HZ and start + length <= samples for start, length in excerpts)
    assert len(excerpts) <= 12 and [start for start, _ in excerpts] == sorted({start for start, _ in excerpts})
    if samples:
        assert excerpts[0][0] == 0 and sum(excerpts[-1]) == samples
    if samples <= 120 * RATE_HZ:
        assert all(first[0] + first[1] >= second[0] for first, second in itertools.pairwise(excerpts))


@given(st.lists(st.integers(0, 40), max_size=6), st.lists(st.integers(1, 30), min_size=1, max_size=8))
def test_a_feed_gives_the_same_in_any_lengths(pieces: list[int], lengths: list[int]) -> None:
    whole = np.arange(2 * sum(pieces), dtype=np.float32).reshape(2, -1)
    feed = Feed(iter(np.split(whole, np.cumsum(pieces)[:-1], axis=1) if pieces else []))
    taken = [piece for length in lengths if (piece := feed.take(length)) is not None]
    assert all(piece.shape[1] <= length for piece, length in zip(taken, lengths, strict=False))
    if taken:
        np.testing.assert_array_equal(np.concatenate(taken, axis=1), whole[:, : sum(lengths)])
    else:
        assert not whole.size


@given(st.lists(st.integers(1, 999), max_size=5))
def test_errors_of_pieces_are_those_of_the_whole(cuts: list[int]) -> None:
    rng = np.random.default_rng(1)
    first, second = rng.standard_normal((2, 2, 1000)).astype(np.float32)
    second += first
    whole, pieces = WaveError(2), WaveError(2)
    whole.push(first, second)
    for one, other in zip(*(np.split(side, sorted(cuts), axis=1) for side in (first, second)), strict=True):
        pieces.push(one, other)
    assert pieces.gains() == pytest.approx(whole.gains()) and pieces.snr_db() == pytest.approx(whole.snr_db())
    for channel in range(2):
        gain = float(np.dot(first[channel], second[channel]) / np.dot(second[channel], second[channel]))
        left = first[channel] - gain * second[channel]
        assert whole.gains()[channel] == pytest.approx(gain, rel=1e-4)
        snr_db = 10 * math.log10(float(np.square(first[channel]).sum() / np.square(left).sum()))
        assert whole.snr_db()[channel] == pytest.approx(snr_db, rel=1e-4)


def test_the_mel_error_clips_to_the_range() -> None:
    info = PictureInfo(log10_min=-5.0, log10_max=0.0)
    error = MelError(info)
    quiet, shown = np.full((1, 80, 4), -9.0, np.float32), np.full((1, 80, 4), -5.0, np.float32)
    error.push(quiet, shown)
    assert math.isnan(error.psnr_db()[0])
    error.push(quiet + 9, shown)
    assert error.psnr_db()[0] == pytest.approx(10 * math.log10(2))


def test_a_chart_is_drawn_of_what_is_finite() -> None:
    chart = draw("PESQ", [(1.0, 2.0, "70"), (2.0, math.nan, "80"), (3.0, 4.0, "90")], [[(1.0, 1.5, "70")]])
    assert chart is not None and [mark.label for mark in chart.marks] == ["70", "90"]
    assert chart.description == "PESQ against kbps. quality 70: 2 at 1 kbps; quality 90: 4 at 3 kbps"
    first, last = chart.marks
    assert chart.curve == f"{first.x},{first.y} {last.x},{last.y}" and len(chart.faint) == 1
    places = [tick.at for tick in (*chart.x_ticks, *chart.y_ticks)] + [at for m in chart.marks for at in (m.x, m.y)]
    assert all(math.isfinite(at) for at in places)
    assert draw("PESQ", [(1.0, math.nan, "70")]) is None
    single = draw("PESQ", [(2.0, 4.0, "70")])
    assert single is not None and len(single.marks) == 1


def test_the_charts_of_the_page_are_those_of_the_figures(two: tuple[dict[str, Any], PageReader, str]) -> None:
    table, page, _ = two
    charts = 3 * (1 + len(table["files"]))
    assert len(page.all("svg", "aria-label")) == charts
    assert len(page.all("circle", "cx")) == charts * len(table["means"])
    assert [tag for tag, _ in page.tags].count("polyline") == charts + 3 * len(table["files"])


def test_times_are_told_as_people_do() -> None:
    assert [clock(seconds) for seconds in (0.5, 12, 80, 3723)] == ["0.5 s", "12 s", "1:20", "1:02:03"]
    assert [duration(seconds) for seconds in (8.5, 80, 3723)] == ["8.5 s", "1 min 20 s", "1 h 2 min"]
    assert [text for _, text in time_ticks(75, 30)] == ["1:15", "1:20", "1:25", "1:30", "1:35", "1:40", "1:45"]
    assert all(0 <= share <= 1 for share, _ in time_ticks(0, 0.016))


@pytest.mark.skipif(shutil.which("node") is None, reason="the sorting script is tried with node, which is missing")
def test_the_script_sorts_numbers_text_and_gaps() -> None:
    def order(values: list[str], is_down: bool) -> list[int]:
        code = f"{SCRIPT.read_text()}\nconsole.log(JSON.stringify(order({json.dumps(values)}, {json.dumps(is_down)})))"
        done = subprocess.run(["node", "-e", code], capture_output=True, text=True, check=True)
        return list(json.loads(done.stdout))

    assert order(["10", "9", "", "-1", "9"], is_down=False) == [3, 1, 4, 0, 2]
    assert order(["10", "9", "", "-1", "9"], is_down=True) == [0, 1, 4, 3, 2]
    assert order(["b", "a10", "", "a"], is_down=False) == [3, 1, 0, 2]
    assert order(["b", "a10", "", "a"], is_down=True) == [0, 1, 3, 2]
