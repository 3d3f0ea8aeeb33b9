"""Folders as people really have them, and what the door says of each: one row a case, `CASES.md` says after whom.

A row is (case, base, verdict, code, what). `verdict` is "accepted" or "refused"; `code` is the refusal's code, or for
an accepted case the reason code that keeps it from being merged ("" where it merges); every text of `what` stands in
the message, or in one of the warnings. Rows may repeat a case on another base.
"""

import pytest

from composition.errors import CompositionError
from composition.formats.validate import local_files, validate_adapter
from tests.field.pico_bases import HERE, kept_shapes, shapes

NAMES = [
    ("b12_3d_expert_factors", "qwen3moe", "refused", "adapter.module_unknown", ("a parameter that holds all experts",)),
    ("c01_torch_compile_prefix", "llama", "refused", "adapter.names", ("_orig_mod.", "torch.compile", "--rename")),
    ("c02_ddp_module_prefix", "llama", "refused", "adapter.names", ("module.", "DistributedDataParallel", "--rename")),
    ("c03_adapter_name_in_middle", "llama", "refused", "adapter.names", ("adapter's name sft", "--rename")),
    ("c03b_default", "llama", "accepted", "", ()),
    ("c05_auto_model_no_model_prefix", "llama-encoder", "accepted", "", ()),
    ("c05_auto_model_no_model_prefix", "llama", "accepted", "", ("Load the base with AutoModel",)),
    ("c06_gemma3_transformers450", "gemma3", "accepted", "", ()),
    ("c06b_gemma3_transformers452", "gemma3", "accepted", "", ()),
    ("c06c_gemma3_text_only", "gemma3", "refused", "adapter.names", ("of the text model alone", "--rename")),
    ("c06d_qwen2vl_transformers4", "qwen2vl", "refused", "adapter.names", ("of the text model alone", "--rename")),
    ("c07_unsloth_vision_regex", "gemma3", "accepted", "", ()),
    ("c07b_unsloth_regex_2026", "gemma3", "accepted", "", ()),
    ("c07c_swift_lookahead", "gemma3", "accepted", "", ()),
    ("c07e_llamafactory_negative", "gemma3", "accepted", "", ()),
    ("c07f_swift_rank_pattern", "gemma3", "accepted", "", ()),
    ("c08_targets_of_other_architectures", "llama", "accepted", "", ("c_attn, dense, query_key_value", "passes over")),
    ("c09_mixtral_v4_experts", "mixtral", "accepted", "target_parameters", ()),
    ("c09c_vllm_moe_per_expert_attn_only", "mixtral", "accepted", "", ()),
    ("c10_target_parameters", "mixtral", "accepted", "target_parameters", ()),
    ("c10c_target_parameters_base_without_it", "llama", "refused", "adapter.module_unknown", ("mlp.experts",)),
    ("c11_resized_vocab_whole_embeddings", "llama", "accepted", "full_weights", ("131 rows", "the base's 128")),
    ("c11b_save_embedding_auto_same_size", "llama", "accepted", "full_weights", ()),
    ("c11c_modules_to_save_wrong_size", "llama", "refused", "adapter.shape", ("[7, 5], expected [128, 32]",)),
    ("c12_mergekit_extract_norms", "llama", "accepted", "full_weights", ()),
    ("c13_zero3_empty", "llama", "refused", "adapter.empty_tensor", ()),
    ("c13b_zero3_no_tensor", "llama", "refused", "adapter.no_factors", ()),
    ("c15_null_targets", "llama", "refused", "config.field", ()),
    ("c16_fp8", "llama", "refused", "adapter.dtype", ()),
    ("c17_seq_cls_score", "llama", "accepted", "modules_to_save", ()),
    ("c18_bert_feature_extraction", "bert", "accepted", "", ("Load the base with AutoModel",)),
    ("c20_remote_code_auto_mapping", "llama", "refused", "config.code", ()),
    ("c21_mixed_dtype", "llama", "accepted", "", ("mix dtypes",)),
    ("c22_dora_no_weight_suffix", "llama", "accepted", "dora", ()),
    ("c23_lora_name_prefix_missing", "llama", "refused", "adapter.names", ("lack the prefix", "--rename")),
    ("c24_all_linear_kept", "llama", "accepted", "", ()),
    ("c25_layers_to_transform", "llama", "accepted", "", ()),
    ("c25b_exclude", "llama", "accepted", "", ()),
    ("c26_trainable_tokens", "llama", "accepted", "trainable_tokens", ()),
    ("c27_bias_lora_only", "qwen2-tied", "accepted", "bias", ()),
    ("n01_whisper", "whisper", "accepted", "", ("8 modules that target_modules picks have no factors",)),
    ("n02_t5", "t5", "refused", "adapter.target_missing", ("names v",)),
    ("n02b_t5", "t5", "accepted", "", ("2 modules that target_modules picks have no factors",)),
    ("n03_bert_cls", "bert", "accepted", "modules_to_save", ()),
    ("v_gemma3_new", "gemma3", "accepted", "", ()),
    ("v_gemma3_old", "gemma3", "accepted", "", ()),
    ("v_gemma3_plain", "gemma3", "refused", "adapter.names", ("of the text model alone",)),
    ("v_llava_new", "llava", "accepted", "", ()),
    ("v_llava_old", "llava", "accepted", "", ()),
    ("v_llava_plain", "llava", "refused", "adapter.names", ("of the text model alone",)),
    ("v_qwen25vl_new", "qwen25vl", "accepted", "", ()),
    ("v_qwen25vl_old", "qwen25vl", "refused", "adapter.names", ("--rename",)),
    ("v_qwen25vl_plain", "qwen25vl", "refused", "adapter.names", ("of the text model alone",)),
    ("v_qwen2vl_new", "qwen2vl", "accepted", "", ()),
    ("v_qwen2vl_old", "qwen2vl", "refused", "adapter.names", ("--rename",)),
    ("v_qwen2vl_plain", "qwen2vl", "refused", "adapter.names", ("of the text model alone",)),
    ("v_qwen3vl_new", "qwen3vl", "accepted", "", ()),
    ("v_qwen3vl_old", "qwen3vl", "refused", "adapter.names", ("--rename",)),
    ("v_qwen3vl_plain", "qwen3vl", "refused", "adapter.names", ("of the text model alone",)),
]
"""Names, shapes and matching."""

FILES = [
    ("b01_lfs_pointer", "llama", "refused", "content.lfs_pointer", ("Git LFS pointer", "git lfs pull", "435,852,734")),
    ("b02_empty_file", "llama", "refused", "content.empty", ("0 bytes",)),
    ("b03_truncated", "llama", "refused", "safetensors.truncated", ("3,484 of 3,584 bytes",)),
    ("b04_html_page", "llama", "refused", "content.web_page", ("web page", "'Sign in'")),
    ("b05_json_error", "llama", "refused", "content.answer", ("server's answer", "'Repository not found'")),
    ("b06_zip", "llama", "refused", "content.zip", ("ZIP archive",)),
    ("b07_torch_zip_renamed", "llama", "refused", "content.zip", ("adapter_model.bin",)),
    ("b11_nemo_grouped_experts", "mixtral", "refused", "adapter.module_unknown", ("experts.0.down_proj",)),
    ("b12_3d_expert_factors", "mixtral", "refused", "adapter.module_unknown", ("holds all experts",)),
    ("b16_uppercase_layers", "llama", "refused", "adapter.tensor_unknown", ("capital letters",)),
    ("b15_loha_peft", "llama", "accepted", "not_lora", ()),
    ("b17_future_fields", "llama", "accepted", "unknown_fields", ("use_brand_new_variant", "0.22.0", "not merged")),
    ("b18_eva_init", "llama", "accepted", "", ()),
    ("b19_loftq_empty", "llama", "accepted", "loftq", ()),
    ("b19b_loftq_config", "llama", "accepted", "", ()),
    ("b20_alpha_zero_or_negative", "llama", "refused", "config.field", ("lora_alpha is 0",)),
    ("b20b_alpha_negative", "llama", "refused", "config.field", ("lora_alpha is -8",)),
    ("b21_megatron_config", "llama", "accepted", "", ()),
    ("b22_unsloth_auto_mapping", "llama", "accepted", "", ()),
    ("b23_rank_pattern_of_frozen", "llama", "accepted", "", ("rank_pattern has keys",)),
    ("b26_trailing_comma", "llama", "refused", "config.json", ()),
    ("c12_mergekit_extract_norms", "llama", "accepted", "full_weights", ()),
    ("f02_deepspeed_checkpoint", "llama", "refused", "content.pickle", ("Leave it out",)),
    ("f04_multi_adapter", "llama", "refused", "adapter.extra_weights", ("hubctl push FOLDER/reference NAME",)),
    ("f04b_only_subfolder", "llama", "refused", "adapter.file_missing", ("hubctl push FOLDER/default NAME",)),
    ("f07_bin_only", "llama", "refused", "content.pickle", ("as_safetensors", "python -c")),
    ("f07b_bin_beside", "llama", "refused", "content.pickle", ("Leave it out", "--exclude adapter_model.bin")),
    ("f11_tokenizer_files", "llama", "accepted", "", ()),
    ("f11b_spm", "llama", "accepted", "", ()),
    ("f17_lfs_tokenizer", "llama", "refused", "content.lfs_pointer", ("tokenizer.json", "git lfs pull")),
    ("f19_value_head", "llama", "accepted", "", ("value_head.safetensors", "stored beside")),
    ("f20_llava", "llama", "refused", "content.pickle", ("non_lora_trainables.bin", "python -c")),
]
"""Files that are broken, not what their names say, or too many."""


IMPORTED = [
    ("b09_sharded_index", "llama", "accepted", "", ()),
    ("b10_sharded", "llama", "refused", "import.tensor_twice", ("PEFT in several files",)),
    ("b11_nemo_grouped_experts", "qwen3moe", "accepted", "target_parameters", ("Imported from NeMo AutoModel",)),
    ("b14_gguf_lora", "llama", "accepted", "", ("Imported from llama.cpp",)),
    ("b14_gguf_lora", "qwen2-tied", "refused", "import.base", ("llama.cpp", "'llama'")),
    ("f05_mlx_lm", "llama", "accepted", "", ("Imported from mlx-lm",)),
    ("f06_kohya", "clip", "accepted", "", ("Imported from kohya",)),
    ("f06_kohya", "llama", "refused", "import.module_unknown", ("kohya", "--base")),
    ("f06b_diffusers", "llama", "refused", "import.module_unknown", ("diffusers", "--base")),
]
"""Formats of other tools: what is made of them is judged."""


ROWS = [*NAMES, *FILES, *IMPORTED]


@pytest.mark.parametrize(("case", "base", "verdict", "code", "what"), ROWS, ids=[f"{row[0]}-{row[1]}" for row in ROWS])
@pytest.mark.parametrize("known", [shapes, kept_shapes])
def test_the_door_says_what_is_right(case, base, verdict, code, what, known):
    try:
        facts = validate_adapter(local_files(HERE / "cases" / case), base_shapes=known(base))
    except CompositionError as refusal:
        said = ("refused", refusal.code)
        text = refusal.message
    else:
        reasons = [entry["code"] for entry in facts.needs_base]
        said = ("accepted", code if code in reasons else ",".join(reasons))
        text = "\n".join(facts.warnings)
    assert said == (verdict, code), text
    for expected in what:
        assert expected in text
