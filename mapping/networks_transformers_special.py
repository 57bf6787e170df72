"""Which architectures get which inputs beside the standard ones, by their type."""

from typing import Any

import torch

from lanewise.mapping.networks_transformers_inputs import (
    SECONDS,
    Request,
    empty,
    image,
    numbers,
    ones,
    standard_inputs,
)
from lanewise.mapping.networks_transformers_makers import (
    Maker,
    audio_masks,
    bands_first,
    blip,
    boxes,
    bros,
    clip,
    codebooks,
    decision,
    detector_of_phrases,
    dia,
    flattened,
    frames,
    fused_clap,
    grids,
    lagged,
    latents,
    lxmert,
    mllama,
    mono,
    openvocabulary,
    padded_patches,
    pair,
    perceiver,
    pictures,
    seggpt,
    sized,
    square,
    tiles,
    timesfm,
    two_codecs,
    unfolded,
    univnet,
)
from lanewise.mapping.networks_transformers_placeholders import with_placeholders

KNOWN_TOKENS = frozenset((
    "dpr", "xlm", "flaubert", "fsmt", "t5gemma", "vilt", "canary", "canary_decoder", "kosmos-2", "tvp",
    "higgs_audio_v2",
))  # fmt: skip
"""Networks that look at the tokens: which are padding, where a sequence ends."""


def inputs_of(request: Request) -> dict[str, Any]:
    """The network's inputs by name.

    Raises:
        UserError: It takes an input that is not known here, or fewer tokens than asked for.
    """
    kind = request.config.model_type
    extra = SPECIAL[kind](request) if kind in SPECIAL else {}
    extra = {name: value for name, value in extra.items() if name in request.accepted}
    inputs = {**standard_inputs(request, given=extra), **extra}
    if kind in KNOWN_TOKENS:
        for name, tensor in inputs.items():
            if tensor.dtype == torch.int64 and tensor.is_meta:
                inputs[name] = torch.full(tensor.shape, 7, device="cpu")
    return with_placeholders(request, inputs) if "input_ids" in inputs else inputs


SPECIAL: dict[str, Maker] = {
    **dict.fromkeys(
        (
            "cohere_compass_vision", "cosmos3_edge", "cosmos3_edge_vision", "dots3_note", "dots3_note_vision_encoder",
            "ernie4_5_vl_moe", "ernie4_5_vl_moe_vision", "exaone4_5", "exaone4_5_vision", "glm46v", "glm4v", "glm4v_moe", "glm4v_moe_vision",
            "glm4v_vision", "glm5_next", "glm5_next_vision", "glm_image", "glm_image_vision", "glm_ocr", "glm_ocr_vision", "glmga",
            "hunyuan_vl", "hunyuan_vl_vision", "inkling2", "inkling2_vision", "lfm3_vl", "lfm3_vl_vision",
            "minimax_m3_vl", "minimax_m3_vl_vision", "muse_spark", "muse_spark_vision",
            "qwen2_5_omni_thinker", "qwen2_5_omni_vision_encoder",
            "qwen2_5_vl", "qwen2_5_vl_vision", "qwen2_vl", "qwen2_vl_vision", "qwen3_5", "qwen3_5_vision", "qwen3_5_moe", "qwen3_5_moe_vision",
            "qwen3_omni_moe_thinker", "qwen3_omni_moe_vision_encoder", "qwen3_vl", "qwen3_vl_vision", "qwen3_vl_moe", "qwen3_vl_moe_vision",
            "muse_glimmer_vision", "muse_glimmer", "qwen4_exp", "qwen4_exp_vision", "video_llama_3", "video_llama_3_vision",
            "nemotron_h_omni", "cohere_compass",
        ),
        grids,
    ),
    **dict.fromkeys(
        ("siglip2", "siglip2_vision_model", "lfm2_vl", "minicpm_ocr_vision", "minicpmv4_6_vision", "minicpmv4_7_vision", "gemma4_vision"),
        padded_patches,
    ),
    **dict.fromkeys(("idefics", "idefics2", "idefics3", "smolvlm", "modernvbert", "granite_docling", "ultravbert"), pictures),
    **dict.fromkeys(("llava_next", "llava_next_video", "llava_onevision", "granite4_vision"), tiles),
    **dict.fromkeys(("mistral3", "mistral_large4", "lighton_ocr", "pixtral"), sized),
    **dict.fromkeys(("timesformer", "videomae", "vivit", "xclip"), clip),
    **dict.fromkeys(("superglue", "lightglue", "efficientloftr"), pair),
    **dict.fromkeys(
        (
            "dac", "encodec", "mimi", "mimi_encoder", "xcodec", "pe_audio", "pe_audio_encoder", "pe_audio_video_encoder",
            "pocket_tts_audio_tokenizer", "pocket_tts_audio_tokenizer_encoder", "vibevoice_acoustic_tokenizer",
        ),
        mono,
    ),
    "vibevoice_acoustic_tokenizer_encoder": lambda r: {"hidden_states": mono(r)["input_values"]},
    "vibevoice_acoustic_tokenizer_decoder": lambda r: {"hidden_states": empty(r.batch, int(r.config.hidden_size), 75)},
    **dict.fromkeys(("mimi_decoder", "pocket_tts_audio_tokenizer_decoder"), latents),
    **dict.fromkeys(("neucodec", "xcodec2"), two_codecs),
    **dict.fromkeys(("autoformer", "informer", "time_series_transformer"), lagged),
    "timesfm": timesfm,
    **dict.fromkeys(("audioflamingo3_encoder", "qwen2_5_omni_audio_encoder", "glmasr_encoder", "voxtral_realtime_encoder"), bands_first),
    **dict.fromkeys(("fun_asr_nano_encoder", "qwen3_asr_encoder"), audio_masks),
    **dict.fromkeys(("granite_speech5_encoder", "granite_speech5_ctc"), lambda r: frames(r, 320, masks=False)),
    **dict.fromkeys(
        ("granite_speech_encoder", "granite_speech_plus_encoder"),
        lambda r: {"hidden_states": empty(r.batch, 50 * SECONDS, int(r.config.input_dim))},
    ),
    **dict.fromkeys(("nemotron3_5_transcribe_audio", "gemma4_audio"), lambda r: frames(r, 128)),
    "audio-spectrogram-transformer": lambda r: {"input_values": empty(r.batch, int(r.config.max_length), int(r.config.num_mel_bins))},
    **dict.fromkeys(("edgetam", "edgetam_vision_model", "sam2", "sam2_vision_model"), lambda r: {"pixel_values": square(r, 1024)}),
    **dict.fromkeys(("rf_detr",), lambda r: {"pixel_values": square(r, 560)}),
    **dict.fromkeys(("lw_detr",), lambda r: {"pixel_values": square(r, 640)}),
    "depth_pro": lambda r: {"pixel_values": square(r, 1536)},
    **dict.fromkeys(("paddleocr_vl", "paddleocr_vl_vision"), lambda r: unfolded(r, 1)),
    **dict.fromkeys(("kimi_k25", "kimi_k25_vision"), lambda r: unfolded(r)),
    "univnet": univnet,
    **dict.fromkeys(("fastspeech2_conformer_hifigan", "speecht5_hifigan"), lambda r: {"spectrogram": empty(r.batch, 860, int(r.config.model_in_dim))}),
    **dict.fromkeys(("clap", "clap_audio_model"), fused_clap),
    **dict.fromkeys(("musicgen_decoder", "musicgen_melody_decoder"), codebooks),
    "dia_decoder": lambda r: codebooks(r, last=True),
    "dia": dia,
    "csm": lambda r: {"input_ids": numbers(r.batch, r.tokens)},
    "kyutai_speech_to_text": lambda r: {"input_ids": numbers(r.batch, r.tokens, int(r.config.num_codebooks) + 1)},
    "speecht5": lambda r: {
        "input_values": empty(r.batch, 50 * SECONDS, int(r.config.hidden_size)),
        "decoder_input_values": empty(r.batch, r.tokens, int(r.config.hidden_size)),
    },
    "lxmert": lxmert,
    "bros": bros,
    **dict.fromkeys(("udop", "layoutlmv2", "layoutlmv3"), boxes),
    **dict.fromkeys(("instructblip", "blip-2"), blip),
    "blip_2_qformer": lambda r: {
        "query_embeds": empty(r.batch, 32, int(r.config.hidden_size)),
        "encoder_hidden_states": empty(r.batch, 257, int(r.config.encoder_hidden_size)),
    },
    "instructblipvideo": lambda r: {"qformer_input_ids": numbers(r.batch, 32), "pixel_values": image(r, 4)},
    "decision_transformer": decision,
    **dict.fromkeys(("pix2struct", "pix2struct_vision_model"), flattened),
    **dict.fromkeys(("mllama", "mllama_vision_model"), mllama),
    **dict.fromkeys(("grounding-dino", "mm-grounding-dino"), detector_of_phrases),
    "perceiver": perceiver,
    "seggpt": seggpt,
    "omdet-turbo": openvocabulary,
    "oneformer": lambda r: {"task_inputs": numbers(r.batch, 77)},
    "mgp-str": lambda r: {"pixel_values": empty(r.batch, 3, *map(int, r.config.image_size))},
    "idefics2_perceiver": lambda r: {"context": empty(r.batch, 4900, int(r.config.hidden_size)), "attention_mask": ones(r.batch, 4900)},
    "clvp": lambda r: {"input_ids": numbers(r.batch, r.tokens), "input_features": empty(r.batch, 80, 500)},
    "gemma3n_audio": lambda r: {
        "audio_mel": empty(r.batch, 100 * SECONDS, int(r.config.input_feat_size)),
        "audio_mel_mask": torch.zeros(r.batch, 100 * SECONDS, dtype=torch.bool, device="cpu"),
    },
    "phi4_multimodal_audio": lambda r: {
        "hidden_states": empty(r.batch, 100 * SECONDS, int(r.config.input_size)),
        "mask": ones(r.batch, 100 * SECONDS, dtype=torch.bool),
    },
    "slanext": lambda r: {"hidden_states": image(r)},
    "florence_vision": lambda r: {"hidden_states": empty(r.batch, 3, 768, 768)},
    "molmo2_vision": lambda r: {"pixel_values": empty(r.batch, 729, 588)},
    "muse_spark_audio": lambda r: {"input_values": empty(r.batch, 1920 * 80)},
    "fuyu": lambda r: {"input_ids": numbers(r.batch, r.tokens)},
    "tvp": lambda r: {"pixel_values": empty(r.batch, 1, 3, 448, 448)},
    "pe_video": lambda r: {"pixel_values_videos": empty(r.batch, 16, 3, 336, 336)},
    "pe_video_encoder": lambda r: {"pixel_values_videos": empty(r.batch, 16, 3, 336, 336)},
}  # fmt: skip
"""What each gets beside the standard inputs, or in their place; what its ``forward`` does not take is left out."""
