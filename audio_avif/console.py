"""What every command does with its failures."""

from __future__ import annotations

import sys
from collections.abc import Callable

from audio_avif.errors import AudioAvifError

INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def run(program: str, body: Callable[[], None]) -> int:
    """Run a command's body and return its exit code: 0, 1 after a failure told in one sentence, 130 after Ctrl-C."""
    try:
        body()
    except AudioAvifError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0
