"""The losses of preference tuning, each a function of how likely a chosen and a rejected response are.

``margin`` is what a loss wants to be large: the log-likelihood of the chosen response less that of the rejected one,
where the loss has a reference, each less its log-likelihood there, and times ``beta``.

    dpo       -log sigmoid(margin)                                  Rafailov et al. 2023, arXiv 2305.18290, equation 7
    dpo-norm  the same of log-likelihoods per token                 Lambert et al. 2024 (Tulu 3), arXiv 2411.15124, 5.1
    ipo       (margin / beta - 1 / (2 beta))^2, per token           Azar et al. 2023, arXiv 2310.12036, equation 17
    simpo     -log sigmoid(margin - gamma), per token, no reference Meng et al. 2024, arXiv 2405.14734, equation 6
    orpo      -beta log sigmoid(log odds ratio), no reference       Hong et al. 2024, arXiv 2403.07691, equation 7

KTO, which needs no pairs, is in ``kto``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from response_tuning.support.options import PreferenceLoss

__all__ = ["LOSSES", "PairLoss", "Pairs"]


@dataclass(frozen=True)
class Pairs:
    """How likely the responses of some pairs are; every tensor is [pairs, 2], of the chosen and the rejected one."""

    log_likelihoods: Tensor
    """Of all supervised tokens together, in nats."""
    reference: Tensor
    """The same under the reference; not used by losses without one."""
    tokens: Tensor
    """The number of supervised tokens."""

    @property
    def gained(self) -> Tensor:
        """[pairs, 2] What each response gained over the reference."""
        return self.log_likelihoods - self.reference

    @staticmethod
    def difference(values: Tensor) -> Tensor:
        """[pairs] The chosen response's value less the rejected one's."""
        return values[:, 0] - values[:, 1]


@dataclass(frozen=True)
class PairLoss:
    """A loss, and what is usual for it."""

    loss: Callable[[Tensor, float, float], Tensor]
    """The losses [pairs] from the margins [pairs], beta and gamma."""
    margin: Callable[[Pairs, float], Tensor]
    """The margins [pairs], at a beta."""
    beta: float
    """The usual strength."""
    needs_reference: bool = True
    sft_weight: float = 0.0
    """The usual weight of the chosen responses' cross-entropy beside it."""


def _summed(pairs: Pairs, beta: float) -> Tensor:
    return beta * pairs.difference(pairs.gained)


def _per_token(pairs: Pairs, beta: float) -> Tensor:
    return beta * pairs.difference(pairs.gained / pairs.tokens)


def _without_reference(pairs: Pairs, beta: float) -> Tensor:
    return beta * pairs.difference(pairs.log_likelihoods / pairs.tokens)


def _log_odds(pairs: Pairs, _beta: float) -> Tensor:
    """The log of the odds ratio; the odds of a response are those of its mean likelihood per token."""
    means = pairs.log_likelihoods / pairs.tokens
    return pairs.difference(means - torch.log(-torch.expm1(means)))


def _logistic(margins: Tensor, _beta: float, _gamma: float) -> Tensor:
    return -logsigmoid(margins)


def _shifted(margins: Tensor, _beta: float, gamma: float) -> Tensor:
    return -logsigmoid(margins - gamma)


def _squared(margins: Tensor, beta: float, _gamma: float) -> Tensor:
    return (margins / beta - 1 / (2 * beta)) ** 2


def _weighted_odds(margins: Tensor, beta: float, _gamma: float) -> Tensor:
    return -beta * logsigmoid(margins)


LOSSES: Mapping[PreferenceLoss, PairLoss] = {
    "dpo": PairLoss(_logistic, _summed, beta=0.1),
    "dpo-norm": PairLoss(_logistic, _per_token, beta=5.0),
    "ipo": PairLoss(_squared, _per_token, beta=0.1),
    "simpo": PairLoss(_shifted, _without_reference, beta=2.0, needs_reference=False),
    "orpo": PairLoss(_weighted_odds, _log_odds, beta=0.1, needs_reference=False, sft_weight=1.0),
}
"""Every loss by its name. The usual strengths are those of the papers' own experiments."""
