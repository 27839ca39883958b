"""Halves and pieces of ordinary texts."""

from hypothesis import given
from hypothesis import strategies as st

from response_tuning.data.recipes.halves import halve, pieces

TEXT = "The mill stood by the river. It had not turned for years. Nobody came there any more. Then the flood came."


def test_a_text_is_cut_at_the_sentence_nearest_its_middle() -> None:
    assert halve(TEXT) == (
        "The mill stood by the river. It had not turned for years.",
        "Nobody came there any more. Then the flood came.",
    )


def test_a_text_without_sentences_is_cut_between_words() -> None:
    assert halve("one two three four") == ("one two", "three four")
    assert halve("word") is None


@given(st.text(min_size=1, max_size=400))
def test_halves_are_the_text_and_neither_is_empty(text: str) -> None:
    halves = halve(text)
    if halves is None:
        assert len(text.split()) <= 1
    else:
        assert all(halves)
        assert "".join("".join(halves).split()) == "".join(text.split())


@given(st.lists(st.integers(1, 60), min_size=1, max_size=12), st.integers(2, 40))
def test_pieces_hold_all_words_in_order_and_are_not_too_long(paragraph_lengths: list[int], most_words: int) -> None:
    words = iter(range(1_000))
    paragraphs = [" ".join(str(next(words)) for _ in range(length)) for length in paragraph_lengths]
    cut = list(pieces("\n\n".join(paragraphs), most_words=most_words))
    assert " ".join(" ".join(cut).split()) == " ".join(paragraphs)
    assert all(len(piece.split()) <= most_words for piece in cut)


def test_pieces_are_parts_of_the_text_as_it_is() -> None:
    text = "One two:\r\n\r\n    indented code\n\n\n  last line \nof it.\n"
    assert list(pieces(text, most_words=100)) == [text.rstrip()]
    assert list(pieces(text, most_words=4)) == [
        "One two:\r\n\r\n    indented code",
        "  last line \nof it.",
    ]
