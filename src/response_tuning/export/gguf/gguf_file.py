"""A merged model as one GGUF file, for llama.cpp and the programs built on it (Ollama, LM Studio).

The names of metadata and tensors are those of the ``gguf`` package. This module handles what differs by architecture:

    llama, mistral   llama.cpp rotates neighbouring elements of a head, transformers the two halves of it: rows of the
                     query and key projections are permuted. Llama 3's scaled frequencies become a tensor
    gemma3_text      the norms' weights are stored minus one; every sixth layer has full attention, the others a window
    qwen2, qwen3     unchanged

A model with any other property that the file cannot hold is an error; nothing is left out silently.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from response_tuning.conversation import Conversation
from response_tuning.export.export_config import GgufType
from response_tuning.export.gguf.gguf_tokenizer import read_vocabulary, write_vocabulary
from response_tuning.models.load import LoadedModel
from response_tuning.support.errors import UserError
from response_tuning.support.progress import progress_bar

if TYPE_CHECKING:
    from gguf import GGUFWriter, TensorNameMap
    from transformers import PreTrainedConfig

__all__ = ["adds_bos", "check_can_be_gguf", "write_gguf"]

_ARCHITECTURES = {
    "llama": "llama",
    "mistral": "llama",
    "gemma3_text": "gemma3",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
}
"""transformers' model types, with llama.cpp's names for them."""
_ROTATES_HALVES = frozenset({"llama"})
_FULL_ATTENTION_EVERY = 6
"""Every n-th layer of Gemma 3 has full attention; llama.cpp does not read this from the file."""
_GEMMA_WINDOW_ROPE_BASE = 10_000.0


def check_can_be_gguf(config: "PreTrainedConfig") -> None:
    """Require that llama.cpp computes what a model of this configuration computes.

    Raises:
        UserError: a GGUF file cannot hold the architecture or one of its properties; the message names it.
    """
    if config.model_type not in _ARCHITECTURES:
        raise UserError(
            f"A GGUF file can be written for {', '.join(_ARCHITECTURES)}, not for {config.model_type!r}. "
            "Export safetensors, and use llama.cpp's own converter."
        )
    reason = _gemma_oddity(config) if config.model_type == "gemma3_text" else _oddity(config)
    if reason:
        raise UserError(f"llama.cpp would not compute what this model computes: {reason}. Export safetensors only.")


def adds_bos(conversation: Conversation) -> bool:
    """Whether prompts begin with the tokenizer's beginning-of-sequence token."""
    first, *_ = conversation.prompt_ids("A question")
    return bool(first == conversation.tokenizer.bos_token_id)


def write_gguf(
    path: Path, loaded: LoadedModel, conversation: Conversation, *, name: str, licence: str, gguf_type: GgufType
) -> None:
    """Write the whole model to ``path``.

    Matrices are written as ``gguf_type``, norms and biases as fp32.

    Raises:
        UserError: the model or its tokenizer cannot be written as GGUF, or a weight does not fit into ``gguf_type``.
    """
    from gguf import GGUFWriter, LlamaFileType

    config = loaded.model.config
    check_can_be_gguf(config)
    architecture = _ARCHITECTURES[config.model_type]
    rows = loaded.model.get_input_embeddings().weight.size(0)  # type: ignore[operator]
    vocabulary = read_vocabulary(loaded.tokenizer, rows=rows)
    file_types = {
        "bf16": LlamaFileType.MOSTLY_BF16,
        "f16": LlamaFileType.MOSTLY_F16,
        "q8_0": LlamaFileType.MOSTLY_Q8_0,
    }
    writer = GGUFWriter(None, architecture)
    writer.add_type("model")
    writer.add_name(name)
    writer.add_license(licence)
    writer.add_file_type(file_types[gguf_type])
    writer.add_quantization_version(2)
    _write_shape(writer, config, rows=rows)
    write_vocabulary(
        writer,
        vocabulary,
        loaded.tokenizer,
        stop_ids=conversation.stop_token_ids,
        add_bos=adds_bos(conversation),
        chat_template=conversation.chat_template,
    )
    _write_tensors(writer, path, loaded, architecture, gguf_type)


def _oddity(config: "PreTrainedConfig") -> str | None:
    rope_type = config.rope_parameters.get("rope_type", "default")
    if rope_type not in {"default", "linear", "llama3"}:
        return f"positions of the type {rope_type!r}"
    if rope_type == "llama3" and config.model_type not in {"llama", "mistral"}:
        return "Llama 3's positions in another architecture"
    if config.hidden_act != "silu":
        return f"the activation {config.hidden_act!r}"
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"} or (config.model_type == "mistral" and config.sliding_window is not None):
        return "a sliding attention window"
    return None


def _gemma_oddity(config: "PreTrainedConfig") -> str | None:
    expected = [
        "sliding_attention" if layer % _FULL_ATTENTION_EVERY else "full_attention"
        for layer in range(1, config.num_hidden_layers + 1)
    ]
    if list(config.layer_types) != expected:
        return "an order of windowed and full layers other than five to one"
    if config.query_pre_attn_scalar != config.head_dim:
        return f"attention scaled by {config.query_pre_attn_scalar} and not by the head's size"
    if config.final_logit_softcapping is not None or config.attn_logit_softcapping is not None:
        return "capped logits"
    if config.use_bidirectional_attention:
        return "attention in both directions"
    if config.rope_parameters["full_attention"].get("rope_type", "default") not in {"default", "linear"}:
        return f"positions of the type {config.rope_parameters['full_attention']['rope_type']!r}"
    window = config.rope_parameters["sliding_attention"]
    if window.get("rope_type", "default") != "default" or window["rope_theta"] != _GEMMA_WINDOW_ROPE_BASE:
        return "unusual positions in the windowed layers"
    return None


def _write_shape(writer: "GGUFWriter", config: "PreTrainedConfig", *, rows: int) -> None:
    from gguf import RopeScalingType

    head_size = _head_size(config)
    writer.add_vocab_size(rows)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head_size)
    writer.add_value_length(head_size)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    rope = config.rope_parameters
    if config.model_type == "gemma3_text":
        rope = rope["full_attention"]
        writer.add_sliding_window(config.sliding_window)
        writer.add_rope_freq_base_swa(_GEMMA_WINDOW_ROPE_BASE)
    else:
        writer.add_rope_dimension_count(head_size)
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope.get("rope_type") == "linear":
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])


def _write_tensors(
    writer: "GGUFWriter", path: Path, loaded: LoadedModel, architecture: str, gguf_type: GgufType
) -> None:
    """Write the header with every tensor's size, then the tensors, one in memory at a time."""
    from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, GGMLQuantizationType, get_tensor_name_map

    config = loaded.model.config
    key = next(key for key, value in MODEL_ARCH_NAMES.items() if value == architecture)
    assert isinstance(key, MODEL_ARCH)
    names = get_tensor_name_map(key, config.num_hidden_layers)
    tensors = dict(_named_tensors(loaded, names))
    types = {name: _stored_type(tensor, gguf_type) for name, tensor in tensors.items()}
    for name, tensor in tensors.items():
        shape, size = _stored_shape(tensor, types[name])
        is_plain = types[name] in {GGMLQuantizationType.F32, GGMLQuantizationType.F16}
        dtype = np.dtype(np.uint8) if not is_plain else _PLAIN_DTYPES[types[name].name]
        writer.add_tensor_info(name, shape, dtype, size, raw_dtype=None if is_plain else types[name])
    writer.write_header_to_file(path)
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    try:
        with progress_bar(f"writing {path.name}", len(tensors)) as bar:
            for name, tensor in tensors.items():
                permuted = _in_llama_cpp_order(name, tensor, config, architecture)
                writer.write_tensor_data(_stored(name, permuted, types[name]))
                bar.advance()
    finally:
        writer.close()


_PLAIN_DTYPES: dict[str, Any] = {"F32": np.dtype(np.float32), "F16": np.dtype(np.float16)}


def _named_tensors(loaded: LoadedModel, names: "TensorNameMap") -> Iterator[tuple[str, Tensor]]:
    """Every weight by its name in GGUF. A head tied to the embedding is omitted, and llama.cpp ties it again."""
    config = loaded.model.config
    for name, tensor in loaded.model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        translated = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if translated is None:
            raise UserError(f"A GGUF file cannot hold the weight {name}. Export safetensors only.")
        yield translated, tensor
    if config.rope_parameters.get("rope_type") == "llama3":
        yield "rope_freqs.weight", _llama3_factors(config)


def _llama3_factors(config: "PreTrainedConfig") -> Tensor:
    """The divisor of each frequency [head size / 2], by transformers' own reading of the configuration."""
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    exponents = torch.arange(0, _head_size(config), 2, dtype=torch.float32) / _head_size(config)
    plain: Tensor = 1.0 / config.rope_parameters["rope_theta"] ** exponents
    return plain / scaled


def _head_size(config: "PreTrainedConfig") -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _in_llama_cpp_order(name: str, tensor: Tensor, config: "PreTrainedConfig", architecture: str) -> Tensor:
    tensor = tensor.detach().to(device="cpu", dtype=torch.float32)
    if architecture == "gemma3" and name.endswith("norm.weight"):
        return tensor + 1.0
    if architecture in _ROTATES_HALVES and (".attn_q." in name or ".attn_k." in name):
        heads = config.num_attention_heads if ".attn_q." in name else config.num_key_value_heads
        halves = tensor.reshape(heads, 2, tensor.shape[0] // heads // 2, *tensor.shape[1:])
        return halves.transpose(1, 2).reshape(tensor.shape)
    return tensor


def _stored_type(tensor: Tensor, gguf_type: GgufType) -> Any:
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    if tensor.ndim == 1:
        return GGMLQuantizationType.F32
    wanted = GGMLQuantizationType[gguf_type.upper()]
    block, _ = GGML_QUANT_SIZES[wanted]
    # Rows are stored in blocks; a row that no whole number of blocks fits is stored in more bits.
    return wanted if tensor.shape[-1] % block == 0 else GGMLQuantizationType.F16


def _stored_shape(tensor: Tensor, stored_type: Any) -> tuple[tuple[int, ...], int]:
    """The shape in the header (in bytes, for a packed type) and the number of bytes."""
    from gguf import GGMLQuantizationType
    from gguf.quants import quant_shape_to_byte_shape

    if stored_type in {GGMLQuantizationType.F32, GGMLQuantizationType.F16}:
        width = 4 if stored_type == GGMLQuantizationType.F32 else 2
        return tuple(tensor.shape), tensor.numel() * width
    packed = quant_shape_to_byte_shape(tuple(tensor.shape), stored_type)
    return packed, int(np.prod(packed))


def _stored(name: str, tensor: Tensor, stored_type: Any) -> NDArray[Any]:
    from gguf import GGMLQuantizationType
    from gguf.quants import quantize

    values = tensor.contiguous().numpy()
    if stored_type == GGMLQuantizationType.F32:
        return values
    if stored_type == GGMLQuantizationType.F16:
        with np.errstate(over="ignore"):
            halves = values.astype(np.float16)
        if not np.isfinite(halves).all():
            raise UserError(f"The weight {name} has values too large for f16. Choose --gguf-type bf16.")
        return halves
    packed: NDArray[Any] = quantize(values, stored_type)
    return packed
