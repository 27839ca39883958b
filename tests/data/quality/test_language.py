"""Languages of responses."""

import pytest

from response_tuning.data.quality.language import language_of
from response_tuning.data.quality.words import words


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The kettle whistles when the water in it has begun to boil.", "en"),
        ("Der Kessel pfeift, sobald das Wasser darin zu kochen beginnt.", "de"),
        ("La bouilloire siffle quand l'eau commence \u00e0 bouillir dedans.", "fr"),
        (
            "\u6c34\u304c\u6cb8\u9a30\u3059\u308b\u3068\u3001\u3084\u304b\u3093\u304c\u9cf4\u308a\u307e\u3059\u3002"
            * 3,
            "ja",
        ),
    ],
)
def test_running_text_has_a_language(text: str, language: str) -> None:
    assert language_of(text) == language


@pytest.mark.parametrize(
    "text",
    ["", "Bonjour.", "1, 2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41", "Oslo, Bern, Wien, Paris, Roma, Lima, Quito"],
)
def test_short_texts_numbers_and_names_have_none(text: str) -> None:
    assert language_of(text) is None


def test_words_are_lower_case_without_punctuation_and_single_characters_where_there_are_no_spaces() -> None:
    assert words("The cat\u2019s 2 kittens\u2014GREY!") == ["the", "cat", "s", "2", "kittens", "grey"]
    assert words("\u6c34\u3068\u6cb9 mix") == ["\u6c34", "\u3068", "\u6cb9", "mix"]
