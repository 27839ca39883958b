"""Every option of a training run, in groups: the command line, the YAML file and the validation are made from it.

Groups order the options for readers and for functions, which take the group that they need. Flags and files know each
option by its own name: ``--lora-rank 4``, ``lora_rank: 4``, ``TrainingConfig(output=..., lora_rank=4)``.

What can be decided from the options alone is validated here: by each group for itself, and by ``TrainingConfig`` for
rules between groups. What depends on the machine or the data is validated where it is known.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from response_tuning.support.configuration import explain, nest
from response_tuning.support.errors import UserError
from response_tuning.support.options import (
    EMBEDDED,
    STARTER,
    Attention,
    Device,
    Dtype,
    FormatName,
    LossKernel,
    Method,
    Overlong,
    PreferenceLoss,
    Prefix,
    RtKeeps,
    SystemPlace,
    Tuning,
)
from response_tuning.training.objectives.registry import objective_names, unknown_objective
from response_tuning.training.presets import PresetName, preset_values
from response_tuning.training.trackers.registry import tracker_names, unknown_tracker

__all__ = [
    "CHANGES_NO_RUN",
    "DEFAULT_MICRO_BATCH_TOKENS",
    "AdapterOptions",
    "BatchOptions",
    "CheckpointOptions",
    "EncodingOptions",
    "MemoryOptions",
    "OptimizationOptions",
    "ParallelOptions",
    "PreferenceOptions",
    "RegularizationOptions",
    "SelfJudgeOptions",
    "SftmixOptions",
    "Switch",
    "TrackingOptions",
    "TrainingConfig",
    "ValidationOptions",
]

CHANGES_NO_RUN = frozenset(
    {
        *("output", "data", "held_out"),  # the data are compared by their content
        *("gpus", "processes", "nodes", "sharding", "offload", "device"),
        *("micro_batch_tokens", "packing", "gradient_checkpointing", "loss_kernel", "attention"),
        *("fused_layers", "optimizer", "fused_optimizer", "deterministic"),
        *("checkpoint_every_seconds", "keep_checkpoints", "keep_adapter_every", "keep_perplexities"),
        *("tracker", "tracker_project"),
    }
)
"""Options that do not change what a run is, apart from rounding: memory, speed, and what is kept on the way. A training
that ran out of memory is resumed with others, on another device, in another number of processes, sharded or not."""

DEFAULT_MICRO_BATCH_TOKENS = 1024
"""The tokens of a micro-batch where the device's memory does not decide."""


def _word(value: Any) -> Any:
    """``on`` or ``off`` in place of the truth value that YAML reads a bare one as."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


def _of_fully_shard(value: Any) -> Any:
    """Values of earlier versions, which sharded by DeepSpeed as well, as the same by PyTorch."""
    former = {"deepspeed-zero1": "zero2", "deepspeed-zero2": "zero2", "deepspeed-zero3": "zero3"}
    return {**former, "optimizer": "cpu", "weights": "cpu"}.get(value, value) if isinstance(value, str) else value


Switch = Annotated[Literal["auto", "on", "off"], BeforeValidator(_word)]


class EncodingOptions(BaseModel):
    """How examples become tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: FormatName | Literal["auto"] = "auto"
    """The chat format. auto: tulu, or question-answer for the embedded model. own: the model's own chat template."""
    rt_prefix: Prefix = "none"
    """What precedes the header in rt: none (An & Kim 2024), or an empty user turn (Hewitt et al. 2024)."""
    system: SystemPlace = "user"
    """Where system messages go: to the head of the user's turn, or into a turn with the role system, in formats that
    have one (tulu, chatml, and own where the model's template renders it)."""
    rt_keeps: RtKeeps = "nothing"
    """What rt keeps before the header: nothing, or the system text of rows that have one, without their instruction."""
    max_length: int = Field(default=2048, ge=8)
    """The most tokens an example may have."""
    overlong: Overlong = "error"
    """What to do with longer ones: stop with an error, drop them, or truncate their responses."""

    @property
    def reads_system(self) -> bool:
        """Whether it matters which part of a user's turn is a system message."""
        return self.system == "role" or self.rt_keeps == "system"


class BatchOptions(BaseModel):
    """What an optimizer step is made of."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(default=3, ge=1)
    """Passes over the data."""
    batch_size: int = Field(default=16, ge=1)
    """Examples per optimizer step."""
    micro_batch_tokens: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """The most tokens, padding counted, to compute at once. Memory and speed depend on it, the result does not. auto:
    as many as a CUDA GPU's memory allows, elsewhere 1024."""
    packing: Switch = "auto"
    """Put whole examples into one row, each attending to itself alone, instead of padding. auto: where that is less."""

    @property
    def tokens_at_once(self) -> int:
        """``micro_batch_tokens``, or its default while nobody has resolved "auto"."""
        return DEFAULT_MICRO_BATCH_TOKENS if self.micro_batch_tokens == "auto" else self.micro_batch_tokens


class AdapterOptions(BaseModel):
    """What is trained."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tuning: Tuning = "lora"
    """What is trained: an adapter (lora, rslora, dora, or qlora over 4-bit weights), or every weight (full)."""
    lora_rank: int = Field(default=16, ge=1)
    """The rank of the adapter matrices, on all linear layers but the head."""
    lora_alpha: int = Field(default=32, gt=0)
    """The adapter's output is scaled by alpha / rank."""
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout before the adapter."""


class OptimizationOptions(BaseModel):
    """AdamW and its schedule."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    learning_rate: float = Field(default=2e-4, gt=0)
    """The highest learning rate, reached after warm-up."""
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    """How the learning rate falls after warm-up."""
    warmup_share: float = Field(default=0.05, ge=0, lt=1)
    """The fraction of all steps in which the learning rate rises."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's decoupled weight decay, of matrices only."""
    optimizer: Literal["adamw", "paged"] = "adamw"
    """paged: AdamW whose state can leave the GPU (CUDA with the extra qlora; elsewhere plain, with a note)."""
    fused_optimizer: Switch = "auto"
    """Take AdamW's step in one kernel instead of several for each operation. auto: on CUDA."""
    max_gradient_norm: float = Field(default=1.0, gt=0)
    """Longer gradients are scaled down to this norm."""


class RegularizationOptions(BaseModel):
    """Against overfitting."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    neftune_alpha: float = Field(default=0.0, ge=0)
    """NEFTune's noise on the embeddings of training batches; 5 is usual, 0 is none."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """The fraction of each target that is distributed over the whole vocabulary."""


class SftmixOptions(BaseModel):
    """SFTMix: train on mixtures of easily and hardly learned examples."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sftmix_from: str = ""
    """SFTMix: a finished run on the same data that kept perplexities or adapters; they tell which examples are learned
    easily."""
    sftmix_weight: float = Field(default=0.2, ge=0)
    """The weight of the mixtures' loss, added to the examples' own."""
    sftmix_alpha: float = Field(default=0.5, gt=0)
    """The mixing coefficient is drawn from Beta(alpha, alpha): near 0 and 1 below 1, near a half above."""
    sftmix_pairing: Literal["length", "random"] = "length"
    """What is paired: examples of a batch of similar length (more of each is mixed, less padding), or any (as in the
    paper)."""


class PreferenceOptions(BaseModel):
    """Preference tuning: train on pairs of a response and a worse one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    preference_loss: PreferenceLoss | Literal["none"] = "none"
    """The loss of pairs ('completion' and 'rejected' in every row), or of single responses (kto: 'desirable' true or
    false). The reference is the model that training starts from. With --method rt, nothing has an instruction."""
    beta: float | None = Field(default=None, gt=0)
    """Its strength; by default dpo, ipo, orpo and kto 0.1, simpo 2, dpo-norm 5."""
    gamma: float = Field(default=1.0, ge=0)
    """simpo: the margin by which the chosen response has to be likelier."""
    sft_weight: float | None = Field(default=None, ge=0)
    """The weight of the chosen responses' cross-entropy beside the loss; by default orpo 1, others 0."""


class SelfJudgeOptions(BaseModel):
    """Self-J: train a judge of a model's own answers."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    judge_student_weight: float = Field(default=0.3, ge=0)
    """self-judge: the weight of the grade's cross-entropy without the reference beside that with it."""
    judge_divergence_weight: float = Field(default=2.0, ge=0)
    """self-judge: the weight of the KL divergence of the grades without the reference from those with it."""


class ValidationOptions(BaseModel):
    """The loss on held-out examples."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    held_out: str = ""
    """Examples (as for --data) to measure the loss on after each epoch. The weights of the lowest loss are saved."""
    held_out_every: int = Field(default=0, ge=0)
    """Measure the held-out loss every N steps instead; 0: after each epoch."""
    keep: Literal["best", "last"] = "best"
    """Which weights to save where --held-out measures them; without it, always the last."""
    patience: int = Field(default=0, ge=0)
    """Stop when the held-out loss has not fallen for N measurements in a row; 0: never."""

    @model_validator(mode="after")
    def _require_examples(self) -> "ValidationOptions":
        if (self.patience or self.held_out_every) and not self.held_out:
            raise ValueError("--patience and --held-out-every need --held-out, the examples to measure the loss on.")
        return self


class MemoryOptions(BaseModel):
    """Memory and speed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dtype: Dtype = "auto"
    """The dtype of frozen weights, of matmuls, and of a model that full saves. Weights always train in float32.
    auto: bfloat16, or float32 if the device is faster in it; the run's configuration names it."""
    device: Device = "auto"
    """Where to compute."""
    gradient_checkpointing: bool = False
    """Recompute each layer in the backward pass instead of keeping its activations: less memory, a third more time."""
    loss_kernel: LossKernel = "auto"
    """What computes the loss: tiles of the vocabulary (auto), or the extras liger or cut-cross-entropy on CUDA."""
    tf32: bool = False
    """Multiply float32 in TF32 on CUDA: several times as fast, with 10 bits of precision."""
    deterministic: bool = False
    """Use deterministic kernels on CUDA, and stop with an error where torch has none. A CPU always is deterministic."""
    attention: Attention = "auto"
    """What computes attention: varlen or flash (CUDA), flex, or sdpa. auto: varlen on CUDA if the model allows it, and
    within each example of a packed row on the CPU."""
    fused_layers: Switch = "auto"
    """Adapter layers and norms with hand-written gradients. auto: on the CPU, where they were measured to be faster."""


class ParallelOptions(BaseModel):
    """Several GPUs, processes or machines."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    gpus: int = Field(default=0, ge=0)
    """Train on N GPUs of this machine, each with its own process; 0: on one, if there is any."""
    processes: int = Field(default=1, ge=1)
    """Train in N processes on the CPU."""
    nodes: int = Field(default=1, ge=1)
    """Train on N machines, each with --gpus or --processes: print the command for each of them, and exit."""
    sharding: Annotated[Literal["none", "zero2", "zero3"], BeforeValidator(_of_fully_shard)] = "none"
    """Shard weights, gradients and optimizer state over processes; gather weights by step (zero2) or layer (zero3)."""
    offload: Annotated[Literal["none", "cpu"], BeforeValidator(_of_fully_shard)] = "none"
    """cpu: keep shards in main memory and run the optimizer there; for GPUs, with --sharding."""

    @model_validator(mode="after")
    def _require_consistent(self) -> "ParallelOptions":
        if self.gpus > 1 and self.processes > 1:
            raise ValueError("--gpus starts a process for each GPU. Leave --processes out, which is for the CPU.")
        if self.offload != "none" and self.sharding == "none":
            raise ValueError(
                f"--offload {self.offload} needs --sharding zero2 or zero3: what a process offloads is its shard."
            )
        return self

    @property
    def per_node(self) -> int:
        """Processes on each machine."""
        return max(self.gpus, self.processes)


class CheckpointOptions(BaseModel):
    """What is kept on the way."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    checkpoint_every_seconds: float = Field(default=60, ge=0)
    """How often to save a checkpoint to resume from, or as often as a twentieth of the time allows, where saving takes
    long; 0: after every step. Also saved on Ctrl-C and SIGTERM."""
    keep_checkpoints: int = Field(default=1, ge=1)
    """How many checkpoints to keep until training is done; an earlier one is used where the last is damaged."""
    keep_adapter_every: int = Field(default=0, ge=0)
    """Keep a copy of the adapter every N steps, for rt probe RUN --checkpoints; 0: only the last one."""
    keep_perplexities: bool = False
    """Keep the perplexity of each training example at the end of each epoch, for --sftmix-from RUN: numbers alone, also
    of a run of --tuning full. Of trainings without another --objective."""


class TrackingOptions(BaseModel):
    """Curves in a tracker, beside the training log that every run has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tracker: str = "none"
    """Log every step to tensorboard, trackio, mlflow or wandb (an extra each), or to a tracker of another package.
    Works offline, and a resumed training continues its curve."""
    tracker_project: str = "response-tuning"
    """What the tracker shows together: a project, or MLflow's experiment."""


class TrainingConfig(BaseModel):
    """Tune a base model on responses alone (rt), or on instruction-response pairs (it).

    For example:
        rt train --method rt --data answers.jsonl --output runs/mine
        rt train --method it --data starter --output runs/twin --learning-rate 2e-4
        rt train --preset paper --model meta-llama/Llama-3.1-8B --data answers.jsonl --output runs/paper
        rt train --data answers.jsonl --output runs/mine --gpus 4
        rt train --preference-loss dpo --model runs/mine --data pairs.jsonl --output runs/preferred --learning-rate 2e-5
        rt train --from runs/mine --method it --data pairs.jsonl --output runs/continued
        rt train --method self-judge --model runs/mine --data items.jsonl --output runs/judge
        rt train --config runs/mine/config.yaml --output runs/again --seed 1
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    output: Path
    """The run folder to make, such as runs/mine."""
    method: Method = "rt"
    """rt: responses alone. it: instruction-response pairs. mixed: rows with a prompt as it, rows without one as rt.
    On the command line also: self-judge (--objective self-judge --method it), and preference (--preference-loss)."""
    model: str = EMBEDDED
    """The base model: 'embedded', a folder, a .gguf file or a hub id."""
    from_run: Annotated[str, tyro.conf.arg(aliases=["--from"], metavar="RUN")] = ""
    """Continue from the adapter of a run, or of a checkpoint that it kept, with this method and data. Base model,
    adapter options, format and prefix are that run's."""
    data: str = STARTER
    """A JSONL file with 'completion' and, for it, 'prompt' in every row; or 'starter'."""
    objective: str = "auto"
    """What the loss is. auto: supervised tokens, sftmix where --sftmix-from is given, or preference where
    --preference-loss is. self-judge: grades of a model's own answers, of the rows of rt data judge-set (with --method
    it). Or one of another package."""
    preset: PresetName = "none"
    """Defaults of a paper: An & Kim 2024 (QLoRA), Hewitt et al. 2024 (full) or Xiao et al. 2024 (sftmix, for both of
    its trainings). Other options override them, but for those of a --config file where the preset is given on the
    command line."""
    seed: int = 0
    """Decides the adapter's initial weights, the order of examples, dropout, noise and mixtures."""
    plan: bool = Field(default=False, exclude=True)
    """Train nothing: show what it would take (memory by part, tokens, steps, time) and whether it fits."""

    encoding: EncodingOptions = EncodingOptions()
    """How examples become tokens."""
    batches: BatchOptions = BatchOptions()
    """What an optimizer step is made of."""
    adapter: AdapterOptions = AdapterOptions()
    """What is trained."""
    optimization: OptimizationOptions = OptimizationOptions()
    """AdamW and its schedule."""
    regularization: RegularizationOptions = RegularizationOptions()
    """Against overfitting."""
    sftmix: SftmixOptions = SftmixOptions()
    """SFTMix: train on mixtures of easily and hardly learned examples."""
    preference: PreferenceOptions = PreferenceOptions()
    """Preference tuning: train on pairs of a response and a worse one."""
    self_judge: SelfJudgeOptions = SelfJudgeOptions()
    """Self-J: train a judge of a model's own answers."""
    validation: ValidationOptions = ValidationOptions()
    """The loss on held-out examples."""
    memory: MemoryOptions = MemoryOptions()
    """Memory and speed."""
    parallel: ParallelOptions = ParallelOptions()
    """Several GPUs, processes or machines."""
    checkpoints: CheckpointOptions = CheckpointOptions()
    """What is kept on the way."""
    tracking: TrackingOptions = TrackingOptions()
    """Curves in a tracker."""

    def __init__(self, **options: Any) -> None:
        """Options are given by their own names, whatever their group: ``TrainingConfig(output="runs/x", lora_rank=4)``.

        Raises:
            UserError: there is no such option, a value is out of bounds, or options contradict each other.
        """
        try:
            super().__init__(**options)
        except ValidationError as error:
            raise UserError(explain(error, TrainingConfig)) from error

    @model_validator(mode="before")
    @classmethod
    def _in_groups(cls, values: Any) -> Any:
        """Options by name, those of the preset beneath those that are given, each in its group."""
        if not isinstance(values, dict):
            return values
        given, preset = nest(cls, values), nest(cls, preset_values(values.get("preset")))
        merged = {
            **preset,
            **given,
            **{name: {**preset[name], **given[name]} for name in _groups(preset) & given.keys()},
        }
        # What is saved is what was done: a preset of which nothing holds is none.
        return merged if not preset or _holds(preset, merged, cls) else {**merged, "preset": "none"}

    @model_validator(mode="after")
    def _require_adapter_to_keep(self) -> "TrainingConfig":
        if self.checkpoints.keep_adapter_every and self.adapter.tuning == "full":
            raise ValueError(
                "--keep-adapter-every keeps adapters, and --tuning full trains none. Leave one of them out."
            )
        return self

    @model_validator(mode="after")
    def _require_adapter_to_continue(self) -> "TrainingConfig":
        if self.from_run and self.adapter.tuning == "full":
            raise ValueError(
                "--from-run continues an adapter, and --tuning full trains none. To train every weight of a run, name "
                "it as --model."
            )
        return self

    @field_validator("objective")
    @classmethod
    def _require_known(cls, name: str) -> str:
        if name != "auto" and name not in objective_names():
            raise ValueError(unknown_objective(name))
        return name

    @model_validator(mode="after")
    def _require_known_tracker(self) -> "TrainingConfig":
        name = self.tracking.tracker
        if name != "none" and name not in tracker_names():
            raise ValueError(unknown_tracker(name))
        return self

    @model_validator(mode="after")
    def _require_sftmix_whole(self) -> "TrainingConfig":
        if self.objective not in ("auto", "sftmix") and self.sftmix.sftmix_from:
            raise ValueError(f"--sftmix-from is for --objective sftmix, and this is --objective {self.objective}.")
        if self.objective == "sftmix" and not self.sftmix.sftmix_from:
            raise ValueError("--objective sftmix needs --sftmix-from, a finished run on the same data.")
        return self

    @model_validator(mode="after")
    def _require_preference_whole(self) -> "TrainingConfig":
        loss = self.preference.preference_loss
        if loss == "none":
            if self.objective == "preference":
                raise ValueError("--objective preference needs --preference-loss, such as dpo.")
            return self
        if self.objective not in ("auto", "preference"):
            raise ValueError(f"--preference-loss is for --objective preference, and this is {self.objective}.")
        if self.sftmix.sftmix_from:
            raise ValueError("--preference-loss and --sftmix-from are two objectives. Choose one of them.")
        if self.regularization.label_smoothing:
            raise ValueError("--label-smoothing is not for --preference-loss, which is made of likelihoods.")
        return self

    @model_validator(mode="after")
    def _require_judge_whole(self) -> "TrainingConfig":
        if self.objective != "self-judge":
            return self
        if self.method != "it":
            raise ValueError("--objective self-judge asks for grades, and needs --method it.")
        if self.regularization.label_smoothing:
            raise ValueError("--label-smoothing is not for --objective self-judge, which compares distributions.")
        return self

    @model_validator(mode="after")
    def _require_pairs(self) -> "TrainingConfig":
        if self.sftmix.sftmix_from and self.batches.batch_size % 2:
            raise ValueError(f"--sftmix-from trains on pairs, and --batch-size {self.batches.batch_size} is odd.")
        return self

    @model_validator(mode="after")
    def _require_shardable(self) -> "TrainingConfig":
        sharding = self.parallel.sharding
        if sharding == "none":
            return self
        if self.adapter.tuning == "qlora":
            raise ValueError(
                f"--sharding {sharding} is not for --tuning qlora: shards move to the GPU after loading, and the "
                "scales that bitsandbytes keeps apart from 4-bit weights stay behind. Leave --sharding out, which "
                "keeps all of the 4-bit weights in each process, or choose --tuning lora."
            )
        if self.optimization.optimizer == "paged":
            raise ValueError(
                f"--optimizer paged cannot keep optimizer state that --sharding {sharding} shards over processes. "
                "Choose --optimizer adamw."
            )
        return self

    @model_validator(mode="after")
    def _require_exact_kernel(self) -> "TrainingConfig":
        if self.memory.loss_kernel != "cut-cross-entropy":
            return self
        option = "--loss-kernel cut-cross-entropy"
        if self.regularization.label_smoothing:
            raise ValueError(f"{option} has no label smoothing. Use liger or tiles with --label-smoothing.")
        if self.adapter.tuning == "full":
            raise ValueError(f"{option} sums a head's gradient in bf16. Use liger or tiles with --tuning full.")
        if self.memory.dtype == "float32":
            raise ValueError(f"{option} multiplies in bf16. Use liger or tiles with --dtype float32.")
        return self


def _holds(preset: Any, merged: Any, config_type: type[BaseModel]) -> bool:
    """Whether an option of a preset has the preset's value, and not by being the usual default."""
    for name, value in preset.items():
        field = config_type.model_fields[name]
        if isinstance(value, dict):
            if _holds(value, merged[name], type(field.default)):
                return True
        elif value != field.default and merged[name] == value:
            return True
    return False


def _groups(nested: dict[str, Any]) -> set[str]:
    return {name for name, value in nested.items() if isinstance(value, dict)}
