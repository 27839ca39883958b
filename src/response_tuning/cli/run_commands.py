"""The commands that make runs and use them: call, and print the result."""

from typing import TYPE_CHECKING

from response_tuning.cli.command import Command, print_result
from response_tuning.support.progress import say

if TYPE_CHECKING:
    from response_tuning.export.export_config import ExportConfig
    from response_tuning.serving.chat import ChatConfig
    from response_tuning.study.study_config import QuickstartConfig
    from response_tuning.training.training_config import TrainingConfig

__all__ = ["CHAT_COMMAND", "EXPORT_COMMAND", "QUICKSTART_COMMAND", "TRAIN_COMMAND"]


def _quickstart(config: "QuickstartConfig") -> None:
    from response_tuning.evaluation.shared.table import metrics_table
    from response_tuning.study.quickstart import quickstart

    results = quickstart(config)
    print_result(metrics_table({name: result.metrics for name, result in results.items()}))
    say(f"The report: {config.output / 'report.html'}\nChat with the tuned model: rt chat {config.output / 'rt'}")


def _train(config: "TrainingConfig") -> None:
    if config.plan:
        from response_tuning.training.planning.plan import make_plan
        from response_tuning.training.planning.plan_table import plan_table

        print_result(plan_table(make_plan(config)))
        return
    if config.parallel.nodes > 1:
        from response_tuning.training.parallel.launch import node_commands

        for command in node_commands(config):
            print(command)
        say("One command per machine; this machine's is the first. All need the same data and a shared run folder.")
        return
    from response_tuning.training.trainer import train

    run = train(config)
    say(f"Trained: {run.path}\nProbe it: rt probe {run.path}\nChat with it: rt chat {run.path}")


def _chat(config: "ChatConfig") -> None:
    from response_tuning.serving.chat import chat

    chat(config)


def _export(config: "ExportConfig") -> None:
    from response_tuning.export.export import export

    exported = export(config)
    for proof in exported.proofs:
        print_result(
            f"{proof.file} ({proof.engine}): {proof.same_prompt_ids} of {proof.prompts} prompts have the run's ids; "
            f"{proof.same_tokens} of {proof.tokens} greedy tokens equal the run's, {proof.near_ties} are near-ties"
        )
    say(f"Exported: {exported.path}" + (f"\nPushed: {exported.address}" if exported.address else ""))


QUICKSTART_COMMAND = Command(
    "quickstart",
    "response_tuning.study.study_config:QuickstartConfig",
    _quickstart,
    "Tune and probe the embedded model both ways, in one go",
)
TRAIN_COMMAND = Command(
    "train",
    "response_tuning.training.training_config:TrainingConfig",
    _train,
    "Tune a base model on responses alone, or on pairs",
)
CHAT_COMMAND = Command("chat", "response_tuning.serving.chat:ChatConfig", _chat, "Ask a run, or any model, questions")
EXPORT_COMMAND = Command(
    "export",
    "response_tuning.export.export_config:ExportConfig",
    _export,
    "Write a run as a model for other servers, and verify it",
)
