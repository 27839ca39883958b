"""Tiny random models of transformers' causal architectures: one recipe for all, and what each needs beside it."""

from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

__all__ = ["EVERYDAY", "PROMISED", "VOCABULARY", "small_config", "small_model"]

VOCABULARY = 128
LAYERS = 2

_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.2,
    # Names that older architectures use for the same.
    "n_embd": 32,
    "n_layer": LAYERS,
    "n_head": 4,
    "n_inner": 48,
    "n_positions": 128,
    "n_ctx": 128,
    "d_model": 32,
    "n_layers": LAYERS,
    "n_heads": 4,
    "max_seq_len": 128,
    "ffn_hidden_size": 48,
    "num_layers": LAYERS,
    "num_heads": 4,
    "ffn_dim": 48,
    "num_kv_heads": 2,
    "rotary_dim": 4,
    # Experts.
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "moe_num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
    "moe_topk": 2,
    "n_group": 1,
    "topk_group": 1,
    "n_shared_experts": 1,
    "intermediate_size_mlp": 48,
    "moe_k": 2,
    "first_k_dense_replace": 1,
    # Attention over a compressed state.
    "kv_lora_rank": 8,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 8,
    "v_head_dim": 6,
    # State spaces and linear attention.
    "state_size": 8,
    "mamba_d_state": 8,
    "mamba_d_conv": 4,
    "mamba_expand": 2,
    "mamba_n_heads": 4,
    "mamba_d_head": 16,
    "mamba_n_groups": 1,
    "mamba_chunk_size": 8,
    "chunk_size": 8,
    "n_groups": 1,
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "sliding_window": 16,
    "lru_width": 32,
    "attention_window_size": 16,
    "time_step_rank": 4,
    "conv_kernel": 4,
}
"""Given to a configuration as far as it knows the name."""

_OWN: dict[str, dict[str, Any]] = {
    "gemma3n_text": {
        "num_hidden_layers": 4,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "num_kv_shared_layers": 2,
        "vocab_size_per_layer_input": VOCABULARY,
        "hidden_size_per_layer_input": 8,
        "activation_sparsity_pattern": [0.0] * 4,
        "laurel_rank": 4,
    },
    "gemma4_text": {"vocab_size_per_layer_input": VOCABULARY, "hidden_size_per_layer_input": 8, "global_head_dim": 8},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 16},
    "falcon_h1": {"mamba_d_ssm": 64, "lm_head_multiplier": 0.5},
    **{
        name: {"num_key_value_heads": 4, "head_dim": 4}
        for name in ("deepseek_v2", "deepseek_v3", "deepseek_v32", "glm4_moe_lite", "glm_moe_dsa", "axk1", "axk2")
    },
    "minicpm3": {"num_key_value_heads": 4, "head_dim": 4, "dim_model_base": 16},
    "mamba2": {"num_heads": 8, "head_dim": 8},
    "granite": {"logits_scaling": 3.0},
    "granitemoe": {"logits_scaling": 3.0},
    "granitemoehybrid": {"logits_scaling": 3.0, "layer_types": ["mamba", "attention"], "shared_intermediate_size": 48},
    "cohere": {"logit_scale": 0.3},
    "cohere2": {"logit_scale": 0.3},
    "gemma2": {"final_logit_softcapping": 5.0},
    "bamba": {"attn_layer_indices": [1]},
    "qwen3_next": {"layer_types": ["linear_attention", "full_attention"]},
    "qwen3_5_text": {"layer_types": ["linear_attention", "full_attention"]},
    "qwen3_5_moe_text": {"layer_types": ["linear_attention", "full_attention"]},
}
"""What an architecture needs instead, by model type."""

PROMISED: dict[str, str] = {
    "llama": "Llama 2, Llama 3",
    "llama4_text": "Llama 4 (text)",
    "qwen2": "Qwen 2, Qwen 2.5",
    "qwen2_moe": "Qwen 2 MoE",
    "qwen3": "Qwen 3",
    "qwen3_moe": "Qwen 3 MoE",
    "qwen3_5_text": "Qwen 3.5",
    "qwen3_5_moe_text": "Qwen 3.5 MoE",
    "qwen3_next": "Qwen 3 Next",
    "gemma": "Gemma",
    "gemma2": "Gemma 2",
    "gemma3_text": "Gemma 3",
    "gemma3n_text": "Gemma 3n",
    "gemma4_text": "Gemma 4",
    "mistral": "Mistral",
    "ministral": "Ministral",
    "ministral3": "Ministral 3",
    "mixtral": "Mixtral",
    "phi": "Phi 1.5, Phi 2",
    "phi3": "Phi 3, Phi 4",
    "phimoe": "Phi 3.5 MoE",
    "olmo": "OLMo",
    "olmo2": "OLMo 2",
    "olmo3": "OLMo 3",
    "olmoe": "OLMoE",
    "smollm3": "SmolLM 3",
    "gpt2": "GPT-2",
    "gpt_neo": "GPT-Neo",
    "gptj": "GPT-J",
    "gpt_neox": "GPT-NeoX, Pythia",
    "falcon": "Falcon",
    "falcon_h1": "Falcon-H1",
    "granite": "Granite 3",
    "granitemoe": "Granite 3 MoE",
    "granitemoehybrid": "Granite 4",
    "cohere": "Command R",
    "cohere2": "Command R7B",
    "deepseek_v2": "DeepSeek V2",
    "deepseek_v3": "DeepSeek V3",
    "gpt_oss": "gpt-oss",
    "glm4": "GLM 4",
    "glm4_moe": "GLM 4.5",
    "exaone4": "EXAONE 4",
    "mamba": "Mamba",
    "mamba2": "Mamba 2",
    "stablelm": "StableLM",
    "starcoder2": "StarCoder 2",
    "minicpm3": "MiniCPM 3",
    "codegen": "CodeGen",
    "bloom": "BLOOM",
    "mpt": "MPT",
    "opt": "OPT",
    "rwkv": "RWKV",
    "recurrent_gemma": "RecurrentGemma",
    "bamba": "Bamba",
    "jetmoe": "JetMoE",
    "jamba": "Jamba",
    "nemotron": "Nemotron",
    "lfm2": "LFM 2",
    "seed_oss": "Seed-OSS",
    "apertus": "Apertus",
    "ernie4_5": "ERNIE 4.5",
    "hunyuan_v1_dense": "Hunyuan",
    "arcee": "Arcee",
    "bailing_hybrid": "Ling 2.5",
    "biogpt": "BioGPT",
    "cohere2_moe": "Command A MoE",
    "dots1": "dots.llm1",
    "ernie4_5_moe": "ERNIE 4.5 MoE",
    "exaone_moe": "EXAONE MoE",
    "falcon_mamba": "Falcon Mamba",
    "flex_olmo": "FlexOlmo",
    "glm": "GLM",
    "glm4_moe_lite": "GLM 4.7 Flash",
    "gpt_bigcode": "StarCoder",
    "helium": "Helium",
    "hyperclovax": "HyperCLOVA X",
    "kimi_linear": "Kimi Linear",
    "minimax": "MiniMax",
    "nanochat": "nanochat",
    "olmo_hybrid": "OLMo Hybrid",
    "persimmon": "Persimmon",
    "vaultgemma": "VaultGemma",
}
"""Architectures by model type, with the names that people know their models by."""

EVERYDAY = ("llama", "gemma3_text", "qwen3_5_text", "mixtral", "granite", "deepseek_v3")
"""Tried in every run of the tests."""


def small_config(name: str, **changes: Any) -> PreTrainedConfig:
    config_class = CONFIG_MAPPING[name]
    known = config_class().get_text_config()
    text_class = type(known)
    wanted = {**_SIZES, **_OWN.get(name, {}), **changes}
    attributes = {**getattr(known, "attribute_map", {}), **vars(known)}
    given = {key: value for key, value in wanted.items() if key in attributes or key in _OWN.get(name, {})}
    return text_class(**given)


def small_model(name: str, **changes: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(small_config(name, **changes), dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1 or not bool(parameter.any()):
                parameter.add_(0.1 * torch.randn_like(parameter))
    model.eval()
    assert isinstance(model, PreTrainedModel)
    return model
