"""Headless Chromium, driven through its DevTools protocol."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import pytest
from websockets.sync.client import ClientConnection, connect

from audio_avif.types import FloatArray

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    "--mute-audio",
    "--host-resolver-rules=MAP plain.example 127.0.0.1",  # to a browser, a machine elsewhere
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
]
PATIENCE_S = 60.0
STATUS = "document.getElementById('status').textContent"
"""The status line of the listening page and of the speaking page."""
UNDRAWN = "document.querySelector('.picture').hidden = true"
"""Keeps a page from drawing, which takes more of a processor than all else where there is no graphics card."""


def chromium_path() -> str | None:
    """Where Chromium is, None where it is not installed."""
    return next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
    )


in_chromium = pytest.mark.skipif(chromium_path() is None, reason="Chromium is not installed (apt-get install chromium)")


class Tab:
    """A page in the browser."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._number = 0
        self.complaints: list[str] = []
        for domain in ("Page", "Runtime", "Log"):
            self.do(f"{domain}.enable")

    def do(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Give a command of the DevTools protocol, and wait for what it returns."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=PATIENCE_S))
            if message.get("id") == self._number:
                assert "error" not in message, message["error"]
                return dict(message["result"])
            self._hear(message)

    def _hear(self, message: dict[str, Any]) -> None:
        parameters = message.get("params", {})
        if message["method"] == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description", details["text"]))
        elif message["method"] == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.complaints.append(f"{parameters['entry']['text']} {parameters['entry'].get('url', '')}")

    def get(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited if it is a promise."""
        done = self.do(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True, userGesture=True
        )
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def wait_for(self, expression: str, patience_s: float = PATIENCE_S) -> Any:
        """Ask until the expression is truthy; return its value."""
        until_s = time.monotonic() + patience_s
        while not (value := self.get(expression)):
            shown = "document.getElementById('status')?.textContent"
            assert time.monotonic() < until_s, f"{expression} is not true; the page says: {self.get(shown)!r}"
            time.sleep(0.1)
        return value

    def size(self, width: int, height: int, scale: float = 1.0) -> None:
        """Give the page this size, in CSS pixels."""
        self.do(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )

    def prefer(self, **features: str) -> None:
        """Set what the user prefers, such as ``prefers_color_scheme="dark"``."""
        listed = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.do("Emulation.setEmulatedMedia", features=listed)

    def open(self, url: str) -> None:
        """Go to an address and wait for the page; of the one before nothing is left, nor its complaints."""
        self.do("Page.navigate", url="about:blank")
        self.wait_for("location.href === 'about:blank'")
        self.complaints.clear()
        self.do("Page.navigate", url=url)
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")

    def picture(self) -> bytes:
        """What is seen, as PNG."""
        return base64.b64decode(self.do("Page.captureScreenshot", format="png")["data"])


@contextmanager
def chromium(folder: Path, *flags: str) -> Iterator[Tab]:
    """A browser with one tab, its profile in this empty folder; gone at the end."""
    path = chromium_path()
    assert path is not None
    process = subprocess.Popen(
        [path, *FLAGS, *flags, f"--user-data-dir={folder}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        # Nobody reads between two commands, and an answer to a ping may wait behind what the page has to say.
        with connect(_address(folder, process), max_size=None, open_timeout=PATIENCE_S, ping_interval=None) as socket:
            yield Tab(socket)
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()


def _address(folder: Path, process: subprocess.Popen[bytes]) -> str:
    """Of the first tab's DevTools socket."""
    port_file = folder / "DevToolsActivePort"
    until_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < until_s and process.poll() is None:
        with suppress(OSError, ValueError, IndexError, StopIteration):  # not there yet, or half written
            port = int(port_file.read_text().splitlines()[0])
            with urlopen(Request(f"http://127.0.0.1:{port}/json/list"), timeout=PATIENCE_S) as answer:
                return str(next(tab["webSocketDebuggerUrl"] for tab in json.load(answer) if tab["type"] == "page"))
        time.sleep(0.05)
    raise AssertionError(f"Chromium did not start (exit status {process.poll()})")


def says(tab: Tab, sentence: str) -> None:
    """Wait for the status line to contain ``sentence``."""
    tab.wait_for(f"{STATUS}.includes({sentence!r})")


def heard_by(tab: Tab, size: int) -> FloatArray:
    """What the page gave to the sound device, each sample at its place in the stream."""
    heard = np.zeros(size, np.float32)
    for chunk in tab.get("audioAvif.chunks"):
        part = heard[chunk["firstSample"] :][: len(chunk["samples"])]
        part[:] = chunk["samples"][: part.size]
    return heard
