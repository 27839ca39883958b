"""The merged model as transformers, vLLM and others load it: safetensors, tokenizer, chat template and stop ids."""

from pathlib import Path

from safetensors import SafetensorError

from response_tuning.conversation import Conversation
from response_tuning.models.chat_files import write_chat_files
from response_tuning.models.load import LoadedModel
from response_tuning.support.errors import UserError

__all__ = ["write_merged"]


def write_merged(folder: Path, loaded: LoadedModel, conversation: Conversation) -> None:
    """Write the model that ``AutoModelForCausalLM.from_pretrained(folder)`` loads.

    Raises:
        UserError: the disk is full.
    """
    # The base model's path on this machine is private.
    loaded.model.config._name_or_path = ""
    try:
        loaded.model.save_pretrained(str(folder))
    except SafetensorError as error:
        raise UserError(f"The merged model cannot be written: {error}") from error
    for path in folder.glob("*.safetensors"):
        # safetensors makes them readable by their owner only, so that a server of another user could not load them.
        path.chmod((folder / "config.json").stat().st_mode)
    write_chat_files(
        folder,
        loaded.model,
        loaded.tokenizer,
        chat_template=conversation.chat_template,
        stop_ids=conversation.stop_token_ids,
    )
