"""What makes a saved model a chat model: the chat template with the tokenizer, and the stop tokens."""

from pathlib import Path

from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["set_stop_tokens", "write_chat_files"]


def set_stop_tokens(model: PreTrainedModel, stop_token_ids: list[int]) -> None:
    """Make ``generate`` greedy and stop at the ids that training taught as the end of a response."""
    model.generation_config = _generation_config(model, stop_token_ids)


def write_chat_files(
    folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, chat_template: str, stop_ids: list[int]
) -> None:
    """Save the tokenizer with the chat template, and the stop ids, beside weights in ``folder``."""
    tokenizer.chat_template = chat_template
    tokenizer.save_pretrained(str(folder))
    _generation_config(model, stop_ids).save_pretrained(str(folder))


def _generation_config(model: PreTrainedModel, stop_token_ids: list[int]) -> GenerationConfig:
    base = model.config.get_text_config()
    bos, pad = (getattr(base, name, None) for name in ("bos_token_id", "pad_token_id"))  # CodeGen has neither
    return GenerationConfig(
        do_sample=False,
        bos_token_id=bos,
        eos_token_id=stop_token_ids,
        pad_token_id=stop_token_ids[-1] if pad is None else pad,
    )
