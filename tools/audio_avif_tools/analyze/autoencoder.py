"""A mel autoencoder like AudioLDM's instead of the picture: diffusers' ``AutoencoderKL``, adapted to this codec's mel.

Such a network takes a mel spectrogram as a picture of one channel and encodes it as a few small pictures, the latents.
AudioLDM's mel is computed here as in its authors' training code (haoheliu/AudioLDM-training-finetuning,
``utilities/data/dataset.py`` and ``config/2023_11_13_vae_autoencoder/16k_64.yaml``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from audio_avif.config import MelConfig, TileConfig
from audio_avif.errors import ModelError
from audio_avif.optional import require
from audio_avif.signal.features import hann, mel_basis
from audio_avif.types import FloatArray
from audio_avif.vocoders.griffin_lim import magnitudes
from audio_avif_tools.analyze.stages import AUTOENCODER, PCM_KBPS, Shown
from audio_avif_tools.bitrate.coding import mel_errors_db
from audio_avif_tools.shared.fidelity import mean_of

FLOAT16_BITS = 16
_PACKAGES = ("torch", "diffusers", "safetensors")
_SUBFOLDER = "vae"  # of the autoencoder in diffusers' pipelines
_OURS = MelConfig()
_LN10 = math.log(10)
_LATENT_REACH = 4.0  # standard deviations within a coarse quantiser's range


class Network(Protocol):
    """An autoencoder of pictures of one channel."""

    downsampling: int
    """Both sides of its input must be multiples of this."""

    is_audioldm: bool
    """Whether its shape is that of AudioLDM's."""

    def reconstruct(self, values: FloatArray, bits: int) -> tuple[FloatArray, int]:
        """Encode ``[frames, bands]`` with ``bits`` per latent and decode it; return the same shape and all bits."""
        ...


class MelFeed(Protocol):
    """The input of a network: its mel and the scale of the values."""

    title: str

    def values(self, samples: FloatArray, mel: FloatArray) -> FloatArray:
        """The network's input ``[frames, bands]`` for ``[samples]`` and the codec's log-mel of them."""
        ...

    def log_mel(self, values: FloatArray, samples: FloatArray, frames: int) -> FloatArray:
        """The codec's log-mel ``[n_mels, frames]`` from such values; only the level of ``[samples]`` counts."""
        ...


class AudioLdmMel:
    """AudioLDM's own mel: 64 bands of 0-8000 Hz, n_fft 1024, hop 160, natural log of magnitudes, floor 1e-5.

    Scale and area norm are Slaney's. The recording's peak is first scaled to a half, as in training; the gain is
    removed from the output. Frame k is centred on sample 160 k + 80.
    """

    title = "AudioLDM's mel (64 Slaney bands of 0-8000 Hz, hop 160, natural log, peak at 0.5)"
    _BASIS = MelConfig(n_mels=64, fmin_hz=0.0, fmax_hz=8000.0, floor=1e-5)  # its hop is not used
    _HOP = 160

    def values(self, samples: FloatArray, mel: FloatArray) -> FloatArray:
        """Frames ``[frames, 64]`` of the samples; the last frame may extend into silence."""
        n_fft, hop = self._BASIS.n_fft, self._HOP
        loud = np.pad(samples.astype(np.float64) * _gain(samples), (0, -samples.size % hop))
        padded = np.pad(loud, (n_fft - hop) // 2, mode="reflect")
        windows = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]
        bands = np.abs(np.fft.rfft(windows * hann(n_fft), axis=1)) @ mel_basis(self._BASIS).T
        return np.log(np.maximum(bands, self._BASIS.floor)).astype(np.float32)

    def log_mel(self, values: FloatArray, samples: FloatArray, frames: int) -> FloatArray:
        """Interpolate in time, then map to bins of the spectrum by the pseudo-inverse and to the codec's bands."""
        log10 = values.T / _LN10 - math.log10(_gain(samples))
        at = np.arange(frames) * _OURS.hop_samples
        centres = np.arange(values.shape[0]) * self._HOP + self._HOP // 2
        timed = np.stack([np.interp(at, centres, band) for band in log10]).astype(np.float32)
        bands = mel_basis(_OURS) @ magnitudes(timed, self._BASIS)
        return np.log10(np.maximum(bands, _OURS.floor)).astype(np.float32)


def _gain(samples: FloatArray) -> float:
    peak = float(np.abs(samples).max(initial=0.0))
    return 0.5 / peak if peak > 0 else 1.0


class OurMel:
    """The codec's log-mel, with its values mapped from one range to another."""

    def __init__(self, title: str, log10_range: tuple[float, float], value_range: tuple[float, float]) -> None:
        self.title = f"our mel, {title}"
        self._from, self._to = log10_range, value_range

    def values(self, samples: FloatArray, mel: FloatArray) -> FloatArray:
        """Map to the network's range; values outside the range are clipped."""
        clipped = np.clip(mel.T, *self._from)
        return np.interp(clipped, self._from, self._to).astype(np.float32)

    def log_mel(self, values: FloatArray, samples: FloatArray, frames: int) -> FloatArray:
        """Map back."""
        return np.interp(values.T[:, :frames], self._to, self._from).astype(np.float32)


def our_mels() -> list[MelFeed]:
    """The scales that an unknown autoencoder may expect: natural log as AudioLDM's, or -1 to 1 as for pictures."""
    picture = TileConfig()
    return [
        OurMel("natural log", (-5.0, 2.0), (-5.0 * _LN10, 2.0 * _LN10)),
        OurMel("-1 to 1", (picture.log10_min, picture.log10_max), (-1.0, 1.0)),
    ]


class Autoencoder:
    """The stage of the chain: a mel through the network's latents.

    Of several scales the stage uses the one with the smallest mel error on the first recording.
    """

    name = AUTOENCODER

    def __init__(self, network: Network, feeds: Sequence[MelFeed], bits: int = FLOAT16_BITS) -> None:
        self._network = network
        self._feeds = list(feeds)
        self._bits = bits
        self._errors_db: list[tuple[float, float]] = []

    def show(self, samples: FloatArray, mel: FloatArray) -> Shown:
        """Pad frames and bands with the last ones to what the network can halve, and remove the padding afterwards."""
        if len(self._feeds) > 1:
            self._feeds = [min(self._feeds, key=lambda feed: _error_db(mel, self._through(feed, samples, mel).log_mel))]
        (feed,) = self._feeds
        shown = self._through(feed, samples, mel)
        plain = feed.log_mel(feed.values(samples, mel), samples, mel.shape[1])
        self._errors_db.append((_error_db(mel, plain), _error_db(mel, shown.log_mel)))
        return shown

    def _through(self, feed: MelFeed, samples: FloatArray, mel: FloatArray) -> Shown:
        values = feed.values(samples, mel)
        missing = [(0, -size % self._network.downsampling) for size in values.shape]
        made, bits = self._network.reconstruct(np.pad(values, missing, mode="edge"), self._bits)
        if not np.isfinite(made).all():
            raise ModelError("the autoencoder's output is not finite for this recording; use one for mel spectrograms")
        made = made[: values.shape[0], : values.shape[1]]
        return Shown(feed.log_mel(made, samples, mel.shape[1]), bits)

    def report(self, kbps: float) -> str:
        """The input scale, the mel error of that scale alone and of the whole stage, and the rate."""
        plain, whole = (mean_of([pair[i] for pair in self._errors_db]) for i in (0, 1))
        latents = "float16" if self._bits == FLOAT16_BITS else f"{self._bits} bit"
        return (
            f"autoencoder: fed {self._feeds[0].title}; to our bands and frames and back costs {plain:.1f} dB of mel "
            f"error by itself, with the network {whole:.1f} dB. Latents of {latents} take {kbps:.1f} kbps, "
            f"1:{PCM_KBPS / kbps:.1f} of 16-bit PCM."
        )


def _error_db(mel: FloatArray, other: FloatArray) -> float:
    return mel_errors_db(mel, other)[1]


def open_autoencoder(name: str, kind: str = "auto", bits: int = FLOAT16_BITS) -> Autoencoder:
    """Load the stage from a folder or a hub; ``kind`` is ``audioldm``, ``ours``, or ``auto`` by its shape.

    Raises AudioAvifError where packages are missing, ModelError where there is no such autoencoder.
    """
    network = load_network(name)
    if kind == "audioldm" or (kind == "auto" and network.is_audioldm):
        return Autoencoder(network, [AudioLdmMel()], bits)
    return Autoencoder(network, our_mels(), bits)


def load_network(name: str) -> Network:
    """Load diffusers' AutoencoderKL from a folder that ``save_pretrained`` wrote, or from a hub.

    Only safetensors are read, never pickles. Raises as ``open_autoencoder`` does.
    """
    require("--vae", _PACKAGES, "vae")
    subfolder, config = _local_config(Path(name)) if Path(name).exists() else _hub_config(name)
    _check(name, config)

    from diffusers import AutoencoderKL
    from diffusers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        model, report = AutoencoderKL.from_pretrained(
            name, subfolder=subfolder, use_safetensors=True, low_cpu_mem_usage=False, output_loading_info=True
        )
    except Exception as error:  # torch, safetensors and diffusers raise many unrelated errors
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ModelError(f"the autoencoder {name} cannot be loaded: {reason}") from error
    if report["missing_keys"]:
        raise ModelError(f"the autoencoder {name} lacks weights, {report['missing_keys'][0]} for one")
    return _Kl(model)


def _local_config(folder: Path) -> tuple[str | None, Mapping[str, Any]]:
    for subfolder in (None, _SUBFOLDER):
        path = folder / (subfolder or "") / "config.json"
        if path.is_file():
            return subfolder, _read_config(path)
    raise ModelError(
        f"{folder} holds no autoencoder; name a folder with the config.json and the safetensors that diffusers' "
        "save_pretrained writes"
    )


def _hub_config(name: str) -> tuple[str | None, Mapping[str, Any]]:
    from huggingface_hub import errors, hf_hub_download

    for subfolder in (_SUBFOLDER, None):
        try:
            return subfolder, _read_config(Path(hf_hub_download(name, "config.json", subfolder=subfolder)))
        except errors.HFValidationError as error:
            raise ModelError(
                f"{name} is neither a folder here nor the name of a model on a hub, such as cvssp/audioldm2"
            ) from error
        except errors.LocalEntryNotFoundError as error:
            raise _unreachable(name) from error
        except errors.EntryNotFoundError:
            continue
        except errors.RepositoryNotFoundError as error:
            raise ModelError(f"there is no folder {name} here and no such model that the hub gives away") from error
        except Exception as error:  # requests' or httpx's, by version
            raise _unreachable(name) from error
    raise ModelError(f"the model {name} has no autoencoder: there is no config.json in it or in its folder vae")


def _unreachable(name: str) -> ModelError:
    return ModelError(
        f"there is no folder {name} here and the hub cannot be asked for it; try again with a network, or name a folder"
    )


def _read_config(path: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read as the settings of a model") from error
    return config if isinstance(config, dict) else {}


def _check(name: str, config: Mapping[str, Any]) -> None:
    if (kind := config.get("_class_name")) != "AutoencoderKL":
        raise ModelError(f"{name} is no AutoencoderKL but {'of no kind' if kind is None else f'a {kind}'}")
    for channels in (config.get("in_channels", 3), config.get("out_channels", 3)):
        if channels != 1:
            raise ModelError(f"the autoencoder {name} is for pictures of {channels} channels; one of mels has 1")


class _Kl:
    """An AutoencoderKL on the processor; latents are the mode of the posterior."""

    def __init__(self, model: Any) -> None:
        self._model = model.float().eval()
        config = model.config
        self.downsampling = 2 ** (len(config.block_out_channels) - 1)
        self.is_audioldm = config.latent_channels == 8 and self.downsampling == 4
        self._scale = float(config.scaling_factor)

    def reconstruct(self, values: FloatArray, bits: int) -> tuple[FloatArray, int]:
        """Encode and decode with time along the rows and bands along the columns, as in AudioLDM."""
        import torch

        with torch.inference_mode():
            latents = self._model.encode(torch.from_numpy(values)[None, None]).latent_dist.mode()
            made = self._model.decode(_quantized(latents, bits, self._scale)).sample
        return np.asarray(made[0, 0].numpy(), np.float32), bits * latents.numel()


def _quantized(latents: Any, bits: int, scale: float) -> Any:
    """Round latents to float16, or to even steps over four of their standard deviations.

    A model's scaling factor normalises their deviation to 1.
    """
    if bits == FLOAT16_BITS:
        return latents.half().float()
    steps = 2**bits - 1
    shares = ((latents * scale / _LATENT_REACH + 1) / 2).clamp(0, 1)
    return ((shares * steps).round() / steps * 2 - 1) * _LATENT_REACH / scale
