"""Sound from a log-mel spectrogram without a trained model: magnitudes from the mel bands, phases found by iteration.

``GriffinLim`` works on a whole signal, ``RtisiLa`` frame by frame. Both look for phases whose STFT is consistent: they
impose the magnitudes, overlap-add, analyse again, and repeat.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt

from audio_avif.config import MelConfig
from audio_avif.signal.features import hann, mel_basis
from audio_avif.types import DoubleArray, FloatArray

ComplexArray = npt.NDArray[np.complex128]

MAX_LOG10 = 5.0  # no speech comes near; keeps what a damaged picture may hold finite
_REFINEMENTS = 5
_OVERRELAXATION = 1.8  # steps of this power converge about twice as fast; 2 would no longer be sure to
_ONSET_SHARE = 1e-4  # of a frame's magnitudes: far above the residue of silence, far below what overlap predicts
_MIN_WINDOW_SHARE = 0.05  # of the largest window sum; less is not divided by
_TINY = 1e-12


class StftGrid(Protocol):
    """What an STFT is laid out by: a periodic Hann window of ``n_fft`` samples every ``hop_samples``, centred."""

    @property
    def n_fft(self) -> int: ...
    @property
    def hop_samples(self) -> int: ...


@lru_cache(maxsize=8)
def pseudo_inverse(config: MelConfig) -> DoubleArray:
    """The Moore-Penrose inverse ``[n_fft // 2 + 1, n_mels]`` of the mel basis."""
    inverse = np.asarray(np.linalg.pinv(mel_basis(config)), np.float64)
    inverse.setflags(write=False)
    return inverse


@lru_cache(maxsize=8)
def _band_shares(config: MelConfig) -> DoubleArray:
    """How each bin divides among the bands ``[n_fft // 2 + 1, n_mels]``: rows sum to 1, or 0 where no band reaches."""
    shares = band_shares(mel_basis(config))
    shares.setflags(write=False)
    return shares


def band_shares(basis: DoubleArray) -> DoubleArray:
    """How each bin divides among the bands of ``basis [bands, bins]`` -> ``[bins, bands]``; rows sum to 1 or 0."""
    weights = basis.T
    totals = weights.sum(axis=1, keepdims=True)
    shares: DoubleArray = np.divide(weights, totals, out=np.zeros_like(weights), where=totals > 0)
    return shares


def magnitudes(log_mel: FloatArray, config: MelConfig) -> DoubleArray:
    """Non-negative STFT magnitudes whose mel bands are those given.

    Shape: ``[n_mels, frames] float32, log10 magnitude`` -> ``[n_fft // 2 + 1, frames]``. NaN counts as silence.

    Raises ValueError where the number of bands is not the configuration's.
    """
    if log_mel.ndim != 2 or log_mel.shape[0] != config.n_mels:
        raise ValueError(f"log_mel must be [{config.n_mels}, frames], not {list(log_mel.shape)}")
    floor = np.log10(config.floor)
    bands = 10.0 ** np.clip(np.nan_to_num(log_mel.astype(np.float64), nan=floor), floor, MAX_LOG10)
    return bins_of_bands(bands, mel_basis(config), pseudo_inverse(config), _band_shares(config))


def bins_of_bands(bands: DoubleArray, basis: DoubleArray, inverse: DoubleArray, shares: DoubleArray) -> DoubleArray:
    """Non-negative bins ``[bins, frames]`` whose bands are ``bands [bands, frames]``, neither of them in decibels.

    The clipped pseudo-inverse alone leaves bands off by what was clipped; a few multiplicative updates repair that and
    are worth 0.2 PESQ once the phases are found.

    Source: Richardson (1972) and Lucy (1974), over-relaxed.
    """
    bins: DoubleArray = np.maximum(inverse @ bands, _TINY)
    for _ in range(_REFINEMENTS):
        bins *= (shares @ (bands / (basis @ bins + _TINY))) ** _OVERRELAXATION
    return bins


def _window_sum(grid: StftGrid, frames: int) -> DoubleArray:
    """The overlap-added squares of ``frames`` windows ``[(frames - 1) * hop_samples + n_fft]``, never near 0."""
    power = overlap_add(np.broadcast_to(hann(grid.n_fft) ** 2, (frames, grid.n_fft)), grid.hop_samples)
    bounded: DoubleArray = np.maximum(power, _MIN_WINDOW_SHARE * power.max())
    return bounded


@lru_cache(maxsize=8)
def synthesis_window(config: MelConfig) -> DoubleArray:
    """The window ``[n_fft]`` whose overlap-added product with the Hann window is one amid an endless row of frames."""
    overlap = config.n_fft // config.hop_samples
    power = _window_sum(config, 2 * overlap)[config.n_fft : config.n_fft + config.hop_samples]
    window = hann(config.n_fft) / np.tile(power, overlap)
    window.setflags(write=False)
    return window


@lru_cache(maxsize=8)
def _onset_pulse(config: MelConfig) -> ComplexArray:
    """A faint pulse ``[n_fft // 2 + 1]`` just behind the end of the previous frame.

    Energy that no earlier frame has announced must lie there; without it an onset takes whatever phases silence had,
    and a click comes up to 106 samples early.
    """
    position_samples = config.n_fft - config.hop_samples + config.hop_samples // 4
    turns = np.arange(config.n_fft // 2 + 1) * position_samples / config.n_fft
    pulse: ComplexArray = _ONSET_SHARE * np.exp(-2j * np.pi * turns)
    return pulse


def _with_magnitudes(spectra: ComplexArray, target: DoubleArray) -> ComplexArray:
    """Keep the phases of ``spectra [frames, bins]`` and set their magnitudes to ``target``.

    A bin without any phase takes that of a pulse at the frame's centre.
    """
    spectra = spectra.copy()
    spectra[:, ::2] += _TINY
    spectra[:, 1::2] -= _TINY
    return spectra * (target / np.sqrt(spectra.real**2 + spectra.imag**2))


def overlap_add(frames: DoubleArray, hop_samples: int) -> DoubleArray:
    """Add ``[frames, n_fft]`` at steps of ``hop_samples`` -> ``[frames * hop_samples + n_fft - hop_samples]``."""
    count, length = frames.shape
    overlap = -(-length // hop_samples)
    if length % hop_samples:
        frames = np.pad(frames, ((0, 0), (0, overlap * hop_samples - length)))
    hops = np.zeros((count + overlap - 1, hop_samples))
    for part in range(overlap):
        hops[part : part + count] += frames[:, part * hop_samples : (part + 1) * hop_samples]
    return hops.reshape(-1)[: (count - 1) * hop_samples + length]


def cut_frames(samples: DoubleArray, grid: StftGrid) -> DoubleArray:
    """Cut samples into overlapping frames ``[frames, n_fft]``, a read-only view."""
    shape = ((samples.size - grid.n_fft) // grid.hop_samples + 1, grid.n_fft)
    (step,) = samples.strides
    # Called for every iteration of every frame, where sliding_window_view would take a sixth of the time.
    return np.lib.stride_tricks.as_strided(samples, shape, (grid.hop_samples * step, step), writeable=False)


def stft(samples: DoubleArray, grid: StftGrid) -> ComplexArray:
    """The centred, zero-padded STFT ``[frames, n_fft // 2 + 1]`` of ``[frames * hop_samples]`` samples."""
    frames = cut_frames(np.pad(samples, grid.n_fft // 2), grid)[: samples.size // grid.hop_samples]
    return np.fft.rfft(frames * hann(grid.n_fft))


def inverse_stft(spectra: ComplexArray, grid: StftGrid) -> DoubleArray:
    """The samples ``[frames * hop_samples]`` whose STFT comes nearest to ``spectra [frames, n_fft // 2 + 1]``."""
    frames = np.fft.irfft(spectra, grid.n_fft) * hann(grid.n_fft)
    samples = overlap_add(frames, grid.hop_samples) / _window_sum(grid, len(frames))
    return np.pad(samples, (0, grid.hop_samples))[grid.n_fft // 2 :][: len(frames) * grid.hop_samples]


def fast_griffin_lim(
    target: DoubleArray, phases: ComplexArray, grid: StftGrid, iterations: int, momentum: float
) -> DoubleArray:
    """The samples ``[frames * hop_samples]``, of any loudness, that iteration finds for magnitudes ``target``.

    It starts from the phases of ``phases``; both are ``[frames, n_fft // 2 + 1]``.

    Source: Perraudin, Balazs and Søndergaard, "A fast Griffin-Lim algorithm", 2013.
    """
    spectra = _with_magnitudes(phases, target)
    previous = None
    for _ in range(iterations):
        consistent = stft(inverse_stft(spectra, grid), grid)
        accelerated = consistent if previous is None else consistent + momentum * (consistent - previous)
        previous = consistent
        spectra = _with_magnitudes(accelerated, target)
    return inverse_stft(spectra, grid)


def playable(samples: DoubleArray) -> FloatArray:
    return np.clip(samples, -1.0, 1.0).astype(np.float32)


class RtisiLa:
    """Real-time iterative spectrogram inversion with lookahead: the streaming form of Griffin-Lim.

    A frame is settled when ``lookahead_frames`` more have been heard; until then its phases are refined together with
    theirs, against the overlap of the frames already settled. The newest frame starts from the phases of what the older
    ones say about its span. Silence is assumed before the first frame and after the last, so a stream fades in and out.
    The output is the same for any chunking, bit for bit.

    Source: Zhu, Beauregard and Wyse, "Real-Time Signal Estimation From Modified Short-Time Fourier Transform Magnitude
    Spectra", 2007, with the momentum of Perraudin, Balazs and Søndergaard, 2013. Dividing by the full window sum even
    where later frames are still missing does the work of the paper's asymmetric window.
    """

    def __init__(
        self,
        mel: MelConfig | None = None,
        *,
        lookahead_frames: int = 1,
        iterations: int = 8,
        momentum: float = 0.99,
    ) -> None:
        if lookahead_frames < 0 or iterations < 1:
            raise ValueError("RTISI-LA needs at least one iteration and no negative lookahead")
        self.mel = MelConfig() if mel is None else mel
        self._lookahead_frames = lookahead_frames
        self._iterations = iterations
        self._momentum = momentum
        # What comes out first belongs to the frames before the stream: the lookahead, and half a window before frame 0.
        self._lead_samples = lookahead_frames * self.mel.hop_samples + self.mel.n_fft // 2
        # Half windows of an odd number of hops round in our favour: a centre then lies within the hop that comes out.
        self.latency_samples = self._lead_samples // self.mel.hop_samples * self.mel.hop_samples
        self.reset()

    def reset(self) -> None:
        """Forget everything heard so far."""
        active_frames = self._lookahead_frames + 1
        self._settled = np.zeros(self.mel.n_fft + self._lookahead_frames * self.mel.hop_samples)
        self._active = np.zeros((active_frames, self.mel.n_fft))
        self._targets = np.zeros((active_frames, self.mel.n_fft // 2 + 1))
        self._heard_samples = 0
        self._skip_samples = self._lead_samples
        self._flushed = False

    def push(self, log_mel: FloatArray) -> FloatArray:
        """Take ``[n_mels, frames] float32, log10 magnitude``; return the samples that are now final.

        After n frames ``max(0, (n - lookahead_frames) * hop_samples - n_fft // 2)`` samples have come out, in -1..1.

        Raises ValueError for another number of bands, and after ``flush`` without ``reset``.
        """
        if self._flushed:
            raise ValueError("the stream has been flushed; reset it before pushing again")
        # One frame at a time: matrix products of another width would round in another way.
        columns = [magnitudes(log_mel[:, k : k + 1], self.mel)[:, 0] for k in range(log_mel.shape[1])]
        self._heard_samples += len(columns) * self.mel.hop_samples
        return self._advance(columns)

    def flush(self) -> FloatArray:
        """Return the samples still held back, as if silence followed; ``reset`` before pushing again."""
        if self._flushed:
            return np.zeros(0, np.float32)
        self._flushed = True
        held_back_samples = min(self._heard_samples, self._lead_samples)
        silence = np.zeros(self.mel.n_fft // 2 + 1)
        tail = self._advance([silence] * -(-self._lead_samples // self.mel.hop_samples))
        return tail[:held_back_samples]

    def _advance(self, targets: list[DoubleArray]) -> FloatArray:
        """Settle one frame for each target ``[n_fft // 2 + 1]``; return their hops without the lead."""
        hops = [self._settle_frame(target) for target in targets]
        samples = np.concatenate([np.zeros(0), *hops])
        skipped = min(self._skip_samples, samples.size)
        self._skip_samples -= skipped
        return playable(samples[skipped:])

    def _settle_frame(self, target: DoubleArray) -> DoubleArray:
        """Take the newest frame's magnitudes, refine the active frames, settle the oldest; return the finished hop."""
        hop = self.mel.hop_samples
        self._targets = np.concatenate([self._targets[1:], target[None]])
        self._active = np.concatenate([self._active[1:], np.zeros((1, self.mel.n_fft))])
        guess = self._analyse()[-1:] + target * _onset_pulse(self.mel)
        self._active[-1:] = self._resynthesize(guess, self._targets[-1:])
        previous = None
        for _ in range(self._iterations):
            spectra = self._analyse()
            accelerated = spectra if previous is None else spectra + self._momentum * (spectra - previous)
            previous = spectra
            self._active = self._resynthesize(accelerated, self._targets)
        self._settled[: self.mel.n_fft] += self._active[0]
        done = self._settled[:hop]
        self._settled = np.concatenate([self._settled[hop:], np.zeros(hop)])
        return done

    def _analyse(self) -> ComplexArray:
        """The spectra ``[active frames, n_fft // 2 + 1]`` of what settled and active frames add up to."""
        samples = self._settled + overlap_add(self._active, self.mel.hop_samples)
        return np.fft.rfft(cut_frames(samples, self.mel) * hann(self.mel.n_fft))

    def _resynthesize(self, spectra: ComplexArray, targets: DoubleArray) -> DoubleArray:
        """Windowed frames ``[frames, n_fft]`` with the phases of ``spectra`` and the magnitudes of ``targets``."""
        return np.fft.irfft(_with_magnitudes(spectra, targets), self.mel.n_fft) * synthesis_window(self.mel)


class GriffinLim:
    """Fast Griffin-Lim for whole signals, started from what ``RtisiLa`` makes of them."""

    name = "griffin-lim"

    def __init__(self, mel: MelConfig | None = None, iterations: int = 32, momentum: float = 0.99) -> None:
        if iterations < 0:
            raise ValueError(f"iterations must not be negative, not {iterations}")
        self.mel = MelConfig() if mel is None else mel
        self._iterations = iterations
        self._momentum = momentum

    def synthesize(self, log_mel: FloatArray, initial_phase: npt.NDArray[np.floating] | None = None) -> FloatArray:
        """Take ``[n_mels, frames] float32, log10 magnitude``; return ``[frames * hop_samples] float32`` in -1..1.

        ``initial_phase [n_fft // 2 + 1, frames]`` in radians replaces the start from ``RtisiLa``.

        Raises ValueError for another shape of either.
        """
        target = magnitudes(log_mel, self.mel).T
        if log_mel.shape[1] == 0:
            return np.zeros(0, np.float32)
        spectra = self._first_guess(log_mel) if initial_phase is None else np.exp(1j * np.transpose(initial_phase))
        if spectra.shape != target.shape:
            raise ValueError(f"initial_phase must be {list(target.T.shape)}, not {list(spectra.T.shape)}")
        return playable(fast_griffin_lim(target, spectra, self.mel, self._iterations, self._momentum))

    def _first_guess(self, log_mel: FloatArray) -> ComplexArray:
        stream = RtisiLa(self.mel)
        return stft(np.concatenate([stream.push(log_mel), stream.flush()]).astype(np.float64), self.mel)
