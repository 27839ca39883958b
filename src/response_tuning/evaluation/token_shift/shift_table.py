"""The result of ``rt probe --tokens`` in the terminal."""

from rich.console import Group, RenderableType
from rich.table import Table

from response_tuning.evaluation.token_shift.token_shift import TokenShift

__all__ = ["shift_table"]

_MOST_TOKENS = 10


def shift_table(model: str, result: TokenShift) -> RenderableType:
    """The rates by position, the values of all positions together, and the most shifted tokens."""
    return Group(_positions(model, result), _tokens(result))


def _positions(model: str, result: TokenShift) -> Table:
    first = result.metrics["first_divergence"]
    table = Table(
        title=f"{model} against {result.base}, {len(result.rows)} responses",
        caption=f"percent of tokens; KL in nats; tokens before the first divergence: {first.value:.1f} "
        f"({first.low:.1f}-{first.high:.1f}); {100 * result.own_choices:.0f}% of tokens are the run's first choice",
        title_justify="left",
    )
    table.add_column("position")
    for header in ("n", "unshifted", "marginal", "shifted", "KL"):
        table.add_column(header, justify="right")
    for each in result.bins:
        place = str(each.first) if each.first == each.last else f"{each.first}-{each.last}"
        rates = (f"{100 * rate:.0f}" for rate in (each.unshifted, each.marginal, each.shifted))
        table.add_row(place, str(each.n), *rates, f"{each.kl:.2f}")
    table.add_section()
    metrics = [result.metrics[name] for name in ("unshifted", "marginal", "shifted")]
    cells = (f"{100 * each.value:.0f} ({100 * each.low:.0f}-{100 * each.high:.0f})" for each in metrics)
    kl = result.metrics["kl"]
    total = sum(each.n for each in result.bins)
    table.add_row("all", str(total), *cells, f"{kl.value:.2f} ({kl.low:.2f}-{kl.high:.2f})")
    return table


def _tokens(result: TokenShift) -> Table:
    table = Table(title="tokens that are shifted most often", title_justify="left")
    for header in ("token", "in its place"):
        table.add_column(header)
    for header in ("shifted", "chosen"):
        table.add_column(header, justify="right")
    for token in result.tokens[:_MOST_TOKENS]:
        table.add_row(repr(token.text), repr(token.instead), str(token.shifted), str(token.chosen))
    return table
