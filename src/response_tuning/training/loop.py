"""The steps of a training: the loop, what each step computes and logs, and when it is measured and saved.

Read from the top: ``run_steps`` is the loop, ``_step`` is one optimizer step, ``_gradients`` its forward and backward
passes.
"""

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any, TextIO

import torch
from accelerate import Accelerator
from peft.helpers import disable_input_dtype_casting
from torch import nn

from response_tuning.conversation import EncodedExample
from response_tuning.inference.response_loss import ResponseLoss
from response_tuning.runs.folder import RunDirectory
from response_tuning.support.configuration import changed
from response_tuning.support.errors import UserError
from response_tuning.support.files import read_json_lines, write_json_lines
from response_tuning.support.progress import progress_bar, say
from response_tuning.training.batches.batching import Piece, epoch_batches
from response_tuning.training.batches.packing import lay_out
from response_tuning.training.checkpoint import Progress, data_fingerprint, restore_checkpoint, save_checkpoint
from response_tuning.training.held_out import (
    held_out_loss,
    is_measured,
    load_best,
    note_measurement,
    stops_early,
)
from response_tuning.training.interruption import held_back_interruption
from response_tuning.training.noise import embedding_noise
from response_tuning.training.objectives.sftmix.mixtures import mixed_count, paired_batches
from response_tuning.training.optimizer import learning_rate_factor, set_learning_rate
from response_tuning.training.parallel.processes import any_process, require_same, seed_step, share, sum_over_processes
from response_tuning.training.parallel.sharding import ShardedLoss, passes
from response_tuning.training.planning.memory import named_part
from response_tuning.training.stepper import Stepper
from response_tuning.training.training_config import TrainingConfig

__all__ = ["Training", "run_steps"]


@dataclass(frozen=True)
class Training:
    """What takes part in every step."""

    config: TrainingConfig
    """Of which nothing is "auto" any more."""
    model: nn.Module
    """The base model, with its adapter where one is trained."""
    loss_of: ResponseLoss | ShardedLoss
    stepper: Stepper
    accelerator: Accelerator

    @cached_property
    def trained(self) -> dict[str, nn.Parameter]:
        """What is trained, by name; each process's part of it, where the model is spread."""
        return {name: parameter for name, parameter in self.model.named_parameters() if parameter.requires_grad}

    @property
    def sharded_loss(self) -> ShardedLoss | None:
        """The loss, where the model is spread over processes."""
        return self.loss_of if isinstance(self.loss_of, ShardedLoss) else None

    @property
    def mixed(self) -> torch.autocast:
        """Products in bf16, where that is asked for."""
        enabled = self.config.memory.dtype == "bfloat16"
        return torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=enabled)


def run_steps(
    training: Training,
    parts: list[list[EncodedExample]],
    held_out: list[EncodedExample],
    run: RunDirectory,
    keep_adapter: Callable[[int], None],
    on_step: Callable[[dict[str, Any]], None],
) -> None:
    """Run all optimizer steps, from the last checkpoint on; logs each, and saves checkpoints.

    Ends early, and leaves the best weights in the model, where the held-out loss says so.

    Args:
        training: What takes part.
        parts: The examples in one part, or in two, a confident and an unconfident half, that are to be mixed.
        held_out: What the held-out loss is measured on; may be empty.
        run: Where the log and the checkpoints go.
        keep_adapter: Saves the adapter as it is after so many steps; called as often as the configuration says.
        on_step: Called with every row of the log, when it is written.

    Raises:
        UserError: the checkpoint is of other data, or the loss is not finite.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, when a checkpoint is written.
    """
    fingerprint = data_fingerprint([*chain(*parts), *held_out])
    training, progress = _go_on(training, run, fingerprint)
    config, accelerator = training.config, training.accelerator
    steps_per_epoch = math.ceil(sum(map(len, parts)) / config.batches.batch_size)
    steps = config.batches.epochs * steps_per_epoch
    training.model.train()
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
            learning_rate = config.optimization.learning_rate * learning_rate_factor(
                progress.steps, steps=steps, config=config
            )
            set_learning_rate(training.stepper.param_groups, learning_rate)
            seed_step(accelerator, seed=config.seed, step=progress.steps)
            loss, mixture_loss, gradient_norm = _step(training, batch)
            tokens = progress.supervised_tokens + sum(piece.supervised_count for piece in batch)
            seconds = time.perf_counter() - started
            progress = replace(progress, steps=progress.steps + 1, supervised_tokens=tokens, seconds=seconds)
            row = {
                "step": progress.steps,
                "epoch": epoch,
                "loss": loss,
                **({"mixture_loss": mixture_loss} if config.sftmix.sftmix_from else {}),
                "gradient_norm": gradient_norm,
                "learning_rate": learning_rate,
                "supervised_tokens": tokens,
                "seconds": round(seconds, 3),
            }
            if held_out and is_measured(progress.steps, steps=steps, steps_per_epoch=steps_per_epoch, config=config):
                row["held_out_loss"] = _held_out_loss(training, held_out)
                best = run.best_weights if accelerator.is_main_process else None
                progress = note_measurement(progress, row["held_out_loss"], best, training.trained)
            log.write(json.dumps(row) + "\n")
            log.flush()
            on_step(row)
            bar.advance(note=f"loss {loss:.3f}  {tokens / seconds:,.0f} supervised tokens/s")
            every = config.checkpoints.keep_adapter_every
            if every and progress.steps % every == 0 and progress.steps < steps:
                keep_adapter(progress.steps)
            stop = any_process(accelerator, interrupted())
            # All together, since each may have a part to give.
            if any_process(
                accelerator, stop or time.perf_counter() - last_saved >= config.checkpoints.checkpoint_every_seconds
            ):
                save_checkpoint(
                    run.checkpoint,
                    training.trained,
                    training.stepper,
                    progress,
                    fingerprint=fingerprint,
                    keep=config.checkpoints.keep_checkpoints,
                    writes=accelerator.is_main_process,
                )
                last_saved = time.perf_counter()
            if stop:
                accelerator.wait_for_everyone()  # until the first has saved
                raise KeyboardInterrupt
    accelerator.wait_for_everyone()  # until the first has written the best weights
    if accelerator.is_main_process or training.sharded_loss:
        _finish(training, progress, steps, run)


def _go_on(training: Training, run: RunDirectory, fingerprint: str) -> tuple[Training, Progress]:
    """Put back the last checkpoint, if there is one; returns the training as it goes on, and how far it had come."""
    progress = restore_checkpoint(run.checkpoint, training.trained, training.stepper, fingerprint=fingerprint)
    require_same(training.accelerator, {"data": fingerprint, "checkpoint": progress.steps})
    if not progress.steps:
        return training, replace(progress, packing=training.config.batches.packing)
    say(f"going on after step {progress.steps}, with packing {progress.packing} as before")
    return replace(training, config=changed(training.config, packing=progress.packing)), progress


def _all_batches(parts: list[list[EncodedExample]], config: TrainingConfig) -> Iterator[tuple[int, Sequence[Piece]]]:
    """The epoch (from 1) and the examples, or pairs of them, of every optimizer step."""
    size = config.batches.batch_size
    for epoch in range(config.batches.epochs):
        seed = config.seed + epoch
        batches: Sequence[Sequence[Piece]] = (
            epoch_batches(*parts, batch_size=size, seed=seed)
            if len(parts) == 1
            else paired_batches(*parts, batch_size=size, alpha=config.sftmix.sftmix_alpha, seed=seed)
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


def _step(training: Training, batch: Sequence[Piece]) -> tuple[float, float, float]:
    """Take one optimizer step; returns its loss per token, that of its mixtures (0 without any), and the norm of its
    gradients before they are clipped.

    Raises:
        UserError: one of them is not finite.
    """
    loss, mixture_loss = _gradients(training, batch)
    with named_part("the optimizer's state", training.config, longest=_longest(batch)):
        norm = training.stepper.step()
    if not math.isfinite(loss) or not math.isfinite(norm):
        raise UserError(
            f"The loss became {loss} (gradient norm {norm}). Lower --learning-rate, or use --dtype float32."
        )
    return loss, mixture_loss, norm


def _gradients(training: Training, batch: Sequence[Piece]) -> tuple[float, float]:
    """Make the gradients of one optimizer step, of this process's share; returns the step's loss per token, and that of
    its mixtures (0 without any).

    The loss is summed over supervised tokens and divided by their number in the whole step, so the result does
    not depend on how the step is cut into micro-batches, or shared by several processes. So is that of mixtures.
    """
    config, model, loss_of, accelerator = training.config, training.model, training.loss_of, training.accelerator
    tokens, mixtures = sum(piece.supervised_count for piece in batch), sum(map(mixed_count, batch))
    total = torch.zeros(2, device=accelerator.device)
    own = share(batch, process=accelerator.process_index, processes=accelerator.num_processes)
    micro_batches = lay_out(own, tokens=config.batches.micro_batch_tokens, packed=config.batches.packing == "on")
    for laid_out, weight in passes(loss_of, micro_batches, training=True):
        rows = laid_out.to(accelerator.device)
        # Inputs of adapter layers need no cast to fp32: autocast multiplies in bf16, with fp32 master weights. The
        # backward pass stands within, since gradient checkpointing computes layers again there.
        with disable_input_dtype_casting(model):
            size = f"of a micro-batch of {rows.input_ids.shape[0]} x {rows.input_ids.shape[1]} tokens"
            noise = embedding_noise(model, rows, alpha=config.regularization.neftune_alpha)
            forward = named_part(f"the activations and the loss {size}", config, longest=_longest(batch))
            with forward, training.mixed, noise:
                losses, of_mixtures = loss_of.with_mixtures(rows)
                ordinary, mixture = losses.sum() / tokens, of_mixtures.sum() / max(mixtures, 1)
                loss = (ordinary + config.sftmix.sftmix_weight * mixture) * weight
            with named_part(f"the gradients {size}", config, longest=_longest(batch)):
                accelerator.backward(loss)
        total += weight * torch.stack((ordinary, mixture)).detach()
    loss_value, mixture_value = (sum_over_processes(accelerator, value) for value in total.tolist())
    return loss_value, mixture_value


def _longest(batch: Sequence[Piece]) -> int:
    return max(len(piece.input_ids) for piece in batch)


def _held_out_loss(training: Training, held_out: list[EncodedExample]) -> float:
    """The held-out loss per token; each process measures its share."""
    accelerator = training.accelerator
    part = share(held_out, process=accelerator.process_index, processes=accelerator.num_processes)
    with disable_input_dtype_casting(training.model):
        mean = held_out_loss(
            training.model,
            part,
            tokens_at_once=training.config.batches.micro_batch_tokens,
            mixed=training.mixed,
            sharded=training.sharded_loss,
        )
    total = mean * sum(example.supervised_count for example in part)
    return sum_over_processes(accelerator, total) / sum(example.supervised_count for example in held_out)


def _finish(training: Training, progress: Progress, steps: int, run: RunDirectory) -> None:
    """Leave the weights that are to be saved in the model, and say which they are."""
    if progress.best_loss is None:
        return
    if progress.steps < steps:
        say(f"stopped early, after step {progress.steps} of {steps}")
    say(f"the held-out loss was lowest, {progress.best_loss:.4f} nats a token, after step {progress.best_step}")
    if training.config.validation.keep == "best" and progress.best_step < progress.steps:
        load_best(run.best_weights, training.trained)
        say("its weights are kept")
