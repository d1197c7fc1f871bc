"""Warnings are told once."""

from __future__ import annotations

import pytest

from audio_avif.notices import warn_once


def test_a_warning_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        warn_once("tiles are late, as this test says")
    assert caplog.messages == ["tiles are late, as this test says"]
