"""A vocoder is found by its name, by its path, or told apart from one that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from audio_avif.errors import ModelError
from audio_avif.vocoders import registry
from audio_avif.vocoders.griffin_lim import GriffinLim
from audio_avif.vocoders.onnx_model import OnnxVocoder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUDIO_AVIF_MODELS", str(tmp_path))
    return tmp_path


def test_the_folder_is_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUDIO_AVIF_MODELS", raising=False)
    assert registry.model_folder().is_absolute()
    assert registry.model_folder().parts[-2:] == ("audio-avif", "models")


def test_the_folder_may_be_another_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert registry.model_folder() == folder
    monkeypatch.setenv("AUDIO_AVIF_MODELS", "~/voices")
    assert registry.model_folder() == Path.home() / "voices"


def test_a_kept_model_is_found_by_name(folder: Path) -> None:
    (folder / "mine.onnx").touch()
    assert registry.model_path("mine") == folder / "mine.onnx"
    assert registry.model_path("yours") is None


@pytest.mark.parametrize("name", ["../mine", "/etc/mine", "sub/mine", ""])
def test_a_name_never_leaves_the_folder(folder: Path, name: str) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "mine.onnx").touch()
    (folder.parent / "mine.onnx").touch()
    assert registry.model_path(name) is None


def test_the_fallback_needs_no_file(folder: Path) -> None:
    assert isinstance(registry.load_vocoder(name="griffin-lim"), GriffinLim)


def test_the_default_is_the_embedded_model(folder: Path) -> None:
    vocoder = registry.load_vocoder(device="cpu", name="default")
    assert isinstance(vocoder, OnnxVocoder) and vocoder.info.name == registry.DEFAULT


def test_an_unknown_name_lists_the_known_ones(folder: Path) -> None:
    (folder / "zoe.onnx").touch()
    (folder / "ada.onnx").touch()
    known = "griffin-lim, ada, embedded, embedded-high, embedded-low, zoe"
    with pytest.raises(ModelError, match=f"unknown vocoder 'bob'; available: {known}; audio-avif-export bob"):
        registry.load_vocoder(name="bob")


def test_a_folder_that_is_not_there_is_no_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIO_AVIF_MODELS", str(folder / "none"))
    with pytest.raises(ModelError, match="available: griffin-lim, embedded, embedded-high, embedded-low;"):
        registry.load_vocoder(name="bob")


@pytest.mark.parametrize("content", [None, b"", b"no model"], ids=["missing", "empty", "damaged"])
def test_a_path_that_is_no_model_is_a_model_error(folder: Path, content: bytes | None) -> None:
    path = folder / "bad.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match="bad"):
        registry.load_vocoder(device="cpu", name=str(path))


def test_a_name_in_the_place_of_the_device_is_a_callers_mistake() -> None:
    with pytest.raises(ValueError, match="give its name as name='embedded'"):
        registry.load_vocoder("embedded", "cpu")
