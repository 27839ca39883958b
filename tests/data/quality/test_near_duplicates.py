"""Near-duplicates: what is nearly the same is found, what is not is left, and cost grows with the data alone."""

import random
import time

import pytest

from response_tuning.data.quality import near_duplicates as module
from response_tuning.data.quality.words import normalised, run_hashes, words


def near_duplicates(texts: list[str], *, threshold: float) -> dict[int, int]:
    return module.near_duplicates([[text] for text in texts], threshold=threshold)


VOCABULARY = [f"word{number}" for number in range(2_000)]


def text(generator: random.Random, length: int = 60) -> str:
    return " ".join(generator.choices(VOCABULARY, k=length))


def with_changed_words(original: str, count: int, generator: random.Random) -> str:
    changed = original.split()
    for place in generator.sample(range(len(changed)), count):
        changed[place] = f"new{generator.randrange(10**9)}"
    return " ".join(changed)


def jaccard(one: str, other: str) -> float:
    first, second = (run_hashes(words(part), 3) for part in (one, other))
    return len(first & second) / len(first | second)


def test_a_text_with_one_changed_word_is_found_and_points_to_the_first() -> None:
    generator = random.Random(0)
    originals = [text(generator) for _ in range(300)]
    changed = [with_changed_words(original, 1, generator) for original in originals]
    assert min(map(jaccard, originals, changed)) > 0.8
    found = near_duplicates([*originals, *changed], threshold=0.8)
    missed = [place for place in range(300) if found.get(300 + place) != place]
    # The chance to be compared at all is 0.99 at this similarity; the estimate may fall below the threshold.
    assert len(missed) <= 15
    assert not any(later < 300 for later in found)


def test_texts_that_share_half_of_their_runs_are_left() -> None:
    generator = random.Random(1)
    originals = [text(generator) for _ in range(300)]
    changed = [with_changed_words(original, 8, generator) for original in originals]
    assert max(map(jaccard, originals, changed)) < 0.65
    assert near_duplicates([*originals, *changed], threshold=0.8) == {}


def test_case_and_punctuation_make_no_difference() -> None:
    assert near_duplicates(["Take the red pill, now!", "take the red pill now"], threshold=0.99) == {1: 0}


def test_what_is_left_is_never_the_duplicate_of_something_that_goes() -> None:
    generator = random.Random(2)
    # A chain: each differs a little more from the first.
    chain = [text(generator)]
    for _ in range(30):
        chain.append(with_changed_words(chain[-1], 1, generator))
    found = near_duplicates(chain, threshold=0.8)
    assert found
    assert not set(found.values()) & set(found)
    assert all(jaccard(chain[later], chain[earlier]) > 0.65 for later, earlier in found.items())


def test_short_texts_are_the_same_only_when_all_their_words_are() -> None:
    assert near_duplicates(["yes", "no", "Yes.", "yes it is", ""], threshold=0.8) == {2: 0}


def test_nothing_and_one_text_have_no_duplicates() -> None:
    assert near_duplicates([], threshold=0.8) == {}
    assert near_duplicates(["a"], threshold=0.8) == {}


@pytest.mark.slow
@pytest.mark.parametrize("like", ["different", "the same", "a template"])
def test_four_times_the_texts_take_about_four_times_as_long(like: str) -> None:
    generator = random.Random(3)
    base = text(generator, 40)

    def texts(count: int) -> list[str]:
        if like == "different":
            return [text(generator, 40) for _ in range(count)]
        # In a template ten of forty words change: too much for a duplicate, enough to collide.
        return [with_changed_words(base, 1 if like == "the same" else 10, generator) for _ in range(count)]

    def seconds(count: int) -> float:
        made = texts(count)
        started = time.process_time()
        near_duplicates(made, threshold=0.8)
        return time.process_time() - started

    seconds(1_000)  # imports
    assert seconds(8_000) < 4 * 2.0 * seconds(2_000)


DIFFERENT = [
    "2 + 2",
    "2 * 2",
    "-5",
    "5",
    "C++",
    "C#",
    "C",
    "\U0001f44d",
    "\U0001f44e",
    "a && b",
    "a || b",
    "!a",
    "...",
    "?!",
]


def test_case_43_symbols_count_and_punctuation_alone_is_compared_whole() -> None:
    assert near_duplicates(DIFFERENT, threshold=0.8) == {}
    assert near_duplicates(["...", " ... "], threshold=0.8) == {1: 0}


def test_case_43_a_short_response_is_not_lost_in_a_long_prompt() -> None:
    prompt = text(random.Random(5))
    pairs = [[prompt, "C++"], [prompt, "C#"], [prompt, "c#!"]]
    assert module.near_duplicates(pairs, threshold=0.8) == {2: 1}


def test_case_34_texts_are_compared_composed_and_in_one_width() -> None:
    composed, wide = "gr\u00fcner K\u00e4se \u30ac", "\uff21 \uff11"
    assert words("gru\u0308ner Ka\u0308se \uff76\uff9e") == words(composed)
    assert words(wide) == words("a 1")


@pytest.mark.parametrize(
    "pair",
    [
        ("(a + b) * c", "a + (b * c)"),
        ("[1, 2]", "(1, 2)"),
        ("It costs 1.5 in all.", "It costs 15 in all."),
        ("5 - 3", "5 3"),
        ("Use a.b here.", "Use a b here."),
        ("f'(x) = 2", "f(x) = 2"),
    ],
)
def test_case_43_brackets_and_operators_count_in_a_short_text(pair: tuple[str, str]) -> None:
    assert near_duplicates(list(pair), threshold=0.8) == {}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The \ufb01rst of\ufb01ce opens at ten.", "The first office opens at ten."),
        ("Zero\u200b width and soft\u00ad hyphens.", "Zero width and soft hyphens."),
        ("With a no-break\u00a0space.", "With a no-break space."),
        ("\uff76\uff9e", "\u30ac"),
    ],
)
def test_case_34_other_forms_of_the_same_letters_are_compared_as_one(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)
    assert near_duplicates([one, other], threshold=0.8) == {1: 0}
