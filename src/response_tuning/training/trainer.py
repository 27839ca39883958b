"""A training from its configuration to the saved run: an adapter on a frozen base model, or every weight.

Read from the top: ``train`` validates what there is to do, ``_train`` prepares it, and ``loop.run_steps`` does it. One
training step is in ``loop``, ``step``, the objective, the strategy and ``inference.response_loss``.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from peft import PeftModel
from safetensors import SafetensorError
from transformers import PreTrainedModel

from response_tuning.conversation import Conversation, EncodedExample, EncodingReport, default_format, encode_examples
from response_tuning.data.sources.load_examples import load_examples
from response_tuning.example import Example, require_prompts, split_system
from response_tuning.inference.batch import collate
from response_tuning.inference.response_loss import ResponseLoss
from response_tuning.kernels.library_kernels import require_kernel
from response_tuning.models.adapter import write_base_record
from response_tuning.models.chat_files import set_stop_tokens, write_chat_files
from response_tuning.models.context import require_context
from response_tuning.models.dtype import fastest_dtype, warn_of_emulation
from response_tuning.models.fingerprint import model_fingerprint, weights_fingerprint
from response_tuning.models.load import LoadedModel, load_model_config, load_tokenizer
from response_tuning.models.spec import parse_spec
from response_tuning.runs.folder import RunDirectory, check_folder, claim_folder, remove_leftovers
from response_tuning.runs.load import resolve_format
from response_tuning.support.configuration import changed, flatten, written_options
from response_tuning.support.errors import UserError
from response_tuning.support.files import staged_folder, write_json
from response_tuning.support.options import Dtype, FormatName, LossKernel, Method
from response_tuning.support.progress import say, warn
from response_tuning.training.batches.packing import decide_packing
from response_tuning.training.checkpoint import remove_checkpoints
from response_tuning.training.continuing import load_start, options_of_start, start_of
from response_tuning.training.device_settings import device_settings
from response_tuning.training.encoding import conversation_for
from response_tuning.training.finished import examples_fingerprint, require_same_data
from response_tuning.training.loop import run_steps
from response_tuning.training.objectives.contract import DataSets, Objective
from response_tuning.training.objectives.registry import make_objective
from response_tuning.training.observers.held_out import HeldOut
from response_tuning.training.optimizer import make_optimizer, require_optimizer
from response_tuning.training.parallel.contract import Strategy
from response_tuning.training.parallel.launch import launch, processes_wanted
from response_tuning.training.parallel.processes import (
    decided_by_first,
    join_processes,
    process_named_in_errors,
    require_same,
)
from response_tuning.training.parallel.registry import make_strategy
from response_tuning.training.planning.memory import named_part
from response_tuning.training.planning.micro_batch import micro_batch_tokens
from response_tuning.training.step import Training
from response_tuning.training.summary import summary, summary_line, unlearnable_stop_token
from response_tuning.training.targets import coverage
from response_tuning.training.trackers.registry import require_tracker
from response_tuning.training.training_config import CHANGES_NO_RUN, TrainingConfig
from response_tuning.training.tuning import make_trainable, require_known_tokens

__all__ = ["load_rows", "resolve", "train"]

_CHECKED_TOKENS = 32


def train(config: TrainingConfig, *, on_step: Callable[[dict[str, Any]], None] = lambda _row: None) -> RunDirectory:
    """Train an adapter, or the whole model, and save the run.

    A finished run does not change; an interrupted one is resumed from its last checkpoint, and ends with bitwise the
    same weights as one that never stopped. If several processes are asked for, they are started and waited for.

    Args:
        config: The training.
        on_step: Called after every step with its row of the training log; not if this call starts processes.

    Raises:
        UserError: bad data, a model that cannot be loaded, or an output folder that holds something else.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, when a checkpoint is written.
    """
    if config.plan:
        raise UserError("plan trains nothing: leave it out, or use rt train --plan.")
    config = resolve(config)
    run = RunDirectory(config.output)
    objective = make_objective(config)
    examples = _load_all(config, objective)
    if objective.preparation and not run.is_trained:
        objective.preparation.require(examples.fingerprint)
    processes = processes_wanted(config.parallel, config.memory.device)
    if processes > 1:
        if not _is_finished(run, config, examples):
            launch(config, processes)
        return run
    accelerator = join_processes(config.memory.device, offloads=config.parallel.offload == "cpu")
    with process_named_in_errors(accelerator), device_settings(config.memory, accelerator.device):
        if not decided_by_first(accelerator, lambda: _is_finished(run, config, examples)):
            _train(config, run, objective, examples, accelerator, on_step)
    return run


def _is_finished(run: RunDirectory, config: TrainingConfig, examples: DataSets) -> bool:
    """Whether nothing is left to do for ``config``, in a folder that is free or its own."""
    check_folder(run.path, config, ignore=CHANGES_NO_RUN)
    if not run.is_trained:
        return False
    require_same_data(run, examples.fingerprints)
    say(f"{run.path} is trained already.")
    return True


def _train(
    config: TrainingConfig,
    run: RunDirectory,
    objective: Objective,
    examples: DataSets,
    accelerator: Accelerator,
    on_step: Callable[[dict[str, Any]], None],
) -> None:
    require_kernel(config.memory.loss_kernel, accelerator.device)
    require_optimizer(config.optimization, accelerator.device)
    require_tracker(config.tracking.tracker)
    warn_of_emulation(config.memory.dtype, config.memory.device)
    if objective.preparation:
        objective.preparation.prepare(examples, accelerator)
    set_seed(config.seed)
    strategy = make_strategy(config, accelerator)
    # Encoded before the weights are loaded: an example that is too long is found in seconds.
    tokenizer = load_tokenizer(config.model)
    conversation = conversation_for(tokenizer, config.encoding)
    _require_system_texts(examples.train, config)
    encoded, report = _encode(examples.train, conversation, config, source=config.data)
    held_out, held_out_dropped = _encode_held_out(examples.held_out, conversation, config)
    config = _with_micro_batches(config, [*encoded, *held_out], accelerator)
    with named_part("the base model's weights", config):
        loaded = strategy.load(config)
    require_known_tokens(loaded, [*encoded, *held_out])
    packed = strategy.decide(loaded.model, lambda: _try_out(loaded.model, encoded, config, accelerator.device))
    agreed = {"configuration": flatten(config, mode="json"), "packing": packed, **examples.fingerprints}
    require_same(accelerator, agreed)
    if accelerator.is_main_process:
        claim_folder(run.path, config, ignore=CHANGES_NO_RUN)
        remove_leftovers(run.path)
        if objective.preparation:
            objective.preparation.write(run.path)  # before the report, which names the data that it is of
        write_json(run.data_report, {**asdict(report), **examples.fingerprints})
    say(
        f"{config.method} on {report.rows_kept} examples: {report.supervised_tokens:,} supervised tokens an epoch, "
        f"{report.prompt_tokens:,} of prompt, {len(report.rows_truncated)} rows truncated"
    )
    rows = () if objective.preparation else _every_row(encoded, report)
    if objective.preparation:
        encoded = objective.preparation.arrange(encoded, report.rows_dropped_overlong)
    measured = objective.preparation.measured(held_out, held_out_dropped) if objective.preparation else None
    warning = unlearnable_stop_token(loaded.model, conversation, config.adapter.tuning)
    training = _prepare(loaded.model, config, objective, strategy, packed=packed)
    if accelerator.is_main_process:
        covered = coverage(training.model)
        say(summary_line(covered, conversation, config.method, config.adapter.tuning))
        if warning is not None:
            warn(warning)
        write_json(run.tuning, summary(covered, conversation, config.method))

    def save(folder: Path) -> None:
        _save(folder, training, loaded, conversation)

    held_out_set = HeldOut(held_out, measured)
    run_steps(training, encoded, held_out_set, run, lambda steps: save(run.kept_checkpoint(steps)), on_step, rows)
    save(run.model if config.adapter.tuning == "full" else run.adapter)
    if accelerator.is_main_process:
        remove_checkpoints(run.checkpoint)
        run.best_weights.unlink(missing_ok=True)


def _every_row(encoded: Sequence[EncodedExample], report: EncodingReport) -> list[EncodedExample | None]:
    """The encoded examples at their rows of the data; None where one is dropped."""
    left, dropped = iter(encoded), set(report.rows_dropped_overlong)
    return [None if row in dropped else next(left) for row in range(1, report.rows_read + 1)]


def _with_micro_batches(
    config: TrainingConfig, encoded: Sequence[EncodedExample], accelerator: Accelerator
) -> TrainingConfig:
    """``config`` with a number of tokens for each micro-batch, the same in all processes."""
    if config.batches.micro_batch_tokens != "auto":
        return config
    model_config, longest = load_model_config(config.model), max(len(example.input_ids) for example in encoded)
    tokens = decided_by_first(
        accelerator, lambda: micro_batch_tokens(config, model_config, longest=longest, device=accelerator.device)
    )
    return changed(config, micro_batch_tokens=tokens)


def _try_out(
    base: PreTrainedModel, encoded: list[EncodedExample], config: TrainingConfig, device: torch.device
) -> bool:
    """Validate that the loss knows how the model computes its logits, and decide whether to pack."""
    with named_part("the logits that the loss is checked against", config):
        _check_loss(base, encoded[0], config.memory.loss_kernel)
    attention, dtype = config.memory.attention, getattr(torch, config.memory.dtype)
    return decide_packing(
        base, encoded, config.batches, seed=config.seed, device=device, attention=attention, dtype=dtype
    )


def _check_loss(base: PreTrainedModel, example: EncodedExample, kernel: LossKernel) -> None:
    # A few tokens: full logits of a long example would take more memory than the training itself.
    ids = example.input_ids[-_CHECKED_TOKENS:]
    end = EncodedExample(ids, max(1, len(ids) - example.supervised_count))
    ResponseLoss(base, kernel=kernel).check(collate([end]).to(base.device))


def _prepare(
    base: PreTrainedModel, config: TrainingConfig, objective: Objective, strategy: Strategy, *, packed: bool
) -> Training:
    """Add to ``base`` what is trained, distribute it over the processes, and make its optimizer."""
    device = strategy.accelerator.device
    with named_part("the adapter", config):
        start = partial(load_start, folder=start_of(config))
        model = make_trainable(base, config.adapter, config.memory, device, start=start)
    strategy.wrap(model)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = make_optimizer(trained, config.optimization, device)
    return Training(config, model, objective, strategy, optimizer, packed)


def resolve(config: TrainingConfig) -> TrainingConfig:
    """Replace "auto" by what it means here, so that the saved configuration gives the same result anywhere.

    A run that was begun keeps its dtype, whatever would be fastest on the machine that resumes it, and its
    micro-batches.
    """
    resolved = options_of_start(config)
    if config.encoding.format == "auto" and "format" not in resolved:
        resolved["format"] = _format_of(config.model)
    if config.memory.dtype == "auto":
        begun = written_options(RunDirectory(config.output).config).get("dtype")
        resolved["dtype"] = _dtype(config, begun if begun in ("bfloat16", "float32") else None)
    if config.batches.micro_batch_tokens == "auto":
        begun_tokens = written_options(RunDirectory(config.output).config).get("micro_batch_tokens")
        if isinstance(begun_tokens, int):
            resolved["micro_batch_tokens"] = begun_tokens
    return changed(config, **resolved) if resolved else config


def _format_of(spec: str) -> FormatName:
    """The format that "auto" means for a base model: that of the run, adapter or export that it may be."""
    if parse_spec(spec).kind not in ("folder", "gguf"):
        return default_format(spec)
    return resolve_format(spec, "auto", load_tokenizer(spec))


def _dtype(config: TrainingConfig, begun: Dtype | None) -> Dtype:
    if config.memory.loss_kernel == "cut-cross-entropy":
        return "bfloat16"  # it has no other
    return begun or fastest_dtype(config.memory.device)


def _load_all(config: TrainingConfig, objective: Objective) -> DataSets:
    reads_system = config.encoding.reads_system
    examples = load_rows(config.data, config.method, objective, systems=reads_system)
    held_out = load_rows(config.validation.held_out, config.method, objective, systems=reads_system)
    fingerprints = {
        "data_fingerprint": examples_fingerprint(examples, config.method, reads_system=reads_system),
        "held_out_fingerprint": examples_fingerprint(held_out, config.method, reads_system=reads_system),
    }
    if config.from_run:
        fingerprints["start_fingerprint"] = str(model_fingerprint(config.from_run))
    return DataSets(examples, held_out, fingerprints)


def load_rows(source: str, method: Method, objective: Objective, *, systems: bool = False) -> list[Example]:
    """What an objective trains on, or measures, of a source of examples; nothing of no source.

    With ``systems``, rows keep their system message in the field ``system`` as well.

    Raises:
        UserError: the source cannot be read, or an example lacks what the method or the objective needs.
    """
    if not source:
        return []
    preparation = objective.preparation
    verdicts = preparation is not None and preparation.reads_verdicts
    examples = load_examples(source, verdicts=verdicts, systems=systems)
    if method == "it":
        require_prompts(examples, source=source, purpose="instruction tuning (--method it)")
    return preparation.rows(examples, source) if preparation else examples


def _require_system_texts(examples: Sequence[Example], config: TrainingConfig) -> None:
    """Require a row with a system text where response tuning is to keep some."""
    if config.encoding.rt_keeps == "system" and all(split_system(example)[2] is None for example in examples):
        raise UserError(
            f"{config.data} has no system text to keep (--rt-keeps system): rows need a field 'system', as rt data "
            "roles-and-rules writes it, or system messages in conversations."
        )


def _encode(
    examples: list[Example], conversation: Conversation, config: TrainingConfig, *, source: str
) -> tuple[list[EncodedExample], EncodingReport]:
    options = config.encoding
    encoded, report = encode_examples(
        examples, conversation, config.method, max_length=options.max_length, overlong=options.overlong
    )
    require_context(encoded, report, load_model_config(config.model), source=source)
    return encoded, report


def _encode_held_out(
    examples: list[Example], conversation: Conversation, config: TrainingConfig
) -> tuple[list[EncodedExample], list[int]]:
    """The encoded examples, and the row numbers of those that are dropped."""
    if not examples:
        return [], []
    encoded, report = _encode(examples, conversation, config, source=config.validation.held_out)
    say(f"held out: {report.rows_kept} examples, {report.supervised_tokens:,} supervised tokens")
    return encoded, report.rows_dropped_overlong


def _save(folder: Path, training: Training, loaded: LoadedModel, conversation: Conversation) -> None:
    """Write what was trained, an adapter or a whole model, with what chatting with it needs; all processes call it."""
    model, strategy = training.model, training.strategy
    writes = strategy.accelerator.is_main_process
    full = training.config.adapter.tuning == "full"
    dtype = getattr(torch, training.config.memory.dtype) if full else None
    state = strategy.state_dict(model, keep=writes, dtype=dtype)
    if dtype is not None:
        model.to(dtype)
    if not writes:
        return
    set_stop_tokens(loaded.model, conversation.stop_token_ids)
    if isinstance(model, PeftModel):
        is_folder = Path(loaded.origin).exists()
        model.peft_config["default"].base_model_name_or_path = (
            str(Path(loaded.origin).absolute()) if is_folder else loaded.origin
        )
        model.peft_config["default"].revision = loaded.revision
    with staged_folder(folder) as staging:
        try:
            model.save_pretrained(str(staging), state_dict=state)  # type: ignore[operator]
        except SafetensorError as error:
            raise UserError(f"{folder} cannot be written: {error}") from error
        # PEFT's model card has headings alone, and the path of the base model on this machine.
        (staging / "README.md").unlink(missing_ok=True)
        if isinstance(model, PeftModel):
            write_base_record(
                staging,
                folder,
                spec=training.config.model,
                base=loaded.origin,
                weights=weights_fingerprint(loaded.origin),
                four_bit=training.config.adapter.tuning == "qlora",
            )
        write_chat_files(
            staging,
            loaded.model,
            loaded.tokenizer,
            chat_template=conversation.chat_template,
            stop_ids=conversation.stop_token_ids,
        )
