"""Inputs of transformers' architectures, from what their ``forward`` names and their configuration says.

Shapes are enough for most inputs, and those are on the meta device. Where a network looks at a value (which tokens stand
for an image, how an image is cut into patches) the input is a real tensor on the CPU.
"""

import inspect
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from lanewise.errors import UserError

SEQUENCE = 128
"""Tokens where the user names no number."""

SECONDS = 10
"""Length of the audio that a network gets, unless its architecture fixes another."""

IMAGE = 224
"""Side of an image where the configuration names none."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """For which network inputs are wanted, and how large."""

    model: str
    """As the user named it."""
    network: Any
    batch: int
    sequence: int | None
    resolution: int | None

    @property
    def config(self) -> Any:
        """The network's whole configuration."""
        return self.network.config

    @property
    def accepted(self) -> Mapping[str, inspect.Parameter]:
        """What ``forward`` takes."""
        return inspect.signature(self.network.forward).parameters

    @property
    def required(self) -> frozenset[str]:
        """What ``forward`` has no default for."""
        kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        return frozenset(
            name
            for name, value in self.accepted.items()
            if value.default is value.empty and value.kind not in kinds
        )

    def part(self, *names: str) -> Any:
        """The first of the configuration's parts that is there; itself if none is."""
        for name in names:
            if (found := getattr(self.config, name, None)) is not None and not isinstance(found, int | str):
                return found
        return self.config

    def named(self, *names: str, default: Any, of: Any = None) -> Any:
        """The first of these keys that the configuration ``of`` has."""
        source = self.config if of is None else of
        for name in names:
            if (found := getattr(source, name, None)) is not None:
                return found
        return default

    # Sizes

    @property
    def positions(self) -> int | None:
        """Positions that the network has for tokens; ``None`` if there is no limit."""
        text = self.config.get_text_config()
        limits = (getattr(text, name, None) for name in ("max_position_embeddings", "context_length"))
        return next((value for value in limits if isinstance(value, int) and value > 0), None)

    @property
    def tokens(self) -> int:
        """Tokens of a sequence.

        Raises:
            UserError: The network has fewer positions than asked for.
        """
        limit = self.positions
        if self.sequence is None:
            return min(SEQUENCE, limit) if limit else SEQUENCE
        if limit and limit < self.sequence:
            raise UserError(f"{self.model}: sequence must be at most {limit}, not {self.sequence}")
        return self.sequence

    @property
    def vision(self) -> Any:
        """The part of the configuration that is about images."""
        part = self.part("vision_config", "vision_tower_config", "image_config", "backbone_config", "encoder")
        return part if part is not None else self.config

    @property
    def side(self) -> tuple[int, int]:
        """Height and width of an image."""
        if self.resolution:
            return self.resolution, self.resolution
        for source in (self.vision, self.config):
            for name in ("image_size", "img_size", "input_size", "crop_size"):
                size = getattr(source, name, None)
                if isinstance(size, Mapping):
                    return int(size["height"]), int(size["width"])
                if isinstance(size, list | tuple):
                    return int(size[0]), int(size[-1])
                if isinstance(size, int):
                    return size, size
        return IMAGE, IMAGE

    @property
    def channels(self) -> int:
        """Channels of an image."""
        for source in (self.vision, self.config):
            for name in ("num_channels", "in_channels", "in_chans", "embed_in_channels"):
                if isinstance(value := getattr(source, name, None), int):
                    return value
        return 3


def empty(*shape: int) -> Tensor:
    """Real numbers of which only the shape is known."""
    return torch.empty(*shape, device="meta")


def numbers(*shape: int) -> Tensor:
    """Integers of which only the shape is known."""
    return torch.empty(*shape, dtype=torch.int64, device="meta")


def ones(*shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
    """A mask that leaves nothing out; its values are known."""
    return torch.ones(*shape, dtype=dtype, device="cpu")


def image(request: Request, *more: int) -> Tensor:
    """Pixels, shape ``(batch, *more, channels, height, width)``."""
    return empty(request.batch, *more, request.channels, *request.side)


def standard_inputs(request: Request, *, given: Container[str] = ()) -> dict[str, Tensor]:
    """The inputs of an architecture, but for those that are ``given``.

    Raises:
        UserError: It takes an input that is not known here, or fewer tokens than asked for.
    """
    accepted, required = request.accepted, request.required
    inputs: dict[str, Tensor] = {}
    makers: dict[str, Callable[[Request], Tensor]] = MAKERS
    main = getattr(request.network, "main_input_name", None)
    wanted = set(required)
    wanted |= {main} if isinstance(main, str) and main in accepted else set()
    if "input_ids" in accepted and not {"inputs_embeds"} <= required:
        wanted.add("input_ids")
        if getattr(request.config, "is_encoder_decoder", False) and "decoder_input_ids" in accepted:
            wanted.add("decoder_input_ids")
    for other in ("pixel_values",):
        if other in accepted and _sees(request):
            wanted.add(other)
    if "pixel_values" in wanted and "input_ids" in wanted and "pixel_values_videos" in wanted - required:
        wanted.discard("pixel_values_videos")
    if "input_ids" not in accepted and "decoder_input_ids" in accepted:
        wanted.add("decoder_input_ids")
    if wanted >= {"input_ids"} and main != "input_ids" and not _speaks(request):
        wanted.discard("input_ids")
    for name in accepted:
        if name in wanted and name not in given:
            if name not in makers:
                raise UserError(f"{request.model}: takes {name}; expected tokens, images, audio or series")
            inputs[name] = makers[name](request)
    if not wanted:
        raise UserError(f"{request.model}: takes {main}; expected tokens, images, audio or series")
    return inputs


def _sees(request: Request) -> bool:
    return any(
        hasattr(request.vision, name)
        for name in ("image_size", "img_size", "num_channels", "in_channels", "in_chans", "patch_size")
    )


def _speaks(request: Request) -> bool:
    return hasattr(request.config.get_text_config(), "vocab_size")


def _tokens(request: Request) -> Tensor:
    return numbers(request.batch, request.tokens)


def _decoder_tokens(request: Request) -> Tensor:
    config = request.config
    limit = request.named(
        "max_target_positions", of=getattr(config, "decoder", None) or config, default=1 << 30
    )
    return numbers(request.batch, min(request.tokens, int(limit)))


def waveform(request: Request) -> Tensor:
    """Sound pressure, shape ``(batch, samples)`` or with a channel between where the network wants that."""
    rate = int(request.named("sampling_rate", "sample_rate", default=16000))
    return empty(request.batch, SECONDS * rate)


def spectrogram(request: Request) -> Tensor:
    """Features of frames in time: ``(batch, bands, frames)`` for networks of Whisper's kind, else ``(batch, frames, bands)``."""
    config = request.part("audio_config", "encoder_config")
    bands = int(
        request.named(
            "num_mel_bins", "feature_projection_input_dim", "input_feat_per_channel", "num_mel_filters",
            "input_dim", "feature_size", "input_feat_size", "mel_bins", of=config, default=80,
        )
    )  # fmt: skip
    positions = getattr(config, "max_source_positions", None)
    if positions and hasattr(config, "num_mel_bins"):
        return empty(request.batch, bands, 2 * int(positions))
    return empty(request.batch, 100 * SECONDS, bands)


def _video(request: Request) -> Tensor:
    frames = int(
        request.named("num_frames", "frames_per_clip", "tubelet_frames", of=request.vision, default=16)
    )
    return image(request, frames)


def _series(request: Request) -> Tensor:
    config = request.config
    length = int(request.named("context_length", "seq_length", default=512))
    channels = request.named("num_input_channels", default=None)
    lags = getattr(config, "lags_sequence", None)
    if lags:
        return empty(request.batch, length + max(lags))
    return empty(request.batch, length, channels) if channels else empty(request.batch, length)


def _hidden(request: Request) -> Tensor:
    width = int(request.named("hidden_size", "d_model", "embed_dim", "width", default=768))
    return empty(request.batch, request.tokens, width)


MAKERS: dict[str, Callable[[Request], Tensor]] = {
    "input_ids": _tokens,
    "decoder_input_ids": _decoder_tokens,
    "pixel_values": image,
    "image": image,
    "pixel_values_videos": _video,
    "input_values": waveform,
    "input_features": spectrogram,
    "past_values": _series,
    "hidden_states": _hidden,
    "inputs_embeds": _hidden,
}
"""By the name that ``forward`` gives them."""


def patches(request: Request, config: Any) -> tuple[Tensor, Tensor]:
    """Flattened patches of an image, ``(batch x patches, values)``, and how many there are in time, height and width, by image.

    The image's side is the resolution asked for, or 16 x 16 merged patches.
    """
    side = int(request.named("patch_size", of=config, default=14))
    merge = request.named("spatial_merge_size", "merge_kernel_size", of=config, default=2) or 1
    merge = int(merge[0] if isinstance(merge, list | tuple) else merge)
    time = int(request.named("temporal_patch_size", of=config, default=1))
    block = side * merge
    pixels = request.resolution or 16 * block
    if pixels % block:
        raise UserError(f"{request.model}: resolution must be a multiple of {block}, not {pixels}")
    across = pixels // side
    values = (
        int(request.named("in_channels", "in_chans", "num_channels", of=config, default=3)) * time * side**2
    )
    grid = torch.tensor([[1, across, across]] * request.batch, device="cpu")
    return empty(request.batch * prod((across, across)), values), grid
