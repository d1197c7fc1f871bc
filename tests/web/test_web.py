"""The page that watches and hears a stream: what is served, its modules in node, and the whole of it in Chromium."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from audio_avif.codec.decoder import Decoder
from audio_avif.config import MelConfig, TileConfig
from audio_avif.metrics import stoi
from audio_avif.signal.features import log_mel
from audio_avif.still.avif import decode_still
from audio_avif.still.boxes import inspect_still
from audio_avif.still.tiles import to_pixels
from audio_avif.vocoders.registry import load_vocoder
from audio_avif.vocoders.streaming import open_stream
from audio_avif_stream.serving.web_pages import page
from support.chromium import STATUS, UNDRAWN, Tab, chromium, heard_by, in_chromium, says
from support.paths import MODELS, WEB
from support.relay import port_of
from support.room import FloatArray, Room, Site, Stream, open_site
from support.speech import speech_like
from support.stream_helpers import (
    RECEIVER,
    SENDER,
    json_lines,
    live_resemblance,
    read_wav,
    running,
    speech,
    wait_until,
    write_wav,
)
from support.timing import best_of_attempts, in_time

MIN_NODE = 20

# What is served


SERVED = {
    "/": ["engine.js", "worklet.js"],
    "/speak.html": ["speaker.js", "microphone.js"],
    "/call.html": ["engine.js", "worklet.js", "speaker.js", "microphone.js"],
}
"""The pages, and what their scripts load."""


def test_the_page_and_all_it_names_are_served() -> None:
    for path, own in SERVED.items():
        start = page(path)
        assert start is not None and start.status == 200
        assert start.content_type == "text/html; charset=utf-8"
        names = re.findall(r'(?:src|href)="([^"#]+)"', start.body.decode())
        assert {"style.css", "icon.svg"} <= set(names)
        assert all(page(f"/{name.removeprefix('./')}") is not None for name in [*names, *own])


def test_the_page_loads_nothing_from_elsewhere() -> None:
    start = page("/")
    assert start is not None
    policy = dict(part.split(" ", 1) for part in start.headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'self'"
    assert policy["script-src"] == "'self' 'wasm-unsafe-eval'"
    assert b"http://" not in start.body and b"https://" not in start.body


@pytest.mark.parametrize("name", ["ort", "avif"])
@pytest.mark.parametrize(("end", "kind"), [(".wasm", "application/wasm"), (".js", "text/javascript; charset=utf-8")])
def test_what_is_named_by_its_version_may_be_kept_for_good(name: str, end: str, kind: str) -> None:
    name = next(file.name for file in (WEB / "dist").glob(f"{name}-*{end}*")).removesuffix(".gz")
    file = page(f"/{name}")
    assert file is not None and file.content_type == kind
    assert "immutable" in file.headers["Cache-Control"]
    assert (file.headers.get("Content-Encoding") == "gzip") == (end == ".wasm")


@pytest.mark.parametrize("name", ["embedded", "embedded-low"])
def test_the_vocoders_are_served_as_they_are(name: str) -> None:
    file = page(f"/models/{name}.onnx?again")
    assert file is not None
    assert file.body == (MODELS / f"{name}.onnx").read_bytes()


@pytest.mark.parametrize(
    "path", ["", "page.js", "/../pages.py", "/..%2fpages.py", "//etc/passwd", "/sources.sha256", "/models/", "/nothing"]
)
def test_nothing_else_is_served(path: str) -> None:
    assert page(path) is None


def test_the_built_page_is_that_of_the_sources() -> None:
    digest = hashlib.sha256()
    sources = sorted((WEB / "src").iterdir(), key=lambda path: path.name)
    for path in [WEB / "build.mjs", WEB / "package-lock.json", *sources]:
        digest.update(path.read_bytes())
    built = (WEB / "dist" / "sources.sha256").read_text().strip()
    assert digest.hexdigest() == built, "stream/audio_avif_stream/web/src has changed: make web"


# Its modules in node


def node() -> str | None:
    """A node that can run the tests."""
    path = shutil.which("node")
    if path is None:
        return None
    version = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    return path if int(version.strip("v\n").split(".")[0]) >= MIN_NODE else None


@pytest.mark.skipif(node() is None, reason=f"node {MIN_NODE} or later is not installed")
def test_the_modules_in_node() -> None:
    """The wire's golden packets, concealment, pace, resampling."""
    done = subprocess.run([str(node()), "--test", "test/"], cwd=WEB, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert re.search(r"^# pass [1-9]", done.stdout, re.MULTILINE)


_ENCODE = """
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
const { STILL_OPTIONS } = await import("./test/built.js");
const { default: start } = await import("./dist/NAME.js");
const module = await start({ noInitialRun: true, wasmBinary: gunzipSync(readFileSync("dist/NAME.wasm.gz")) });
const { tiles, qualities, changes } = JSON.parse(readFileSync(0));
const stills = [];
for (const quality of qualities)
  for (const tile of tiles) {
    const rgba = new Uint8ClampedArray(tile.flatMap((pixel) => [pixel, pixel, pixel, 255]));
    const still = module.encode(rgba, 8, 80, { ...STILL_OPTIONS, quality, ...changes });
    stills.push(Buffer.from(still).toString("base64"));
  }
console.log(JSON.stringify(stills));
"""


def encoded_by_page(tiles: np.ndarray, qualities: list[int], **changes: int) -> np.ndarray:
    """Logarithm of the bytes beyond the container and mean square error ``[qualities, 2]`` of ``[tiles, 80, 8]``."""
    name = next(file.name for file in (WEB / "dist").glob("avif-*.js")).removesuffix(".js")
    asked = {"tiles": tiles.reshape(len(tiles), -1).tolist(), "qualities": qualities, "changes": changes}
    command = [str(node()), "--input-type=module", "--eval", _ENCODE.replace("NAME", name)]
    done = subprocess.run(command, input=json.dumps(asked), cwd=WEB, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    stills = [base64.b64decode(still) for still in json.loads(done.stdout)]
    sizes = np.array([len(still) - inspect_still(still).frame_body_at for still in stills])
    decoded = np.array([decode_still(still, 8, 80) for still in stills], np.float64)
    errors = np.square(decoded.reshape(len(qualities), *tiles.shape) - tiles).mean(axis=(1, 2, 3))
    return np.stack([np.log(sizes.reshape(len(qualities), -1).sum(axis=1)), errors], axis=1)


@pytest.mark.skipif(node() is None, reason=f"node {MIN_NODE} or later is not installed")
def test_the_page_compresses_as_well_as_it_can_in_time() -> None:
    mel = log_mel(speech_like(4.0))
    tiles = np.array([to_pixels(mel[:, at : at + 8], TileConfig()) for at in range(0, mel.shape[1] - 7, 8)])
    ours, faster = (encoded_by_page(tiles, [25, 40, 55, 70], **changes) for changes in ({}, {"speed": 8}))
    for tune in (1, 2):
        np.testing.assert_array_equal(encoded_by_page(tiles[:8], [45], tune=tune), encoded_by_page(tiles[:8], [45]))
    needed = np.interp(-ours[:, 1], -faster[:, 1], faster[:, 0])
    assert np.exp(np.mean(ours[:-1, 0] - needed[:-1])) < 0.97


# The whole of it in Chromium


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with chromium(tmp_path_factory.mktemp("chromium")) as found:
        yield found


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """One address for all rooms: from a known one, the browser loads and compiles its modules but once."""
    with open_site() as found:
        yield found


@pytest.fixture
def room(site: Site) -> Iterator[Room]:
    """A room of the test's own."""
    with site.open_room() as found:
        yield found


@pytest.fixture
def unknown_room() -> Iterator[Room]:
    """A room of which the browser has no file yet."""
    with open_site() as site, site.open_room() as found:
        yield found


PRESS = "document.getElementById('listen').click()"


def open_page(tab: Tab, room: Room, fragment: str = "room=demo", is_heard: bool = True, is_seen: bool = True) -> None:
    """A page as a visitor of the link finds it; without sound it is ready sooner, and unseen it takes less to run."""
    tab.size(1280, 860)
    tab.prefer(prefers_color_scheme="light")
    tab.open(f"{room.url}/#{fragment}")
    tab.get("audioAvif.isRecorded = true" if is_heard else "delete window.AudioContext")
    if not is_seen:
        tab.get(UNDRAWN)


def listen(tab: Tab, room: Room) -> None:
    """Press the button; return when the page has come."""
    before = room.listeners
    tab.get(PRESS)
    tab.wait_for("audioAvif.state !== 'idle' && audioAvif.state !== 'trying'")
    wait_until(lambda: room.listeners > before, "the page's connection")


def canvas(tab: Tab) -> FloatArray:
    """What the spectrogram shows, without its time axis, as gray."""
    url = tab.get("document.getElementById('spectrogram').toDataURL()")
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as image:
        return np.asarray(image.convert("L"), np.float32)[:-20]


class Playing:
    """A stream that is being sent, in a thread."""

    def __init__(self, room: Room, stream: Stream, **how: Any) -> None:
        self.is_stopped = False
        self._thread = threading.Thread(
            target=room.play, args=(stream,), kwargs={"stop": lambda: self.is_stopped, **how}, daemon=True
        )
        self._thread.start()

    def join(self) -> None:
        """Wait for its end."""
        self._thread.join()

    def stop(self) -> None:
        """End it without a bye."""
        self.is_stopped = True
        self._thread.join()


def as_python_hears(stream: Stream) -> FloatArray:
    """The receiver's output ``[samples]``, decoded in its own time."""
    decoder = Decoder(replace(stream.hello, live=False), open_stream(load_vocoder(device="cpu", name="embedded")))
    heard = []

    def speak() -> None:
        while (frames := decoder.next_frames(0.0)) is not None:
            heard.append(decoder.speak(frames).samples)

    for packet in stream.packets:
        decoder.push(packet)
        speak()
    decoder.end(stream.bye)
    speak()
    return np.concatenate([*heard, decoder.flush().samples])


@in_chromium
@pytest.mark.slow
@best_of_attempts
def test_the_page_sees_and_hears_what_python_does(tab: Tab, room: Room) -> None:
    stream = Stream(speech(6.0))
    python = as_python_hears(stream)
    open_page(tab, room, "room=demo&buffer=1500")  # this is of the sound, not of a busy machine's delays
    listen(tab, room)
    says(tab, "Waiting for someone to publish in demo")
    blank = canvas(tab)

    playing = Playing(room, stream)
    tab.wait_for("audioAvif.figures?.heardFrame > 100")
    early = canvas(tab)
    tab.wait_for("Number(document.getElementById('level').getAttribute('aria-valuenow')) > -60")
    tab.wait_for("audioAvif.figures?.heardFrame > 150")
    later = canvas(tab)
    playing.join()
    says(tab, "The stream has ended")

    assert blank.std() < 1 and early.std() > 10
    in_time(np.abs(later - early).mean() > 5, "the picture stood still")
    tiles = tab.get("audioAvif.tiles")
    assert [tile["sequence"] for tile in tiles] == [packet.sequence for packet in stream.packets]
    for tile in tiles:
        pixels = decode_still(bytes(tile["still"]), 8, 80)
        assert np.array_equal(pixels.ravel(), np.array(tile["pixels"], np.uint8))

    score = stoi(python, heard_by(tab, python.size))
    in_time(score > 0.95, score)

    figures = tab.get("audioAvif.figures")
    assert figures["receivedTiles"] == len(stream.packets)
    assert figures["lostTiles"] == 0
    assert tab.complaints == []


@in_chromium
@pytest.mark.slow
@best_of_attempts
def test_a_page_that_came_over_plain_http_is_heard_too(tab: Tab, room: Room) -> None:
    """Browsers keep the AudioWorklet from it, so that the page itself plays."""
    stream = Stream(speech(6.0))
    python = as_python_hears(stream)
    elsewhere = Room(room.url.replace("127.0.0.1", "plain.example"))
    open_page(tab, elsewhere, "room=demo&buffer=700", is_seen=False)
    assert not tab.get("'audioWorklet' in AudioContext.prototype")
    tab.get(PRESS)
    says(tab, "Waiting for someone to publish in demo")
    playing = Playing(room, stream)
    tab.wait_for("Number(document.getElementById('level').getAttribute('aria-valuenow')) > -40")
    tab.wait_for("audioAvif.figures?.heardFrame > 200")
    playing.join()
    says(tab, "The stream has ended")
    score = stoi(python, heard_by(tab, python.size))
    in_time(score > 0.95, score)


@in_chromium
@pytest.mark.slow
@best_of_attempts
def test_the_page_of_a_relay_hears_a_sender(tab: Tab, tmp_path: Path) -> None:
    said = speech(6.0)
    with running("audio-avif-relay", "--port", 0) as relay:
        port = port_of(relay)
        open_page(tab, Room(f"http://127.0.0.1:{port}"), "room=demo&buffer=500", is_seen=False)
        tab.get(PRESS)
        says(tab, "Waiting for someone to publish in demo")
        sound = write_wav(tmp_path / "said.wav", said)
        to = ("--host", "127.0.0.1", "--port", port, "--room", "demo", "--stats-json", tmp_path / "sent.jsonl")
        with running(SENDER, *to, "--input", sound) as sender:
            says(tab, "Live.")
            tab.wait_for("audioAvif.figures.delayMs > 0")
            assert sender.ended().code == 0
        says(tab, "The stream has ended")
    likeness = live_resemblance(said, heard_by(tab, said.size))
    in_time(likeness > 0.9, likeness)
    # A sender drops tiles where the machine stands still, and nobody else does.
    assert tab.get("audioAvif.figures.lostTiles") <= json_lines(tmp_path / "sent.jsonl")[-1]["dropped_tiles"]
    says(tab, "Connection lost")


@in_chromium
@pytest.mark.slow
@best_of_attempts
def test_a_page_speaks_and_python_hears_it(tmp_path: Path) -> None:
    said = write_wav(tmp_path / "said.wav", speech(8.0))
    heard = tmp_path / "heard.wav"
    flags = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    with running("audio-avif-relay", "--port", 0, "--publish-token", "sesame") as relay:
        port = port_of(relay)
        listener = ("--connect", f"ws://127.0.0.1:{port}", "--room", "demo", "--output", heard, "--buffer-ms", 500)
        with (
            running(RECEIVER, *listener, "--vocoder", "griffin-lim") as receiver,
            chromium(tmp_path / "profile", *flags, f"--use-file-for-fake-audio-capture={said}") as tab,
        ):
            receiver.wait_for("(listening to room demo")
            url = f"http://127.0.0.1:{port}/speak.html#room=demo"
            tab.open(f"{url}&token=wrong")
            tab.get("document.getElementById('speak').click()")
            says(tab, "The token is missing or wrong.")
            tab.open(f"{url}&token=sesame")
            tab.get("audioAvif.isRecorded = true")
            tab.get("document.getElementById('speak').click()")
            says(tab, "On air in demo.")
            tab.wait_for("audioAvif.tiles.length > 30")
            assert canvas(tab).std() > 10
            assert float(tab.get("document.getElementById('rate').textContent.split(' ')[0]")) > 1
            tab.get("document.getElementById('speak').click()")
            says(tab, "Stopped.")
            wait_until(lambda: heard.exists() and heard.stat().st_size > 44 + 2 * 48_000, "the receiver's file")
            samples = np.array(tab.get("audioAvif.samples"), np.float32)
            tiles = tab.get("audioAvif.tiles")
            assert tab.complaints == []
            receiver.wait_for("played ")
            receiver.signal(signal.SIGINT)
            receiver.ended()

    mel = log_mel(samples, MelConfig())
    for tile in tiles:
        pixels = np.array(tile["pixels"], np.int16).reshape(80, 8)
        there = mel[:, tile["firstFrame"] :][:, :8]
        expected = to_pixels(there, TileConfig()).astype(np.int16)
        assert np.abs(pixels[:, : there.shape[1]] - expected).max() <= 1
        decoded = decode_still(bytes(tile["still"]), 8, 80).astype(np.int16)
        assert np.sqrt(np.mean((decoded - pixels) ** 2)) < 20
    late = np.zeros(30 * 256, np.float32)  # what was lost at the start made all that follows early
    likeness = live_resemblance(samples, np.concatenate([late, read_wav(heard)]))
    in_time(likeness > 0.85, likeness)


@in_chromium
@pytest.mark.slow
def test_only_the_last_press_opens_a_microphone(tmp_path: Path, room: Room) -> None:
    """Speak, Stop and Speak are pressed while the browser still asks whether the page may listen."""
    hold_back = """
        window.answers = [];
        window.opened = [];
        const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
        navigator.mediaDevices.getUserMedia = async (wanted) => {
            await new Promise((resolve) => answers.push(resolve));
            opened.push(await open(wanted));
            return opened.at(-1);
        };
    """
    is_live = "some((stream) => stream.getTracks().some((track) => track.readyState === 'live'))"
    flags = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    with chromium(tmp_path / "profile", *flags) as tab:
        tab.open(f"{room.url}/speak.html#room=demo")
        tab.get(f"(() => {{ {hold_back} }})()")
        for _ in range(3):
            tab.get("document.getElementById('speak').click()")
        tab.get("answers.forEach((resolve) => resolve())")
        tab.wait_for("opened.length === 2")
        says(tab, "There is no room of this name here.")  # nobody may publish on this server
        tab.wait_for(f"!opened.{is_live}")
        assert tab.complaints == []


@in_chromium
@pytest.mark.slow
def test_the_sound_device_is_let_go_if_listening_ends_while_it_opens(tab: Tab, room: Room) -> None:
    may_open = threading.Event()

    def hold_back(path: str, body: bytes) -> bytes:
        assert path != "/worklet.js" or may_open.wait(60)
        return body

    room.rewrite = hold_back
    open_page(tab, room)
    keep = "window.contexts = []; window.AudioContext = class extends AudioContext {"
    tab.get(f"(() => {{ {keep} constructor(...how) {{ super(...how); contexts.push(this); }} }} }})()")
    tab.get(PRESS)
    tab.wait_for("contexts[0]?.state === 'running'")
    tab.get(PRESS)
    says(tab, "Stopped.")
    may_open.set()
    tab.wait_for("contexts[0].state === 'suspended'")


@in_chromium
@pytest.mark.slow
def test_the_end_of_a_stream_that_is_told_again_changes_nothing(tab: Tab, room: Room) -> None:
    """As by a relay that was started again before its publisher knew that the end had come."""
    stream, another = Stream(speech(1.0)), Stream(speech(1.0), session="b")
    open_page(tab, room, is_seen=False)
    listen(tab, room)
    room.play(stream)
    says(tab, "The stream has ended")
    for _ in range(2):  # before the next stream, and while it is away
        room.send(stream.hello.to_bytes())
        room.send(stream.bye.to_bytes())
        Playing(room, another, bye=False).join()
    tab.wait_for(f"audioAvif.figures.receivedTiles === {len(stream.packets) + 2 * len(another.packets)}")
    assert tab.get("audioAvif.figures.lostTiles") == 0


@in_chromium
@pytest.mark.slow
@best_of_attempts
def test_a_stream_that_follows_another_at_once_is_heard_whole(tab: Tab, room: Room) -> None:
    """The end of the one before is still played when it begins."""
    stream, another = Stream(speech(1.0)), Stream(speech(3.0), session="b")
    open_page(tab, room, "room=demo&buffer=1500", is_seen=False)  # this is not of a busy machine's delays
    listen(tab, room)
    room.play(stream)
    room.play(another)
    says(tab, "The stream has ended")
    chunks = tab.get("audioAvif.chunks.map(({ firstSample, samples }) => [firstSample, samples.length])")
    begins = max(number for number, (first_sample, _) in enumerate(chunks) if first_sample == 0)
    is_heard = np.zeros(48_000, bool)
    for first_sample, count in chunks[begins:]:
        is_heard[first_sample : first_sample + count] = True
    in_time(is_heard.mean() > 0.9, is_heard.mean())


@in_chromium
@pytest.mark.slow
def test_delay_pauses_and_losses_are_told(tab: Tab, room: Room) -> None:
    noise = np.random.default_rng(0).normal(0, 1e-3, 96_000).astype(np.float32)
    stream = Stream(np.concatenate([speech(3.0), np.zeros(48_000, np.float32)]) + noise, dtx=True)
    room.lost = {5, 6, 12}
    open_page(tab, room, is_seen=False)
    listen(tab, room)
    playing = Playing(room, stream)
    tab.wait_for("audioAvif.figures?.delayMs > 150 && audioAvif.figures.delayMs < 3000")
    playing.join()
    says(tab, "The stream has ended")
    figures = tab.get("audioAvif.figures")
    assert figures["lostTiles"] == 3
    assert figures["concealedMs"] > 100
    assert tab.get("document.getElementById('lost').textContent") == "3"
    kinds = {type(packet).__name__ for packet in stream.packets}
    assert kinds == {"TilePacket", "PausePacket"}
    assert tab.complaints == []


@in_chromium
@pytest.mark.slow
def test_a_broken_connection_comes_back(tab: Tab, room: Room) -> None:
    stream = Stream(speech(8.0))
    open_page(tab, room, is_seen=False)
    listen(tab, room)
    playing = Playing(room, stream)
    tab.wait_for("audioAvif.figures?.receivedTiles > 5")
    playing.stop()
    # The page may be back before anyone looks: what it said is kept.
    tab.get(
        "globalThis.said = [], new MutationObserver(() => said.push(document.getElementById('status').textContent))"
        ".observe(document.getElementById('status'), { childList: true, characterData: true, subtree: true })"
    )
    room.drop()
    tab.wait_for("said.some((text) => text.includes('Connection lost'))")
    wait_until(lambda: room.listeners > 0, "the page's connection")
    before = tab.get("audioAvif.figures.receivedTiles")
    again = Playing(room, stream, bye=False)  # the same session: what was heard is not heard again
    says(tab, "Live.")
    tab.wait_for(f"audioAvif.figures.receivedTiles > {before} + 3")
    again.stop()
    says(tab, "Waiting for someone to publish")  # two seconds without a message


@in_chromium
@pytest.mark.slow
@pytest.mark.parametrize(
    ("fragment", "sentence"),
    [
        ("room=demo", "The token is missing or wrong."),
        ("room=demo&token=nearly", "The token is missing or wrong."),
        ("room=demo&token=s%C3%A9same", "Waiting for someone to publish"),
        ("room=other&token=s%C3%A9same", "There is no room of this name here."),
    ],
)
def test_tokens_and_rooms(tab: Tab, room: Room, fragment: str, sentence: str) -> None:
    room.token = "sésame"
    open_page(tab, room, fragment, is_heard=False)
    tab.get(PRESS)
    says(tab, sentence)
    is_in = sentence.startswith("Waiting")
    assert tab.get("document.getElementById('listen').textContent") == ("Stop" if is_in else "Listen")


@in_chromium
@pytest.mark.slow
def test_a_refused_page_is_told_what_may_be_wrong(tab: Tab, room: Room) -> None:
    room.is_closed_to_strangers = True
    open_page(tab, room, is_heard=False)
    tab.get(PRESS)
    says(tab, "did not let this page connect")
    says(tab, "--allow-origin")


@in_chromium
@pytest.mark.slow
def test_garbage_from_the_server_ends_it_with_a_sentence(tab: Tab, room: Room) -> None:
    open_page(tab, room, is_heard=False)
    listen(tab, room)
    room.send(b"\x3f garbage")
    says(tab, "does not understand: the peer sent a message of unknown type 0x3f")


def without(name: str) -> Callable[[str, bytes], bytes | None]:
    """The server lacks this file."""
    return lambda path, body: None if path == name else body


@in_chromium
@pytest.mark.slow
@pytest.mark.parametrize(
    ("rewrite", "sentence"),
    [
        (without("/models/embedded.onnx"), "The vocoder did not load (the server answered 404)"),
        (lambda path, body: b"none" if path.endswith(".onnx") else body, "The vocoder did not load ("),
    ],
)
def test_without_a_vocoder_the_stream_is_watched(
    tab: Tab, unknown_room: Room, rewrite: Callable[[str, bytes], bytes | None], sentence: str
) -> None:
    unknown_room.rewrite = rewrite
    open_page(tab, unknown_room)
    listen(tab, unknown_room)
    playing = Playing(unknown_room, Stream(speech(3.0)))
    says(tab, sentence)
    tab.wait_for("audioAvif.figures?.receivedTiles > 10")
    assert canvas(tab).std() > 10
    playing.join()


@in_chromium
@pytest.mark.slow
@pytest.mark.parametrize(
    ("lack", "sentence"),
    [
        ("delete window.OffscreenCanvas", "This browser is too old for this page"),
        ("delete window.AudioContext", "This browser has no AudioContext: the stream can be watched"),
        ("delete window.WebAssembly", "This browser has no WebAssembly"),
        ("window.createImageBitmap = undefined", "does not decode AVIF"),
    ],
)
def test_what_a_browser_lacks_is_said(tab: Tab, room: Room, lack: str, sentence: str) -> None:
    if "createImageBitmap" in lack:  # which the worker asks for
        lack = "0"
        broken = b"self.createImageBitmap = () => Promise.reject(new DOMException('no AVIF'));\n"
        room.rewrite = lambda path, body: broken + body if path == "/engine.js" else body
    open_page(tab, room)
    tab.get(lack)
    tab.get(PRESS)
    if "watched" in sentence or "WebAssembly" in sentence:
        tab.wait_for("audioAvif.state === 'connecting' || audioAvif.state === 'waiting'")
        playing = Playing(room, Stream(speech(1.0)), bye=False)
        says(tab, sentence)
        playing.join()
    else:
        says(tab, sentence)


@in_chromium
@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(375, "light"), (375, "dark"), (1280, "dark")])
def test_the_page_fits_and_every_control_has_a_name(tab: Tab, room: Room, width: int, scheme: str) -> None:
    open_page(tab, room)
    tab.size(width, 800, 2.0)
    tab.prefer(prefers_color_scheme=scheme)
    assert tab.get("document.documentElement.scrollWidth") <= width
    controls = {"button", "textbox", "slider", "combobox", "meter", "image", "status"}
    nodes = tab.do("Accessibility.getFullAXTree")["nodes"]
    roles = {
        node["role"]["value"]: node["name"]["value"] for node in nodes if node["role"]["value"] in controls - {"status"}
    }
    assert {"button", "textbox", "slider", "combobox", "meter"} <= set(roles)
    assert all(roles.values())


@in_chromium
@pytest.mark.slow
def test_the_keyboard_alone_is_enough(tab: Tab, room: Room) -> None:
    open_page(tab, room, "", is_heard=False)
    tab.get("document.getElementById('room').focus()")
    tab.do("Input.insertText", text="demo")

    def press(key: str, code: int, text: str = "") -> None:
        for kind in ("keyDown", "keyUp"):
            tab.do("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, text=text)

    press("Enter", 13, "\r")
    says(tab, "Waiting for someone to publish in demo")
    assert tab.get("location.hash") == "#room=demo"
    press("Tab", 9)
    press("Tab", 9)
    press("Tab", 9)
    assert tab.get("document.activeElement.id") == "pause"
    press("Enter", 13, "\r")
    assert tab.get("document.activeElement.getAttribute('aria-pressed')") == "true"


@in_chromium
@pytest.mark.slow
@best_of_attempts
def test_nothing_moves_for_those_who_asked_for_it(tab: Tab, room: Room) -> None:
    """The picture is written over from left to right: what is there stays where it is."""
    open_page(tab, room, is_heard=False)
    tab.prefer(prefers_reduced_motion="reduce")
    listen(tab, room)
    playing = Playing(room, Stream(speech(6.0)))
    tab.wait_for("audioAvif.figures?.receivedTiles > 12")
    early = canvas(tab)
    tab.wait_for("audioAvif.figures?.receivedTiles > 25")
    later = canvas(tab)
    drawn = early.shape[1] // 20  # columns that were there well before
    assert early[:, :drawn].std() > 10
    assert np.array_equal(early[:, :drawn], later[:, :drawn])
    in_time(not np.array_equal(early, later), "the picture stood still")
    playing.join()


@in_chromium
@pytest.mark.slow
@best_of_attempts
def test_who_leaves_can_come_again_and_copy_the_way(tab: Tab, room: Room) -> None:
    open_page(tab, room, "room=demo&token=for+few", is_seen=False)
    for _ in range(2):
        listen(tab, room)
        playing = Playing(room, Stream(speech(2.0)))
        tab.wait_for("audioAvif.figures?.heardFrame > 30")
        buffer_ms = tab.get("audioAvif.figures.bufferMs")
        in_time(buffer_ms < 2500, buffer_ms)
        tab.get(PRESS)
        says(tab, "Stopped.")
        room.drop()
        playing.join()
        tab.get("audioAvif.figures = null")
    tab.get("document.getElementById('copy').click()")
    says(tab, "It holds the token")
    assert tab.complaints == []


@in_chromium
@pytest.mark.slow
def test_a_browser_that_alters_pictures_is_said(tab: Tab, room: Room) -> None:
    noisy = b"""
        const read = OffscreenCanvasRenderingContext2D.prototype.getImageData;
        OffscreenCanvasRenderingContext2D.prototype.getImageData = function (...where) {
            const image = read.apply(this, where);
            image.data[4] ^= 1;
            return image;
        };
    """
    room.rewrite = lambda path, body: noisy + body if path == "/engine.js" else body
    open_page(tab, room, is_heard=False)
    tab.get(PRESS)
    says(tab, "alters the pictures")


@in_chromium
@pytest.mark.slow
def test_without_a_microphone_nobody_speaks(tab: Tab, room: Room) -> None:
    tab.open(f"{room.url}/speak.html#room=demo")
    tab.get("document.getElementById('speak').click()")
    tab.wait_for(f"/microphone (was denied|could be opened)/.test({STATUS})")
    assert tab.get("document.getElementById('speak').textContent") == "Speak"
