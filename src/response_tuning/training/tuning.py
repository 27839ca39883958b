"""What is trained: the base model, loaded for one way of tuning, and its adapter."""

from collections.abc import Callable, Iterable

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn

from response_tuning.conversation import EncodedExample
from response_tuning.kernels.fused_layers import fuse_layers
from response_tuning.models.load import LoadedModel, load_model, load_without_weights
from response_tuning.support.errors import UserError
from response_tuning.support.options import Device, Dtype, Tuning
from response_tuning.training.targets import targets_of
from response_tuning.training.training_config import AdapterOptions, MemoryOptions, Switch

__all__ = [
    "add_adapter",
    "fuses_layers",
    "load_base",
    "make_trainable",
    "recompute_activations",
    "require_known_tokens",
    "train_all_weights",
]


def load_base(spec: str, tuning: Tuning, *, dtype: Dtype, device: Device, weights: bool = True) -> LoadedModel:
    """Load the base model for one way of tuning.

    Weights that train are fp32 whatever they are multiplied in: bf16 has 8 bits of precision, so an AdamW step of 1e-5
    on a weight of 0.1 would be rounded away.

    Args:
        spec: The base model.
        tuning: What will be trained.
        dtype: Of frozen weights.
        device: Where to load it.
        weights: Without, the model waits for the weights of another process, on the CPU.

    Raises:
        UserError: there is no such model, or it cannot be loaded in this way.
    """
    kept: Dtype = "float32" if tuning == "full" else dtype
    if not weights:
        return load_without_weights(spec, dtype=kept)
    loaded = load_model(spec, dtype=kept, device=device, four_bit=tuning == "qlora")
    if tuning == "qlora":
        _require_four_bit_forward(loaded.model)
    return loaded


@torch.no_grad()
def _require_four_bit_forward(model: nn.Module) -> None:
    """Refuse a model that reads the numbers of its packed weights, as Mamba and RWKV do."""
    device = next(model.parameters()).device
    try:
        model(input_ids=torch.zeros((1, 2), dtype=torch.long, device=device), use_cache=False)
    except (RuntimeError, KeyError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{type(model).__name__} cannot compute with 4-bit weights ({reason}). Choose --tuning lora."
        ) from error


def require_known_tokens(loaded: LoadedModel, encoded: Iterable[EncodedExample]) -> None:
    """Validate that the model has an embedding for every token of the examples.

    Raises:
        UserError: the tokenizer makes ids that are beyond the model's vocabulary.
    """
    embeddings = loaded.model.get_input_embeddings().weight
    assert isinstance(embeddings, Tensor)
    known = len(embeddings)
    highest = max((max(example.input_ids) for example in encoded), default=0)
    if highest >= known:
        raise UserError(
            f"The tokenizer of {loaded.path} makes the token {loaded.tokenizer.convert_ids_to_tokens(highest)!r} with "
            f"id {highest}, outside the model's vocabulary of {known}. Use the tokenizer that belongs to the model, or "
            "a --format without that token."
        )


def make_trainable(
    model: nn.Module,
    adapter: AdapterOptions,
    memory: MemoryOptions,
    device: torch.device,
    *,
    start: Callable[[PeftModel], None] = lambda _: None,
) -> nn.Module:
    """Add an adapter to a frozen model, or let every weight train, with the memory options that it trains with.

    Args:
        model: The base model, frozen.
        adapter: What is trained.
        memory: Gradient checkpointing and fused layers.
        device: Where it will train.
        start: Gives a new adapter its first weights, if they are not to be random.

    Raises:
        UserError: the model cannot recompute its layers.
    """
    if adapter.tuning == "full":
        model = train_all_weights(model)
    else:
        model = add_adapter(model, adapter, fused=fuses_layers(memory.fused_layers, device), start=start)
    if memory.gradient_checkpointing:
        recompute_activations(model)
    return model


def recompute_activations(model: nn.Module) -> None:
    """Keep only each layer's input for the backward pass, and recompute the layer there (Chen et al. 2016).

    Raises:
        UserError: the model cannot.
    """
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    if not getattr(base, "supports_gradient_checkpointing", False):
        raise UserError(f"{type(base).__name__} cannot recompute its layers. Leave --gradient-checkpointing out.")
    try:
        base.activation_checkpointing_enable()  # type: ignore[operator]
    except ValueError as error:
        raise UserError(f"{error} Leave --gradient-checkpointing out.") from error


def train_all_weights(model: nn.Module) -> nn.Module:
    """Let every weight train, those of the embeddings and the head, tied or not, included."""
    return model.requires_grad_(True)


def add_adapter(
    model: nn.Module, adapter: AdapterOptions, *, fused: bool, start: Callable[[PeftModel], None] = lambda _: None
) -> PeftModel:
    """Add an adapter to every layer that can have one (``training.targets``); its weights are fp32, the base is frozen.

    LoRA (Hu et al. 2021, arXiv 2106.09685; QLoRA is the same over 4-bit weights) and two changes of it: rsLoRA
    (Kalajdzievski 2023, arXiv 2312.03732) scales by alpha / sqrt(rank), so that a higher rank does not learn more
    slowly; DoRA (Liu et al. 2024, arXiv 2402.09353) also trains the length of each row of the adapted weights.
    """
    targets = targets_of(model, adapter)
    lora = LoraConfig(
        task_type="CAUSAL_LM",
        target_modules=list(targets.modules),
        target_parameters=list(targets.parameters) or None,
        r=adapter.lora_rank,
        lora_alpha=adapter.lora_alpha,
        lora_dropout=adapter.lora_dropout,
        use_rslora=adapter.tuning == "rslora",
        use_dora=adapter.tuning == "dora",
    )
    try:
        adapted = get_peft_model(model, lora, autocast_adapter_dtype=True)
    except (ValueError, NotImplementedError, RuntimeError) as error:
        raise UserError(
            f"PEFT cannot add an adapter to {type(model).__name__}: {str(error).splitlines()[0]} Choose --tuning full."
        ) from error
    assert isinstance(adapted, PeftModel)
    start(adapted)
    if fused:
        fuse_layers(adapted)
    return adapted


def fuses_layers(switch: Switch, device: torch.device) -> bool:
    """Whether layers are fused on ``device``: "auto" is on where that was measured to be faster, on the CPU."""
    return device.type == "cpu" if switch == "auto" else switch == "on"
