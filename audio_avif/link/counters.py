"""Counters of which messages carry only the lowest 16 bits, and how they become whole numbers again."""

from __future__ import annotations

_SPAN = 2**16
MAX_COUNT = 2**40
"""The highest number that a peer may name; samples counted from it fit 53 bits."""


def short(number: int) -> int:
    """Return the bits of a number that a message carries."""
    return number % _SPAN


def extended(low: int, near: int) -> int:
    """Return the number with these lowest 16 bits that is nearest to ``near`` and not negative (as RFC 3550, A.1)."""
    number = near + (low - near + _SPAN // 2) % _SPAN - _SPAN // 2
    return number if number >= 0 else number + _SPAN


class Counters:
    """Where a stream is: sequence number and first frame of its newest packet, near which those of the next ones lie.

    Both ends keep one for each connection, from 0 on. Reordered packets and copies do not move it back.
    """

    def __init__(self, sequence: int = 0, first_frame: int = 0) -> None:
        self.sequence = sequence
        self.first_frame = first_frame

    def extend(self, sequence: int, first_frame: int) -> tuple[int, int]:
        """Return a packet's whole numbers, given those bits of them that its message carries."""
        return extended(sequence, self.sequence), extended(first_frame, self.first_frame)

    def reaches(self, sequence: int, first_frame: int) -> bool:
        """Whether ``extend`` finds these numbers; else a Place must be sent before their packet."""
        return self.extend(short(sequence), short(first_frame)) == (sequence, first_frame)

    def advance(self, sequence: int, first_frame: int) -> None:
        """Take note of a packet."""
        if sequence >= self.sequence:
            self.move_to(sequence, first_frame)

    def move_to(self, sequence: int, first_frame: int) -> None:
        """Go to another place, forward or back."""
        self.sequence, self.first_frame = sequence, first_frame
