"""The training loop: an adapter on a frozen base model, or every weight, with the loss weighted by tokens.

Read from the top: ``train`` prepares everything, ``_run_steps`` is the loop, ``_step`` is one optimizer step.
"""

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from itertools import chain, islice
from pathlib import Path
from typing import TextIO

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from peft import PeftModel
from peft.helpers import disable_input_dtype_casting
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.optim import Optimizer

from response_tuning.conversation import Conversation, EncodedExample, default_format, encode_examples
from response_tuning.data.example import Example, require_prompts
from response_tuning.data.sources import load_examples
from response_tuning.errors import UserError
from response_tuning.files import read_json_lines, staged_folder, write_json, write_json_lines
from response_tuning.models import LoadedModel, set_stop_tokens, write_chat_files
from response_tuning.progress import progress_bar, say
from response_tuning.runs import RunDirectory, check_folder, claim_folder, remove_leftovers
from response_tuning.training.batching import Piece, collate, epoch_batches
from response_tuning.training.checkpoint import (
    Progress,
    data_fingerprint,
    remove_checkpoints,
    restore_checkpoint,
    save_checkpoint,
)
from response_tuning.training.confidence import confidences, halves, perplexities, require_reference, write_confidences
from response_tuning.training.config import TrainingConfig
from response_tuning.training.deepspeed_engine import Engine, require_deepspeed, start_engine
from response_tuning.training.distributed import (
    any_process,
    copy_from_first,
    decided_by_first,
    join_processes,
    process_named_in_errors,
    require_same,
    seed_step,
    share,
    sum_gradients,
    sum_over_processes,
)
from response_tuning.training.finished import examples_fingerprint, require_same_data
from response_tuning.training.held_out import held_out_loss, is_measured, load_best, note_measurement, stops_early
from response_tuning.training.interruption import held_back_interruption
from response_tuning.training.launch import launch, processes_wanted
from response_tuning.training.loss import ResponseLoss
from response_tuning.training.loss_kernels import require_kernel
from response_tuning.training.memory import named_part
from response_tuning.training.mixup import mixed_count, paired_batches
from response_tuning.training.noise import embedding_noise
from response_tuning.training.optimizer import learning_rate_factor, make_optimizer, set_learning_rate
from response_tuning.training.packing import lay_out, settle_packing
from response_tuning.training.sharding import (
    ShardedLoss,
    clip_gradients,
    passes,
    require_shardable,
    shard,
    shards,
    whole_state,
)
from response_tuning.training.tuning import (
    add_adapter,
    load_base,
    recompute_activations,
    require_known_tokens,
    train_all_weights,
)

__all__ = ["add_adapter", "learning_rate_factor", "resolve", "train"]

_CHECKED_TOKENS = 32


def train(config: TrainingConfig) -> RunDirectory:
    """Train an adapter, or the whole model, as ``config`` says and save the run.

    A finished run is left as it is; one that was interrupted goes on from its last checkpoint, to the same weights as
    if it had never stopped. Where several processes are asked for, they are started and waited for.

    Raises:
        UserError: bad data, a model that cannot be loaded, or an output folder that holds something else.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, when a checkpoint is written.
    """
    config = resolve(config)
    run = RunDirectory(config.output)
    examples = _load(config.data, config)
    held_out_examples = _load(config.held_out, config) if config.held_out else []
    fingerprints = {
        "data_fingerprint": examples_fingerprint(examples, config.method),
        "held_out_fingerprint": examples_fingerprint(held_out_examples, config.method),
    }
    if config.sftmix_from and not run.is_trained:
        require_reference(config, fingerprints["data_fingerprint"])
    processes = processes_wanted(config)
    if processes > 1:
        if not _is_finished(run, config, fingerprints):
            launch(config, processes)
        return run
    accelerator = join_processes(config.device)
    with process_named_in_errors(accelerator):
        if not decided_by_first(accelerator, lambda: _is_finished(run, config, fingerprints)):
            _train(config, run, examples, held_out_examples, fingerprints, accelerator)
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
) -> None:
    require_kernel(config, accelerator.device)
    fingerprint = fingerprints["data_fingerprint"]
    of_reference = perplexities(config, fingerprint, examples, accelerator) if config.sftmix_from else []
    set_seed(config.seed)
    sharded = shards(config, accelerator)
    with named_part("the base model's weights", config):
        # What is to be spread may not fit one device whole.
        loaded = load_base(
            config.model_copy(update={"device": "cpu"}) if sharded and config.spreads_weights else config
        )
    assert config.format != "auto"
    conversation = Conversation(loaded.tokenizer, config.format, rt_prefix=config.rt_prefix)
    encoded, report = encode_examples(
        examples, conversation, config.method, max_length=config.max_length, overlong=config.overlong
    )
    held_out = _encode_held_out(held_out_examples, conversation, config)
    require_known_tokens(loaded, [*encoded, *held_out])
    with named_part("the logits that the loss is checked against", config):
        checked = ResponseLoss(loaded.model, kernel=config.loss_kernel)
        checked.check(collate([_end_of(encoded[0])]).to(loaded.model.device))
    settled = settle_packing(loaded.model, encoded, config, accelerator.device)
    agreed = {"configuration": config.model_dump_json(), "packing": settled.packing, **fingerprints}
    require_same(accelerator, agreed)
    if accelerator.is_main_process:
        claim_folder(run.path, config)
        remove_leftovers(run.path)
        if config.sftmix_from:
            write_confidences(run.confidence, of_reference)  # before the report, which says of which data they are
        write_json(run.data_report, {**asdict(report), **fingerprints})
    say(
        f"{config.method} on {report.rows_kept} examples: {report.supervised_tokens:,} supervised tokens an epoch, "
        f"{report.prompt_tokens:,} of prompt, {len(report.rows_truncated)} rows truncated"
    )
    parts = [encoded]
    if config.sftmix_from:
        dropped = set(report.rows_dropped_overlong)
        certainty = confidences(of_reference)
        parts = halves(encoded, [value for row, value in enumerate(certainty, start=1) if row not in dropped])
        say(f"mixtures of {len(parts[0])} confident and {len(parts[1])} unconfident examples")
    full = config.tuning == "full"
    with named_part("the adapter", config):
        model = train_all_weights(loaded.model) if full else add_adapter(loaded.model, config)
    if config.gradient_checkpointing:
        recompute_activations(model)

    copy_from_first(accelerator, [parameter for parameter in model.parameters() if parameter.requires_grad])
    plain = ResponseLoss(model, label_smoothing=config.label_smoothing, kernel=config.loss_kernel)
    loss_of: ResponseLoss | ShardedLoss = plain
    optimizer: Optimizer | Engine
    if sharded and config.deepspeed_stage:
        with named_part("DeepSpeed's parts of weights and moments", config):
            loss_of, optimizer = start_engine(model, plain, config, accelerator)
    else:
        loss_of = shard(model, plain, config, accelerator) if sharded else plain
        optimizer = make_optimizer(_trained(model).values(), config, accelerator.device)

    def save(folder: Path) -> None:
        dtype = getattr(torch, config.dtype) if full else None
        state = whole_state(model, keep=accelerator.is_main_process, dtype=dtype) if sharded else None
        if dtype is not None:
            model.to(dtype)
        if accelerator.is_main_process:
            _save(folder, model, loaded, conversation, state)

    _run_steps(
        model,
        loss_of,
        optimizer,
        parts,
        held_out,
        settled,
        run,
        accelerator,
        lambda steps: save(run.kept_checkpoint(steps)),
    )
    save(run.model if full else run.adapter)
    if accelerator.is_main_process:
        remove_checkpoints(run.checkpoint)
        run.best_weights.unlink(missing_ok=True)


def _trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def resolve(config: TrainingConfig) -> TrainingConfig:
    """Put what "auto" stands for in its place, so that the saved configuration can be repeated anywhere.

    Raises:
        UserError: options that do nothing without another one that is missing.
    """
    if (config.patience or config.held_out_every) and not config.held_out:
        raise UserError("--patience and --held-out-every need --held-out, the examples to measure the loss on.")
    require_shardable(config)
    require_deepspeed(config)
    if config.keep_adapter_every and config.tuning == "full":
        raise UserError("--keep-adapter-every keeps adapters, and --tuning full trains none. Leave one of them out.")
    if config.sftmix_from and config.batch_size % 2:
        raise UserError(f"--sftmix-from trains on pairs, and --batch-size {config.batch_size} is odd.")
    if config.format != "auto":
        return config
    return config.model_copy(update={"format": default_format(config.model)})


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
        examples, conversation, config.method, max_length=config.max_length, overlong=config.overlong
    )
    say(f"held out: {report.rows_kept} examples, {report.supervised_tokens:,} supervised tokens")
    return encoded


def _run_steps(
    model: nn.Module,
    loss_of: ResponseLoss | ShardedLoss,
    optimizer: Optimizer | Engine,
    parts: list[list[EncodedExample]],
    held_out: list[EncodedExample],
    config: TrainingConfig,
    run: RunDirectory,
    accelerator: Accelerator,
    keep: Callable[[int], None],
) -> None:
    """Run all optimizer steps, from the last checkpoint on; logs each, and saves checkpoints.

    The examples come in one part, or in two (a confident and an unconfident half) that are to be mixed.
    Ends early, and leaves the best weights in the model, where the held-out loss says so.
    """
    trained = _trained(model)
    fingerprint = data_fingerprint([*chain(*parts), *held_out])
    progress = restore_checkpoint(run.checkpoint, trained, optimizer, fingerprint=fingerprint)
    require_same(accelerator, {"data": fingerprint, "checkpoint": progress.steps})
    if progress.steps:
        say(f"going on after step {progress.steps}, with packing {progress.packing} as before")
        config = config.model_copy(update={"packing": progress.packing})
    progress = replace(progress, packing=config.packing)
    steps_per_epoch = math.ceil(sum(map(len, parts)) / config.batch_size)
    steps = config.epochs * steps_per_epoch
    model.train()
    started, last_saved = time.perf_counter() - progress.seconds, time.perf_counter()
    with (
        _open_log(run.training_log, rows=progress.steps, writes=accelerator.is_main_process) as log,
        progress_bar(f"training {config.method}", steps) as bar,
        held_back_interruption() as interrupted,
    ):
        bar.advance(progress.steps)
        for epoch, batch in islice(_all_batches(parts, config), progress.steps, None):
            if stops_early(progress, config):
                break
            learning_rate = config.learning_rate * learning_rate_factor(progress.steps, steps=steps, config=config)
            set_learning_rate(optimizer.param_groups, learning_rate)
            seed_step(accelerator, seed=config.seed, step=progress.steps)
            loss, mixture_loss, gradient_norm = _step(
                model, batch, loss_of, optimizer, list(trained.values()), config, accelerator
            )
            tokens = progress.supervised_tokens + sum(piece.supervised_count for piece in batch)
            seconds = time.perf_counter() - started
            progress = replace(progress, steps=progress.steps + 1, supervised_tokens=tokens, seconds=seconds)
            row = {
                "step": progress.steps,
                "epoch": epoch,
                "loss": loss,
                **({"mixture_loss": mixture_loss} if config.sftmix_from else {}),
                "gradient_norm": gradient_norm,
                "learning_rate": learning_rate,
                "supervised_tokens": tokens,
                "seconds": round(seconds, 3),
            }
            if held_out and is_measured(progress.steps, steps=steps, steps_per_epoch=steps_per_epoch, config=config):
                row["held_out_loss"] = _held_out_loss(model, loss_of, held_out, config, accelerator)
                best = run.best_weights if accelerator.is_main_process else None
                progress = note_measurement(progress, row["held_out_loss"], best, trained)
            log.write(json.dumps(row) + "\n")
            log.flush()
            bar.advance(note=f"loss {loss:.3f}  {tokens / seconds:,.0f} supervised tokens/s")
            every = config.keep_adapter_every
            if every and progress.steps % every == 0 and progress.steps < steps:
                keep(progress.steps)
            stop = any_process(accelerator, interrupted())
            # All together, since each may have a part to give.
            if any_process(accelerator, stop or time.perf_counter() - last_saved >= config.checkpoint_every_seconds):
                save_checkpoint(
                    run.checkpoint,
                    trained,
                    optimizer,
                    progress,
                    fingerprint=fingerprint,
                    keep=config.keep_checkpoints,
                    writes=accelerator.is_main_process,
                )
                last_saved = time.perf_counter()
            if stop:
                accelerator.wait_for_everyone()  # until the first has saved
                raise KeyboardInterrupt
    accelerator.wait_for_everyone()  # until the first has written the best weights
    if accelerator.is_main_process or isinstance(loss_of, ShardedLoss):
        _finish(progress, steps, config, run, trained)


def _held_out_loss(
    model: nn.Module,
    loss_of: ResponseLoss | ShardedLoss,
    held_out: list[EncodedExample],
    config: TrainingConfig,
    accelerator: Accelerator,
) -> float:
    """The held-out loss per token; each process measures its share."""
    part = share(held_out, process=accelerator.process_index, processes=accelerator.num_processes)
    with disable_input_dtype_casting(model):
        mean = held_out_loss(
            model,
            part,
            tokens_at_once=config.micro_batch_tokens,
            mixed=_mixed(config, accelerator),
            sharded=loss_of if isinstance(loss_of, ShardedLoss) else None,
        )
    total = mean * sum(example.supervised_count for example in part)
    return sum_over_processes(accelerator, total) / sum(example.supervised_count for example in held_out)


def _finish(
    progress: Progress, steps: int, config: TrainingConfig, run: RunDirectory, trained: dict[str, nn.Parameter]
) -> None:
    """Leave the weights that are to be saved in the model, and say which they are."""
    if progress.best_loss is None:
        return
    if progress.steps < steps:
        say(f"stopped early, after step {progress.steps} of {steps}")
    say(f"the held-out loss was lowest, {progress.best_loss:.4f} nats a token, after step {progress.best_step}")
    if config.keep == "best" and progress.best_step < progress.steps:
        load_best(run.best_weights, trained)
        say("its weights are kept")


def _all_batches(parts: list[list[EncodedExample]], config: TrainingConfig) -> Iterator[tuple[int, Sequence[Piece]]]:
    """The epoch (from 1) and the examples, or pairs of them, of every optimizer step."""
    size = config.batch_size
    for epoch in range(config.epochs):
        seed = config.seed + epoch
        batches: Sequence[Sequence[Piece]] = (
            epoch_batches(*parts, batch_size=size, seed=seed)
            if len(parts) == 1
            else paired_batches(*parts, batch_size=size, alpha=config.sftmix_alpha, seed=seed)
        )
        yield from ((epoch + 1, batch) for batch in batches)


def _open_log(path: Path, *, rows: int, writes: bool) -> TextIO:
    """The training log, cut back to the steps that a checkpoint holds: later ones will be done again.

    A process that is not to write gets a file that forgets.
    """
    if not writes:
        return Path(os.devnull).open("w", encoding="utf-8")
    if path.is_file():
        write_json_lines(path, read_json_lines(path)[:rows])
    return path.open("a", encoding="utf-8")


def _step(
    model: nn.Module,
    batch: Sequence[Piece],
    loss_of: ResponseLoss | ShardedLoss,
    optimizer: Optimizer | Engine,
    trained: list[nn.Parameter],
    config: TrainingConfig,
    accelerator: Accelerator,
) -> tuple[float, float, float]:
    """Take one optimizer step; returns its loss per token, that of its mixtures (0 without any), and the norm of its
    gradients before they are clipped.

    Raises:
        UserError: one of them is not finite.
    """
    loss, mixture_loss = _gradients(model, batch, loss_of, config, accelerator)
    with named_part("the optimizer's state", config, longest=_longest(batch)):
        norm = _update(optimizer, trained, loss_of, config, accelerator)
    if not math.isfinite(loss) or not math.isfinite(norm):
        raise UserError(
            f"The loss became {loss} (gradient norm {norm}). Lower --learning-rate, or use --dtype float32."
        )
    return loss, mixture_loss, norm


def _gradients(
    model: nn.Module,
    batch: Sequence[Piece],
    loss_of: ResponseLoss | ShardedLoss,
    config: TrainingConfig,
    accelerator: Accelerator,
) -> tuple[float, float]:
    """Make the gradients of one optimizer step, of this process's share; returns the step's loss per token, and that of
    its mixtures (0 without any).

    The loss is summed over supervised tokens and divided by their number in the whole step, so the result does
    not depend on how the step is cut into micro-batches, or shared by several processes. So is that of mixtures.
    """
    tokens, mixtures = sum(piece.supervised_count for piece in batch), sum(map(mixed_count, batch))
    total = torch.zeros(2, device=accelerator.device)
    mixed = _mixed(config, accelerator)
    own = share(batch, process=accelerator.process_index, processes=accelerator.num_processes)
    micro_batches = lay_out(own, tokens=config.micro_batch_tokens, packed=config.packing == "on")
    for laid_out, weight in passes(loss_of, micro_batches, training=True):
        rows = laid_out.to(accelerator.device)
        # Inputs of adapter layers need no cast to fp32: autocast multiplies in bf16, with fp32 master weights. The
        # backward pass stands within, since gradient checkpointing computes layers again there.
        with disable_input_dtype_casting(model):
            size = f"of a micro-batch of {rows.input_ids.shape[0]} x {rows.input_ids.shape[1]} tokens"
            noise = embedding_noise(model, rows, alpha=config.neftune_alpha)
            with named_part(f"the activations and the loss {size}", config, longest=_longest(batch)), mixed, noise:
                losses, of_mixtures = loss_of.with_mixtures(rows)
                ordinary, mixture = losses.sum() / tokens, of_mixtures.sum() / max(mixtures, 1)
                loss = (ordinary + config.sftmix_weight * mixture) * weight
            with named_part(f"the gradients {size}", config, longest=_longest(batch)):
                accelerator.backward(loss)
        total += weight * torch.stack((ordinary, mixture)).detach()
    loss_value, mixture_value = (sum_over_processes(accelerator, value) for value in total.tolist())
    return loss_value, mixture_value


def _update(
    optimizer: Optimizer | Engine,
    trained: list[nn.Parameter],
    loss_of: ResponseLoss | ShardedLoss,
    config: TrainingConfig,
    accelerator: Accelerator,
) -> float:
    """Take one optimizer step with the gradients of all processes; returns their norm before they are clipped."""
    if isinstance(optimizer, Engine):
        return optimizer.step()
    if not isinstance(loss_of, ShardedLoss):  # with that they are added up as they are made
        sum_gradients(accelerator, trained)
    norm = clip_gradients(trained, config.max_gradient_norm)
    optimizer.step()
    optimizer.zero_grad()
    return norm


def _longest(batch: Sequence[Piece]) -> int:
    return max(len(piece.input_ids) for piece in batch)


def _mixed(config: TrainingConfig, accelerator: Accelerator) -> torch.autocast:
    """Products in bf16 where that is asked for."""
    return torch.autocast(accelerator.device.type, torch.bfloat16, enabled=config.dtype == "bfloat16")


def _save(
    folder: Path,
    model: nn.Module,
    loaded: LoadedModel,
    conversation: Conversation,
    state: dict[str, Tensor] | None,
) -> None:
    """Write what was trained, an adapter or a whole model, with what chatting with it needs.

    ``state`` are the weights to write, where the model's own are parts.
    """
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
