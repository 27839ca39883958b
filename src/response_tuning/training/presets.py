"""Whole settings by name: defaults of ``rt train`` that reproduce a paper's training.

An option that is given on the command line comes before the preset's, and one in a configuration file before those of
the preset that the file names. A preset on the command line comes before a file, as everything typed there does.
"""

from typing import Any, Final, Literal

__all__ = ["PresetName", "preset_values"]

PresetName = Literal["none", "paper", "hewitt", "sftmix"]

_PRESETS: Final[dict[str, dict[str, Any]]] = {
    # An & Kim 2024, arXiv 2410.02465: QLoRA on all linear layers.
    "paper": {
        "tuning": "qlora",
        "lora_rank": 64,
        "lora_alpha": 16,
        "lora_dropout": 0.1,
        "learning_rate": 1e-4,
        "schedule": "constant",
        "warmup_share": 0.0,
        "weight_decay": 0.0,
        "optimizer": "paged",
        "max_gradient_norm": 0.3,
        "batch_size": 64,
        "epochs": 10,
        "max_length": 2048,
        # Its code cuts longer examples off at this length; LIMA has such.
        "overlong": "truncate",
        "gradient_checkpointing": True,
        "dtype": "bfloat16",
        "seed": 0,
    },
    # Hewitt et al. 2024, arXiv 2409.14254, as the scripts of github.com/john-hewitt/implicit-ins run Llama-2-7B on the
    # responses of LIMA. They chose epochs for each model and method on a validation set: 15 for instruction tuning.
    "hewitt": {
        "tuning": "full",
        "rt_prefix": "empty_user",
        "learning_rate": 1e-5,
        "schedule": "linear",
        "warmup_share": 0.03,
        "weight_decay": 0.0,
        "batch_size": 64,
        "epochs": 5,
        "max_length": 2048,
        "overlong": "truncate",
        "dtype": "bfloat16",
    },
    # Xiao et al. 2024, arXiv 2410.05248, as they train on Alpaca: first the reference, whose perplexities are kept,
    # then with --sftmix-from. On their larger sets they train for one epoch.
    "sftmix": {
        "tuning": "full",
        "learning_rate": 2e-6,
        "schedule": "cosine",
        "warmup_share": 0.1,
        "weight_decay": 0.1,
        "batch_size": 32,
        "epochs": 3,
        "keep_perplexities": True,
        "sftmix_weight": 0.2,
        "sftmix_alpha": 0.5,
        "sftmix_pairing": "random",
        "dtype": "bfloat16",
    },
}


def preset_values(name: object) -> dict[str, Any]:
    """The options that a preset sets, by name; none for ``none`` and for what is no preset."""
    return dict(_PRESETS.get(str(name), {}))
