"""``rt export``: a finished run as a model that any server loads, verified to answer as the run does."""

from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from response_tuning.conversation import Conversation
from response_tuning.export.export_config import ExportConfig, GgufType
from response_tuning.export.gguf.gguf_file import adds_bos, check_can_be_gguf, write_gguf
from response_tuning.export.gguf.ollama import write_modelfile
from response_tuning.export.hub import push_to_hub, require_token
from response_tuning.export.licence import GEMMA_NOTICE, Base, describe_base
from response_tuning.export.merged import write_merged
from response_tuning.export.model_card import model_card
from response_tuning.export.proof.engines import gguf_engine, safetensors_engine
from response_tuning.export.proof.proof import Messages, Proof, Reference, make_dialogue, make_reference, prove
from response_tuning.inference.responder import Responder
from response_tuning.models.load import LoadedModel
from response_tuning.runs.folder import RunDirectory
from response_tuning.runs.load import load_with_conversation
from response_tuning.runs.registry import kind_of
from response_tuning.support.commands import command
from response_tuning.support.configuration import read_values
from response_tuning.support.errors import UserError
from response_tuning.support.files import staged_folder, write_json, write_text
from response_tuning.support.progress import say
from response_tuning.support.versions import versions
from response_tuning.training.training_config import TrainingConfig

__all__ = ["Exported", "export"]

_RECORD = "export.json"

# Safetensors are the run's own weights in the run's own program. Other programs round differently: a run in bf16 and
# llama.cpp differed by up to 0.14 nats with the same weights, and by up to 0.39 with eight bits.
_SAFETENSORS_TOLERANCE = 0.001
_GGUF_TOLERANCES: dict[GgufType, float] = {"bf16": 0.3, "f16": 0.3, "q8_0": 1.0}


@dataclass(frozen=True)
class Exported:
    """A finished export."""

    path: Path
    proofs: list[Proof]
    address: str | None
    """Its address on the hub, if it was uploaded."""


def export(config: ExportConfig) -> Exported:
    """Export a run. The folder appears once everything in it is written and verified.

    Raises:
        UserError: the run is not finished, the folder holds something else, a format cannot hold the model, the
            export's answers differ from the run's, or there is no token for the hub.
    """
    run = RunDirectory(config.run)
    _check(config, run)
    loaded, conversation = load_with_conversation(
        str(run.path), "auto", dtype=config.dtype, device=config.device, dequantized=config.base == "dequantized"
    )
    if "gguf" in config.formats:
        check_can_be_gguf(loaded.model.config)
    settings = read_values(run.config, TrainingConfig)
    base = describe_base(settings["model"], loaded.path, loaded.model.config.model_type)
    say(f"answering {config.check_prompts} instructions as the run does")
    dialogue = make_dialogue(conversation)
    responder = Responder(loaded, conversation)
    references = make_reference(responder, prompts=config.check_prompts, new_tokens=config.check_tokens)
    title = config.output.resolve().name
    gguf_name = f"{title}-{config.gguf_type}.gguf" if "gguf" in config.formats else None
    with staged_folder(config.output) as folder:
        _write(folder, config, loaded, conversation, base, title=title, gguf_name=gguf_name)
        stop_ids = conversation.stop_token_ids
        del loaded, conversation, responder  # keep a large model from being in memory twice
        proofs = _prove(folder, config, references, dialogue, stop_ids=stop_ids, gguf_name=gguf_name)
        write_text(folder / "README.md", model_card(run, settings, base, proofs, gguf_name=gguf_name, title=title))
        write_json(
            folder / _RECORD,
            {
                "settings": config.model_dump(mode="json", exclude={"run", "output"}),
                "run": run.path.resolve().name,
                "base": base.name,
                "licence": base.licence,
                "proofs": [proof.as_json() for proof in proofs],
                "versions": {**versions(), **_writers()},
            },
        )
    address = None
    if config.push_to_hub:
        say(f"uploading to {config.push_to_hub}")
        address = push_to_hub(config.output, config.push_to_hub, public=config.public)
    return Exported(config.output, proofs, address)


def _is_free(output: Path) -> bool:
    """Whether a folder may be replaced: it is empty or an earlier export."""
    return output.is_dir() and ((output / _RECORD).is_file() or not any(output.iterdir()))


def _writers() -> dict[str, str]:
    """The versions of the packages that wrote and read the files, where installed."""
    return {package: version(package) for package in ("gguf", "xllamacpp") if find_spec(package) is not None}


def _check(config: ExportConfig, run: RunDirectory) -> None:
    kind = kind_of(str(run.path))
    if kind is not None:
        raise UserError(f"{run.path} is a run of the kind {kind.name} and cannot be exported. {kind.why_not_exported}")
    if not run.is_trained:
        raise UserError(f"{run.path} holds no finished run. Train it first: {command('train', '--output', run.path)}")
    if not config.formats:
        raise UserError("Choose at least one format: --formats safetensors, gguf, or both.")
    if config.output.exists() and not _is_free(config.output):
        raise UserError(f"{config.output} exists and holds something else. Choose another --output.")
    if config.push_to_hub:
        require_token()


def _write(
    folder: Path,
    config: ExportConfig,
    loaded: LoadedModel,
    conversation: Conversation,
    base: Base,
    *,
    title: str,
    gguf_name: str | None,
) -> None:
    if gguf_name:
        # The Modelfile first: it takes no time and may raise.
        modelfile = write_modelfile(conversation, gguf_name=gguf_name, adds_bos=adds_bos(conversation))
        write_text(folder / "Modelfile", modelfile)
        write_gguf(
            folder / gguf_name, loaded, conversation, name=title, licence=base.licence, gguf_type=config.gguf_type
        )
    if "safetensors" in config.formats:
        say("writing safetensors")
        write_merged(folder, loaded, conversation)
    if base.licence == "gemma":
        write_text(folder / "NOTICE", GEMMA_NOTICE)


def _prove(
    folder: Path,
    config: ExportConfig,
    references: list[Reference],
    dialogue: tuple[Messages, list[int]],
    *,
    stop_ids: list[int],
    gguf_name: str | None,
) -> list[Proof]:
    """Load the written files and compare their answers with the run's.

    Raises:
        UserError: they differ.
    """
    proofs = []
    if "safetensors" in config.formats:
        engine = safetensors_engine(folder, stop_ids=stop_ids, dtype=config.dtype, device=config.device)
        proofs.append(
            prove(references, engine, file="safetensors", tolerance=_SAFETENSORS_TOLERANCE, dialogues=[dialogue])
        )
        del engine
    if gguf_name:
        engine = gguf_engine(folder / gguf_name, stop_ids=stop_ids, device=config.device)
        tolerance = _GGUF_TOLERANCES[config.gguf_type]
        proofs.append(prove(references, engine, file=gguf_name, tolerance=tolerance, dialogues=[dialogue]))
    for proof in proofs:
        say(str(proof))
        if not proof.holds:
            raise UserError(f"The export does not answer as the run does, so it was not kept. {proof}")
    return proofs
