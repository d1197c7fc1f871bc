"""Tell systemd that a program is ready."""

from __future__ import annotations

import logging
import os
import socket

log = logging.getLogger(__name__)


def notify_ready() -> None:
    """Tell whoever started this program with ``NOTIFY_SOCKET`` that it is ready, as ``Type=notify`` units do.

    Source: https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
    """
    name = os.environ.get("NOTIFY_SOCKET")
    if not name:
        return
    address = f"\0{name[1:]}" if name.startswith("@") else name  # an abstract socket has no file
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifying:
            notifying.sendto(b"READY=1", address)
    except (OSError, AttributeError) as error:  # Windows has no AF_UNIX
        log.debug("NOTIFY_SOCKET cannot be told: %s", error)
