"""The page of a call: two browsers through a real relay, and what one says when an end or a microphone is gone."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from audio_avif.link.messages import CLOSE_BUSY
from audio_avif.metrics import stoi
from audio_avif.types import FloatArray
from support.calls import best_match, has_heard, hosting
from support.chromium import UNDRAWN, Tab, chromium, heard_by, in_chromium, says
from support.relay import Speaker, port_of
from support.stream_helpers import read_wav, running, speech, wait_until, write_wav

MIN_STOI = 0.80
SETTLED_SAMPLES, SCORED_SAMPLES = 8_000, 3 * 16_000
CALL = "document.getElementById('call').click()"
MICROPHONE = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
UNPROCESSED = "for (const id of ['echo', 'noise', 'gain']) document.getElementById(id).checked = false"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A relay's port; each test has a call of its own."""
    with running("audio-avif-relay", "--port", 0, "--publish-token", "sesame") as relay:
        yield port_of(relay)


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    """A browser whose microphone gives beeps."""
    with chromium(tmp_path_factory.mktemp("chromium"), *MICROPHONE) as found:
        yield found


def open_call(tab: Tab, port: int, name: str, more: str = "") -> None:
    tab.open(f"http://127.0.0.1:{port}/call.html#room={name}&token=sesame{more}")


def is_now(tab: Tab, state: str) -> None:
    tab.wait_for(f"audioAvif.state === {state!r}")


@contextmanager
def other_end(port: int, name: str, room: int, seconds: float = 1.0) -> Iterator[Speaker]:
    """The other end of a call, which publishes and does not listen."""
    speaker = Speaker(port, f"{name}.{room}", seconds, token="sesame")
    with speaker:
        speaker.greet()
        yield speaker


@in_chromium
@pytest.mark.slow
def test_two_browsers_hear_each_other_and_one_hangs_up_and_calls_again(port: int, tmp_path: Path) -> None:
    said = [speech(5.0), speech(5.0, start_s=5.8)]
    with ExitStack() as stack:
        tabs = []
        for number, samples in enumerate(said):
            clip = write_wav(tmp_path / f"{number}.wav", samples)
            flag = f"--use-file-for-fake-audio-capture={clip}"
            tabs.append(stack.enter_context(chromium(tmp_path / f"profile-{number}", *MICROPHONE, flag)))
        for tab in tabs:
            open_call(tab, port, tmp_path.name, "&buffer=1000")  # this is of the sound, not of a busy machine's delays
            tab.get(f"audioAvif.isRecorded = true; {UNPROCESSED}; {UNDRAWN}")
        tabs[0].get(CALL)
        says(tabs[0], "Waiting for the other end")
        tabs[1].get(CALL)
        for tab in tabs:
            is_now(tab, "connected")
            until = f"audioAvif.chunks[0]?.firstSample + {SETTLED_SAMPLES + SCORED_SAMPLES}"
            tab.wait_for(f"audioAvif.figures?.heardFrame * 256 > {until}")
            tab.wait_for("Number(document.getElementById('level').getAttribute('aria-valuenow')) > -60")
            tab.wait_for("Number(document.getElementById('own-level').getAttribute('aria-valuenow')) > -60")
            tab.wait_for("audioAvif.figures.delayMs > 0")
        pairs = [scored(*tabs), scored(*reversed(tabs))]

        tabs[1].get(CALL)
        says(tabs[0], "The other end has hung up.")
        says(tabs[1], "You have hung up.")
        tabs[1].get(CALL)
        for tab in tabs:
            is_now(tab, "connected")
            assert tab.complaints == []

    for clip_samples, (at_microphone, at_ear) in zip(said, pairs, strict=True):
        seconds = [slice(at, at + 16_000) for at in range(0, SCORED_SAMPLES, 16_000)]
        likenesses = [likeness(np.tile(clip_samples, 4), at_microphone[second]) for second in seconds]
        assert max(likenesses) > 0.5, likenesses  # and not the other one's
        scores = [stoi(at_microphone[second], at_ear[second]) for second in seconds]
        assert max(scores) > MIN_STOI, scores  # a busy machine conceals some of the others


@in_chromium
@pytest.mark.slow
def test_a_browser_and_a_command_hear_each_other(tmp_path: Path) -> None:
    """By the link that the command prints; the browser hangs up, and the command waits for the next call."""
    said = {"command": speech(5.0), "browser": speech(5.0, start_s=5.8)}
    clips = {name: write_wav(tmp_path / f"{name}.wav", np.tile(samples, 24)) for name, samples in said.items()}
    heard = tmp_path / "heard.wav"
    flag = f"--use-file-for-fake-audio-capture={clips['browser']}"
    with (
        hosting("--input", clips["command"], "--output", heard, "--buffer-ms", 1000) as (host, _),
        chromium(tmp_path / "profile", *MICROPHONE, flag) as tab,
    ):
        host.wait_for("in a browser")
        link = re.search(r"^  (http\S+) in a browser", host.err, re.MULTILINE)
        assert link is not None, host.err
        tab.open(f"{link[1]}&buffer=1000")
        tab.get(f"audioAvif.isRecorded = true; {UNPROCESSED}; {UNDRAWN}")
        tab.get(CALL)
        is_now(tab, "connected")
        host.wait_for("(the other end is here)")
        begins = tab.wait_for("audioAvif.chunks[0]?.firstSample") + SETTLED_SAMPLES
        tab.wait_for(f"audioAvif.figures?.heardFrame * 256 > {begins + SCORED_SAMPLES}")
        wait_until(lambda: has_heard(heard, 3.0), "sound of the browser")
        tab.get(CALL)
        says(tab, "You have hung up.")
        host.wait_for("(the other end has left)")
        at_ear = heard_by(tab, begins + SCORED_SAMPLES)[begins:]
        assert tab.complaints == []
        host.signal(signal.SIGINT)
        assert host.ended().code == 0, host.err

    at_mouth = np.tile(said["command"], 24)[begins:][:SCORED_SAMPLES]
    seconds = [slice(at, at + 16_000) for at in range(0, SCORED_SAMPLES, 16_000)]
    scores = [stoi(at_mouth[second], at_ear[second]) for second in seconds]
    assert max(scores) > MIN_STOI, scores  # a busy machine conceals some of the others
    at_other_ear = read_wav(heard)
    assert best_match(said["browser"], at_other_ear) > best_match(said["command"], at_other_ear) + 0.15


def scored(speaker: Tab, listener: Tab) -> tuple[FloatArray, FloatArray]:
    """What one page's microphone gave, and what another heard of that: ``[SCORED_SAMPLES]`` each."""
    begins = listener.get("audioAvif.chunks[0].firstSample") + SETTLED_SAMPLES
    span = slice(begins, begins + SCORED_SAMPLES)
    at_microphone = np.array(speaker.get("audioAvif.samples"), np.float32)
    return at_microphone[span], heard_by(listener, at_microphone.size)[span]


def likeness(signal: FloatArray, part: FloatArray) -> float:
    """The correlation of a part with the place of a signal where it fits best."""
    size = 1 << (signal.size + part.size).bit_length()
    products = np.fft.irfft(np.fft.rfft(signal, size) * np.conj(np.fft.rfft(part, size)), size)
    at = int(np.argmax(products[: signal.size - part.size]))
    return float(np.corrcoef(signal[at : at + part.size], part)[0, 1])


@in_chromium
@pytest.mark.slow
def test_a_third_is_told_that_the_call_is_full(tab: Tab, port: int) -> None:
    with other_end(port, "full", 1), other_end(port, "full", 2):
        open_call(tab, port, "full")
        tab.get(CALL)
        says(tab, "The call full is full: two others are in it.")
        assert tab.get("document.getElementById('call').textContent") == "Call"


@in_chromium
@pytest.mark.slow
def test_a_wrong_token_is_said(tab: Tab, port: int) -> None:
    tab.open(f"http://127.0.0.1:{port}/call.html#room=locked&token=wrong")
    tab.get(CALL)
    says(tab, "The token is missing or wrong.")


@in_chromium
@pytest.mark.slow
def test_who_is_there_is_said(tab: Tab, port: int) -> None:
    """The other end is there first, leaves with and without a word, and comes again."""
    with other_end(port, "who", 1) as other:
        open_call(tab, port, "who")
        tab.get(CALL)
        is_now(tab, "connected")
        other.send(*other.tiles, other.bye)
        says(tab, "The other end has hung up.")
    with other_end(port, "who", 1):
        is_now(tab, "connected")
    says(tab, "The other end has left without hanging up, or has lost its connection.")
    with other_end(port, "who", 1):
        is_now(tab, "connected")
    tab.get(CALL)
    says(tab, "You have hung up.")


@in_chromium
@pytest.mark.slow
def test_a_refused_microphone_listens_only(port: int, tmp_path: Path) -> None:
    with chromium(tmp_path) as tab, other_end(port, "deaf", 1) as other:
        open_call(tab, port, "deaf")
        tab.get(CALL)
        says(tab, "Connected. You only listen. ")
        assert "microphone" in tab.get("document.getElementById('status').textContent")
        other.send(*other.tiles)
        tab.wait_for("audioAvif.figures?.receivedTiles > 5")
        with Speaker(port, "deaf.2", token="sesame") as third:  # the page holds its place with silence
            third.send(third.hello)
            assert third.closed_with()[0] == CLOSE_BUSY


KEEP_WANTED = """
    window.wanted = [];
    window.opened = [];
    const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = async (constraints) => {
        wanted.push(constraints.audio);
        opened.push(await open(constraints));
        return opened.at(-1);
    };
"""


def processing(wanted: dict[str, Any]) -> tuple[bool, bool, bool]:
    return wanted["echoCancellation"], wanted["noiseSuppression"], wanted["autoGainControl"]


@in_chromium
@pytest.mark.slow
@pytest.mark.parametrize(("page", "button", "is_on"), [("call.html", "call", True), ("speak.html", "speak", False)])
def test_the_checkboxes_say_how_the_microphone_is_processed(
    tab: Tab, port: int, page: str, button: str, is_on: bool
) -> None:
    """On for calls, off to speak; a change during the stream opens the microphone again."""
    tab.open(f"http://127.0.0.1:{port}/{page}#room=boxes-{button}&token=sesame")
    tab.get(f"(() => {{ {KEEP_WANTED} }})()")
    tab.get("audioAvif.isRecorded = true")
    tab.get(f"document.getElementById({button!r}).click()")
    tab.wait_for("opened.length === 1 && audioAvif.samples.length > 0")
    tab.get("document.getElementById('noise').click()")
    tab.wait_for("opened.length === 2 && opened[0].getTracks()[0].readyState === 'ended'")
    assert [processing(each) for each in tab.get("wanted")] == [(is_on, is_on, is_on), (is_on, not is_on, is_on)]
    count = tab.get("audioAvif.samples.length")
    loud = f"audioAvif.samples.slice({count}).some((sample) => Math.abs(sample) > 0.01)"
    tab.wait_for(loud)
    tab.get(f"document.getElementById({button!r}).click()")
    tab.wait_for("opened[1].getTracks()[0].readyState === 'ended'")
    assert tab.complaints == []


@in_chromium
@pytest.mark.slow
def test_a_microphone_that_stood_still_is_sent_again(tab: Tab, port: int) -> None:
    """As after a phone call, which suspends it."""
    tab.open(f"http://127.0.0.1:{port}/speak.html#room=still&token=sesame")
    keep = "window.contexts = []; window.AudioContext = class extends AudioContext {"
    tab.get(f"(() => {{ {keep} constructor(...how) {{ super(...how); contexts.push(this); }} }} }})()")
    tab.get("audioAvif.isRecorded = true; document.getElementById('speak').click()")
    tab.wait_for("audioAvif.tiles.length > 5")
    tab.get("contexts[0].onstatechange = null; contexts[0].suspend()")
    time.sleep(1.0)
    tab.get("contexts[0].resume()")
    tiles = tab.get("audioAvif.tiles.length")
    tab.wait_for(f"audioAvif.tiles.length > {tiles} + 5")
    tab.get("document.getElementById('speak').click()")


@in_chromium
@pytest.mark.slow
def test_mute_sends_silence(tab: Tab, port: int) -> None:
    open_call(tab, port, "mute")
    tab.get("audioAvif.isRecorded = true")
    tab.get("document.getElementById('mute').click()")
    tab.get(CALL)
    is_now(tab, "waiting")
    tab.wait_for("audioAvif.samples.length > 16000")
    assert tab.get("audioAvif.samples.every((sample) => sample === 0)")
    tab.get("document.getElementById('mute').click()")
    tab.wait_for("audioAvif.samples.some((sample) => Math.abs(sample) > 0.01)")
    tab.get(CALL)


@in_chromium
@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark")])
def test_the_page_fits_and_every_control_has_a_name(tab: Tab, port: int, width: int, scheme: str) -> None:
    open_call(tab, port, "fits")
    tab.size(width, 844, 2.0)
    tab.prefer(prefers_color_scheme=scheme)
    assert tab.get("document.documentElement.scrollWidth") <= width
    controls = {"button", "textbox", "slider", "checkbox", "meter", "image", "link"}
    nodes = tab.do("Accessibility.getFullAXTree")["nodes"]
    found = [(node["role"]["value"], node["name"]["value"]) for node in nodes if node["role"]["value"] in controls]
    assert {role for role, _ in found} == controls
    assert all(name for _, name in found)
