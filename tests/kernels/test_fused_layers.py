"""Layers by hand: the same values and gradients as PEFT's and the model's own, with less kept for the backward pass."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from response_tuning.kernels.fused_layers import fuse_layers

SHAPE: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "pad_token_id": None,
    "initializer_range": 0.3,
}
MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE)),
    "qwen 2, with biases": lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE)),
    "qwen 3": lambda: Qwen3ForCausalLM(Qwen3Config(**SHAPE)),
    "gemma 2": lambda: Gemma2ForCausalLM(Gemma2Config(**SHAPE)),
    "gemma 3": lambda: Gemma3ForCausalLM(Gemma3TextConfig(**SHAPE)),
}
LINEAR_LAYERS = 2 * 7


def adapted(name: str, **options: Any) -> PeftModel:
    """A random model with a random adapter, the same for every call."""
    torch.manual_seed(0)
    base = MODELS[name]()
    lora = LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", r=3, lora_alpha=6, **options)
    model = get_peft_model(base, lora)
    assert isinstance(model, PeftModel)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.1)  # no zeros, and no norms of one
    return model


def replaced(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if "forward" in vars(module)]


def logits_and_gradients(model: PeftModel) -> list[Tensor]:
    torch.manual_seed(1)
    logits = model(input_ids=torch.randint(50, (3, 9))).logits
    (logits * torch.randn_like(logits)).sum().backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.requires_grad]
    assert all(gradient is not None and gradient.abs().max() > 0 for gradient in gradients)
    return [logits.detach(), *[gradient for gradient in gradients if gradient is not None]]


@pytest.mark.parametrize("name", MODELS)
def test_values_and_gradients_are_those_of_the_layers_as_they_were(name: str) -> None:
    expected = logits_and_gradients(adapted(name))
    model = adapted(name)
    fuse_layers(model)
    norms = sum("norm" in module_name.rsplit(".", 1)[-1] for module_name, _ in model.named_modules())
    assert norms >= 5
    assert len(replaced(model)) == LINEAR_LAYERS + norms
    for value, other in zip(logits_and_gradients(model), expected, strict=True):
        torch.testing.assert_close(value, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))


def test_in_bf16_they_are_as_near_to_fp32_as_before() -> None:
    exact = logits_and_gradients(adapted("gemma 3"))
    distances = []
    for fused in (False, True):
        model = adapted("gemma 3")
        for parameter in model.parameters():
            if not parameter.requires_grad:
                parameter.data = parameter.data.bfloat16()
        if fused:
            fuse_layers(model)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = logits_and_gradients(model)
        assert {gradient.dtype for gradient in rounded[1:]} == {torch.float32}
        distances.append(
            sum(float((one - other).norm() / other.norm()) for one, other in zip(rounded, exact, strict=True))
        )
    before, after = distances
    assert 0 < after < 1.2 * before


def test_a_norm_keeps_its_input_and_nothing_else() -> None:
    model = adapted("gemma 3").bfloat16()
    (norm, *_) = (module for name, module in model.named_modules() if name.endswith("input_layernorm"))
    hidden = torch.randn((4, 200, 16), dtype=torch.bfloat16, requires_grad=True)
    before = kept_bytes(norm, hidden)
    fuse_layers(model)
    assert kept_bytes(norm, hidden) == hidden.nbytes + norm.get_parameter("weight").nbytes < before / 2


def kept_bytes(module: nn.Module, hidden: Tensor) -> int:
    """What a forward pass keeps for the backward pass."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        output = module(hidden)
    assert output.requires_grad
    return sum(kept.values())


def test_an_adapter_that_does_more_is_left_as_it_is() -> None:
    for options in ({"lora_dropout": 0.1}, {"use_dora": True}, {"lora_bias": True}):
        model = adapted("qwen 2, with biases", **options)
        fuse_layers(model)
        assert {type(module).__name__ for module in replaced(model)} == {"Qwen2RMSNorm"}


def test_a_norm_that_trains_or_is_another_one_is_left_as_it_is() -> None:
    layers = nn.Sequential(
        nn.LayerNorm(8, bias=False),
        nn.LayerNorm(8),
        nn.RMSNorm(8),
        nn.RMSNorm(8, eps=1e-6),
    ).requires_grad_(False)
    trains = nn.RMSNorm(8, eps=1e-6)
    fuse_layers(nn.ModuleList([*layers, trains]))
    assert replaced(layers) == [layers[3]]
    assert not replaced(trains)


def test_without_its_adapter_a_layer_is_the_base_models() -> None:
    model = adapted("llama")
    ids = torch.arange(7)[None]
    with torch.no_grad(), model.disable_adapter():
        expected = model(input_ids=ids).logits
    fuse_layers(model)
    with torch.no_grad(), model.disable_adapter():
        torch.testing.assert_close(model(input_ids=ids).logits, expected)
        assert len(replaced(model)) > LINEAR_LAYERS


def test_a_model_without_values_can_be_planned_with() -> None:
    with torch.device("meta"):
        model = adapted("gemma 3")
        fuse_layers(model)
    assert len(replaced(model)) > LINEAR_LAYERS


class GatedNorm(nn.Module):
    """As Qwen 3 Next's: one weight and one epsilon, and a second input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.variance_epsilon = nn.Parameter(torch.ones(width)), 1e-6

    def forward(self, hidden: Tensor, gate: Tensor | None = None) -> Tensor:
        normed = hidden * torch.rsqrt(hidden.square().mean(-1, keepdim=True) + self.variance_epsilon) * self.weight
        gated: Tensor = normed if gate is None else normed * nn.functional.silu(gate)
        return gated


class GroupedNorm(nn.Module):
    """As Zamba 2's: modules of one class differ by the size of their groups."""

    def __init__(self, width: int, group: int) -> None:
        super().__init__()
        self.weight, self.eps, self.group = nn.Parameter(torch.ones(width)), 1e-6, group

    def forward(self, hidden: Tensor) -> Tensor:
        groups = hidden.unflatten(-1, (-1, self.group))
        normed: Tensor = (groups * torch.rsqrt(groups.square().mean(-1, keepdim=True) + self.eps)).flatten(-2)
        return normed * self.weight


def test_a_norm_with_a_gate_or_groups_is_left_as_it_is() -> None:
    whole, grouped = GroupedNorm(8, 8), GroupedNorm(8, 4)
    layers = nn.ModuleList([GatedNorm(8), whole, grouped]).requires_grad_(False)
    fuse_layers(layers)
    assert replaced(layers) == [whole]
    hidden, gate = torch.randn(3, 8), torch.randn(3, 8)
    assert not torch.allclose(layers[0](hidden, gate), layers[0](hidden))


def test_a_layers_output_may_be_changed_in_place() -> None:
    """Gemma 3n scales its projections in place."""
    model = adapted("llama")
    fuse_layers(model)
    layer = model.get_submodule("base_model.model.model.layers.0.mlp.up_proj")
    hidden = torch.randn(2, 3, 16, requires_grad=True)
    layer(hidden).mul_(2.0).sum().backward()
    (doubled,) = torch.autograd.grad((2 * layer(hidden)).sum(), hidden)
    torch.testing.assert_close(hidden.grad, doubled)
