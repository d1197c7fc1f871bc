"""Short counters become whole numbers again, however a stream was carried."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_avif.errors import LocalProtocolError
from audio_avif.link.counters import Counters
from audio_avif.link.hello import Hello
from audio_avif.link.messages import Place
from audio_avif.link.packets import MediaPacket, PausePacket, TilePacket, short_counters
from audio_avif.link.protocol import ReceiverProtocol, SenderProtocol
from support.golden import golden_messages
from support.paths import DATA

VECTORS: dict[str, list[dict[str, Any]]] = json.loads((DATA / "counters.json").read_text())
GOOD = golden_messages()
HELLO = GOOD["hello"]
assert isinstance(HELLO, Hello)
FAR = 2**15  # as far behind the newest packet as a short counter reaches


@pytest.mark.parametrize("name", VECTORS)
def test_vectors(name: str) -> None:
    """As the web page's decoder does."""
    counters = Counters()
    for step in VECTORS[name]:
        if "place" in step:
            counters.move_to(*step["place"])
            continue
        whole = counters.extend(*step["packet"])
        assert whole == tuple(step["is"])
        counters.advance(*whole)


def tile(sequence: int, first_frame: int) -> TilePacket:
    return TilePacket(sequence, first_frame, 8, b"x")


def begun() -> tuple[SenderProtocol, ReceiverProtocol]:
    sender, receiver = SenderProtocol(), ReceiverProtocol()
    receiver.receive(sender.send(HELLO))
    return sender, receiver


def sent(sender: SenderProtocol, packet: MediaPacket) -> list[bytes]:
    """The messages for a packet, as a sender sends them."""
    place = sender.place_before(packet)
    return [sender.send(message) for message in (place, packet) if message is not None]


@given(
    start=st.tuples(st.integers(0, 2**33), st.integers(0, 2**33)),
    gaps=st.lists(st.tuples(st.integers(1, 2**20), st.integers(0, 2**24)), min_size=1, max_size=8),
)
def test_gaps_of_any_length(start: tuple[int, int], gaps: list[tuple[int, int]]) -> None:
    """A sender drops what waits too long, and pauses for as long as it likes."""
    sender, receiver = begun()
    sequence, first_frame = start
    for packets, frames in gaps:
        packet = tile(sequence, first_frame)
        *_, message = [receiver.receive(data) for data in sent(sender, packet)]
        assert message == packet
        sequence, first_frame = sequence + packets, first_frame + 8 * packets + frames


@given(
    start=st.integers(0, 2**18),
    order=st.permutations(range(24)),
    lost=st.sets(st.integers(0, 23), max_size=20),
    stride=st.sampled_from([8, 64, 1000]),
)
def test_packets_in_any_order_with_any_of_them_lost(start: int, order: list[int], lost: set[int], stride: int) -> None:
    sender, receiver = begun()
    first = sent(sender, tile(start, start * stride))
    for data in first:
        receiver.receive(data)
    packets = [tile(start + 1 + number, (start + 1 + number) * stride) for number in range(24)]
    messages = [sent(sender, packet) for packet in packets]
    assert all(len(each) == 1 for each in messages)
    for number in order:
        if number not in lost:
            assert receiver.receive(messages[number][0]) == packets[number]


def test_a_day_of_tiles_needs_no_place() -> None:
    """Tiles of two frames, every one of which arrives."""
    sender, receiver = begun()
    for sequence in range(0, 2_700_000, 97):
        (data,) = sent(sender, tile(sequence, 2 * sequence))
        message = receiver.receive(data)
        assert isinstance(message, TilePacket) and (message.sequence, message.first_frame) == (sequence, 2 * sequence)


def test_a_place_is_sent_only_where_the_packet_would_not_be_found() -> None:
    sender, _ = begun()
    assert sender.place_before(tile(2 * FAR - 1, 0)) is None
    assert sender.place_before(tile(2 * FAR, 0)) == Place(2 * FAR, 0)
    assert sender.place_before(PausePacket(0, 2 * FAR, 8, bytes(8))) == Place(0, 2 * FAR)
    with pytest.raises(LocalProtocolError, match="its place must be sent first"):
        sender.send(tile(2 * FAR, 0))
    assert len(sent(sender, tile(2 * FAR, 0))) == 2
    assert len(sent(sender, tile(2 * FAR + 1, 8))) == 1


def test_receipts_and_reports_name_the_packet_sent_last_or_one_before_it() -> None:
    sender, _ = begun()
    sender.receive(GOOD["welcome"].to_bytes())
    sent(sender, tile(1_000_000, 0))
    for sequence in (1_000_000, 999_990, 1_000_000 - FAR + 1):
        low = sequence % 2**16
        for kind, rest in ((0x47, b""), (0x46, bytes(36))):
            message = sender.receive(bytes([kind]) + low.to_bytes(2, "big") + rest)
            assert message.sequence == sequence  # type: ignore[union-attr]


@pytest.mark.parametrize("name", [name for name in GOOD if name.startswith(("tile", "noise", "bundle"))])
def test_the_counters_of_a_packet_can_be_read_without_parsing_it(name: str) -> None:
    packet = GOOD[name]
    assert isinstance(packet, MediaPacket)
    assert short_counters(packet.to_bytes()) == (packet.sequence, packet.first_frame)
    assert short_counters(packet.to_bytes()[:4]) is None


@pytest.mark.parametrize("name", [name for name in GOOD if not name.startswith(("tile", "noise", "bundle"))])
def test_no_other_message_has_such_counters(name: str) -> None:
    assert short_counters(GOOD[name].to_bytes()) is None
    assert short_counters(b"") is None
