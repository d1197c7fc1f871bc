"""The documentation as a site: links, every command's help, the docstrings of the API, and files beyond ``docs/``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import audio_avif
from support.paths import ROOT

pytest.importorskip("mkdocs")
pytest.importorskip("material")
pytest.importorskip("mkdocstrings")


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_holds_help_docstrings_and_outer_files(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    built = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr

    def page(name: str) -> str:
        return (tmp_path / name / "index.html").read_text(encoding="utf-8")

    commands = page("reference/commands")
    assert commands.count("usage: audio-avif") == 12 and "<!-- help" not in commands
    names = [name for name in audio_avif.__all__ if not name.startswith("__")]
    python = page("reference/python")
    assert [name for name in names if f'id="audio_avif.{name}"' not in python] == []
    # A link from a page to a file beyond docs/, from there back to a page, and to a file that the site does not have.
    assert 'href="../../repository/onnx/audio_avif_onnx/train/"' in page("guides/vocoders")
    assert 'href="../../design/where-things-are/"' in page("repository/CONTRIBUTING")
    assert "the tree (<code>audio_avif/errors.py</code>)" in python
