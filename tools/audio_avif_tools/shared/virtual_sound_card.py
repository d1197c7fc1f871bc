"""A sound card without hardware, for tests and measurements on Linux.

A private PulseAudio daemon has two null sinks, and ALSA names them for PortAudio: what is played on ``mouth`` is
recorded from ``mouth_mic``, what is played on ``ear`` from ``ear_mic``. The daemon lives in a temporary folder, on its
own socket; the user's sound server is not touched.
"""

from __future__ import annotations

import ctypes.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SINKS = ("mouth", "ear")
RATE_HZ = 44_100
"""What PortAudio takes for the rate of every ALSA device that has no rate of its own, so nobody resamples twice."""
_START_S = 60.0
_STOP_S = 5.0
_ABANDONED_S = 3600


class VirtualSoundCard:
    """Runs while the ``with`` block does; ``env`` is the environment that leads a child process to it.

    In there the default devices are ``ear`` for playing and ``mouth_mic`` for recording, as for somebody who listens
    with the ear to what another one's mouth said. PortAudio reads its environment when it starts, so only a process
    started with ``env`` sees the card.
    """

    def __init__(self) -> None:
        self.env: dict[str, str] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._daemon: subprocess.Popen[bytes] | None = None

    @staticmethod
    def missing() -> str | None:
        """Say in one sentence why there can be no such card here and what to do; None where there can."""
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
        (folder / "asound.conf").write_text(_alsa_config(), encoding="ascii")
        self.env = {
            **os.environ,
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(folder),
            "XDG_CONFIG_HOME": str(folder),
            "PULSE_RUNTIME_PATH": str(folder / "pulse"),
            "PULSE_SERVER": f"unix:{socket}",
            "PULSE_SINK": "ear",
            "PULSE_SOURCE": "mouth.monitor",
            "ALSA_CONFIG_PATH": str(folder / "asound.conf"),
        }
        with (folder / "log").open("wb") as log:
            self._daemon = subprocess.Popen(
                _daemon_command(socket), env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            self._wait_until_up(folder / "log")
        except BaseException:
            self.__exit__()
            raise
        return self

    @property
    def pid(self) -> int:
        """The daemon's process; to end it is to pull the card out."""
        assert self._daemon is not None, "only while the with block runs"
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
            if Path(self.env["PULSE_SERVER"].removeprefix("unix:")).is_socket():
                return
            time.sleep(0.02)
        raise RuntimeError(f"PulseAudio did not start: {log.read_text(errors='replace').strip()[-500:]}")


def _daemon_command(socket: Path) -> list[str]:
    command = [
        "pulseaudio",
        "-n",
        "--daemonize=no",
        "--use-pid-file=no",
        f"--exit-idle-time={_ABANDONED_S}",
        "--disable-shm=no",
    ]
    # A sound card keeps time whatever else runs. Above the programs under test, as PulseAudio's own default is; where
    # the system does not allow it, it runs on without.
    command += ["--realtime=yes", "--high-priority=yes"]
    command += ["--log-level=error", "--log-target=stderr"]
    # Without norewinds an idle sink sleeps for up to two seconds, and the first sound comes late or never.
    for sink in SINKS:
        command += ["-L", f"module-null-sink sink_name={sink} rate={RATE_HZ} channels=2 norewinds=1"]
    return [*command, "-L", f"module-native-protocol-unix socket={socket} auth-anonymous=1"]


def _alsa_config() -> str:
    """One-way devices by name, and a default one, without which ALSA aborts the program."""
    pcms = [f"pcm.{sink} {{ type asym playback.pcm {{ type pulse device {sink} }} }}" for sink in SINKS]
    pcms += [f"pcm.{sink}_mic {{ type asym capture.pcm {{ type pulse device {sink}.monitor }} }}" for sink in SINKS]
    return "\n".join([*pcms, "pcm.!default { type pulse }", "ctl.!default { type pulse }", ""])


def _alsa_plugin() -> Path | None:
    """Find ALSA's PulseAudio plugin, which sits beside the C library of whatever architecture this is."""
    for folder in (
        *Path("/usr/lib").glob("*-linux-*/alsa-lib"),
        Path("/usr/lib64/alsa-lib"),
        Path("/usr/lib/alsa-lib"),
    ):
        if (plugin := folder / "libasound_module_pcm_pulse.so").exists():
            return plugin
    return None
