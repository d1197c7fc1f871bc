"""Bytes to messages and back: golden packets, every order of messages, and a peer that sends anything at all."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_avif.config import MelConfig, TileConfig
from audio_avif.errors import LocalProtocolError, RemoteProtocolError
from audio_avif.link.hello import Hello
from audio_avif.link.messages import (
    MAX_MESSAGE_BYTES,
    Bye,
    Message,
    Ping,
    Place,
    Pong,
    Receipt,
    Report,
    Welcome,
    wire_bytes,
)
from audio_avif.link.packets import Bundle, PausePacket, TilePacket
from audio_avif.link.protocol import ReceiverProtocol, SenderProtocol
from audio_avif.still.avif import decode_still
from support.golden import FOLDER, golden_messages, golden_still

GOOD = golden_messages()
GOOD_HELLO = cast(Hello, GOOD["hello"])
ERRORS: dict[str, str] = json.loads((FOLDER / "malformed" / "errors.json").read_text())
HELLO = (FOLDER / "good" / "hello.bin").read_bytes()
WELCOME = (FOLDER / "good" / "welcome.bin").read_bytes()


def parse(data: bytes | str) -> Message:
    """As the end that the message is for, in the middle of a stream."""
    if data and isinstance(data, bytes) and 0x40 <= data[0] < 0x80:
        return SenderProtocol(is_welcome=data[0] != Welcome.TYPE).receive(data)
    receiver = ReceiverProtocol()
    if not data or not isinstance(data, bytes) or data[0] != Hello.TYPE:
        receiver.receive(HELLO)
    return receiver.receive(data)


# Golden packets


def test_every_golden_file_is_tested() -> None:
    assert {path.stem for path in (FOLDER / "good").iterdir()} == set(GOOD)
    assert {path.name for path in (FOLDER / "malformed").glob("*.bin")} == set(ERRORS)
    kinds = {path.read_bytes()[0] for path in (FOLDER / "good").iterdir()}
    assert kinds == {*range(0x01, 0x0A), 0x41, 0x45, 0x46, 0x47, 0x81}


@pytest.mark.parametrize("name", GOOD)
def test_good_packets_both_ways(name: str) -> None:
    data = (FOLDER / "good" / f"{name}.bin").read_bytes()
    assert GOOD[name].to_bytes() == data
    assert parse(data) == GOOD[name]


@pytest.mark.parametrize("name", ERRORS)
def test_malformed_packets(name: str) -> None:
    data = (FOLDER / "malformed" / name).read_bytes()
    with pytest.raises(RemoteProtocolError, match=ERRORS[name]) as error:
        parse(data)
    assert len(str(error.value).splitlines()) == 1


def test_a_golden_tile_opens_as_the_still_it_was_cut_from() -> None:
    hello = parse(HELLO)
    assert isinstance(hello, Hello)
    for name in ("tile", "tile_whole_body", "tile_whole_still"):
        tile = parse((FOLDER / "good" / f"{name}.bin").read_bytes())
        assert isinstance(tile, TilePacket)
        assert tile.still(hello.template) == golden_still()
    assert decode_still(golden_still(), 8, 80).shape == (80, 8)


@pytest.mark.parametrize("name", GOOD)
def test_every_truncation_is_refused(name: str) -> None:
    """But for a tile's payload, whose damage only its picture can tell, and that of the tile in a bundle."""
    data = (FOLDER / "good" / f"{name}.bin").read_bytes()
    for length in range(5 if name.startswith("tile") else 16 if name == "bundle" else len(data)):
        with pytest.raises(RemoteProtocolError):
            parse(data[:length])


def test_the_worked_example_of_the_documentation() -> None:
    """By the steps of ``docs/reference/wire.md``, with nothing of this package."""
    hello, message = HELLO, (FOLDER / "good" / "tile.bin").read_bytes()
    json_bytes = int.from_bytes(hello[2:4], "big")
    offsets = [int.from_bytes(hello[at : at + 2], "big") for at in (4 + json_bytes, 6 + json_bytes)]
    count, size = hello[8 + json_bytes], hello[9 + json_bytes]
    headers_at = 10 + json_bytes
    still = bytearray(hello[headers_at + count * size :])
    header_at = headers_at + size * (message[0] - 0x80)
    body = hello[header_at : header_at + size] + message[5:]
    assert (json_bytes, offsets, count, size, len(still), len(body)) == (243, [113, 261], 2, 5, 281, 29)
    frame = bytes([0x32, len(body)]) + body  # one byte holds a length below 128
    for at in offsets:
        still[at : at + 4] = (int.from_bytes(still[at : at + 4], "big") + len(frame)).to_bytes(4, "big")
    assert bytes(still) + frame == golden_still()


# Round trips

U32 = st.integers(0, 2**32 - 1)
NEAR = st.integers(0, 2**16 - 1)  # of a stream's beginning
COUNT = st.integers(0, 2**40)
U64 = st.integers(0, 2**64 - 1)
I64 = st.integers(-(2**63), 2**63 - 1)
CLOCK = st.integers(0, 2**62)
NAME = st.text(max_size=64).filter(str.isprintable)
PAYLOADS = st.binary(min_size=1, max_size=300)
TILES = st.one_of(
    st.builds(TilePacket, NEAR, NEAR, st.integers(1, 8), PAYLOADS, st.booleans()),
    st.builds(TilePacket, NEAR, NEAR, st.just(8), PAYLOADS, header=st.integers(0, 1)),
)
PAUSES = st.builds(PausePacket, NEAR, NEAR, st.integers(1, 8), st.binary(min_size=8, max_size=8))


@st.composite
def bundles(draw: st.DrawFn) -> Bundle:
    """Any tile or pause before any copies that are older than it, newest first."""
    parts = draw(st.lists(TILES, min_size=2, max_size=9))
    spans = (0xFF, 0xFFFF)
    places = [
        sorted(draw(st.sets(st.integers(0, span), min_size=len(parts), max_size=len(parts))), reverse=True)
        for span in spans
    ]
    ordered = [
        replace(part, sequence=sequence, first_frame=first_frame)
        for part, sequence, first_frame in zip(parts, *places, strict=True)
    ]
    first = draw(st.one_of(st.just(ordered[0]), PAUSES))
    first = replace(first, sequence=ordered[0].sequence, first_frame=ordered[0].first_frame)
    return Bundle(first, tuple(ordered[1:]))


MESSAGES = st.one_of(
    TILES,
    PAUSES,
    bundles(),
    st.builds(Place, COUNT, COUNT),
    st.builds(Bye, COUNT, st.integers(0, 2**53)),
    st.builds(Ping, U64, I64, I64),
    st.builds(Welcome, NAME, st.integers(0, 2**24), NAME, st.integers(-1, 2**40)),
    st.builds(Receipt, NEAR),
    st.builds(Pong, CLOCK, CLOCK),
    st.builds(Report, NEAR, U64, U64, U32, U32, U32, U32, U32),
    st.builds(replace, st.just(GOOD_HELLO), session=NAME, agent=NAME, live=st.booleans(), report=st.booleans()),
)


@given(message=MESSAGES)
def test_round_trip(message: Message) -> None:
    assert parse(message.to_bytes()) == message


def test_long_names_are_cut_and_unknown_keys_ignored() -> None:
    hello = parse(replace(GOOD_HELLO, agent="a" * 100, session="s" * 100).to_bytes())
    assert isinstance(hello, Hello)
    assert (len(hello.agent), len(hello.session)) == (64, 64)
    text = b'{"vocoder":"x","vocoder_latency_samples":0,"agent":"","received":-1,"later":[1]}'
    assert parse(b"\x41" + text) == Welcome("x", 0)


def test_a_peers_text_cannot_command_the_terminal() -> None:
    hello = parse(replace(GOOD_HELLO, agent="a\x1b[2Jb\n\udfff", session="\0s").to_bytes())
    assert isinstance(hello, Hello)
    assert (hello.agent, hello.session) == ("a[2Jb", "s")
    welcome = parse(Welcome("\x07v\u202e", 0, "\x9b").to_bytes())
    assert welcome == Welcome("v", 0, "")


# Anything at all


@settings(max_examples=300)
@given(kind=st.integers(0, 0x82), body=st.binary(max_size=600))
def test_any_bytes_are_a_message_or_a_protocol_error(kind: int, body: bytes) -> None:
    for data in (body, bytes([kind]) + body):
        for end in (ReceiverProtocol(GOOD_HELLO), ReceiverProtocol(), SenderProtocol(), SenderProtocol(True)):
            try:
                end.receive(data)
            except RemoteProtocolError:
                continue


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just(10**400)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=5,
)
MEL, TILE = MelConfig().to_dict(), TileConfig().to_dict()


@given(
    changes=st.dictionaries(st.sampled_from(["mel", "tile", "session", "live", "report", "agent"]), JSON, max_size=2),
    mel=st.dictionaries(st.sampled_from(sorted(MEL)), JSON, max_size=1),
    tile=st.dictionaries(st.sampled_from(sorted(TILE)), JSON, max_size=1),
)
def test_any_settings_are_a_hello_or_a_protocol_error(
    changes: dict[str, Any], mel: dict[str, Any], tile: dict[str, Any]
) -> None:
    size = int.from_bytes(HELLO[2:4], "big")
    values = {**json.loads(HELLO[4 : 4 + size]), "mel": {**MEL, **mel}, "tile": {**TILE, **tile}, **changes}
    text = json.dumps(values).encode()
    try:
        parse(HELLO[:2] + len(text).to_bytes(2, "big") + text + HELLO[4 + size :])
    except RemoteProtocolError:
        return


@given(at=st.integers(0, len(HELLO) - 1), byte=st.integers(0, 255))
def test_a_damaged_hello_is_a_hello_or_a_protocol_error(at: int, byte: int) -> None:
    try:
        parse(HELLO[:at] + bytes([byte]) + HELLO[at + 1 :])
    except RemoteProtocolError:
        return


def test_text_is_refused() -> None:
    for data in ("hello", "", HELLO[4:20].decode()):
        with pytest.raises(RemoteProtocolError, match="text message"):
            parse(data)


def test_a_message_has_a_limit() -> None:
    tile = TilePacket(0, 0, 8, bytes(MAX_MESSAGE_BYTES - 6))
    assert parse(tile.to_bytes()) == tile
    with pytest.raises(RemoteProtocolError, match="65537 bytes; 65536 is the limit"):
        parse(tile.to_bytes() + b"\0")


# Order

TILE_BYTES, PING, BYE = (GOOD[name].to_bytes() for name in ("tile", "ping", "bye"))


@pytest.mark.parametrize("first", [TILE_BYTES, PING, BYE], ids=["tile", "ping", "bye"])
def test_nothing_comes_before_the_hello(first: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="not a hello"):
        ReceiverProtocol().receive(first)


def test_a_stream_in_order_as_the_receiver_sees_it() -> None:
    receiver = ReceiverProtocol()
    for data in (HELLO, PING, TILE_BYTES, PING, TILE_BYTES):
        receiver.receive(data)
        assert not receiver.is_over
    receiver.receive(BYE)
    assert receiver.is_over
    for data in (TILE_BYTES, PING, BYE):
        with pytest.raises(RemoteProtocolError, match="after its bye"):
            receiver.receive(data)


def test_only_one_hello() -> None:
    receiver = ReceiverProtocol()
    receiver.receive(HELLO)
    with pytest.raises(RemoteProtocolError, match="hello twice"):
        receiver.receive(HELLO)


def test_each_end_refuses_the_others_messages() -> None:
    for name, message in GOOD.items():
        data = message.to_bytes()
        end = ReceiverProtocol() if 0x40 <= data[0] < 0x80 else SenderProtocol()
        with pytest.raises(RemoteProtocolError, match=re.escape(f"unknown type {data[0]:#04x}")):
            end.receive(data)
        assert name


def test_the_sender_says_hello_first_and_nothing_after_bye() -> None:
    sender = SenderProtocol()
    for name in ("tile", "ping", "bye"):
        with pytest.raises(LocalProtocolError, match="begins with one hello"):
            sender.send(GOOD[name])  # type: ignore[arg-type]
    for name in ("hello", "ping", "tile", "tile", "ping", "bye"):
        assert sender.send(GOOD[name]) == GOOD[name].to_bytes()  # type: ignore[arg-type]
    for name in ("tile", "ping", "bye"):
        with pytest.raises(LocalProtocolError, match="nothing may follow"):
            sender.send(GOOD[name])  # type: ignore[arg-type]
    with pytest.raises(LocalProtocolError, match="begins with one hello"):
        sender.send(GOOD["hello"])  # type: ignore[arg-type]


def test_the_first_answer_is_one_welcome() -> None:
    pong, report = GOOD["pong"].to_bytes(), GOOD["report"].to_bytes()
    for early in (pong, report):
        with pytest.raises(RemoteProtocolError, match="one welcome"):
            SenderProtocol().receive(early)
    sender = SenderProtocol()
    for data in (WELCOME, pong, report, pong):
        sender.receive(data)
    with pytest.raises(RemoteProtocolError, match="one welcome"):
        sender.receive(WELCOME)


# What it costs


@pytest.mark.parametrize(
    ("message_bytes", "frame_header"), [(0, 6), (80, 6), (125, 6), (126, 8), (300, 8), (MAX_MESSAGE_BYTES - 1, 8)]
)
def test_wire_bytes_are_the_message_and_its_headers(message_bytes: int, frame_header: int) -> None:
    """A masked WebSocket frame (RFC 6455, 5.2) in one TCP segment with timestamps (32) over IPv4 (20)."""
    assert wire_bytes(message_bytes) == message_bytes + frame_header + 32 + 20
