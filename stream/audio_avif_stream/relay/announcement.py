"""What a relay prints when it starts: the commands for both ends, and warnings for what it leaves open."""

from __future__ import annotations

import logging

from audio_avif.edge import console
from audio_avif.link.messages import DEFAULT_PORT
from audio_avif_stream.relay.room_tokens import RoomTokens
from audio_avif_stream.serving.connections import outward_name

log = logging.getLogger(__name__)


_LOCAL_NAMES = ("127.0.0.1", "localhost", "::1")  # browsers open the microphone there, and elsewhere only over HTTPS


def announce(host: str, port: int, is_tls: bool, tokens: RoomTokens, made_token: str | None, has_web: bool) -> None:
    """Print what to type at both ends of a relay bound to ``host:port``; only a token made here is shown."""
    name = outward_name(host)
    bracketed = f"[{name}]" if ":" in name else name
    where = f"{bracketed}:{port}"
    is_usual = port == DEFAULT_PORT
    to_host = f"wss://{bracketed}" + ("" if is_usual else f":{port}") if is_tls else name
    port_option = "" if is_usual or is_tls else f" --port {port}"
    publish = made_token or ("TOKEN" if asks_to_publish(tokens) else None)
    listen = "TOKEN" if asks_to_listen(tokens) else None
    lines = [
        "listening; publish and listen with:",
        f"  audio-avif-send --host {to_host}{port_option} --room NAME" + (f" --token {publish}" if publish else ""),
        f"  audio-avif-recv --connect {'wss' if is_tls else 'ws'}://{where} --room NAME"
        + (f" --token {listen}" if listen else ""),
    ]
    if has_web:
        site = f"http{'s' if is_tls else ''}://{where}/"
        lines.append(f"  {site} in a browser")
        if (is_tls or name in _LOCAL_NAMES) and needs_one_token(tokens):
            token = f"&token={publish}" if publish else ""
            lines.append(f"  {site}call.html#room=NAME{token} to call each other")
    console.tell("\n".join(lines))


def warn_of_open_network(is_tls: bool, tokens: RoomTokens) -> None:
    """Warn of what other machines can do with a relay that they can reach."""
    if not is_tls:
        warn_of_clear_text(asks_to_publish(tokens) or asks_to_listen(tokens))
    if not asks_to_listen(tokens):
        log.warning("anyone who can connect may listen; require a token with --listen-token")


def warn_of_clear_text(has_tokens: bool) -> None:
    """Warn that others on the way can read what is sent."""
    log.warning(
        "the connection is not encrypted%s; use --tls-cert and --tls-key on networks you do not trust",
        ", and neither are tokens" if has_tokens else "",
    )


def asks_to_publish(tokens: RoomTokens) -> bool:
    """Whether a publisher may need a token."""
    return tokens.rooms is not None or tokens.usual.publish is not None


def asks_to_listen(tokens: RoomTokens) -> bool:
    """Whether a listener may need a token."""
    return tokens.rooms is not None or tokens.usual.listen is not None


def needs_one_token(tokens: RoomTokens) -> bool:
    """Whether one token, or none, serves both to publish and to listen, as a call needs it."""
    return tokens.rooms is None and tokens.usual.listen in (None, tokens.usual.publish)
