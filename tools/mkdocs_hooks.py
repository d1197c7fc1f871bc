"""What ``mkdocs build`` adds to the pages: each command's help, the docstrings of the API, and files outside ``docs/``.

The pages are written for readers of the repository, with relative links to any file. On the site, a link to a file of
``TAKEN_IN`` leads to its copy under ``repository/``; a link to another file outside ``docs/`` becomes its path.
"""

from __future__ import annotations

import os
import posixpath
import re
import subprocess
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import audio_avif

ROOT = Path(__file__).parents[1]
TAKEN_IN = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "onnx/audio_avif_onnx/models/MODEL_CARD.md",
    "onnx/audio_avif_onnx/train/README.md",
    "onnx/audio_avif_onnx/train/training.png",
    "stream/audio_avif_stream/web/README.md",
)
FOLDER = "repository/"
_HELP = re.compile(r"<!-- help: ([\w.]+) -->")
_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!\w+:|#)([^)#\s]+)(#[^)]*)?\)")
_CODE = re.compile(r"(^```.*?^```)", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files outside ``docs/``."""
    for path in TAKEN_IN:
        files.append(File.generated(config, FOLDER + path, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in help and docstrings, and lead links where the site has their files."""
    source = page.file.src_uri
    parts = _CODE.split(markdown)  # code at the odd places, which has no links
    parts[::2] = (_LINK.sub(lambda link: _site_link(link, source), part) for part in parts[::2])
    filled = _HELP.sub(lambda mark: _help(mark[1]), "".join(parts))
    names = (name for name in audio_avif.__all__ if not name.startswith("__"))
    return filled.replace("<!-- docstrings -->", "\n\n".join(f"::: audio_avif.{name}" for name in names))


def _site_link(link: re.Match[str], source: str) -> str:
    picture, text, target, anchor = link.groups()
    path = posixpath.normpath(posixpath.join(posixpath.dirname(_in_repository(source)), target))
    if path.startswith("docs/"):
        place = path.removeprefix("docs/")
    elif path in TAKEN_IN:
        place = FOLDER + path
    elif (ROOT / path).exists():
        return text if path in text else f"{text} (`{path}`)"
    else:
        return link[0]  # mkdocs says that it leads nowhere
    return f"{picture}[{text}]({posixpath.relpath(place, posixpath.dirname(source) or '.')}{anchor or ''})"


def _in_repository(source: str) -> str:
    return source.removeprefix(FOLDER) if source.startswith(FOLDER) else f"docs/{source}"


def _help(module: str) -> str:
    command = [sys.executable, "-m", module, "--help"]
    told = subprocess.run(command, env={**os.environ, "COLUMNS": "76"}, capture_output=True, text=True, check=True)
    return f"```text\n{told.stdout.rstrip()}\n```"
