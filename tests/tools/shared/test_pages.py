"""Blocks that commands write into pages, and the text around them that they must not touch."""

from pathlib import Path

import pytest

from audio_avif.errors import FileError
from audio_avif_tools.shared.pages import read_block, replace_block, table
from support.paths import DOCS

COMMAND = "make it"
BEGIN, END = "<!-- written by: make it -->", "<!-- end -->"


def test_a_missing_page_is_made_with_title_and_block(tmp_path: Path) -> None:
    page = tmp_path / "new" / "page.md"
    assert read_block(page, COMMAND) == ""
    replace_block(page, COMMAND, "7 ms", "Delay")
    assert page.read_text() == f"# Delay\n\n{BEGIN}\n\n7 ms\n\n{END}\n"
    assert read_block(page, COMMAND) == "7 ms"


def test_a_page_without_the_block_gets_it_at_its_end(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# By hand\n\nA sentence.\n")
    replace_block(page, COMMAND, "7 ms", "Delay")
    assert page.read_text() == f"# By hand\n\nA sentence.\n\n{BEGIN}\n\n7 ms\n\n{END}\n"


def test_everything_outside_the_block_stays_to_the_byte(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    before, other = (
        "# By hand\n\nÄ  \n\n",
        "\n\n## Below\n<!-- written by: make other -->\nold\n<!-- end -->\nlast, no line feed",
    )
    page.write_text(f"{before}{BEGIN}\nold\n{END}{other}", encoding="utf-8")
    replace_block(page, COMMAND, "new", "Delay")
    assert page.read_text(encoding="utf-8") == f"{before}{BEGIN}\n\nnew\n\n{END}{other}"
    replace_block(page, COMMAND, "new", "Delay")
    assert page.read_text(encoding="utf-8") == f"{before}{BEGIN}\n\nnew\n\n{END}{other}"
    assert (read_block(page, COMMAND), read_block(page, "make other")) == ("new", "old")


@pytest.mark.parametrize("rest", ["", "\n<!-- written by: make other -->\nold\n<!-- end -->\n"])
def test_a_block_without_end_is_refused_and_nothing_is_lost(rest: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# By hand\n{BEGIN}\nold\n\n## Prose{rest}")
    text = page.read_text()
    with pytest.raises(FileError, match="without <!-- end -->"):
        replace_block(page, COMMAND, "new", "Delay")
    assert page.read_text() == text


def test_a_page_that_cannot_be_read_or_written_is_a_file_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match=r"cannot be (read|written)"):
        replace_block(tmp_path / "file" / "page.md", COMMAND, "new", "Delay")
    (tmp_path / "latin.md").write_bytes(b"\xff")
    with pytest.raises(FileError, match="cannot be read"):
        read_block(tmp_path / "latin.md", COMMAND)


def test_tables_lose_the_blanks_around_their_cells(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    replace_block(page, COMMAND, "a | b\n| what | ms |\n|---|---:|\n| a \\| b |  |", "Delay")
    assert read_block(page, COMMAND) == "a | b\n|what|ms|\n|---|---:|\n|a \\| b||"


def test_a_table_aligns_numbers_to_the_right() -> None:
    assert table(["what", "ms"], [["a", "1"], ["b", "2"]]) == "| what | ms |\n|---|---:|\n| a | 1 |\n| b | 2 |"


def test_every_block_of_the_documentation_is_whole() -> None:
    pages = sorted(DOCS.rglob("*.md"))
    commands = [
        (page, line.removeprefix("<!-- written by: ").removesuffix(" -->"))
        for page in pages
        for line in page.read_text(encoding="utf-8").splitlines()
        if line.startswith("<!-- written by: ")
    ]
    assert len(commands) >= 7
    assert all(read_block(page, command) for page, command in commands)
