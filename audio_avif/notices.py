"""Warnings that a user should see once."""

from __future__ import annotations

import logging
from functools import lru_cache


@lru_cache(maxsize=1024)
def warn_once(message: str) -> None:
    """Log a warning, unless it was logged before: a command may read the same file several times."""
    logging.getLogger(__name__).warning("%s", message)
