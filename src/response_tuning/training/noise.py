"""NEFTune: noise on the embeddings of training batches (Jain et al. 2023, arXiv 2310.05914)."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from response_tuning.inference.batch import Batch

__all__ = ["embedding_noise", "example_lengths"]


@contextmanager
def embedding_noise(model: nn.Module, batch: Batch, *, alpha: float) -> Iterator[None]:
    """Within the block, ``model`` sees the embeddings of ``batch`` with uniform noise on them.

    The noise of an example of ``length`` tokens lies within ``alpha / sqrt(length * width)`` of zero in each of
    ``width`` dimensions, so the noise of a whole example has a norm of about ``alpha / sqrt(3)`` whatever its length.
    The length is the example's own, without padding and without what it is packed with, so that it does not matter
    which examples are computed together.
    """
    if not alpha:
        yield
        return
    lengths = example_lengths(batch)

    def add_noise(_module: nn.Module, _inputs: tuple[Tensor, ...], embedded: Tensor) -> Tensor:
        reach = alpha / torch.sqrt(lengths * embedded.shape[-1])
        noise = torch.empty_like(embedded).uniform_(-1, 1)
        return embedded + noise * reach[:, :, None].to(embedded.dtype)

    embeddings = model.get_input_embeddings()  # type: ignore[operator]
    handle = embeddings.register_forward_hook(add_noise)
    try:
        yield
    finally:
        handle.remove()


def example_lengths(batch: Batch) -> Tensor:
    """The number of tokens, without padding, of the example that each token belongs to: [1, length] in a packed row,
    [rows, 1] where every row is one example."""
    if batch.position_ids is not None:
        starts = (batch.position_ids[0] == 0).nonzero().squeeze(1)
        ends = torch.cat((starts[1:], starts.new_tensor([batch.input_ids.shape[1]])))
        return (ends - starts).repeat_interleave(ends - starts)[None, :]
    rows, padded = batch.input_ids.shape
    last = torch.zeros(rows, dtype=torch.long, device=batch.rows.device)
    columns = batch.predicting_positions % padded
    # The last token of a row is supervised, so it follows the last predicting one.
    return last.scatter_reduce(0, batch.rows, columns, "amax")[:, None] + 2
