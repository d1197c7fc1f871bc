"""The examples of docs/reference/python.md and of the README run as they stand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import soundfile

import audio_avif
from audio_avif.config import RATE_HZ
from audio_avif_tools.shared.signals import demo_clip
from support.paths import ROOT


def examples(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def beside_a_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    soundfile.write(tmp_path / "talk.wav", demo_clip()[: 3 * RATE_HZ], RATE_HZ)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("page", "min_blocks"), [("docs/reference/python.md", 4), ("README.md", 1)])
def test_the_examples_run(page: str, min_blocks: int, beside_a_recording: Path) -> None:
    blocks = examples(page)
    assert len(blocks) >= min_blocks
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, page, "exec"), names)
    heard, rate_hz = soundfile.read(beside_a_recording / "again.wav")
    assert rate_hz == RATE_HZ
    assert abs(heard.size / RATE_HZ - 3) < 0.05


def test_the_page_names_all_that_the_package_offers() -> None:
    text = (ROOT / "docs/reference/python.md").read_text(encoding="utf-8")
    assert not [name for name in audio_avif.__all__ if name != "__version__" and name not in text]
