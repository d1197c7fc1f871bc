"""The tables of a report: what their columns are called and mean, and how they are written."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from audio_avif_tools.report.figures import rounded


@dataclass(frozen=True)
class Column:
    """A column of figures and what it means."""

    title: str
    decimals: int
    meaning: str


_ALIGNED = "after the gain, found by least squares, that brings the decoded waveform nearest to the original"
COLUMNS = {
    "bytes": Column("Bytes", 0, "Size of the AVIF file, settings and container included."),
    "kbps": Column("kbps", 2, "Bits of the AVIF file over the length of the recording, in thousands a second."),
    "ratio": Column(
        "Ratio", 1, "How many times smaller the AVIF file is than 16-bit PCM of the original's rate and channels."
    ),
    "mel_psnr_db": Column(
        "Mel PSNR, dB",
        1,
        "What the image codec loses, before any vocoder: 10 log10(255² / mean squared error) between the log-mel of "
        "the original and that in the picture, both spread over 0 to 255 by the picture's value range and clipped to "
        "it. The original is not rounded, so the rounding to pixels counts as error. Where there is no error, as in "
        "digital silence, there is no such figure.",
    ),
    "snr_db": Column(
        "SNR, dB",
        2,
        f"Original against the difference, {_ALIGNED}. A vocoder makes phases of its own, so a value near 0 dB is "
        "normal and says nothing of quality; with that gain it cannot fall below 0.",
    ),
    "correlation": Column(
        "Correlation",
        3,
        "Of the two waveforms, 1 where they are the same but for a gain, near 0 where phases differ; it too says "
        "little of how a vocoder sounds.",
    ),
    "pesq_wb": Column("PESQ-WB", 2, "Perceived quality, 1.0 to 4.64 (ITU-T P.862.2)."),
    "stoi": Column("STOI", 3, "Intelligibility, 0 to 1 (Taal, Hendriks, Heusdens and Jensen, 2011)."),
    "encode_s": Column("Encode, s", 2, "Time taken to make the picture, in the run that made it."),
    "decode_s": Column("Decode, s", 2, "Time taken to make sound of the picture again, in the same run."),
    "gain": Column(
        "Gain",
        3,
        "The gain, found by least squares, that brings the decoded waveform nearest to the original. Near 0 where the "
        "waveforms do not match, so it is no difference of loudness.",
    ),
    "original_lufs": Column("Original, LUFS", 1, "Loudness of the original at 16 kHz (ITU-R BS.1770-4)."),
    "decoded_lufs": Column("Decoded, LUFS", 1, "Loudness of the decoded sound; it should be that of the original."),
}


def escaped(words: str) -> str:
    """Words as HTML writes them."""
    return html.escape(words)


def titles(keys: Sequence[str]) -> list[str]:
    """The heads of columns."""
    return [COLUMNS[key].title for key in keys]


def table(name: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table whose rows can be sorted by each of its columns; ``name`` is for screen readers."""
    meanings = {column.title: column.meaning for column in COLUMNS.values()}
    yield f'<div class="scroll" tabindex="0" role="region" aria-label="{escaped(name)}"><table><thead><tr>'
    for head in heads:
        told = f' title="{escaped(meanings[head])}"' if head in meanings else ""
        yield f'<th scope="col" aria-sort="none"{told}><button type="button">{escaped(head)}</button></th>'
    yield "</tr></thead><tbody>"
    for row in rows:
        yield f"<tr>{''.join(row)}</tr>"
    yield "</tbody></table></div>"


def quality_cell(quality: int, content: str) -> str:
    """A row's first cell; ``content`` is HTML."""
    return f'<th scope="row" data-value="{quality}">{content}</th>'


def plain_cell(value: float, told: str) -> str:
    """A number, told like that."""
    return f'<td data-value="{rounded(value)}">{told}</td>'


def cell(key: str, value: float) -> str:
    """A figure of that column."""
    exact = rounded(value)
    if exact is None:
        return '<td data-value="">-</td>'
    return f'<td data-value="{exact}">{value:,.{COLUMNS[key].decimals}f}</td>'
