"""Losses: distances of spectra, loudness and phases."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audio_avif_onnx.export.precision import without_autocast

COMPRESSION = 0.3
_POWER_WEIGHT = 2.0
_LOUDNESS_WINDOW = 512
_PESQ_LEVEL = 2.7e8  # to which PESQ brings the power of speech between 325 and 3250 Hz, summed over bands
_QUIETEST = 0.05  # sound below -60 dB of full scale is not made as loud as speech
_STOI_WINDOW_S = 0.0256
_STOI_LOWEST_HZ = 150
_STOI_BANDS = 15
_STOI_FRAMES = 30
_STOI_CLIP = 1 + 10 ** (15 / 20)  # envelopes are clipped at a distortion of -15 dB
_STOI_QUIETEST = 0.01  # parts 40 dB below the loudest one of a row do not count


def magnitude_loss(log_predicted: Tensor, log_target: Tensor) -> tuple[Tensor, Tensor]:
    """Mean L1 distance of the logarithm, and of the 0.3rd power, of two magnitudes given as natural logarithms."""
    power = torch.exp(COMPRESSION * log_predicted) - torch.exp(COMPRESSION * log_target)
    return (log_predicted - log_target).abs().mean(), power.abs().mean()


def weigh(log_l1: Tensor, power_l1: Tensor) -> Tensor:
    """The weighted sum that training minimises."""
    return log_l1 + _POWER_WEIGHT * power_l1


def phase_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean of ``1 - cos`` of the phase error, weighted by the 0.3rd power of the target's magnitude.

    Shape: ``[..., 2, bins]`` both; ``predicted`` has modulus one, ``target`` is the spectrum.
    """
    size = target.square().sum(dim=-2).sqrt()
    weight = size**COMPRESSION
    error = 1 - (predicted * target).sum(dim=-2) / (size + 1e-6)
    return (error * weight).sum() / weight.sum()


class MultiResolution(nn.Module):
    """Magnitude loss of two waveforms ``[batch, samples]`` at several window lengths, hop a quarter of each."""

    def __init__(self, lengths: tuple[int, ...] = (2048, 1024, 512, 256, 128)) -> None:
        super().__init__()
        self._lengths = lengths
        for length in lengths:
            self.register_buffer(f"window_{length}", torch.hann_window(length), persistent=False)

    def forward(self, predicted: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        pairs = [
            magnitude_loss(self._log_magnitude(predicted, length), self._log_magnitude(target, length))
            for length in self._lengths
        ]
        logs, powers = zip(*pairs, strict=True)
        return torch.stack(logs).mean(), torch.stack(powers).mean()

    def _log_magnitude(self, samples: Tensor, length: int) -> Tensor:
        window = self.get_buffer(f"window_{length}")
        spectrum = torch.fft.rfft(samples.unfold(-1, length, length // 4) * window)
        # Magnitudes grow with the window: the floor, far below hearing, must as well.
        floor = 1e-7 * length
        power: Tensor = spectrum.real.square() + spectrum.imag.square()
        return 0.5 * (power + floor**2).log()


class LoudnessDifference(nn.Module):
    """Loudness difference of two waveforms ``[batch, samples]`` at 16 kHz, after the model of PESQ.

    The model is the wideband form of ITU-T P.862, with its tables replaced by formulas.

    Windows of 32 ms are compared in critical bands, as loudness (Zwicker 1961). Added sound counts more than
    missing sound, and the worst frames of each third of a second count most. Unlike PESQ it aligns neither
    time, spectrum nor level: those of a vocoder are right or to be learned. The result is about the distance of
    the unmapped PESQ score from its best value, 4.5.
    """

    window: Tensor
    bands: Tensor
    widths: Tensor
    threshold: Tensor
    exponent: Tensor
    emphasis: Tensor
    voice: Tensor

    def __init__(self, rate_hz: int) -> None:
        super().__init__()
        hz = torch.arange(_LOUDNESS_WINDOW // 2 + 1) * (rate_hz / _LOUDNESS_WINDOW)
        bands, centre_hz, widths = _ear_bands(hz)
        window = torch.hann_window(_LOUDNESS_WINDOW)
        turn = torch.exp(-2j * torch.pi * hz / rate_hz)
        emphasis = 2.740826 * (1 - turn) ** 2 / (1 - 1.9444777 * turn + 0.94597794 * turn**2)
        for name, values in (
            ("window", window),
            ("bands", bands),
            ("widths", widths),
            ("threshold", 10 ** (-0.45 + 4.1 * torch.exp((100 - centre_hz) / 200))),
            ("exponent", 0.23 * (6 / (_bark(centre_hz) + 2)).clamp(1, 2) ** 0.15),
            ("emphasis", emphasis.abs().square()),
            ("voice", ((hz > 325) & (hz < 3250)).float()),
        ):
            self.register_buffer(name, values, persistent=False)

    @without_autocast
    def forward(self, predicted: Tensor, target: Tensor) -> Tensor:
        found, wanted = self._powers(predicted.float()), self._powers(target.float())
        voice = (wanted * self.voice).sum(dim=-1).mean(dim=-1)[:, None, None]
        scale = _PESQ_LEVEL / voice.clamp(min=_QUIETEST)
        found, wanted = (power * scale * self.emphasis @ self.bands for power in (found, wanted))
        loud, loud_wanted = self._loudness(found), self._loudness(wanted)
        apart = (loud - loud_wanted).abs() - 0.25 * torch.minimum(loud, loud_wanted)
        apart = apart.clamp(min=0) * self.widths
        added = ((found + 50) / (wanted + 50)) ** 1.2
        added = torch.where(added < 3, 0, added.clamp(max=12))
        weight = ((wanted.sum(dim=-1) + 1e5) / 1e7) ** -0.04
        total = self.widths.sum()
        both = (apart.square().sum(dim=-1) * total + 1e-6).sqrt() * weight
        one_way = (apart * added).sum(dim=-1) * weight
        return 0.1 * self._over_time(both) + 0.0309 * self._over_time(one_way)

    def _powers(self, samples: Tensor) -> Tensor:
        """``[batch, frames, bins]``."""
        spectrum = torch.fft.rfft(samples.unfold(-1, _LOUDNESS_WINDOW, _LOUDNESS_WINDOW // 2) * self.window)
        power: Tensor = spectrum.real.square() + spectrum.imag.square()
        return power

    def _loudness(self, power: Tensor) -> Tensor:
        ratio = torch.maximum(power / self.threshold, torch.ones_like(power))
        return 0.1866 * (2 * self.threshold) ** self.exponent * ((0.5 + 0.5 * ratio) ** self.exponent - 1)

    @staticmethod
    def _over_time(frames: Tensor) -> Tensor:
        """The 6-norm over 20 frames in steps of 10, and its quadratic mean over time and rows."""
        pieces = frames.clamp(1e-3, 45.0).unfold(-1, min(20, frames.shape[-1]), 10)
        return (pieces**6).mean(dim=-1).pow(1 / 3).mean(dim=-1).sqrt().mean()


def _bark(hz: Tensor) -> Tensor:
    return 7 * torch.asinh(hz / 650)


def _ear_bands(hz: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Matrix ``[bins, bands]`` that sums bins to bands of half a Bark, at least one bin, without the zero frequency.

    Also returns the bands' centres in Hz and their widths in Bark.
    """
    edges = [0.5]
    while edges[-1] < len(hz) - 1:
        target = 650 * torch.sinh((_bark(edges[-1] * hz[1]) + 0.45) / 7) / hz[1]
        edges.append(max(edges[-1] + 1, round(float(target) - 0.5) + 0.5))
    edges[-1] = len(hz) - 0.5
    low, high = torch.tensor(edges[:-1]), torch.tensor(edges[1:])
    number = torch.arange(len(hz))[:, None]
    bands = ((number > low) & (number < high)).float()
    return bands, (low + high) / 2 * hz[1], _bark(high * hz[1]) - _bark(low * hz[1])


class Unintelligibility(nn.Module):
    """One minus STOI (Taal et al. 2011) of two waveforms ``[batch, samples]``, averaged over rows.

    The envelopes of 15 third-octave bands are correlated over 384 ms. Unlike the reference implementation it keeps the
    sample rate, and drops quiet parts of 384 ms instead of quiet frames.
    """

    window: Tensor
    bands: Tensor

    def __init__(self, rate_hz: int) -> None:
        super().__init__()
        length = 2 * round(_STOI_WINDOW_S * rate_hz / 2)
        hz = torch.arange(length + 1) * (rate_hz / (2 * length))
        centre_hz = _STOI_LOWEST_HZ * 2 ** (torch.arange(_STOI_BANDS) / 3)
        inside = (hz[:, None] >= centre_hz * 2 ** (-1 / 6)) & (hz[:, None] < centre_hz * 2 ** (1 / 6))
        self.register_buffer("window", torch.hann_window(length), persistent=False)
        self.register_buffer("bands", inside.float(), persistent=False)

    @without_autocast
    def forward(self, predicted: Tensor, target: Tensor) -> Tensor:
        """The mean over parts, bands and rows."""
        found, wanted = self._envelopes(predicted.float()), self._envelopes(target.float())
        norm = wanted.norm(dim=-1, keepdim=True)
        found = found * norm / (found.norm(dim=-1, keepdim=True) + 1e-6)
        found = torch.minimum(found, wanted * _STOI_CLIP)
        level = norm.square().sum(dim=(2, 3)).sqrt()
        counts = (level > _STOI_QUIETEST * level.amax(dim=1, keepdim=True)).float()
        correlation = (_standardised(found) * _standardised(wanted)).sum(dim=-1).mean(dim=-1)
        lack: Tensor = ((1 - correlation) * counts).sum() / counts.sum().clamp(min=1)
        return lack

    def _envelopes(self, samples: Tensor) -> Tensor:
        """``[batch, parts, bands, frames]``, 30 frames or all where there are fewer."""
        length = len(self.window)
        spectrum = torch.fft.rfft(samples.unfold(-1, length, length // 2) * self.window, n=2 * length)
        power = spectrum.real.square() + spectrum.imag.square()
        envelopes: Tensor = (power @ self.bands + 1e-8).sqrt()
        return envelopes.unfold(1, min(_STOI_FRAMES, envelopes.shape[1]), 1)


def _standardised(envelopes: Tensor) -> Tensor:
    centred = envelopes - envelopes.mean(dim=-1, keepdim=True)
    norm: Tensor = centred.norm(dim=-1, keepdim=True)
    return centred / (norm + 1e-6)


class PhaseRelations(nn.Module):
    """Errors of phases and of their differences (Ai and Ling 2023), of waveforms ``[batch, samples]``.

    These are the instantaneous phase, group delay (from bin to bin) and instantaneous angular frequency (from window to
    window). An error is the chord between two points of the unit circle, so nothing has to be unwrapped, weighted
    by the 0.3rd power of the target's magnitude, so that no phase is learned in silence.
    """

    window: Tensor

    def __init__(self, length: int, hop: int) -> None:
        super().__init__()
        self._length, self._hop = length, hop
        self.register_buffer("window", torch.hann_window(length), persistent=False)

    def forward(self, predicted: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (found, _), (wanted, weight) = (self._turns(each) for each in (predicted, target))
        pairs = (
            (found, wanted, weight),
            (_step(found, -1), _step(wanted, -1), weight[..., 1:]),
            (_step(found, -2), _step(wanted, -2), weight[..., 1:, :]),
        )
        phase, delay, frequency = (_chord(*pair) for pair in pairs)
        return phase, delay, frequency

    def _turns(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """Phases as complex numbers of modulus one, 0 in silence, and the weight of each."""
        spectrum = torch.fft.rfft(samples.unfold(-1, self._length, self._hop) * self.window)
        size = (spectrum.real.square() + spectrum.imag.square() + (1e-6 * self._length) ** 2).sqrt()
        return spectrum / size, size.detach() ** COMPRESSION


def _step(turns: Tensor, dim: int) -> Tensor:
    """Phase differences along a dimension, as complex numbers."""
    steps = turns.shape[dim] - 1
    return turns.narrow(dim, 1, steps) * turns.narrow(dim, 0, steps).conj()


def _chord(found: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    apart = found - wanted
    distance = (apart.real.square() + apart.imag.square() + 1e-4).sqrt()
    return (distance * weight).sum() / weight.sum()
