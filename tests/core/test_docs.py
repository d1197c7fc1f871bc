"""What the pages link to exists, for readers of the repository as well as of the site."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from support.paths import DOCS, ROOT

_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_INLINE_LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(#[^)\s]+)?\)")
_LINK_DEFINITION = re.compile(r"^\[[^\]]+\]: (?!\w+:)([^#\s]*)(#\S+)?$", re.MULTILINE)


def pages() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is no git checkout")
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).exists()]


def anchors(page: Path) -> set[str]:
    """A page's headings as GitHub and the site name them."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).strip().replace(" ", "-") for heading in plain}


def test_every_link_of_a_page_leads_somewhere() -> None:
    broken = []
    for page in pages():
        text = _FENCE.sub("", page.read_text(encoding="utf-8"))
        for target, anchor in (*_INLINE_LINK.findall(text), *_LINK_DEFINITION.findall(text)):
            linked = (page.parent / target).resolve() if target else page
            is_there = linked.exists() and (not anchor or anchor.removeprefix("#") in anchors(linked))
            if not is_there:
                broken.append(f"{page.relative_to(ROOT)}: {target}{anchor}")
    assert broken == []


def test_the_files_that_a_page_names_by_path_exist() -> None:
    named = re.compile(r"`((?:audio_avif|stream|tools|onnx|tests|docs)/[\w./-]+)`")
    missing = [
        f"{page.relative_to(ROOT)}: {path}"
        for page in (*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md")
        for path in named.findall(page.read_text(encoding="utf-8"))
        if not (ROOT / path).exists()
    ]
    assert missing == []


def test_the_files_that_the_sources_name_for_documentation_exist() -> None:
    sources = [path for folder in ("audio_avif", "stream", "tools", "onnx") for path in (ROOT / folder).rglob("*.py")]
    missing = [
        f"{source.relative_to(ROOT)}: {path}"
        for source in sources
        for path in re.findall(r"(?<![\w/.-])docs/[\w/-]+\.md", source.read_text(encoding="utf-8"))
        if not (ROOT / path).exists()
    ]
    assert missing == []
