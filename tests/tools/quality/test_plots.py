"""Each codec has a curve that can be told from the others, also in the file with few colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from audio_avif_tools.quality.libopus import Enhancement
from audio_avif_tools.quality.library_peers import AmrWb, OpusWideband
from audio_avif_tools.quality.means import Mean
from audio_avif_tools.quality.peers import Codec2, Lyra, Opus
from audio_avif_tools.quality.plots import _peer_styles, plot_scores
from audio_avif_tools.quality.systems import CleanMel, System, Tiles, Voice

WIDEBAND = [OpusWideband(9, packet_ms, each) for each in Enhancement for packet_ms in (20, 60)]
PEERS: list[System] = [Opus(6), *WIDEBAND, AmrWb(0), Codec2(1300), Lyra(Path(), 16)]


def test_a_codec_has_a_colour_and_a_packet_length_a_line() -> None:
    styles = _peer_styles([peer.name for peer in PEERS])
    assert len(styles) == len(set(styles.values())) == len(PEERS)
    for short, long in zip(WIDEBAND[::2], WIDEBAND[1::2], strict=True):
        assert styles[short.name][0] == styles[long.name][0]
    assert len({colour for colour, _ in styles.values()}) == len(PEERS) - len(WIDEBAND) // 2


def test_every_colour_survives_in_the_file(tmp_path: Path) -> None:
    colors = pytest.importorskip("matplotlib.colors")
    voices = [Voice(name, name, "") for name in ("griffin-lim", "embedded", "embedded-low")]
    systems = [*map(CleanMel, voices), *(Tiles(voice, width, 33) for voice in voices for width in (8, 16)), *PEERS]
    means = [
        Mean(system, kbps, 3 * kbps, {key: 1 + 0.1 * number for key in ("pesq_wb", "stoi", "mel_distance")}, {})
        for number, system in enumerate(systems)
        for kbps in (3.0, 6.0)
    ]
    plot_scores(means, tmp_path / "plot.png", "wire_kbps")
    pixels = np.unique(np.asarray(Image.open(tmp_path / "plot.png").convert("RGB")).reshape(-1, 3), axis=0)
    for colour in ["C0", "C1", "C2", *{colour for colour, _ in _peer_styles([peer.name for peer in PEERS]).values()}]:
        wanted = 255 * np.array(colors.to_rgb(colour))
        assert np.abs(pixels - wanted).max(axis=1).min() < 20, colour
