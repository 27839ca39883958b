"""Published results of the built-in protocols, to be shown beside one's own."""

from dataclasses import dataclass

__all__ = ["PublishedResult", "published_results"]


@dataclass(frozen=True)
class PublishedResult:
    """What a paper found with a protocol."""

    what: str
    value: str
    source: str


_ACCEPTANCE = "An, Kim & Kim 2025 (arXiv 2410.02465v3), Table 11: 12 models by 805 instructions"
_PREFERENCE = "the same, Figure 8"
_LABELS = "labels released with Tulu 1 (arXiv 2306.04751): 332 instructions, the first rater of each"

_RESULTS = {
    "an-kim": (
        PublishedResult("response tuning: acceptable", "90% on average, 81% to 97%", _ACCEPTANCE),
        PublishedResult("instruction tuning: acceptable", "95% on average, 86% to 99%", _ACCEPTANCE),
        PublishedResult("untuned base models: acceptable", "4% on average, 1% to 6%", _ACCEPTANCE),
        PublishedResult("response tuning preferred", "6.5% on average, 3% to 12%", _PREFERENCE),
        PublishedResult("tie", "76% on average, 67% to 88%", _PREFERENCE),
        PublishedResult("instruction tuning preferred", "18% on average, 7% to 25%", _PREFERENCE),
    ),
    "tulu": (
        PublishedResult("chatgpt / tulu_65B: acceptable", "90.1% / 79.2%", _LABELS),
        PublishedResult("chatgpt / tie / tulu_65B: preferred", "39.2% / 33.1% / 27.7%", _LABELS),
        PublishedResult("tulu_65B / tulu_human_only_65B: acceptable", "81.3% / 72.3%", _LABELS),
        PublishedResult("tulu_65B / tie / tulu_human_only_65B: preferred", "50.0% / 29.8% / 20.2%", _LABELS),
    ),
}


def published_results(protocol: str) -> list[PublishedResult]:
    """What is published of a protocol, by its name; nothing for others."""
    return list(_RESULTS.get(protocol, ()))
