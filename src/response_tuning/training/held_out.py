"""The loss on held-out examples: which weights are best, and when training has stopped helping."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from response_tuning.conversation import EncodedExample
from response_tuning.inference.response_loss import ResponseLoss
from response_tuning.support.errors import UserError
from response_tuning.training.batches.batching import collate, micro_batches
from response_tuning.training.checkpoint import Progress
from response_tuning.training.parallel.sharding import ShardedLoss, gathered, passes, put_back
from response_tuning.training.training_config import TrainingConfig

__all__ = ["held_out_loss", "is_measured", "load_best", "note_measurement", "stops_early"]


@torch.no_grad()
def held_out_loss(
    model: nn.Module,
    examples: Sequence[EncodedExample],
    *,
    tokens_at_once: int,
    mixed: torch.autocast,
    sharded: ShardedLoss | None = None,
) -> float:
    """The negative log-likelihood per supervised token, in nats, without dropout, noise or label smoothing.

    Nothing random is drawn, so measuring does not change the training.

    Args:
        model: The model.
        examples: What to measure; 0.0 comes of none.
        tokens_at_once: The most tokens, padding counted, to compute at once.
        mixed: Whether products are in bf16.
        sharded: Where the model is spread over processes, which then all have to ask.
    """
    loss_of = sharded or ResponseLoss(model)
    device = sharded.device if sharded else next(model.parameters()).device
    total = 0.0
    model.eval()
    batches = (collate(part) for part in micro_batches(examples, tokens=tokens_at_once))
    for batch, weight in passes(loss_of, batches, training=False):
        with mixed:
            total += float(loss_of.with_mixtures(batch.to(device))[0].sum()) * weight
    model.train()
    return total / max(1, sum(example.supervised_count for example in examples))


def is_measured(step: int, *, steps: int, steps_per_epoch: int, config: TrainingConfig) -> bool:
    """Whether the held-out loss is measured after ``step`` (from 1): at times as asked for, and after the last."""
    return step % (config.validation.held_out_every or steps_per_epoch) == 0 or step == steps


def stops_early(progress: Progress, config: TrainingConfig) -> bool:
    """Whether the held-out loss has not fallen for as many measurements as ``config.validation.patience`` allows."""
    return bool(config.validation.patience) and progress.since_best >= config.validation.patience


def note_measurement(progress: Progress, loss: float, best: Path | None, trained: dict[str, nn.Parameter]) -> Progress:
    """Take note of a held-out loss; the lowest so far has its weights written to ``best``, atomically.

    Where several processes train, those that do not write say None; they may have parts of the weights to give.
    """
    if progress.best_loss is not None and loss >= progress.best_loss:
        return replace(progress, since_best=progress.since_best + 1)
    weights = {name: gathered(parameter, keep=best is not None) for name, parameter in trained.items()}
    if best is not None:
        _write_best(best, weights)
    return replace(progress, best_step=progress.steps, best_loss=loss, since_best=0)


def _write_best(best: Path, weights: dict[str, Tensor]) -> None:
    temporary = best.with_name(f".{best.name}.partial")
    best.parent.mkdir(parents=True, exist_ok=True)
    try:
        save_file(weights, temporary)
    except SafetensorError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"The best weights {best} cannot be written: {error}") from None
    temporary.replace(best)


def load_best(best: Path, trained: dict[str, nn.Parameter]) -> None:
    """Put the weights of the lowest held-out loss in place of the last ones."""
    try:
        tensors = load_file(best)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"The best weights {best} cannot be read ({error}). Delete the run folder to repeat it."
        ) from None
    for name, parameter in trained.items():
        put_back(parameter, tensors[name])
