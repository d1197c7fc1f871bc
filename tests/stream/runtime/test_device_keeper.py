"""A device is opened, lost, looked for and opened again, by a clock and a PortAudio of the test's own."""

from __future__ import annotations

import logging
import math
import sys
from pathlib import Path
from typing import Any

import pytest

from audio_avif.edge.device_choice import Device, DeviceChoice
from audio_avif.edge.device_latency import Remembered
from audio_avif.edge.devices import DeviceSettings, Microphone, Speaker
from audio_avif.edge.latency_memory import LatencyMemory
from audio_avif.edge.portaudio import PORTAUDIO
from audio_avif.errors import DeviceError
from audio_avif_stream.runtime import device_keeper
from audio_avif_stream.runtime.device_keeper import DeviceKeeper, PortAudioSystem
from support.fake_portaudio import FakeDevice, FakePortAudio


class Setting:
    """A fake PortAudio and a keeper of one of its devices."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path, *devices: FakeDevice) -> None:
        self.portaudio = FakePortAudio(list(devices))
        patch.setitem(sys.modules, "sounddevice", self.portaudio)  # type: ignore[arg-type]
        patch.setattr(PORTAUDIO, "_devices", [])
        self.memory = LatencyMemory(folder / "latency.json")

    def keeper(self, kind: str = "output", **choice: Any) -> DeviceKeeper[Any]:
        def opener(device: Device, settings: DeviceSettings) -> Microphone | Speaker:
            if kind == "input":
                return Microphone(device, settings=settings)
            return Speaker(device, settings=settings)

        chosen = DeviceChoice(**choice)
        return DeviceKeeper(PortAudioSystem(kind, opener, 2.0, chosen.is_exclusive), chosen, self.memory)

    def started(self, kind: str = "output", **choice: Any) -> DeviceKeeper[Any]:
        keeper = self.keeper(kind, **choice)
        keeper.open(self.portaudio.now_s)
        keeper.start(self.portaudio.now_s)
        self.run(keeper, 0.5)
        assert keeper.device is not None
        return keeper

    def run(self, keeper: DeviceKeeper[Any], seconds: float) -> None:
        self.portaudio.pass_time(seconds, 0.02, lambda: keeper.tick(self.portaudio.now_s))

    @property
    def open_streams(self) -> list[Any]:
        return [stream for stream in self.portaudio.streams if not stream.is_closed]


@pytest.fixture
def setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Setting:
    caplog.set_level(logging.WARNING)
    return Setting(
        monkeypatch, tmp_path, FakeDevice("Headset", inputs=1, outputs=2), FakeDevice("Built-in", inputs=2, outputs=2)
    )


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(("kind", "meanwhile"), [("input", "silence is sent"), ("output", "nothing is heard")])
def test_a_device_that_is_pulled_out_and_put_back_is_used_again(
    setting: Setting, caplog: pytest.LogCaptureFixture, kind: str, meanwhile: str
) -> None:
    keeper = setting.started(kind, name="Headset")
    setting.portaudio.pull_out("Headset")
    setting.run(keeper, 20.0)
    assert keeper.device is None and keeper.error is None
    assert said(caplog) == [f"{kind} device 'Headset' has stopped; {meanwhile} until it is back"]
    setting.portaudio.devices.append(FakeDevice("Headset", inputs=1, outputs=2, rate_hz=48_000))
    setting.run(keeper, 2.0)
    assert keeper.device is not None and keeper.device.rate_hz == 48_000
    assert len(said(caplog)) == 2 and said(caplog)[1].startswith(f"{kind} device 'Headset' is used after 2")
    assert len(setting.open_streams) == 1 and keeper.losses == 1


def test_another_device_does_not_stand_in_for_the_one_that_was_named(setting: Setting) -> None:
    setting.portaudio.devices.append(FakeDevice("Headset Pro", outputs=2))
    keeper = setting.started(name="Headset")
    setting.portaudio.pull_out("Headset")
    setting.run(keeper, 10.0)
    assert keeper.device is None


def test_without_a_name_the_next_default_device_is_used(setting: Setting, caplog: pytest.LogCaptureFixture) -> None:
    keeper = setting.started()
    assert keeper.device.name == "Headset"
    setting.portaudio.pull_out("Headset")
    setting.run(keeper, 2.0)
    assert keeper.device is not None and keeper.device.name == "Built-in"


def test_a_changed_default_is_followed_without_being_lost(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    default = {"is": "Headset"}
    monkeypatch.setattr(device_keeper, "system_default", lambda kind: default["is"])
    keeper = setting.started()
    setting.portaudio.devices.reverse()
    setting.run(keeper, 1.0)
    assert keeper.device.name == "Headset"
    default["is"] = "Built-in"
    setting.run(keeper, 1.0)
    assert keeper.device.name == "Built-in" and keeper.losses == 0
    assert said(caplog) == ["output device 'Built-in' is used now: the default has changed"]
    assert len(setting.open_streams) == 1


def test_a_device_that_stops_calling_back_is_opened_again(setting: Setting, caplog: pytest.LogCaptureFixture) -> None:
    keeper = setting.started(name="Headset")
    setting.portaudio.devices[0].is_silent = True
    setting.run(keeper, 4.0)
    assert keeper.device is None
    setting.run(keeper, 10.0)
    setting.portaudio.devices[0].is_silent = False
    setting.run(keeper, 2.0)
    assert keeper.device is not None
    assert len(said(caplog)) == 2 and "takes or gives no sound any more" in said(caplog)[0]


def test_a_device_that_opens_and_never_calls_back_is_told_once(
    setting: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    setting.portaudio.devices[0].is_silent = True
    keeper = setting.keeper("input", name="Headset")
    keeper.open(setting.portaudio.now_s)
    keeper.start(setting.portaudio.now_s)
    setting.run(keeper, 30.0)
    assert said(caplog) == [
        "input device 'Headset' was opened, but takes or gives no sound; silence is sent until it is back"
    ]


def test_a_lost_device_ends_what_was_told_to_end(setting: Setting, caplog: pytest.LogCaptureFixture) -> None:
    keeper = setting.started(name="Headset", ends_when_lost=True)
    setting.portaudio.pull_out("Headset")
    setting.run(keeper, 1.0)
    assert str(keeper.error) == "output device 'Headset' has stopped; was it unplugged?"
    assert said(caplog) == [] and not setting.open_streams


def test_a_device_that_only_stopped_is_not_lost(setting: Setting) -> None:
    keeper = setting.started(name="Headset", ends_when_lost=True)
    setting.open_streams[0].stop_by_itself()
    setting.run(keeper, 1.0)
    assert keeper.error is None and keeper.device is not None
    setting.portaudio.devices[0].is_silent = True
    setting.run(keeper, 8.0)
    assert str(keeper.error) == "output device 'Headset' was opened, but takes or gives no sound"


def test_a_missing_device_is_awaited_only_where_that_was_asked_for(
    setting: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    setting.portaudio.devices = []
    setting.portaudio._initialize()
    with pytest.raises(DeviceError, match="there is no default output device"):
        setting.keeper().open(0.0)
    keeper = setting.keeper(waits=True)
    keeper.open(setting.portaudio.now_s)
    keeper.start(setting.portaudio.now_s)
    setting.run(keeper, 10.0)
    assert said(caplog) == ["there is no default output device yet; nothing is heard until it is there (--wait-device)"]
    setting.portaudio.devices = [FakeDevice("Dock", outputs=2)]
    setting.run(keeper, 2.0)
    assert keeper.device is not None and keeper.device.name == "Dock" and keeper.losses == 0


def test_a_name_that_fits_several_devices_is_not_awaited(setting: Setting) -> None:
    setting.portaudio.devices.append(FakeDevice("Headset Pro", outputs=2))
    setting.portaudio._initialize()
    with pytest.raises(DeviceError, match="fits several devices"):
        setting.keeper(name="head", waits=True).open(0.0)


@pytest.mark.parametrize("nonsense", [-30.0, math.nan, 7200.0])
def test_nonsense_about_the_latency_is_told_once_and_not_believed(
    setting: Setting, caplog: pytest.LogCaptureFixture, nonsense: float
) -> None:
    setting.portaudio.devices[0].latency_s = nonsense
    keeper = setting.started(name="Headset", latency_s=0.02)
    setting.run(keeper, 3.0)
    assert keeper.device.device_latency_s == 0.02
    assert said(caplog) == [
        f"output device 'Headset' reports a latency of {nonsense:g} s, which cannot be; 20 ms are assumed"
    ]


def test_xruns_raise_the_latency_and_the_next_start_knows_it(setting: Setting) -> None:
    keeper = setting.started(name="Headset")
    assert setting.open_streams[0].settings["latency"] == 0.010
    setting.run(keeper, 1.0)
    keeper.device.playing = True
    for _ in range(2):
        setting.open_streams[0].run(xruns=1)
    setting.run(keeper, 0.1)
    assert setting.open_streams[0].settings["latency"] == 0.016
    assert keeper.device is not None and keeper.latency.xruns == 2
    keeper.close()
    again = setting.started(name="Headset")
    assert setting.open_streams[0].settings["latency"] == 0.016
    again.close()


def test_less_latency_waits_until_nobody_hears_the_gap(setting: Setting) -> None:
    setting.memory.keep(Device("Headset", 0, 1, 2, 16_000, True, True, "ALSA"), "output", Remembered(0.048, 595.0))
    keeper = setting.started(name="Headset")
    setting.run(keeper, 20.0)
    assert setting.open_streams[0].settings["latency"] == 0.048
    keeper.is_quiet = True
    setting.run(keeper, 0.1)
    assert setting.open_streams[0].settings["latency"] == 0.032


def test_a_latency_that_the_user_chose_is_neither_changed_nor_kept(setting: Setting, tmp_path: Path) -> None:
    keeper = setting.started(name="Headset", latency_s=0.004)
    setting.run(keeper, 1.0)
    keeper.device.playing = True
    for _ in range(20):
        setting.open_streams[0].run(xruns=1)
    setting.run(keeper, 1.0)
    assert setting.open_streams[0].settings["latency"] == 0.004
    keeper.close()
    assert not (tmp_path / "latency.json").exists()


def test_a_backlog_is_left_out_by_opening_the_device_again(setting: Setting, caplog: pytest.LogCaptureFixture) -> None:
    keeper = setting.started(name="Headset")
    setting.run(keeper, 20.0)
    setting.portaudio.devices[0].latency_s = 0.5
    setting.run(keeper, 12.0)
    assert len(setting.portaudio.streams) == 2
    assert "484 ms of sound had piled up on the way" in said(caplog)[0]


def test_the_other_direction_goes_on_while_a_device_is_looked_for(setting: Setting) -> None:
    microphone = setting.started("input", name="Built-in")
    speaker = setting.started("output", name="Headset")
    setting.portaudio.pull_out("Headset")
    for _ in range(300):
        setting.run(speaker, 0.1)
        microphone.tick(setting.portaudio.now_s)
    assert microphone.device is not None and microphone.losses == 0
    assert 1 < setting.portaudio.starts < 8
    setting.portaudio.devices.append(FakeDevice("Headset", outputs=2))
    for _ in range(200):
        setting.run(speaker, 0.1)
        microphone.tick(setting.portaudio.now_s)
    assert speaker.device is not None and microphone.device is not None and microphone.losses == 0


def test_exclusive_use_is_asked_of_wasapi_and_told_where_there_is_none(setting: Setting) -> None:
    with pytest.raises(DeviceError, match="--exclusive needs WASAPI, which only Windows has"):
        setting.keeper(is_exclusive=True).open(0.0)
    setting.portaudio.host_api = "Windows WASAPI"
    setting.started(is_exclusive=True)
    assert setting.open_streams[0].settings["extra_settings"] == ("wasapi", True)
