"""How the inputs of peculiar architectures are made, beside tokens, an image or a sound."""

from collections.abc import Callable

import torch
from torch import Tensor

from lanewise.mapping.networks_transformers_inputs import (
    SECONDS,
    Request,
    empty,
    image,
    numbers,
    ones,
    patches,
    standard_inputs,
    waveform,
)

Maker = Callable[[Request], dict[str, Tensor]]


def grids(request: Request) -> dict[str, Tensor]:
    """Images cut into patches by the processor, as Qwen2-VL and those after it take them."""
    config = request.part("vision_config")
    pixels, grid = patches(request, config)
    merge = torch.tensor([getattr(config, "spatial_merge_size", 1)] * request.batch, device="cpu")
    return {
        "pixel_values": pixels, "hidden_states": pixels, "grid_thw": grid, "image_grid_thw": grid, "grid_hw": grid[:, 1:],
        "image_grid_hw": grid[:, 1:], "merge_sizes": merge, "image_merge_sizes": merge, "grid_hws": grid[:, 1:],
    }  # fmt: skip


def unfolded(request: Request, *more: int) -> dict[str, Tensor]:
    """Patches that keep their rows and columns, shape ``(*more, patches, channels, side, side)``."""
    inputs = grids(request)
    side = int(request.part("vision_config").patch_size)
    pixels = empty(*more, inputs["pixel_values"].shape[0], 3, side, side)
    return inputs | {"pixel_values": pixels}


def padded_patches(request: Request) -> dict[str, Tensor]:
    """Patches of an image in a row of their own, shape ``(batch, patches, values)``, as SigLIP 2 takes them."""
    config = request.part("vision_config")
    side = int(request.named("patch_size", of=config, default=16))
    across = (request.resolution or 16 * side) // side
    shapes = torch.tensor([[across, across]] * request.batch, device="cpu")
    pixels = empty(request.batch, across * across, request.channels * side * side)
    mask = ones(request.batch, across * across)
    return {
        "pixel_values": pixels, "pixel_attention_mask": mask, "spatial_shapes": shapes, "target_sizes": shapes,
        "image_position_ids": mask, "pixel_position_ids": places(request.batch, across),
    }  # fmt: skip


def places(batch: int, across: int) -> Tensor:
    """Column and row of every patch, shape ``(batch, patches, 2)``."""
    side = torch.arange(across, device="cpu")
    return torch.stack(torch.meshgrid(side, side, indexing="xy"), -1).reshape(1, -1, 2).repeat(batch, 1, 1)


def pictures(request: Request) -> dict[str, Tensor]:
    """One picture in a row of pictures."""
    return {
        "pixel_values": image(request, 1),
        "pixel_attention_mask": ones(request.batch, 1, *request.side, dtype=torch.bool),
    }


def tiles(request: Request) -> dict[str, Tensor]:
    """A picture as a whole and in 2 x 2 tiles."""
    height, width = request.side
    sizes = torch.tensor([[2 * height, 2 * width]] * request.batch, device="cpu")
    return {"pixel_values": image(request, 5), "image_sizes": sizes}


def sized(request: Request) -> dict[str, Tensor]:
    return {
        "pixel_values": image(request),
        "image_sizes": torch.tensor([request.side] * request.batch, device="cpu"),
    }


def clip(request: Request) -> dict[str, Tensor]:
    """Frames of a video in the place of an image."""
    config = request.vision if hasattr(request.vision, "num_frames") else request.config
    return {"pixel_values": image(request, int(config.num_frames))}


def pair(request: Request) -> dict[str, Tensor]:
    """Two images to be matched; 480 x 640 unless a resolution is asked for."""
    size = (request.resolution,) * 2 if request.resolution else (480, 640)
    return {"pixel_values": empty(request.batch, 2, 3, *size)}


def mono(request: Request) -> dict[str, Tensor]:
    """Sound with its one channel as a dimension, shape ``(batch, channels, samples)``."""
    wave = waveform(request)
    hop = 1920 * 8  # a multiple of every codec's stride
    samples = wave.shape[1] // hop * hop
    return {"input_values": empty(wave.shape[0], int(request.named("audio_channels", default=1)), samples)}


def frames(request: Request, bands: int, *, masks: bool = True) -> dict[str, Tensor]:
    length = 100 * SECONDS
    mask = ones(request.batch, length)
    inputs = {"input_features": empty(request.batch, length, bands)}
    return inputs | ({"input_features_mask": mask, "attention_mask": mask} if masks else {})


def bands_first(request: Request) -> dict[str, Tensor]:
    """A spectrogram of 30 s in Whisper's shape, and which of its frames are real."""
    config = request.part("audio_config", "encoder_config")
    bands = int(getattr(config, "num_mel_bins", 128))
    frames = 2 * int(getattr(config, "max_source_positions", 1500))
    mask = ones(request.batch, frames)
    return {"input_features": empty(request.batch, bands, frames), "input_features_mask": mask}


def boxes(request: Request) -> dict[str, Tensor]:
    """A box on the page for every token."""
    return {"bbox": torch.zeros(request.batch, request.tokens, 4, dtype=torch.int64, device="cpu")}


def bros(request: Request) -> dict[str, Tensor]:
    return {"bbox": empty(request.batch, request.tokens, 8)}


def codebooks(request: Request, *, last: bool = False) -> dict[str, Tensor]:
    """Codes of sound, a row of tokens for each codebook."""
    config = request.part("decoder", "decoder_config")
    books = int(request.named("num_codebooks", "num_channels", of=config, default=4))
    shape = (request.batch, request.tokens, books) if last else (request.batch * books, request.tokens)
    return {"input_ids": numbers(*shape), "decoder_input_ids": numbers(*shape)}


def dia(request: Request) -> dict[str, Tensor]:
    books = int(request.config.decoder_config.num_channels)
    return {"decoder_input_ids": numbers(request.batch, request.tokens, books)}


def lagged(request: Request) -> dict[str, Tensor]:
    """A series with its own past, and what is known of the time to come."""
    config = request.config
    length, ahead = int(config.context_length) + max(config.lags_sequence), int(config.prediction_length)
    features = int(config.num_time_features)
    return {
        "past_values": empty(request.batch, length),
        "past_time_features": empty(request.batch, length, features),
        "past_observed_mask": empty(request.batch, length),
        "future_values": empty(request.batch, ahead),
        "future_time_features": empty(request.batch, ahead, features),
    }  # fmt: skip


def timesfm(request: Request) -> dict[str, Tensor]:
    length = int(request.config.context_length)
    return {
        "past_values": empty(request.batch, length),
        "past_values_padding": torch.zeros(request.batch, length, device="cpu"),
        "freq": numbers(request.batch, 1),
    }


def lxmert(request: Request) -> dict[str, Tensor]:
    boxes = 36
    return {
        "visual_feats": empty(request.batch, boxes, int(request.config.visual_feat_dim)),
        "visual_pos": empty(request.batch, boxes, int(request.config.visual_pos_dim)),
    }


def blip(request: Request) -> dict[str, Tensor]:
    """An image and the question about it, once more for the querying transformer."""
    return {"qformer_input_ids": numbers(request.batch, 32), "pixel_values": image(request)}


def decision(request: Request) -> dict[str, Tensor]:
    steps, config = 20, request.config
    return {
        "states": empty(request.batch, steps, config.state_dim),
        "actions": empty(request.batch, steps, config.act_dim),
        "rewards": empty(request.batch, steps, 1),
        "returns_to_go": empty(request.batch, steps, 1),
        "timesteps": numbers(request.batch, steps),
        "attention_mask": ones(request.batch, steps),
    }


def flattened(request: Request) -> dict[str, Tensor]:
    """Patches with their row and column in front, as Pix2Struct takes them."""
    config = request.part("vision_config")
    return {
        "flattened_patches": empty(request.batch, 2048, 2 + int(config.patch_embed_hidden_size)),
        "attention_mask": ones(request.batch, 2048),
        "decoder_input_ids": numbers(request.batch, request.tokens),
    }


def mllama(request: Request) -> dict[str, Tensor]:
    tiles = int(request.part("vision_config").max_num_tiles)
    return {
        "pixel_values": image(request, 1, tiles),
        "aspect_ratio_ids": torch.ones(request.batch, 1, dtype=torch.int64, device="cpu"),
        "aspect_ratio_mask": ones(request.batch, 1, tiles),
        "cross_attention_mask": ones(request.batch, request.tokens, 1, tiles),
    }


def fused_clap(request: Request) -> dict[str, Tensor]:
    config = request.part("audio_config")
    frames = int(config.spec_size) * int(config.spec_size) // int(config.num_mel_bins)
    return {
        "input_features": empty(request.batch, 1, frames, int(config.num_mel_bins)),
        "is_longer": torch.zeros(request.batch, 1, dtype=torch.bool, device="cpu"),
    }


def detector_of_phrases(request: Request) -> dict[str, Tensor]:
    return {"input_ids": torch.full((request.batch, min(request.tokens, 128)), 7, device="cpu")}


def perceiver(request: Request) -> dict[str, Tensor]:
    return {"inputs": empty(request.batch, 2048, int(request.config.d_model))}


def fixed(name: str, *shape: int) -> Maker:
    return lambda request: {name: empty(request.batch, *shape)}


def square(request: Request, side: int) -> Tensor:
    """An image of that side, or of the resolution asked for."""
    return empty(request.batch, 3, *((request.resolution or side,) * 2))


def univnet(request: Request) -> dict[str, Tensor]:
    return {"input_features": empty(request.batch, 100 * SECONDS, int(request.config.num_mel_bins))}


def two_codecs(request: Request) -> dict[str, Tensor]:
    """Sound as it is and as features of a semantic encoder."""
    return mono(request) | {"input_features": empty(request.batch, 48 * SECONDS, 160)}


def seggpt(request: Request) -> dict[str, Tensor]:
    height, width = request.side
    whole = empty(request.batch, 3, height // 2 if height != width else height, width)
    return {"pixel_values": whole, "prompt_pixel_values": whole, "prompt_masks": whole}


def openvocabulary(request: Request) -> dict[str, Tensor]:
    classes = 4
    return {
        "classes_input_ids": torch.full((classes * request.batch, 16), 7, device="cpu"),
        "classes_attention_mask": ones(classes * request.batch, 16),
        "tasks_input_ids": torch.full((request.batch, 16), 7, device="cpu"),
        "tasks_attention_mask": ones(request.batch, 16),
        "classes_structure": torch.tensor([classes] * request.batch, device="cpu"),
        "pixel_values": image(request),
    }


def latents(request: Request) -> dict[str, Tensor]:
    """Codec latents of 10 s at 12.5 a second."""
    return {"latents": empty(request.batch, int(request.config.hidden_size), 125)}


def audio_masks(request: Request) -> dict[str, Tensor]:
    """Which frames are sound; here all."""
    inputs = standard_inputs(request, given=("input_features_mask", "mask"))
    frames = max(inputs["input_features"].shape[1:])
    mask = ones(request.batch, frames)
    return {"input_features_mask": mask, "attention_mask": mask, "mask": mask}
