"""What a relay prints when it starts: the link of a call, where one can be made from a browser."""

from __future__ import annotations

import pytest

from audio_avif_stream.relay.announcement import announce
from audio_avif_stream.relay.room_tokens import RoomTokens, Tokens

OPEN, ONE, TWO = RoomTokens(), RoomTokens(Tokens("a", "a")), RoomTokens(Tokens("a", "b"))
ROOMS = RoomTokens(rooms={"demo.1": Tokens()})


@pytest.mark.parametrize(
    ("host", "is_tls", "tokens", "link"),
    [
        ("127.0.0.1", False, OPEN, "http://127.0.0.1:8765/call.html#room=NAME "),
        ("127.0.0.1", False, ONE, "http://127.0.0.1:8765/call.html#room=NAME&token=TOKEN "),
        ("192.0.2.1", True, OPEN, "https://192.0.2.1:8765/call.html#room=NAME "),
        ("192.0.2.1", False, OPEN, None),  # browsers keep the microphone from it
        ("127.0.0.1", False, TWO, None),
        ("127.0.0.1", False, ROOMS, None),
    ],
)
def test_the_link_of_a_call_is_printed_where_it_works(
    capsys: pytest.CaptureFixture[str], host: str, is_tls: bool, tokens: RoomTokens, link: str | None
) -> None:
    announce(host, 8765, is_tls, tokens, None, has_web=True)
    printed = capsys.readouterr().err
    assert ("call.html" in printed) == (link is not None)
    assert link is None or f"  {link}to call each other" in printed
