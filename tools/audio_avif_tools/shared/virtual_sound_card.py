"""A sound card without hardware, for tests and measurements on Linux.

A private PulseAudio daemon has null sinks, and ALSA names them for PortAudio: sound played on ``mouth`` is
recorded from ``mouth_mic``, sound played on ``ear`` from ``ear_mic``. The daemon uses a temporary folder and its own
socket; the user's sound server is not touched.
"""

from __future__ import annotations

import ctypes.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

SINKS = ("mouth", "ear")
RATE_HZ = 44_100
"""PortAudio's rate for ALSA devices without a rate of their own, so that sound is not resampled twice."""
_START_S = 60.0
_STOP_S = 5.0
_ABANDONED_S = 3600


class VirtualSoundCard:
    """A sound card that runs during the ``with`` block; child processes started with ``env`` see it.

    Their default devices are the second sink for playing and the first one's monitor for recording. PortAudio reads
    its environment when it starts, so only a process started with ``env`` sees the card.
    """

    def __init__(self, sinks: Sequence[str] = SINKS) -> None:
        self.env: dict[str, str] = {}
        self._sinks = sinks
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._daemon: subprocess.Popen[bytes] | None = None

    @staticmethod
    def missing() -> str | None:
        """Return in one sentence why the card cannot run here and what to do; None where it can."""
        if not sys.platform.startswith("linux"):
            return "the virtual sound card needs Linux"
        absent = [
            package
            for package, present in (
                ("pulseaudio", shutil.which("pulseaudio")),
                ("libasound2-plugins", _alsa_plugin()),
                ("libportaudio2", ctypes.util.find_library("portaudio")),
            )
            if not present
        ]
        if absent:
            return f"the virtual sound card needs {', '.join(absent)}: apt-get install {' '.join(absent)}"
        return None

    def __enter__(self) -> VirtualSoundCard:
        """Start the daemon. Raises RuntimeError where it does not come up."""
        self._folder = tempfile.TemporaryDirectory(prefix="audio-avif-card-")
        folder = Path(self._folder.name)
        socket = folder / "native"
        (folder / "asound.conf").write_text(_alsa_config(self._sinks), encoding="ascii")
        self.env = {
            **os.environ,
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(folder),
            "XDG_CONFIG_HOME": str(folder),
            "PULSE_RUNTIME_PATH": str(folder / "pulse"),
            "PULSE_SERVER": f"unix:{socket}",
            "PULSE_SINK": self._sinks[1],
            "PULSE_SOURCE": f"{self._sinks[0]}.monitor",
            "ALSA_CONFIG_PATH": str(folder / "asound.conf"),
        }
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self) -> None:
        """Start the daemon, the first time or after ``kill``. Raises RuntimeError where it does not come up."""
        assert self._folder is not None, "the sound card runs only within its with block"
        log_path, socket = Path(self._folder.name) / "log", self._socket
        socket.unlink(missing_ok=True)
        with log_path.open("wb") as log:
            self._daemon = subprocess.Popen(
                _daemon_command(socket, self._sinks), env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._wait_until_up(log_path)

    def kill(self) -> None:
        """Kill the daemon, as where a card is unplugged or a sound server crashes."""
        assert self._daemon is not None, "the sound card runs only within its with block"
        self._daemon.kill()
        self._daemon.wait()

    @property
    def _socket(self) -> Path:
        return Path(self.env["PULSE_SERVER"].removeprefix("unix:"))

    @property
    def pid(self) -> int:
        """The daemon's process id; ending the process simulates an unplugged card."""
        assert self._daemon is not None, "the sound card runs only within its with block"
        return self._daemon.pid

    def __exit__(self, *exc_info: object) -> None:
        if self._daemon is not None:
            self._daemon.terminate()
            try:
                self._daemon.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._daemon.kill()
                self._daemon.wait()
            self._daemon = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _wait_until_up(self, log: Path) -> None:
        assert self._daemon is not None
        deadline_s = time.monotonic() + _START_S
        while time.monotonic() < deadline_s and self._daemon.poll() is None:
            # The daemon opens its socket last, after the sinks are there.
            if self._socket.is_socket():
                return
            time.sleep(0.02)
        raise RuntimeError(f"PulseAudio did not start: {log.read_text(errors='replace').strip()[-500:]}")


def _daemon_command(socket: Path, sinks: Sequence[str]) -> list[str]:
    command = [
        "pulseaudio",
        "-n",
        "--daemonize=no",
        "--use-pid-file=no",
        f"--exit-idle-time={_ABANDONED_S}",
        "--disable-shm=no",
    ]
    # A sound card keeps time on a busy machine, so the daemon runs above the programs under test, as PulseAudio does
    # by default. It runs without that priority where the system does not allow it.
    command += ["--realtime=yes", "--high-priority=yes"]
    command += ["--log-level=error", "--log-target=stderr"]
    # Without norewinds an idle sink sleeps for up to two seconds, and the first sound comes late or never.
    for sink in sinks:
        command += ["-L", f"module-null-sink sink_name={sink} rate={RATE_HZ} channels=2 norewinds=1"]
    return [*command, "-L", f"module-native-protocol-unix socket={socket} auth-anonymous=1"]


def _alsa_config(sinks: Sequence[str]) -> str:
    """Return one-way devices by name, and the default device without which ALSA aborts the program."""
    pcms = [f"pcm.{sink} {{ type asym playback.pcm {{ type pulse device {sink} }} }}" for sink in sinks]
    pcms += [f"pcm.{sink}_mic {{ type asym capture.pcm {{ type pulse device {sink}.monitor }} }}" for sink in sinks]
    return "\n".join([*pcms, "pcm.!default { type pulse }", "ctl.!default { type pulse }", ""])


def _alsa_plugin() -> Path | None:
    """Find ALSA's PulseAudio plugin, which lies beside the C library of this architecture."""
    for folder in (
        *Path("/usr/lib").glob("*-linux-*/alsa-lib"),
        Path("/usr/lib64/alsa-lib"),
        Path("/usr/lib/alsa-lib"),
    ):
        if (plugin := folder / "libasound_module_pcm_pulse.so").exists():
            return plugin
    return None
