"""Load HiFi-GAN generators: SpeechT5's layout from the hub or from disk, and the layout of jik876/hifi-gan.

``config.json`` beside the weights determines the layout. Code in a weight file is never run.
"""

from __future__ import annotations

import json
import logging
import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audio_avif.config import MelConfig
from audio_avif.errors import MissingPackage, ModelError
from audio_avif.optional import missing_sentence
from audio_avif_onnx.export.hifigan.network import (
    Generator,
    GeneratorConfig,
    fold_weight_norm,
    with_newer_names,
    with_weight_norm,
)

_CONFIG_NAME = "config.json"
_WEIGHT_NAMES = ("model.safetensors", "pytorch_model.bin")
_ORIGINAL_PATTERNS = ("g_*", "generator*")
_FILE_SUFFIXES = {".pt", ".pth", ".bin", ".ckpt", ".safetensors"}
_CONTAINERS = ("generator", "state_dict", "model")  # of the original repository, of Lightning, of Coqui
_FIRST_LAYER = "conv_pre."
_ORIGINAL_LN_FLOOR = 1e-5  # dynamic_range_compression of the original repository's meldataset.py
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


@dataclass(frozen=True)
class Checkpoint:
    """A generator with its weights, and the mel definition it was trained on.

    ``reference`` is the same generator with torch's weight normalisation, where the weights were stored with it.
    ``remarks`` are sentences about assumptions and omissions.
    """

    name: str
    generator: Generator
    mel: MelConfig
    reference: Generator | None = None
    remarks: tuple[str, ...] = ()


def load(source: str) -> Checkpoint:
    """Load a generator from a folder, a weight file with ``config.json`` beside it, or a hub name ``owner/model``.

    Raises ModelError for anything that is missing, damaged or of another architecture.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return _load_files(path.resolve().name, path / _CONFIG_NAME, _weights_in(path))
    if path.is_file():
        return _load_files(path.resolve().parent.name, path.parent / _CONFIG_NAME, path)
    if _HUB_NAME.fullmatch(source) and path.suffix not in _FILE_SUFFIXES:
        return _load_files(source.rpartition("/")[2], *_fetch(source))
    raise ModelError(f"there is no file or folder {source}, and it is no hub name of the form owner/model")


def _weights_in(folder: Path) -> Path:
    for name in _WEIGHT_NAMES:
        if (folder / name).is_file():
            return folder / name
    for pattern in _ORIGINAL_PATTERNS:
        # Training writes g_00005000, g_00010000, ...: the last is the most trained.
        if found := sorted(path for path in folder.glob(pattern) if path.is_file()):
            return found[-1]
    raise ModelError(f"{folder} holds no weights: looked for {', '.join((*_WEIGHT_NAMES, *_ORIGINAL_PATTERNS))}")


def _fetch(hub_name: str) -> tuple[Path, Path]:
    """Return config and weights from the hub's cache, downloading missing files."""
    try:
        import huggingface_hub
        from huggingface_hub import errors
        from huggingface_hub.utils.logging import set_verbosity
        from huggingface_hub.utils.tqdm import disable_progress_bars
    except ImportError as error:
        raise MissingPackage(missing_sentence("a model by name", ["huggingface_hub"], "export")) from error
    disable_progress_bars()
    set_verbosity(logging.ERROR)  # it retries for half a minute; the sentence below says what came of it

    def fetch(*names: str) -> Path:
        """Return the first of these files that the model has."""
        for name in names:
            try:
                return Path(huggingface_hub.hf_hub_download(hub_name, name))
            except errors.EntryNotFoundError as error:  # also: not in the cache, and the hub is unreachable
                missing = error
        raise missing

    try:
        return fetch(_CONFIG_NAME), fetch(*_WEIGHT_NAMES)
    except errors.LocalEntryNotFoundError as error:
        raise ModelError(
            f"{hub_name} is no local folder, is not in the hub's cache, and the hub cannot be reached; "
            "download the model elsewhere and give its folder instead"
        ) from error
    except errors.EntryNotFoundError as error:
        raise ModelError(
            f"{hub_name} on the hub lacks {_CONFIG_NAME} or weights ({' or '.join(_WEIGHT_NAMES)})"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ModelError(f"there is no local folder {hub_name}, and no model of that name on the hub") from error
    except Exception as error:  # the hub's client lets those of its HTTP library through
        raise ModelError(f"{hub_name} cannot be fetched from the hub: {_first_line(error)}") from error


def _load_files(name: str, config_path: Path, weights_path: Path) -> Checkpoint:
    weights, remarks = _read_weights(weights_path)
    config = _read_config(config_path)
    generator, mel = _build(config, config_path)
    if _is_speecht5(config) and mel != MelConfig():
        remarks = (*remarks, f"{config_path} does not state the mel; assumed: log10 magnitude, {mel}")
    reference = _fill(generator, weights, weights_path)
    generator.eval().requires_grad_(False)
    return Checkpoint(name, generator, mel, reference, remarks)


def _read_config(path: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"there is no {path}; the model's {_CONFIG_NAME} must stand beside its weights") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {_first_line(error)}") from error
    if not isinstance(config, dict):
        raise ModelError(f"{path} holds no model configuration")
    return config


def _build(config: Mapping[str, Any], path: Path) -> tuple[Generator, MelConfig]:
    """Return a generator without its weights, and its mel definition."""
    if not _is_speecht5(config) and ("model_type" in config or "upsample_rates" not in config):
        kind = config.get("model_type") or "unknown"
        raise ModelError(
            f"{path} describes a model of type {kind}; only speecht5_hifigan and jik876/hifi-gan can be exported"
        )
    try:
        shape, mel_values = _understand_speecht5(config) if _is_speecht5(config) else _understand_original(config)
        generator = Generator(shape)
    except KeyError as error:
        raise ModelError(f"{path} lacks the key {error}") from error
    except (TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path} describes no usable generator: {_first_line(error)}") from error
    try:
        mel = MelConfig(**mel_values)
    except ValueError as error:
        told = ", ".join(f"{name} {value}" for name, value in mel_values.items())
        raise ModelError(
            f"{path} describes a generator for a mel that audio-avif cannot make ({told}): {error}"
        ) from error
    if shape.hop_samples != mel.hop_samples:
        raise ModelError(
            f"{path} promises {mel.hop_samples} samples per frame, but its upsampling makes {shape.hop_samples}"
        )
    return generator, mel


def _is_speecht5(config: Mapping[str, Any]) -> bool:
    return bool(config.get("model_type") == "speecht5_hifigan")


def _understand_speecht5(config: Mapping[str, Any]) -> tuple[GeneratorConfig, dict[str, Any]]:
    """Read transformers' ``SpeechT5HifiGanConfig``; missing keys have the defaults of that class.

    Also returns the fields of the mel definition.
    """
    usual = GeneratorConfig()
    shape = GeneratorConfig(
        n_mels=config.get("model_in_dim", usual.n_mels),
        initial_channels=config.get("upsample_initial_channel", usual.initial_channels),
        upsample_rates=tuple(config.get("upsample_rates", usual.upsample_rates)),
        upsample_kernels=tuple(config.get("upsample_kernel_sizes", usual.upsample_kernels)),
        resblock_kernels=tuple(config.get("resblock_kernel_sizes", usual.resblock_kernels)),
        resblock_dilations=_tuples(config.get("resblock_dilation_sizes", usual.resblock_dilations)),
        leaky_slope=config.get("leaky_relu_slope", usual.leaky_slope),
        normalised=config.get("normalize_before", usual.normalised),
    )
    # The configuration does not state the STFT: it is the one of SpeechT5's feature extractor, MelConfig's default.
    rate_hz = config.get("sampling_rate", MelConfig.rate_hz)
    return shape, {
        "rate_hz": rate_hz,
        "n_fft": MelConfig.n_fft,
        "hop_samples": shape.hop_samples,
        "n_mels": shape.n_mels,
    }


def _understand_original(config: Mapping[str, Any]) -> tuple[GeneratorConfig, dict[str, Any]]:
    """Read the ``config.json`` of jik876/hifi-gan, whose mel has another logarithm, floor and framing.

    Also returns the fields of the mel definition.
    """
    if config["win_size"] != config["n_fft"]:
        raise ValueError(f"its window of {config['win_size']} samples is not n_fft, {config['n_fft']}")
    shape = GeneratorConfig(
        n_mels=config["num_mels"],
        initial_channels=config["upsample_initial_channel"],
        upsample_rates=tuple(config["upsample_rates"]),
        upsample_kernels=tuple(config["upsample_kernel_sizes"]),
        resblock_type=int(config["resblock"]),
        resblock_kernels=tuple(config["resblock_kernel_sizes"]),
        resblock_dilations=_tuples(config["resblock_dilation_sizes"]),
        normalised=False,
        ln_floor=_ORIGINAL_LN_FLOOR,
    )
    fmax_hz = config["fmax"]
    # The graph raises its input to its own floor, so any lower floor, the default included, gives the same sound.
    return shape, {
        "rate_hz": config["sampling_rate"],
        "n_fft": config["n_fft"],
        "hop_samples": config["hop_size"],
        "n_mels": config["num_mels"],
        "fmin_hz": float(config["fmin"]),
        "fmax_hz": config["sampling_rate"] / 2 if fmax_hz is None else float(fmax_hz),
    }


def _tuples(lists: Any) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(inner) for inner in lists)


def _read_weights(path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The generator's weights by their names in ``Generator``, and a remark on how they were found."""
    try:
        if _is_safetensors(path):
            from safetensors.torch import load_file

            loaded: Any = load_file(path)
        else:
            with warnings.catch_warnings(action="ignore"):
                loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path} is no plain file of weights: it is damaged or holds code, which is never run"
        ) from error
    except Exception as error:  # both libraries raise classes of their own for damaged files
        if "TorchScript" in str(error):
            raise ModelError(f"{path} is a TorchScript program; save the generator's state_dict instead") from error
        raise ModelError(f"{path} is damaged or no file of weights: {_first_line(error)}") from error
    weights, remarks = _generator_in(loaded, path)
    ours = {re.sub(r"^ups\.", "upsampler.", key): value for key, value in weights.items()}
    return with_newer_names(ours), remarks


def _is_safetensors(path: Path) -> bool:
    """Whether the file has that suffix, or JSON after eight bytes, as such files have under any name."""
    if path.suffix == ".safetensors":
        return True
    with path.open("rb") as file:
        start = file.read(9)
    return start[8:] == b"{" and not start.startswith(b"PK")


def _generator_in(loaded: Any, path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Find the generator's weights in a training program's file, and strip the prefix of their names.

    DataParallel, Lightning and others add a prefix, which the name of the first layer shows.
    """
    while isinstance(loaded, dict):
        inner = next((loaded[name] for name in _CONTAINERS if isinstance(loaded.get(name), dict)), None)
        if inner is None:
            break
        loaded = inner
    keys = list(loaded) if isinstance(loaded, dict) else []
    heads = {str(key).partition(_FIRST_LAYER)[0] for key in keys if _FIRST_LAYER in str(key)}
    prefixes = sorted(head for head in heads if not head or head.endswith("."))
    if not prefixes:
        held = f" but {', '.join(map(str, keys[:3]))}" if keys else ""
        more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
        raise ModelError(f"{path} holds no generator{held}{more}; give the generator's file, g_NNNNNNNN or generator_*")
    if len(prefixes) > 1:
        raise ModelError(f"{path} holds {len(prefixes)} generators, {' and '.join(prefixes)}; save one alone")
    (prefix,) = prefixes
    weights = {
        key.removeprefix(prefix): value
        for key, value in loaded.items()
        if isinstance(key, str) and key.startswith(prefix) and isinstance(value, Tensor)
    }
    if not prefix:
        return weights, ()
    others = [str(key) for key in keys if str(key).removeprefix(prefix) not in weights]
    left_out = f"; left out {_few(others)}, not of the generator" if others else ""
    return weights, (f"stripped the prefix {prefix} from the names of {len(weights)} weights{left_out}",)


def _fill(generator: Generator, loaded: dict[str, Tensor], path: Path) -> Generator | None:
    """Copy weights into the generator. Returns a reference generator where they have weight normalisation.

    Raises ModelError unless they fit the generator exactly.
    """
    if not generator.config.normalised:
        loaded = {key: value for key, value in loaded.items() if key not in ("mean", "scale")}
    try:
        given = fold_weight_norm(loaded)
    except ValueError as error:
        raise ModelError(f"{path} is damaged: {error}") from error
    wanted = generator.state_dict()
    if lost := [key for key in wanted if key in ("mean", "scale") and key not in given]:
        raise ModelError(
            f"{path} lacks the buffer {' and '.join(lost)}; without its input normalisation the generator gives noise"
        )
    if lost := [key for key in wanted if key not in given]:
        raise ModelError(f"{path} lacks {_few(lost)}; it does not belong to the {_CONFIG_NAME} beside it")
    if surplus := [key for key in given if key not in wanted]:
        raise ModelError(
            f"{path} holds the unknown {_few(surplus)}; it does not belong to the {_CONFIG_NAME} beside it"
        )
    for key, tensor in given.items():
        if tensor.shape != wanted[key].shape:
            raise ModelError(
                f"{key} in {path} has the shape {list(tensor.shape)}, but {_CONFIG_NAME} makes it "
                f"{list(wanted[key].shape)}"
            )
        if not torch.isfinite(tensor).all():
            raise ModelError(f"{key} in {path} holds values that are no numbers: the file is damaged")
    if generator.config.normalised and not (given["scale"] != 0).all():
        raise ModelError(f"scale in {path} holds a zero, by which no input can be divided")
    generator.load_state_dict(given)
    return with_weight_norm(generator.config, loaded) if loaded.keys() != given.keys() else None


def _few(keys: list[str]) -> str:
    return keys[0] if len(keys) == 1 else f"{keys[0]} and {len(keys) - 1} more"


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
