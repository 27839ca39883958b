"""One base model in memory with several adapters beside it, one of which is active at a time."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from transformers import PreTrainedModel

from response_tuning.models.load import LoadedModel

if TYPE_CHECKING:
    from peft import PeftModel

__all__ = ["SwitchableModel"]


class SwitchableModel:
    """A model whose adapters are switched on and off, unmerged, so that the weights below them exist once.

    Not safe for threads: whoever generates has to hold the model from ``activate`` on.

    Args:
        base: the base model, which is changed in place: its layers get the adapters.
        adapters: folders of adapters in PEFT's format, by name.
    """

    def __init__(self, base: LoadedModel, adapters: Mapping[str, Path]) -> None:
        self.model: PreTrainedModel = base.model
        self._adapted: PeftModel | None = None
        self._tuner: Any = None
        self._active: str | None = None
        for name, folder in adapters.items():
            self._add(name, folder)
        if self._adapted is not None:
            self._tuner.disable_adapter_layers()
            self.model = cast(PreTrainedModel, self._adapted.get_base_model())
            self.model.eval().requires_grad_(False)

    def activate(self, name: str | None) -> None:
        """Make one adapter, or for None the base model alone, what the next forward pass computes."""
        if name == self._active or self._adapted is None:
            return
        if name is None:
            self._tuner.disable_adapter_layers()
        else:
            self._tuner.set_adapter(name, inference_mode=True)
            if self._active is None:
                self._tuner.enable_adapter_layers()
        self._active = name

    def _add(self, name: str, folder: Path) -> None:
        from peft import PeftModel

        if self._adapted is None:
            self._adapted = PeftModel.from_pretrained(self.model, str(folder), adapter_name=name)
            self._tuner = self._adapted.base_model
        else:
            self._adapted.load_adapter(str(folder), adapter_name=name)
