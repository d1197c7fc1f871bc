"""Sound servers with null sinks, private to one folder: PulseAudio and PipeWire."""

from __future__ import annotations

import ctypes.util
import shutil
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

SINKS = ("mouth", "ear")
RATE_HZ = 44_100
"""PortAudio's rate for ALSA devices without a rate of their own, so that sound is not resampled twice."""
_START_S = 60.0
_ABANDONED_S = 3600


class SoundServer(ABC):
    """How a sound server is started, and how programs reach it through ALSA."""

    name: str

    def __init__(self, sinks: Sequence[str] = SINKS) -> None:
        """Programs play to the second sink and record the first, unless they name another."""
        self._sinks = sinks

    @abstractmethod
    def absent(self) -> list[str]:
        """Debian packages that are needed and not installed."""

    @abstractmethod
    def environment(self, folder: Path) -> dict[str, str]:
        """Variables for programs that are to see the server in this folder."""

    @abstractmethod
    def alsa_config(self) -> str:
        """ALSA's configuration: one-way devices by name, and the default, without which ALSA aborts the program."""

    @abstractmethod
    def start(self, folder: Path, env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
        """Start the daemons, and yield each before waiting for it. Raises RuntimeError where one does not come up."""


class PulseAudio(SoundServer):
    """PulseAudio, reached through ALSA's plugin for it."""

    name = "PulseAudio"

    def absent(self) -> list[str]:
        """Debian packages that are needed and not installed."""
        return _absent({"pulseaudio": shutil.which("pulseaudio"), "libasound2-plugins": _alsa_plugin("pulse")})

    def environment(self, folder: Path) -> dict[str, str]:
        """Variables for programs that are to see the server in this folder."""
        return {
            "PULSE_RUNTIME_PATH": str(folder / "pulse"),
            "PULSE_SERVER": f"unix:{folder / 'native'}",
            "PULSE_SINK": self._sinks[1],
            "PULSE_SOURCE": f"{self._sinks[0]}.monitor",
        }

    def alsa_config(self) -> str:
        """ALSA's configuration."""
        pcms = [_devices(sink, f"pulse device {sink}", f"pulse device {sink}.monitor") for sink in self._sinks]
        return "\n".join([*pcms, "pcm.!default { type pulse }", "ctl.!default { type pulse }", ""])

    def start(self, folder: Path, env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
        """Start the daemon."""
        socket = folder / "native"
        socket.unlink(missing_ok=True)
        daemon = _daemon(self._command(socket), env, log)
        yield daemon
        # The daemon opens its socket last, after the sinks are there.
        _wait_until(self.name, socket.is_socket, daemon, log)

    def _command(self, socket: Path) -> list[str]:
        command = ["pulseaudio", "-n", "--daemonize=no", "--use-pid-file=no", f"--exit-idle-time={_ABANDONED_S}"]
        # A sound card keeps time on a busy machine, so the daemon runs above the programs under test, as PulseAudio
        # does by default. It runs without that priority where the system does not allow it.
        command += ["--disable-shm=no", "--realtime=yes", "--high-priority=yes"]
        command += ["--log-level=error", "--log-target=stderr"]
        # Without norewinds an idle sink sleeps for up to two seconds, and the first sound comes late or never.
        for sink in self._sinks:
            command += ["-L", f"module-null-sink sink_name={sink} rate={RATE_HZ} channels=2 norewinds=1"]
        return [*command, "-L", f"module-native-protocol-unix socket={socket} auth-anonymous=1"]


class PipeWire(SoundServer):
    """PipeWire with WirePlumber, reached through ALSA's plugin for PipeWire."""

    name = "PipeWire"

    def absent(self) -> list[str]:
        """Debian packages that are needed and not installed."""
        programs = {"pipewire": "pipewire", "pipewire-bin": "pw-metadata"}
        programs |= {name: name for name in ("wireplumber", "dbus-daemon")}
        found: dict[str, object] = {package: shutil.which(program) for package, program in programs.items()}
        return _absent(found | {"pipewire-alsa": _alsa_plugin("pipewire")})

    def environment(self, folder: Path) -> dict[str, str]:
        """Variables for programs that are to see the server in this folder."""
        return {
            "PIPEWIRE_RUNTIME_DIR": str(folder),
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={folder / 'bus'}",
            # A microphone of a sink is its monitor.
            "PIPEWIRE_PROPS": "{ stream.capture.sink = true }",
        }

    def alsa_config(self) -> str:
        """ALSA's configuration."""
        pcms = [
            _devices(sink, f'pipewire playback_node "{sink}"', f'pipewire capture_node "{sink}"')
            for sink in self._sinks
        ]
        speaker, microphone = self._sinks[1], f"{self._sinks[0]}_mic"
        default = f'pcm.!default {{ type asym playback.pcm "{speaker}" capture.pcm "{microphone}" }}'
        return "\n".join([*pcms, default, "ctl.!default { type pipewire }", ""])

    def start(self, folder: Path, env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
        """Start a message bus, the server and its session manager."""
        sinks = folder / "config" / "pipewire" / "pipewire.conf.d" / "sinks.conf"
        sinks.parent.mkdir(parents=True, exist_ok=True)
        sinks.write_text(self._sinks_config(), encoding="ascii")
        env = env | {"XDG_STATE_HOME": str(folder / "state")}
        for socket in ("bus", "pipewire-0"):
            (folder / socket).unlink(missing_ok=True)
        for command, is_up in (
            (
                ["dbus-daemon", "--session", "--nofork", f"--address=unix:path={folder / 'bus'}"],
                (folder / "bus").exists,
            ),
            (["pipewire"], (folder / "pipewire-0").is_socket),
            (["wireplumber"], lambda: self._has_default(env)),
        ):
            daemon = _daemon(command, env, log)
            yield daemon
            _wait_until(command[0], is_up, daemon, log)

    def _sinks_config(self) -> str:
        """PipeWire's configuration of the null sinks."""
        sinks = [
            f"{{ factory = adapter args = {{ factory.name = support.null-audio-sink node.name = {sink} "
            f"media.class = Audio/Sink object.linger = true audio.position = [ FL FR ] }} }}"
            for sink in self._sinks
        ]
        return "context.objects = [ " + " ".join(sinks) + " ]\n"

    @staticmethod
    def _has_default(env: dict[str, str]) -> bool:
        """Whether the session manager is at work: it names a default sink."""
        try:
            done = subprocess.run(["pw-metadata", "-n", "default"], env=env, capture_output=True, timeout=1.0)
        except subprocess.TimeoutExpired:
            return False
        return b"default.audio.sink" in done.stdout


def _devices(sink: str, playback: str, capture: str) -> str:
    """ALSA's devices for a sink and its microphone."""
    return (
        f"pcm.{sink} {{ type asym playback.pcm {{ type {playback} }} }}\n"
        f"pcm.{sink}_mic {{ type asym capture.pcm {{ type {capture} }} }}"
    )


def _absent(found: dict[str, object]) -> list[str]:
    found = found | {"libportaudio2": ctypes.util.find_library("portaudio")}
    return [package for package, present in found.items() if not present]


def _daemon(command: list[str], env: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as file:
        return subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=file)


def _wait_until(name: str, is_up: Callable[[], bool], daemon: subprocess.Popen[bytes], log: Path) -> None:
    deadline_s = time.monotonic() + _START_S
    while time.monotonic() < deadline_s and daemon.poll() is None:
        if is_up():
            return
        time.sleep(0.02)
    said = log.read_text(errors="replace").strip()[-500:]
    raise RuntimeError(f"{name} did not start: {said}")


def _alsa_plugin(name: str) -> Path | None:
    """Find a plugin of ALSA, which lies beside the C library of this architecture."""
    for folder in (
        *Path("/usr/lib").glob("*-linux-*/alsa-lib"),
        Path("/usr/lib64/alsa-lib"),
        Path("/usr/lib/alsa-lib"),
    ):
        if (plugin := folder / f"libasound_module_pcm_{name}.so").exists():
            return plugin
    return None
