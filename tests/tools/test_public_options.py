"""Every command keeps its options: scripts that people wrote depend on them.

``data/options.json`` holds the options of each command. A new option is added there.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sysconfig
from pathlib import Path

import pytest

from support.paths import DATA

SCRIPTS = Path(sysconfig.get_path("scripts"))
OPTIONS: dict[str, list[str]] = json.loads((DATA / "options.json").read_text())


def options_of(help_text: str) -> list[str]:
    """The options that a help text lists, in alphabetical order."""
    listed = re.findall(r"^  (-\S.*?)(?:\s{2,}|$)", help_text, re.MULTILINE)
    return sorted({option for line in listed for option in re.findall(r"(?<![\w-])--?[a-z][\w-]*", line)})


@pytest.mark.parametrize("command", OPTIONS)
def test_a_command_keeps_its_options(command: str) -> None:
    program, *subcommand = command.split()
    done = subprocess.run(
        [SCRIPTS / program, *subcommand, "--help"],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
        check=True,
    )
    assert options_of(done.stdout) == OPTIONS[command]
