"""The columns of the report's tables: their titles, what their figures mean, and how they are written."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A column of figures; ``compares_waveforms`` marks those that say little about a vocoder's quality."""

    title: str
    decimals: int
    meaning: str
    compares_waveforms: bool = False

    def text(self, value: float) -> str:
        """A figure of the column as the table shows it; a dash for NaN and infinities."""
        return f"{value:,.{self.decimals}f}" if math.isfinite(value) else "-"


COLUMNS = {
    "bytes": Column("Bytes", 0, "Size of the AVIF file, with its settings and container."),
    "kbps": Column("kbps", 2, "Bits of the AVIF file divided by the length of the recording, in thousands per second."),
    "ratio": Column(
        "Ratio", 1, "Size of the original as 16-bit PCM, at its own rate and channels, divided by the AVIF file's."
    ),
    "mel_psnr_db": Column(
        "Mel PSNR, dB",
        1,
        "What the image codec loses, before any vocoder: 10 log10(255² / mean squared error) between the original's "
        "log-mel and the picture's, both scaled to 0 to 255 over the picture's value range and clipped to it. The "
        "original is not rounded, so rounding to pixels counts as error. There is no figure where there is no error, "
        "as in digital silence.",
    ),
    "snr_db": Column(
        "SNR, dB",
        2,
        "Power of the original against the power of the difference, after the gain below. A vocoder generates its "
        "own phases, so a value near 0 dB is normal and says nothing about quality; that gain keeps it from falling "
        "below 0.",
        compares_waveforms=True,
    ),
    "correlation": Column(
        "Correlation",
        3,
        "Correlation of the two waveforms: 1 where they differ by a gain only, near 0 where their phases differ. It "
        "says little about how a vocoder sounds.",
        compares_waveforms=True,
    ),
    "pesq_wb": Column("PESQ-WB", 2, "Perceived quality, 1.0 to 4.64 (ITU-T P.862.2)."),
    "stoi": Column("STOI", 3, "Intelligibility, 0 to 1 (Taal, Hendriks, Heusdens and Jensen, 2011)."),
    "encode_s": Column("Encode, s", 2, "Time taken to encode the picture, in the run that made it."),
    "decode_s": Column("Decode, s", 2, "Time taken to decode the picture to sound, in the same run."),
    "gain": Column(
        "Gain",
        3,
        "The gain that brings the decoded waveform nearest to the original, by least squares. It is near 0 where the "
        "waveforms do not match, so it is not a difference in loudness.",
        compares_waveforms=True,
    ),
    "original_lufs": Column("Original, LUFS", 1, "Loudness of the original at 16 kHz (ITU-R BS.1770-4)."),
    "decoded_lufs": Column("Decoded, LUFS", 1, "Loudness of the decoded sound; it should equal the original's."),
}
"""The columns by the names of their figures, in the order of the legend."""
