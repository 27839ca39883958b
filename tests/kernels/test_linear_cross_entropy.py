"""The tiled cross-entropy against the plain one."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from response_tuning.kernels import linear_cross_entropy as module
from response_tuning.kernels.linear_cross_entropy import (
    linear_cross_entropy,
    overflows_unchecked,
    trained_linear_cross_entropy,
)

TOKENS, WIDTH, VOCABULARY = 13, 8, 103


@pytest.fixture
def hidden() -> torch.Tensor:
    torch.manual_seed(1)
    return (3 * torch.randn(TOKENS, WIDTH)).requires_grad_()


@pytest.fixture
def head() -> torch.Tensor:
    torch.manual_seed(2)
    return torch.randn(VOCABULARY, WIDTH)


@pytest.fixture
def targets() -> torch.Tensor:
    torch.manual_seed(3)
    return torch.randint(0, VOCABULARY, (TOKENS,))


@pytest.mark.parametrize("softcap", [None, 5.0])
@pytest.mark.parametrize("tile_rows", [1, 7, 64, VOCABULARY, 4096])
def test_tiled_loss_and_gradient_equal_the_plain_ones(
    hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor, tile_rows: int, softcap: float | None
) -> None:
    weights = torch.linspace(0.5, 2, TOKENS)
    losses = linear_cross_entropy(hidden, head, targets, softcap=softcap, tile_rows=tile_rows)
    (gradient,) = torch.autograd.grad((losses * weights).sum(), hidden)
    logits = hidden @ head.T
    logits = logits if softcap is None else softcap * torch.tanh(logits / softcap)
    plain = cross_entropy(logits, targets, reduction="none")
    (plain_gradient,) = torch.autograd.grad((plain * weights).sum(), hidden)
    torch.testing.assert_close(losses, plain, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, plain_gradient, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize(("softcap", "label_smoothing"), [(None, 0.0), (5.0, 0.1)])
@pytest.mark.parametrize("tile_rows", [7, VOCABULARY])
def test_a_bias_of_the_head_is_added_in_every_tile(
    hidden: torch.Tensor,
    head: torch.Tensor,
    targets: torch.Tensor,
    tile_rows: int,
    softcap: float | None,
    label_smoothing: float,
    trained: bool,
) -> None:
    bias = torch.linspace(-30, 30, VOCABULARY)  # large enough that some sums overflow and a shift is needed
    inputs = [hidden, *((head.requires_grad_(), bias.requires_grad_()) if trained else ())]
    loss_of = trained_linear_cross_entropy if trained else linear_cross_entropy
    losses = loss_of(
        hidden, head, targets, bias=bias, softcap=softcap, label_smoothing=label_smoothing, tile_rows=tile_rows
    )
    logits = hidden @ head.T + bias
    logits = logits if softcap is None else softcap * torch.tanh(logits / softcap)
    plain = cross_entropy(logits, targets, reduction="none", label_smoothing=label_smoothing)
    torch.testing.assert_close(losses, plain, rtol=1e-4, atol=1e-4)
    for found, expected in zip(
        torch.autograd.grad(losses.sum(), inputs), torch.autograd.grad(plain.sum(), inputs), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("softcap", [None, 5.0])
@pytest.mark.parametrize("tile_rows", [7, 64, VOCABULARY, 4096])
def test_smoothed_labels_give_the_plain_smoothed_loss(
    hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor, tile_rows: int, softcap: float | None
) -> None:
    losses = linear_cross_entropy(hidden, head, targets, softcap=softcap, label_smoothing=0.1, tile_rows=tile_rows)
    (gradient,) = torch.autograd.grad(losses.sum(), hidden)
    logits = hidden @ head.T
    logits = logits if softcap is None else softcap * torch.tanh(logits / softcap)
    plain = cross_entropy(logits, targets, reduction="none", label_smoothing=0.1)
    (plain_gradient,) = torch.autograd.grad(plain.sum(), hidden)
    torch.testing.assert_close(losses, plain, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient, plain_gradient, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("softcap", [None, 5.0])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("tile_rows", [1, 7, 64, VOCABULARY, 4096])
def test_a_trained_heads_loss_and_both_gradients_equal_the_plain_ones(
    hidden: torch.Tensor,
    head: torch.Tensor,
    targets: torch.Tensor,
    tile_rows: int,
    label_smoothing: float,
    softcap: float | None,
) -> None:
    head.requires_grad_()
    weights = torch.linspace(0.5, 2, TOKENS)
    losses = trained_linear_cross_entropy(
        hidden, head, targets, softcap=softcap, label_smoothing=label_smoothing, tile_rows=tile_rows
    )
    gradients = torch.autograd.grad((losses * weights).sum(), (hidden, head))
    logits = hidden @ head.T
    logits = logits if softcap is None else softcap * torch.tanh(logits / softcap)
    plain = cross_entropy(logits, targets, reduction="none", label_smoothing=label_smoothing)
    plain_gradients = torch.autograd.grad((plain * weights).sum(), (hidden, head))
    torch.testing.assert_close(losses, plain, rtol=1e-5, atol=1e-5)
    for gradient, plain_gradient in zip(gradients, plain_gradients, strict=True):
        torch.testing.assert_close(gradient, plain_gradient, rtol=1e-4, atol=1e-5)


def test_a_trained_fp32_head_multiplies_in_bf16_under_autocast_and_gets_an_fp32_gradient(
    hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor
) -> None:
    head.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        losses = trained_linear_cross_entropy(hidden, head, targets, tile_rows=16)
    losses.sum().backward()
    narrow_head, narrow_hidden = head.detach().bfloat16().float(), hidden.detach().bfloat16().float()
    plain = cross_entropy(narrow_hidden @ narrow_head.T, targets, reduction="none")
    torch.testing.assert_close(losses.detach(), plain, rtol=0.01, atol=0.1)
    assert not torch.equal(losses.detach(), cross_entropy(hidden.detach() @ head.detach().T, targets, reduction="none"))
    assert head.grad is not None
    assert head.grad.dtype == losses.dtype == torch.float32
    exact = torch.softmax(narrow_hidden @ narrow_head.T, dim=1)
    exact[torch.arange(TOKENS), targets] -= 1
    torch.testing.assert_close(head.grad, exact.T @ narrow_hidden, rtol=0.02, atol=0.05)


def test_huge_logits_neither_overflow_nor_lose_the_gradient(head: torch.Tensor, targets: torch.Tensor) -> None:
    hidden = (1000 * torch.randn(TOKENS, WIDTH)).requires_grad_()
    losses = linear_cross_entropy(hidden, head, targets, tile_rows=10)
    losses.sum().backward()
    plain = cross_entropy(hidden.detach() @ head.T, targets, reduction="none")
    torch.testing.assert_close(losses.detach(), plain)
    assert hidden.grad is not None
    assert hidden.grad.isfinite().all()


def test_an_overflow_that_is_not_waited_for_shows_in_the_loss(
    head: torch.Tensor, targets: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on an accelerator: no finite number where a token overflows, and the right one everywhere else."""
    monkeypatch.setattr(module, "defers_overflow", lambda _device: True)
    hidden = torch.randn(TOKENS, WIDTH)
    hidden[3] *= 1000
    exact = cross_entropy(hidden @ head.T, targets, reduction="none")
    assert exact[3] > 100
    for trained in (False, True):
        weight = head.clone().requires_grad_(trained)
        loss_of = trained_linear_cross_entropy if trained else linear_cross_entropy
        with overflows_unchecked():
            losses = loss_of(hidden, weight, targets, tile_rows=10)
        assert losses.isfinite().tolist() == [index != 3 for index in range(TOKENS)]
        torch.testing.assert_close(losses[losses.isfinite()], exact[losses.isfinite()])
        torch.testing.assert_close(loss_of(hidden, weight, targets, tile_rows=10), exact)


def test_bf16_loss_is_within_bf16_rounding_of_fp32(
    hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor
) -> None:
    losses = linear_cross_entropy(hidden.detach().bfloat16(), head.bfloat16(), targets, tile_rows=16)
    exact = cross_entropy(hidden.detach().bfloat16().double() @ head.bfloat16().double().T, targets, reduction="none")
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses.double(), exact, rtol=0.01, atol=0.1)


def test_no_tokens_have_no_losses(head: torch.Tensor) -> None:
    assert linear_cross_entropy(torch.zeros(0, WIDTH), head, torch.zeros(0, dtype=torch.long)).shape == (0,)


def test_a_target_outside_the_vocabulary_is_refused(hidden: torch.Tensor, head: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="outside the vocabulary of 103"):
        linear_cross_entropy(hidden, head, torch.full((TOKENS,), VOCABULARY))


def test_a_target_outside_the_vocabulary_of_a_trained_head_is_refused(hidden: torch.Tensor, head: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="outside the vocabulary of 103"):
        trained_linear_cross_entropy(hidden, head.requires_grad_(), torch.full((TOKENS,), -1))


def test_a_head_that_trains_is_refused(hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="frozen"):
        linear_cross_entropy(hidden, head.requires_grad_(), targets)


def _exact(hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Losses and the gradient of their sum, in fp64."""
    wide = hidden.detach().double().requires_grad_()
    losses = cross_entropy(wide @ head.double().T, targets, reduction="none")
    (gradient,) = torch.autograd.grad(losses.sum(), wide)
    return losses.detach(), gradient


def _of_bf16(hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The same by our function."""
    narrow = hidden.detach().bfloat16().float().requires_grad_()
    losses = linear_cross_entropy(narrow, head.bfloat16(), targets, tile_rows=256)
    (gradient,) = torch.autograd.grad(losses.sum(), narrow)
    return losses.detach().double(), gradient.double()


def test_large_logits_lose_nothing_to_the_rounding_of_bf16() -> None:
    torch.manual_seed(0)
    head = torch.randn(2000, 64).bfloat16().float()
    # All logits of a token lie around 200, where the numbers of bf16 are 1 apart, and a few nats from each other.
    head[:, 0] = 100
    hidden = (torch.randn(50, 64) / 4).bfloat16().float()
    hidden[:, 0] = 2
    targets = torch.randint(0, 2000, (50,))
    losses, gradient = _of_bf16(hidden, head, targets)
    exact_losses, exact_gradient = _exact(hidden, head, targets)
    torch.testing.assert_close(losses, exact_losses, rtol=0.002, atol=0.01)
    # The column of hundreds would hide the others; their gradients nearly cancel in it.
    assert (gradient - exact_gradient)[:, 1:].norm() < 0.01 * exact_gradient[:, 1:].norm()


def test_tokens_that_are_all_but_certain_keep_their_gradient() -> None:
    torch.manual_seed(0)
    head = torch.randn(2000, 64).bfloat16().float()
    targets = torch.arange(30)
    hidden = (0.45 * head[targets]).bfloat16().float()
    losses, gradient = _of_bf16(hidden, head, targets)
    exact_losses, exact_gradient = _exact(hidden, head, targets)
    assert exact_losses.max() < 0.01
    # Others lie up to 25 nats below, where bf16's numbers are an eighth apart.
    assert ((gradient - exact_gradient).norm(dim=1) < 0.07 * exact_gradient.norm(dim=1)).all()
    torch.testing.assert_close(losses, exact_losses, rtol=0.07, atol=0)


def test_what_tiles_leave_out_of_a_gradient_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    tokens, vocabulary, width = 512, 8192, 32
    head = torch.randn(vocabulary, width).bfloat16().float()
    hidden = (2.5 * torch.randn(tokens, width)).bfloat16().float()
    targets = torch.softmax(hidden @ head.T, dim=1).multinomial(1).squeeze(1)
    products: list[int] = []
    product = module._matmul

    def counted(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        products.append(len(left))
        return product(left, right)

    monkeypatch.setattr(module, "_matmul", counted)
    _, gradient = _of_bf16(hidden, head, targets)
    assert len(products) == vocabulary // 256
    assert sum(products) < 0.7 * tokens * len(products)
    # A token's gradient is an average of differences of rows, of which 2^-8 may be missing.
    _, exact_gradient = _exact(hidden, head, targets)
    longest = 2 * head.norm(dim=1).max()
    assert ((gradient - exact_gradient).norm(dim=1) < 2**-8 * longest).all()
    monkeypatch.setattr(module, "_considerable", lambda *_: None)
    _, with_all = _of_bf16(hidden, head, targets)
    assert not torch.equal(gradient, with_all)
    assert (gradient - exact_gradient).norm() < 1.5 * (with_all - exact_gradient).norm()
