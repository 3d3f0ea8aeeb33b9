"""Bases of image models for tests: configs as their authors publish them, and small ones of the same make."""

from composition.base_models import module_shapes

UNET = {
    "_class_name": "UNet2DConditionModel",
    "attention_head_dim": 8,
    "block_out_channels": [320, 640, 1280, 1280],
    "cross_attention_dim": 768,
    "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"],
    "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3],
    "in_channels": 4,
    "layers_per_block": 2,
}
LINEAR = {**UNET, "attention_head_dim": [5, 10, 20, 20], "cross_attention_dim": 1024, "use_linear_projection": True}
XL = {
    "_class_name": "UNet2DConditionModel",
    "attention_head_dim": [5, 10, 20],
    "block_out_channels": [320, 640, 1280],
    "cross_attention_dim": 2048,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "transformer_layers_per_block": [1, 2, 10],
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
SD3 = {
    "_class_name": "SD3Transformer2DModel",
    "num_layers": 24,
    "num_attention_heads": 24,
    "caption_projection_dim": 1536,
}
CONFIGS = {
    "sd15": UNET,
    "sd21": LINEAR,
    "sdxl": XL,
    "refiner": {
        **XL,
        "attention_head_dim": [6, 12, 24, 24],
        "block_out_channels": [384, 768, 1536, 1536],
        "cross_attention_dim": 1280,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        "transformer_layers_per_block": 4,
        "projection_class_embeddings_input_dim": 2560,
    },
    "kolors": {
        **XL,
        "encoder_hid_dim": 4096,
        "encoder_hid_dim_type": "text_proj",
        "projection_class_embeddings_input_dim": 5632,
    },
    "unclip": {**LINEAR, "class_embed_type": "projection", "projection_class_embeddings_input_dim": 1536},
    "flux-dev": {"_class_name": "FluxTransformer2DModel", "guidance_embeds": True},
    "sd3": SD3,
    "sd3.5-medium": {**SD3, "dual_attention_layers": list(range(13)), "qk_norm": "rms_norm"},
}

SMALL_XL = {
    **XL,
    "attention_head_dim": [2, 4],
    "block_out_channels": [16, 32],
    "cross_attention_dim": 24,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
    "transformer_layers_per_block": [1, 1],
    "projection_class_embeddings_input_dim": 20,
    "norm_num_groups": 8,
}
SMALL_FLUX = {
    "_class_name": "FluxTransformer2DModel",
    "num_layers": 1,
    "num_single_layers": 2,
    "num_attention_heads": 2,
    "attention_head_dim": 8,
    "in_channels": 8,
    "joint_attention_dim": 12,
    "pooled_projection_dim": 10,
}
SMALL_SD3 = {
    "_class_name": "SD3Transformer2DModel",
    "num_layers": 2,
    "num_attention_heads": 2,
    "attention_head_dim": 8,
    "caption_projection_dim": 16,
    "joint_attention_dim": 12,
    "pooled_projection_dim": 10,
    "in_channels": 4,
    "dual_attention_layers": [0],
}
CLIP = {
    "model_type": "clip_text_model",
    "architectures": ["CLIPTextModel"],
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 50,
}
PIPELINE = {
    "_class_name": "StableDiffusionXLPipeline",
    "unet": SMALL_XL,
    "text_encoder": CLIP,
    "text_encoder_2": {**CLIP, "architectures": ["CLIPTextModelWithProjection"], "hidden_size": 24},
}


def shapes(config: dict) -> dict[str, list[int]]:
    """Module → shape."""
    return module_shapes(config)
