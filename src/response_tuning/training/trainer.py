"""A training from its configuration to the saved run: an adapter on a frozen base model, or every weight.

Read from the top: ``train`` sees what is to be done, ``_train`` prepares it, and ``steps.run_steps`` does it.
"""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from peft import PeftModel
from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedModel

from response_tuning.conversation import Conversation, EncodedExample, default_format, encode_examples
from response_tuning.data.sources.load import load_examples
from response_tuning.example import Example, require_prompts
from response_tuning.inference.response_loss import ResponseLoss
from response_tuning.kernels.library_kernels import require_kernel
from response_tuning.kernels.packed_attention import attend_within_examples
from response_tuning.models.load import LoadedModel, set_stop_tokens, write_chat_files
from response_tuning.runs.folder import RunDirectory, check_folder, claim_folder, remove_leftovers
from response_tuning.support.configuration import changed, flatten
from response_tuning.support.errors import UserError
from response_tuning.support.files import staged_folder, write_json
from response_tuning.support.progress import say
from response_tuning.training.batches.batching import collate
from response_tuning.training.batches.packing import settle_packing
from response_tuning.training.checkpoint import remove_checkpoints
from response_tuning.training.finished import examples_fingerprint, require_same_data
from response_tuning.training.loop import Training, run_steps
from response_tuning.training.objectives.sftmix.confidence import (
    confidences,
    halves,
    perplexities,
    require_reference,
    write_confidences,
)
from response_tuning.training.optimizer import make_optimizer
from response_tuning.training.parallel.launch import launch, processes_wanted
from response_tuning.training.parallel.processes import (
    copy_from_first,
    decided_by_first,
    join_processes,
    process_named_in_errors,
    require_same,
)
from response_tuning.training.parallel.sharding import shard, shards, whole_state
from response_tuning.training.planning.memory import named_part
from response_tuning.training.stepper import PlainStepper
from response_tuning.training.training_config import TrainingConfig
from response_tuning.training.tuning import (
    add_adapter,
    load_base,
    recompute_activations,
    require_known_tokens,
    train_all_weights,
)

__all__ = ["resolve", "train"]

_CHECKED_TOKENS = 32


def train(config: TrainingConfig, *, on_step: Callable[[dict[str, Any]], None] = lambda _row: None) -> RunDirectory:
    """Train an adapter, or the whole model, as ``config`` says and save the run.

    A finished run is left as it is; one that was interrupted goes on from its last checkpoint, to the same weights as
    if it had never stopped. Where several processes are asked for, they are started and waited for.

    Args:
        config: The training.
        on_step: Called after every step with its row of the training log; not where this call starts processes of
            their own.

    Raises:
        UserError: bad data, a model that cannot be loaded, or an output folder that holds something else.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, when a checkpoint is written.
    """
    config = resolve(config)
    run = RunDirectory(config.output)
    examples = _load(config.data, config)
    held_out_examples = _load(config.validation.held_out, config) if config.validation.held_out else []
    fingerprints = {
        "data_fingerprint": examples_fingerprint(examples, config.method),
        "held_out_fingerprint": examples_fingerprint(held_out_examples, config.method),
    }
    if config.sftmix.sftmix_from and not run.is_trained:
        require_reference(config, fingerprints["data_fingerprint"])
    processes = processes_wanted(config)
    if processes > 1:
        if not _is_finished(run, config, fingerprints):
            launch(config, processes)
        return run
    accelerator = join_processes(config.memory.device, offloads=config.parallel.offload == "cpu")
    with process_named_in_errors(accelerator):
        if not decided_by_first(accelerator, lambda: _is_finished(run, config, fingerprints)):
            _train(config, run, examples, held_out_examples, fingerprints, accelerator, on_step)
    return run


def _is_finished(run: RunDirectory, config: TrainingConfig, fingerprints: dict[str, str]) -> bool:
    """Whether nothing is left to do for ``config``, in a folder that is free or its own."""
    check_folder(run.path, config)
    if not run.is_trained:
        return False
    require_same_data(run, fingerprints)
    say(f"{run.path} is trained already.")
    return True


def _train(
    config: TrainingConfig,
    run: RunDirectory,
    examples: list[Example],
    held_out_examples: list[Example],
    fingerprints: dict[str, str],
    accelerator: Accelerator,
    on_step: Callable[[dict[str, Any]], None],
) -> None:
    require_kernel(config.memory.loss_kernel, accelerator.device)
    fingerprint = fingerprints["data_fingerprint"]
    of_reference = perplexities(config, fingerprint, examples, accelerator) if config.sftmix.sftmix_from else []
    set_seed(config.seed)
    sharded = shards(config, accelerator)
    spread = sharded and config.parallel.sharding != "none"
    with named_part("the base model's weights", config):
        # What is to be spread may not fit one device whole, nor the main memory once for every process.
        if spread:
            on_cpu = changed(config, device="cpu")
            loaded = load_base(on_cpu, weights=accelerator.is_main_process)
        else:
            loaded = load_base(config)
    assert config.encoding.format != "auto"
    conversation = Conversation(loaded.tokenizer, config.encoding.format, rt_prefix=config.encoding.rt_prefix)
    encoded, report = encode_examples(
        examples, conversation, config.method, max_length=config.encoding.max_length, overlong=config.encoding.overlong
    )
    held_out = _encode_held_out(held_out_examples, conversation, config)
    require_known_tokens(loaded, [*encoded, *held_out])
    if spread:
        settled = decided_by_first(accelerator, lambda: _try_out(loaded.model, encoded, config, accelerator.device))
        if config.batches.packing != "off":
            attend_within_examples(loaded.model, accelerator.device)  # as in the first
    else:
        settled = _try_out(loaded.model, encoded, config, accelerator.device)
    agreed = {"configuration": flatten(config, mode="json"), "packing": settled.batches.packing, **fingerprints}
    require_same(accelerator, agreed)
    if accelerator.is_main_process:
        claim_folder(run.path, config)
        remove_leftovers(run.path)
        if config.sftmix.sftmix_from:
            write_confidences(run.confidence, of_reference)  # before the report, which says of which data they are
        write_json(run.data_report, {**asdict(report), **fingerprints})
    say(
        f"{config.method} on {report.rows_kept} examples: {report.supervised_tokens:,} supervised tokens an epoch, "
        f"{report.prompt_tokens:,} of prompt, {len(report.rows_truncated)} rows truncated"
    )
    parts = [encoded]
    if config.sftmix.sftmix_from:
        dropped = set(report.rows_dropped_overlong)
        certainty = confidences(of_reference)
        parts = halves(encoded, [value for row, value in enumerate(certainty, start=1) if row not in dropped])
        say(f"mixtures of {len(parts[0])} confident and {len(parts[1])} unconfident examples")
    training = _prepare(loaded.model, settled, accelerator, sharded=sharded)

    def save(folder: Path) -> None:
        _save(folder, training, loaded, conversation)

    run_steps(training, parts, held_out, run, lambda steps: save(run.kept_checkpoint(steps)), on_step)
    save(run.model if config.adapter.tuning == "full" else run.adapter)
    if accelerator.is_main_process:
        remove_checkpoints(run.checkpoint)
        run.best_weights.unlink(missing_ok=True)


def _try_out(
    base: PreTrainedModel, encoded: list[EncodedExample], config: TrainingConfig, device: torch.device
) -> TrainingConfig:
    """See that the loss knows how the model makes its logits, and decide whether to pack."""
    with named_part("the logits that the loss is checked against", config):
        checked = ResponseLoss(base, kernel=config.memory.loss_kernel)
        checked.check(collate([_end_of(encoded[0])]).to(base.device))
    return settle_packing(base, encoded, config, device)


def _prepare(base: PreTrainedModel, config: TrainingConfig, accelerator: Accelerator, *, sharded: bool) -> Training:
    """Add to ``base`` what is trained, and what takes the steps; spread it over the processes, if it is to be."""
    with named_part("the adapter", config):
        model = train_all_weights(base) if config.adapter.tuning == "full" else add_adapter(base, config)
    if config.memory.gradient_checkpointing:
        recompute_activations(model)
    # Machines may have drawn other random numbers from one seed. Weights that are spread come as they are spread.
    copy_from_first(accelerator, model.buffers() if sharded and config.parallel.sharding != "none" else _trained(model))
    plain = ResponseLoss(model, label_smoothing=config.regularization.label_smoothing, kernel=config.memory.loss_kernel)
    loss_of = shard(model, plain, config, accelerator) if sharded else plain
    trained = _trained(model)
    stepper = PlainStepper(
        make_optimizer(trained, config, accelerator.device),
        trained,
        max_gradient_norm=config.optimization.max_gradient_norm,
        accelerator=None if sharded else accelerator,
    )
    return Training(config, model, loss_of, stepper, accelerator)


def _trained(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def resolve(config: TrainingConfig) -> TrainingConfig:
    """Replace a format of "auto" by the one that it means, so that the saved configuration can be repeated anywhere."""
    if config.encoding.format != "auto":
        return config
    return changed(config, format=default_format(config.model))


def _load(source: str, config: TrainingConfig) -> list[Example]:
    examples = load_examples(source)
    if config.method == "it":
        require_prompts(examples, source=source, purpose="instruction tuning (--method it)")
    return examples


def _end_of(example: EncodedExample) -> EncodedExample:
    """A few tokens: whole logits of a long example would take more memory than the training itself."""
    ids = example.input_ids[-_CHECKED_TOKENS:]
    return EncodedExample(ids, max(1, len(ids) - example.supervised_count))


def _encode_held_out(
    examples: list[Example], conversation: Conversation, config: TrainingConfig
) -> list[EncodedExample]:
    if not examples:
        return []
    encoded, report = encode_examples(
        examples, conversation, config.method, max_length=config.encoding.max_length, overlong=config.encoding.overlong
    )
    say(f"held out: {report.rows_kept} examples, {report.supervised_tokens:,} supervised tokens")
    return encoded


def _save(folder: Path, training: Training, loaded: LoadedModel, conversation: Conversation) -> None:
    """Write what was trained, an adapter or a whole model, with what chatting with it needs; all processes call it."""
    model, first = training.model, training.accelerator.is_main_process
    dtype = getattr(torch, training.config.memory.dtype) if training.config.adapter.tuning == "full" else None
    state = whole_state(model, keep=first, dtype=dtype) if training.sharded_loss else None
    if dtype is not None:
        model.to(dtype)
    if not first:
        return
    set_stop_tokens(loaded.model, conversation.stop_token_ids)
    if isinstance(model, PeftModel):
        model.peft_config["default"].base_model_name_or_path = loaded.path
    with staged_folder(folder) as staging:
        try:
            model.save_pretrained(str(staging), state_dict=state)  # type: ignore[operator]
        except SafetensorError as error:
            raise UserError(f"{folder} cannot be written: {error}") from None
        write_chat_files(
            staging,
            loaded.model,
            loaded.tokenizer,
            chat_template=conversation.chat_template,
            stop_ids=conversation.stop_token_ids,
        )
