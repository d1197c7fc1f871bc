"""Quality scores of decoded speech against the original.

All take two ``[samples] float32`` at 16 kHz, of equal length and aligned to the sample. A score that is undefined for a
clip, for instance silence or too little speech, is NaN. A score's packages are imported when it is computed; if
they are missing, the error says how to install them.
"""

from __future__ import annotations

import importlib.util
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from audio_avif.config import RATE_HZ
from audio_avif.errors import AudioAvifError, MissingPackage
from audio_avif.optional import absent_packages, install_command, missing_sentence
from audio_avif.quiet import quiet_c_libraries
from audio_avif.signal.features import log_mel
from audio_avif.types import FloatArray

if TYPE_CHECKING:
    import onnxruntime

INSTALL = install_command("bench")
MAX_CLIP_S = 20
"""Maximum length of a clip: PESQ's reference code overruns its tables where speech starts and stops 50 times."""

_HEARD_LOG10 = -5.0  # log10 magnitudes below are inaudible and not counted in the mel distance
_STOI_TOO_SHORT = 1e-5  # what pystoi returns, besides a warning, for less than 30 frames of speech
_DNSMOS_WINDOW_SAMPLES = int(9.01 * RATE_HZ)
# From the network's overall output to the opinion score of P.835, as DNSMOS's authors fitted it.
_DNSMOS_OVERALL = (-0.06766283, 1.11546468, 0.04602535)


@dataclass(frozen=True)
class Score:
    """A quality score: ``measure(original, heard)``, the packages it needs, and what it ignores (``blind_spot``)."""

    key: str
    title: str
    measure: Callable[[FloatArray, FloatArray], float]
    packages: tuple[str, ...]
    decimals: int
    higher_is_better: bool
    blind_spot: str

    def missing(self) -> str | None:
        """A sentence that names the packages to install, or None where the score can be computed."""
        absent = absent_packages(self.packages)
        extra = "report" if {*self.packages} <= {"pesq", "pystoi"} else "bench"
        return missing_sentence(self.title, absent, extra) if absent else None

    def __call__(self, original: FloatArray, heard: FloatArray) -> float:
        """Compute the score; NaN where it is undefined.

        Raises MissingPackage where its packages are missing, ValueError for unequal, long or non-finite samples.
        """
        if (reason := self.missing()) is not None:
            raise MissingPackage(reason)
        if original.ndim != 1 or original.shape != heard.shape:
            raise ValueError(f"a score needs two clips of equal length, not {original.shape} and {heard.shape}")
        if original.size > MAX_CLIP_S * RATE_HZ:
            raise ValueError(f"a score takes at most {MAX_CLIP_S} s, not {original.size / RATE_HZ:.1f}")
        if not (np.isfinite(original).all() and np.isfinite(heard).all()):
            raise ValueError("a score needs finite samples")
        if not (original.any() and heard.any()):
            return math.nan
        return self.measure(original, heard)


def pesq_wb(original: FloatArray, heard: FloatArray) -> float:
    """Perceptual evaluation of speech quality, wideband: 1.0 to 4.64. Source: ITU-T P.862.2, by the package pesq."""
    from pesq import PesqError, pesq

    try:
        return float(pesq(RATE_HZ, original, heard, "wb"))
    except PesqError:  # no utterance found, or less than a quarter of a second
        return math.nan


def stoi(original: FloatArray, heard: FloatArray) -> float:
    """Short-time objective intelligibility: 0 to 1. Source: Taal, Hendriks, Heusdens and Jensen, 2011, by pystoi."""
    return _pystoi(original, heard, extended=False)


def estoi(original: FloatArray, heard: FloatArray) -> float:
    """Extended STOI, which does not assume independent bands: 0 to 1. Source: Jensen and Taal, 2016, by pystoi."""
    return _pystoi(original, heard, extended=True)


def _pystoi(original: FloatArray, heard: FloatArray, extended: bool) -> float:
    import pystoi

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            value = float(pystoi.stoi(original, heard, RATE_HZ, extended=extended))
        except np.exceptions.AxisError:  # not even one frame
            return math.nan
    return math.nan if value == _STOI_TOO_SHORT else value


def visqol(original: FloatArray, heard: FloatArray) -> float:
    """ViSQOL in speech mode with the lattice model: 1 to 5. Source: Chinen et al., 2020, by visqol-python."""
    try:
        result = _visqol_api().measure_from_arrays(original.astype(np.float64), heard.astype(np.float64), RATE_HZ)
    except IndexError:  # no patch of 0.4 s with speech in it
        return math.nan
    return float(result.moslqo)


@lru_cache(maxsize=1)
def _visqol_api() -> Any:
    from visqol import VisqolApi

    api = VisqolApi()
    with quiet_c_libraries():
        api.create(mode="speech", use_lattice_model=True)
    return api


def dnsmos(original: FloatArray, heard: FloatArray) -> float:
    """DNSMOS P.835 overall score of the decoded sound, without a reference: 1 to 5.

    The model file of the package speechmos is run here, in one thread and without that package's code, which
    takes seconds to import and computes a second score. Clips shorter than 9 s are repeated.

    Source: Reddy, Gopal and Cutler, 2022.
    """
    del original
    clip = np.clip(heard, -1.0, 1.0).astype(np.float32)
    while clip.size < _DNSMOS_WINDOW_SAMPLES:
        clip = np.concatenate([clip, clip])
    last_start_s = max(0, int(clip.size // RATE_HZ - 9.01))
    starts = (second * RATE_HZ for second in range(last_start_s + 1))
    windows = (clip[None, start : start + _DNSMOS_WINDOW_SAMPLES] for start in starts)
    raw = [_dnsmos_session().run(None, {"input_1": window})[0][0][2] for window in windows]
    return float(np.mean(np.polyval(_DNSMOS_OVERALL, np.asarray(raw, np.float64))))


@lru_cache(maxsize=1)
def _dnsmos_session() -> onnxruntime.InferenceSession:
    import onnxruntime

    spec = importlib.util.find_spec("speechmos")
    folders = spec.submodule_search_locations if spec is not None else None
    path = Path(next(iter(folders or [""]))) / "dnsmos_models" / "sig_bak_ovr.onnx"
    if not path.is_file():
        raise AudioAvifError(f"the package speechmos has no {path.name}; reinstall it with: {INSTALL}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def mel_distance(original: FloatArray, heard: FloatArray) -> float:
    """Mean absolute difference of the log10 mels where either is above 1e-5: 0 for equal mels, 0.1 for 2 dB."""
    first, second = (np.maximum(log_mel(samples), np.float32(_HEARD_LOG10)) for samples in (original, heard))
    return float(np.abs(first - second).mean())


_COMPARES_WAVEFORMS = "compares the waveform in short frames, so it penalises a vocoder with other phases"
SCORES = {
    score.key: score
    for score in (
        Score("pesq_wb", "PESQ-WB", pesq_wb, ("pesq",), 2, True, _COMPARES_WAVEFORMS),
        Score(
            "stoi",
            "STOI",
            stoi,
            ("pystoi",),
            3,
            True,
            "follows the envelopes of bands below 4.3 kHz, so it measures whether words are understood; it ignores "
            "buzz and higher bands, and penalises invented detail",
        ),
        Score(
            "estoi",
            "ESTOI",
            estoi,
            ("pystoi",),
            3,
            True,
            "is STOI that also notices noise which comes and goes with the speech",
        ),
        Score(
            "visqol",
            "ViSQOL",
            visqol,
            ("visqol", "ai_edge_litert"),
            2,
            True,
            "compares patches of spectra, so it ignores most of phase, buzz and reverberation; it penalises a missing "
            "upper band",
        ),
        Score(
            "dnsmos",
            "DNSMOS",
            dnsmos,
            ("speechmos", "onnxruntime"),
            2,
            True,
            "judges buzz and noise without the original: other words or another speaker would score as well; a shift "
            "of a clip by one sample can move it by 0.1",
        ),
        Score(
            "mel_distance",
            "mel distance",
            mel_distance,
            (),
            3,
            False,
            "is the mean difference of the log10 mels, 0.1 for 2 dB; it ignores phase and counts inaudible bands in "
            "full",
        ),
    )
}
"""All scores by key, in the order of tables."""
