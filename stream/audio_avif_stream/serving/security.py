"""Limits, tokens, and TLS for both ends (``docs/reference/limits.md``)."""

from __future__ import annotations

import hmac
import logging
import os
import secrets
import ssl
from dataclasses import dataclass
from pathlib import Path

from audio_avif.errors import FileError
from audio_avif.link.messages import MAX_MESSAGE_BYTES

log = logging.getLogger(__name__)

_TOKEN_BYTES = 16
_BURST_S = 4.0

# X509_V_ERR_* of OpenSSL's x509_vfy.h.
_NOT_YET_VALID, _EXPIRED = 9, 10
_UNKNOWN_SIGNER = (2, 18, 19, 20, 21)
_OTHER_NAME = (62, 63, 64)


@dataclass(frozen=True)
class Limits:
    """What a peer may do before it is disconnected.

    ``connections`` are those that carry no stream; ``handshake_s`` is the time for TLS and HTTP together, and again for
    the hello; ``handshake_bytes`` are those of the HTTP request.
    """

    message_bytes: int = MAX_MESSAGE_BYTES
    messages_per_s: int = 500
    connections: int = 16
    handshake_s: float = 10.0
    handshake_bytes: int = 16_384

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise ValueError(f"{name} must be more than 0, not {value}")


class MessageAllowance:
    """A token bucket that lets ``per_s`` messages a second pass, and those of a stall of four seconds at once."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._left = per_s * _BURST_S
        self._counted_s: float | None = None

    def take(self, now_s: float) -> bool:
        """Whether one more message is within the allowance."""
        passed_s = 0.0 if self._counted_s is None else max(0.0, now_s - self._counted_s)
        self._counted_s = now_s
        self._left = min(self._per_s * _BURST_S, self._left + passed_s * self._per_s)
        if self._left < 1:
            return False
        self._left -= 1
        return True


def new_token() -> str:
    """Return a random token; it does not begin with a hyphen, so that it can follow ``--token``."""
    return secrets.token_urlsafe(_TOKEN_BYTES).replace("-", "_")


def kept_token(path: Path) -> str:
    """Return the token in this file; write a new one, readable to its owner alone, where the file has none.

    A receiver that is started again then accepts the token that its sender has. Where the file cannot be written, the
    new token is valid until the receiver ends.
    """
    try:
        kept = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        kept = ""
    if is_token(kept):
        return kept
    token = new_token()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(f"{token}\n")
    except OSError as error:
        log.warning("the token cannot be stored in %s (%s); the next start makes a new one", path, error.strerror)
    return token


def is_token(text: str) -> bool:
    """Whether this can travel in an HTTP header as it is: visible ASCII."""
    return bool(text) and all("!" <= character <= "~" for character in text)


def shows_token(authorization: list[str], token: str) -> bool:
    """Whether ``Authorization`` has one value, which holds the token; compared in constant time."""
    if len(authorization) != 1:
        return False
    scheme, _, given = authorization[0].partition(" ")
    is_same = hmac.compare_digest(given.strip().encode(errors="surrogateescape"), token.encode())
    return is_same and scheme.lower() == "bearer"


def server_context(cert: Path, key: Path) -> ssl.SSLContext:
    """Return a context for TLS 1.2 or later with this certificate chain. Raises FileError for unusable files."""
    _require_pem(cert, "certificate", b"-----BEGIN CERTIFICATE-----", "--tls-cert")
    _require_pem(key, "key", b"PRIVATE KEY-----", "--tls-key")

    def encrypted() -> str:
        raise FileError(
            f"the key {key} is encrypted; decrypt it with: openssl pkey -in {key} -out plain.pem, "
            "and keep that file readable only by you"
        )

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert, key, encrypted)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise FileError(f"the key {key} does not belong to the certificate {cert}; give a matching pair") from error
        raise FileError(
            f"the certificate {cert} or its key {key} is damaged ({error.reason or error}); make both again"
        ) from error
    return context


def client_context(ca: Path | None) -> ssl.SSLContext:
    """Return a context for TLS 1.2 or later that trusts this machine's authorities, or those in ``ca`` alone.

    Raises FileError where ``ca`` cannot be used.
    """
    if ca is not None:
        _require_pem(ca, "certificate", b"-----BEGIN CERTIFICATE-----", "--ca")
    try:
        context = ssl.create_default_context(cafile=ca)
    except ssl.SSLError as error:
        raise FileError(f"the certificate {ca} is damaged ({error.reason or error}); fetch it again") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def own_context(cert: Path) -> ssl.SSLContext:
    """Return a context for a program that connects to itself: it trusts this certificate alone, under any name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(cafile=cert)
    return context


def _require_pem(path: Path, what: str, mark: bytes, option: str) -> None:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FileError(f"the {what} {path} cannot be read: {error.strerror} ({option})") from error
    if mark not in data:
        raise FileError(f"{path} has no {what} in PEM form; {option} needs a file with a line like {_shown(mark)}")


def _shown(mark: bytes) -> str:
    return "-----BEGIN " + mark.decode().removeprefix("-----BEGIN ")


def explain_tls_failure(error: Exception, host: str, program: str = "audio-avif-recv") -> str:
    """Say in one sentence why there is no secure connection to ``program`` on ``host``."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _explain_certificate(error, host)
    reason = getattr(error, "reason", None) or ""
    if "PROTOCOL_VERSION" in reason or reason == "UNSUPPORTED_PROTOCOL":
        return f"{host} and this machine have no TLS version in common; both need 1.2 or later"
    if isinstance(error, ssl.SSLEOFError | ConnectionError) or reason in (
        "WRONG_VERSION_NUMBER",
        "RECORD_LAYER_FAILURE",
        "UNEXPECTED_MESSAGE",
    ):
        return (
            f"{host} does not use TLS; start {program} with --tls-cert and --tls-key, "
            "or give ws:// on a trusted network"
        )
    return f"no secure connection to {host} ({reason or error}); is it an {program} with TLS?"


def _explain_certificate(error: ssl.SSLCertVerificationError, host: str) -> str:
    code = error.verify_code
    if code == _EXPIRED:
        return f"the certificate of {host} has expired; renew it there, or correct this machine's clock"
    if code == _NOT_YET_VALID:
        return f"the certificate of {host} is not valid yet; check the clocks of both machines"
    if code in _OTHER_NAME:
        return f"the certificate of {host} is for another name; connect to that name, or make a certificate for {host}"
    if code in _UNKNOWN_SIGNER:
        return f"the certificate of {host} is signed by an unknown authority; give that authority's with --ca FILE"
    return f"the certificate of {host} cannot be trusted ({error.verify_message})"
