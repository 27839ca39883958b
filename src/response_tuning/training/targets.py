"""Which weights an adapter is added to, and what part of a model that is.

PEFT adds adapters to linear layers, and to *parameters*: matrices, or stacks of matrices such as the experts of a
layer, that a module holds itself. What it cannot do, and what is done instead:

- It refuses or skips a linear layer whose weight another module reads directly, as the fused kernels of Mamba do: an
  adapter there would train in name only. Such a layer is left alone.
- For models whose experts were renamed in transformers 5 it takes a linear layer named like a former expert
  (``gate_proj`` of a shared expert) for all experts. There the layer's weight is named as a parameter.
- An adapter of a parameter has no dropout and no DoRA, and cannot be one of a 4-bit weight. Parameters are left alone
  there.

The coverage of a training is logged when it begins, and saved.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from inspect import getsource
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import transformers_weight_conversion as renamed
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from response_tuning.models.heads import decoder_and_head
from response_tuning.support.errors import UserError
from response_tuning.training.training_config import AdapterOptions

__all__ = ["Coverage", "Targets", "coverage", "targets_of"]

_MOST_NAMED, _NAMED_FROM = 4, 0.005
"""How many weights that are left out are logged, and from which fraction."""
_WHOLE = 0.995
"""From this fraction on, the log names nothing that is left out: it is norms and routers."""


@dataclass(frozen=True)
class Targets:
    """What an adapter is added to, by full names."""

    modules: tuple[str, ...]
    parameters: tuple[str, ...]


@dataclass(frozen=True)
class Coverage:
    """What a training changes of a model."""

    modules: int
    """Layers with an adapter; of full tuning, layers with weights."""
    parameters: int
    """Parameters that train."""
    fraction: float
    """The fraction of the weights between embeddings and head that an adapter changes, or that train."""
    left_out: dict[str, float]
    """The fractions that do not change, by the name of the weight without the number of its layer; largest first."""

    def as_json(self) -> dict[str, Any]:
        """As saved with the run."""
        return asdict(self)

    def __str__(self) -> str:
        text = f"{self.modules} modules, {self.parameters:,} parameters, {self.fraction:.0%} of the layers' weights"
        if self.fraction >= _WHOLE or not self.left_out:
            return text
        named = [
            f"{name} {fraction:.0%}"
            for name, fraction in list(self.left_out.items())[:_MOST_NAMED]
            if fraction >= 0.005
        ]
        return f"{text} (unchanged: {', '.join(named)})" if named else text


def targets_of(model: nn.Module, adapter: AdapterOptions) -> Targets:
    """What PEFT can add an adapter to: every linear layer but the head, and every stack of experts.

    Args:
        model: a causal language model without an adapter.
        adapter: the way of tuning, which decides whether parameters can have one.

    Raises:
        UserError: there is nothing to add an adapter to.
    """
    _, head = decoder_and_head(model)
    takes_parameters = adapter.tuning != "dora" and not adapter.lora_dropout
    taken_for_experts = _taken_for_experts(model)
    modules, parameters = [], []
    for name, module, parent in _with_parents(model):
        if module is head:
            continue
        leaf = name.rpartition(".")[2]
        if _is_linear(module):
            if leaf in _read_directly(type(parent)):
                continue
            if leaf not in taken_for_experts:
                modules.append(name)
            elif takes_parameters and type(module) is nn.Linear:
                parameters.append(f"{name}.weight")
        elif takes_parameters and leaf not in _reached_into(type(parent)):
            parameters += [f"{name}.{parameter}" for parameter in _stacks(module)]
    if not modules and not parameters:
        raise UserError(
            f"{type(model).__name__} has no linear layer that an adapter can be added to. Choose --tuning full."
        )
    return Targets(tuple(modules), tuple(parameters))


def coverage(model: nn.Module) -> Coverage:
    """What a model that is about to be trained changes: with an adapter, or without one by all weights that train."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]
    _, head = decoder_and_head(base)
    outside = {id(weight) for module in (head, *_embeddings(base)) for weight in module.parameters()}
    adapted, changed = _changed_weights(base)
    total, left_out = 0, Counter[str]()
    for name, weight in base.named_parameters():
        if id(weight) in outside or _is_of_adapter(name):
            continue
        total += (count := _count(weight))
        if id(weight) not in changed:
            left_out[re.sub(r"\.\d+(?=\.)", "", name.replace("base_layer.", ""))] += count
    parameters = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    fractions = {name: count / total for name, count in left_out.most_common()}
    return Coverage(adapted, parameters, 1 - sum(left_out.values()) / max(1, total), fractions)


def _is_linear(module: nn.Module) -> bool:
    """Whether ``module`` is a linear layer, packed in four bits or not; subclasses such as routers are none."""
    if isinstance(module, Conv1D) or type(module).__module__.startswith("bitsandbytes."):
        return isinstance(module, Conv1D | nn.Linear)
    return isinstance(module, nn.Linear) and (
        type(module).forward is nn.Linear.forward or _computes_linear_map(type(module), module)
    )


def _computes_linear_map(kind: type[nn.Module], module: nn.Linear) -> bool:
    """Whether a subclass of ``nn.Linear`` computes what ``nn.Linear`` does; tried out with small weights."""
    if kind not in _LINEAR_MAPS:
        generator = torch.Generator().manual_seed(0)
        inputs, weight, bias = (torch.randn(shape, generator=generator) for shape in ((2, 4), (3, 4), (3,)))
        given = {"weight": weight} | ({} if module.bias is None else {"bias": bias})
        expected = nn.functional.linear(inputs, weight, None if module.bias is None else bias)
        try:
            found = torch.func.functional_call(module, given, (inputs,))
        except Exception:  # whatever it computes, it is another thing
            found = None
        _LINEAR_MAPS[kind] = (
            isinstance(found, Tensor) and found.shape == expected.shape and torch.allclose(found, expected, atol=1e-5)
        )
    return _LINEAR_MAPS[kind]


_LINEAR_MAPS: dict[type[nn.Module], bool] = {}


def _with_parents(model: nn.Module) -> Iterator[tuple[str, nn.Module, nn.Module]]:
    for name, module in model.named_modules():
        if name:
            yield name, module, model.get_submodule(name.rpartition(".")[0])


def _stacks(module: nn.Module) -> list[str]:
    """The parameters of ``module`` that are stacks of matrices, as experts are and PyTorch's convolutions are not."""
    if type(module).__module__.startswith("torch."):
        return []
    return [name for name, weight in module.named_parameters(recurse=False) if weight.ndim == 3 and len(weight) > 1]


def _read_directly(parent: type[nn.Module]) -> frozenset[str]:
    """The layers whose weight a module's code reads, where an adapter of the layer would not take part."""
    return frozenset(re.findall(r"self\.(\w+)\.weight\b(?!\[|\.(?:dtype|device|shape|ndim))", _source(parent)))


def _reached_into(parent: type[nn.Module]) -> frozenset[str]:
    """The modules whose attributes a module's code reads or sets, as RecurrentGemma resets a state: PEFT's wrapper of a
    parameter would take them for its own."""
    return frozenset(re.findall(r"self\.(\w+)\.\w+", _source(parent)))


def _source(kind: type[nn.Module]) -> str:
    name = f"{kind.__module__}.{kind.__qualname__}"
    if name not in _SOURCES:
        try:
            _SOURCES[name] = getsource(kind)
        except (OSError, TypeError):  # made in a shell
            _SOURCES[name] = ""
    return _SOURCES[name]


_SOURCES: dict[str, str] = {}


def _taken_for_experts(model: nn.Module) -> frozenset[str]:
    """The names of layers that PEFT replaces by the experts' parameters, for models renamed in transformers 5."""
    kind = getattr(getattr(model, "config", None), "model_type", None)
    patterns: dict[Any, str] = vars(renamed)["_MODEL_TO_CONVERSION_PATTERN"]
    return frozenset(vars(renamed)["_MOE_TARGET_MODULE_MAPPING"].get(patterns.get(kind), ()))


def _embeddings(base: nn.Module) -> list[nn.Module]:
    return [module for module in base.modules() if isinstance(module, nn.Embedding)]


def _changed_weights(base: nn.Module) -> tuple[int, set[int]]:
    """How many modules change, and the identities of the weights that do."""
    adapted = [module for module in base.modules() if isinstance(module, BaseTunerLayer)]
    if not adapted:
        trained = [weight for weight in base.parameters() if weight.requires_grad]
        holders = [module for module in base.modules() if any(True for _ in module.parameters(recurse=False))]
        return len(holders), {id(weight) for weight in trained}
    changed = set()
    for module in adapted:
        layer: Any = module.get_base_layer()
        changed.add(id(getattr(layer, getattr(module, "parameter_name", "weight"))))
        if getattr(layer, "bias", None) is not None and not hasattr(module, "parameter_name"):
            changed.add(id(layer.bias))  # merging does not change it, and it is no matrix that is missing
    return len(adapted), changed


def _is_of_adapter(name: str) -> bool:
    return "lora_" in name


def _count(weight: nn.Parameter) -> int:
    """The weights of a parameter; of a packed one, before it was packed."""
    state = getattr(weight, "quant_state", None)
    return int(state.shape.numel()) if state is not None else weight.numel()
