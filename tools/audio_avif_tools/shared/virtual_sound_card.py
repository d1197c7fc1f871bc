"""A sound card without hardware, for tests and measurements on Linux.

A private sound server has null sinks, and ALSA names them for PortAudio: sound played on ``mouth`` is recorded from
``mouth_mic``, sound played on ``ear`` from ``ear_mic``. The server uses a temporary folder and its own socket; the
user's sound server is not touched.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from audio_avif_tools.shared.sound_servers import PulseAudio, SoundServer

_STOP_S = 5.0


class VirtualSoundCard:
    """A sound card that runs during the ``with`` block; child processes started with ``env`` see it.

    Their default devices are the server's second sink for playing and its first for recording. PortAudio reads
    its environment when it starts, so only a process started with ``env`` sees the card.
    """

    def __init__(self, server: SoundServer | None = None) -> None:
        """The sound server is PulseAudio unless another is given."""
        self.env: dict[str, str] = {}
        self._server = server or PulseAudio()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._daemons: list[subprocess.Popen[bytes]] = []

    @staticmethod
    def missing(server: SoundServer | None = None) -> str | None:
        """Return in one sentence why the card cannot run here and what to do; None where it can."""
        if not sys.platform.startswith("linux"):
            return "the virtual sound card needs Linux"
        if absent := (server or PulseAudio()).absent():
            return f"the virtual sound card needs {', '.join(absent)}: apt-get install {' '.join(absent)}"
        return None

    def __enter__(self) -> VirtualSoundCard:
        """Start the sound server. Raises RuntimeError where it does not come up."""
        self._folder = tempfile.TemporaryDirectory(prefix="audio-avif-card-")
        folder = Path(self._folder.name)
        (folder / "asound.conf").write_text(self._server.alsa_config(), encoding="ascii")
        self.env = {
            **os.environ,
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(folder),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "ALSA_CONFIG_PATH": str(folder / "asound.conf"),
            **self._server.environment(folder),
        }
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self) -> None:
        """Start the sound server, the first time or after ``kill``. Raises RuntimeError where it does not come up."""
        assert self._folder is not None, "the sound card runs only within its with block"
        folder = Path(self._folder.name)
        for daemon in self._server.start(folder, self.env, folder / "log"):
            self._daemons.append(daemon)

    def kill(self) -> None:
        """Kill the sound server, as where a card is unplugged or a sound server crashes."""
        for daemon in reversed(self._daemons):
            daemon.kill()
            daemon.wait()
        self._daemons.clear()

    @property
    def pid(self) -> int:
        """The process id of the server's first daemon; ending it simulates an unplugged card."""
        assert self._daemons, "the sound card runs only within its with block"
        return self._daemons[0].pid

    def __exit__(self, *exc_info: object) -> None:
        for daemon in reversed(self._daemons):
            daemon.terminate()
            try:
                daemon.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._daemons.clear()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
