"""Locks on files that only one program at a time may work on."""

from __future__ import annotations

import sys
from typing import IO

if sys.platform == "win32":
    import msvcrt

    _BEYOND_ALL_CONTENT = 2**30  # what is locked cannot be read by others

    def try_lock(file: IO[bytes]) -> bool:
        """Lock an open file until it is closed or the program ends, however it ends; False where another has it."""
        file.seek(_BEYOND_ALL_CONTENT)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def try_lock(file: IO[bytes]) -> bool:
        """Lock an open file until it is closed or the program ends, however it ends; False where another has it."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
