"""Optional packages that are missing are named with the command that installs them."""

from __future__ import annotations

import json
import sys

import pytest

from audio_avif import optional
from audio_avif.errors import AudioAvifError, MissingPackage


def test_a_module_that_is_installed_is_imported() -> None:
    assert optional.import_optional("json", "this test", "test") is json
    optional.require("this test", ["json", "numpy"], "test")
    assert optional.absent_packages(["json", "no_such_package", "numpy"]) == ["no_such_package"]


def test_a_missing_module_is_told_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nats.aio.client", None)
    with pytest.raises(MissingPackage) as missing:
        optional.import_optional("nats.aio.client", "--nats", "nats")
    assert str(missing.value) == "--nats needs nats-py; install with: pip install 'audio-avif[nats]'"
    assert isinstance(missing.value, AudioAvifError)


def test_all_missing_packages_are_named_at_once() -> None:
    with pytest.raises(MissingPackage, match=r"a plot needs no_one and no_two; install with: pip .*\[plot\]"):
        optional.require("a plot", ["no_one", "json", "no_two"], "plot")
