"""The commands that make runs and use them: call, and print the result."""

from typing import TYPE_CHECKING

from response_tuning.cli.command import Command, print_result
from response_tuning.cli.from_other_trainers import print_translation
from response_tuning.cli.spellings import training_arguments
from response_tuning.support.commands import command
from response_tuning.support.progress import say

if TYPE_CHECKING:
    from response_tuning.cli.cache import CacheConfig
    from response_tuning.cli.doctor import DoctorConfig
    from response_tuning.data.demonstrations.in_context_config import InContextConfig
    from response_tuning.evaluation.compare.compare_config import CompareConfig
    from response_tuning.evaluation.probe.probe_config import ProbeConfig
    from response_tuning.export.export_config import ExportConfig
    from response_tuning.runs.rules.rules_config import RulesConfig
    from response_tuning.serving.chat_config import ChatConfig
    from response_tuning.serving.serve_config import ServeConfig
    from response_tuning.study.study_config import QuickstartConfig
    from response_tuning.training.training_config import TrainingConfig

__all__ = ["COMMANDS"]


def _quickstart(config: "QuickstartConfig") -> None:
    from response_tuning.evaluation.shared.table import metrics_table
    from response_tuning.study.quickstart import quickstart

    finished = quickstart(config)
    print_result(metrics_table(finished.estimates))
    say(
        f"{finished.report.finding}\n\nThe report: {finished.report.path}\n"
        f"Chat with the tuned model: {command('chat', config.output / 'rt')}"
    )


def _train(config: "TrainingConfig") -> None:
    if config.plan:
        from response_tuning.training.planning.plan import make_plan
        from response_tuning.training.planning.plan_table import plan_table

        print_result(plan_table(make_plan(config)))
        return
    if config.parallel.nodes > 1:
        from response_tuning.training.parallel.launch import node_commands
        from response_tuning.training.trainer import resolve

        for line in node_commands(resolve(config)):
            print(line)
        say("One command per machine; this machine's is the first. All need the same data and a shared run folder.")
        return
    from response_tuning.training.trainer import train

    run = train(config)
    say(f"Trained: {run.path}\nProbe it: {command('probe', run.path)}\nChat with it: {command('chat', run.path)}")


def _rules(config: "RulesConfig") -> None:
    from response_tuning.runs.rules.make_rules import make_rules
    from response_tuning.runs.rules.rules_table import rules_table

    made = make_rules(config)
    print_result(rules_table(made))
    say(
        f"Made: {made.path}\nEdit its rules: {made.path / 'rules.yaml'}\n"
        f"Probe it: {command('probe', made.path)}\nChat with it: {command('chat', made.path)}"
    )


def _in_context(config: "InContextConfig") -> None:
    from response_tuning.data.demonstrations.make_in_context import make_in_context

    made = make_in_context(config)
    limit = "" if made.context is None else f" of the model's context of {made.context:,}"
    print_result(f"{made.demonstrations} demonstrations; {made.prefix_tokens:,} tokens{limit} before the query")
    say(f"Made: {made.path}\nProbe it: {command('probe', made.path)}\nChat with it: {command('chat', made.path)}")


def _probe(config: "ProbeConfig") -> None:
    from response_tuning.evaluation.probe.probe_entry import PROBE

    result = PROBE.run(config)
    if result is not None:
        print_result(PROBE.table(config, result))


def _compare(config: "CompareConfig") -> None:
    from response_tuning.evaluation.compare.compare import compare
    from response_tuning.evaluation.compare.compare_table import comparison_table

    comparison = compare(config)
    for task in comparison.tasks:
        print_result(comparison_table(comparison, task))
    for task, lacking in comparison.missing.items():
        print_result(f"not compared: {task}, which {' and '.join(lacking)} {'lacks' if len(lacking) == 1 else 'lack'}")


def _chat(config: "ChatConfig") -> None:
    from response_tuning.serving.chat import chat

    chat(config)


def _serve(config: "ServeConfig") -> None:
    from response_tuning.support.extras import require_extra

    require_extra("uvicorn", "serve", purpose="rt serve")
    require_extra("starlette", "serve", purpose="rt serve")
    from response_tuning.serving.serve import leave, serve

    serve(config)
    if not config.show_command:
        leave()


def _export(config: "ExportConfig") -> None:
    from response_tuning.export.export import export

    exported = export(config)
    for proof in exported.proofs:
        print_result(
            f"{proof.file} ({proof.engine}): {proof.same_prompt_ids} of {proof.prompts} prompts have the run's ids; "
            f"{proof.same_tokens} of {proof.tokens} greedy tokens equal the run's, {proof.near_ties} are near-ties"
        )
    say(f"Exported: {exported.path}" + (f"\nPushed: {exported.address}" if exported.address else ""))


def _doctor(config: "DoctorConfig") -> None:
    from response_tuning.cli.doctor import doctor_table
    from response_tuning.models.machine import describe_machine

    machine = describe_machine()
    if config.as_json:
        import json

        print(json.dumps(machine.as_json(), indent=2))
    else:
        print_result(doctor_table(machine))


def _cache(config: "CacheConfig") -> None:
    from response_tuning.cli.cache import cache_entries, remove_entry
    from response_tuning.support.user_cache import user_cache

    if config.remove is not None:
        print_result(f"removed {config.remove}: {remove_entry(config.remove) / 2**20:,.1f} MiB")
        return
    for name, size in cache_entries().items():
        print_result(f"{size / 2**20:10,.1f} MiB  {name}")
    say(f"The cache: {user_cache()}")


_QUICKSTART = Command(
    "quickstart",
    "response_tuning.study.study_config:QuickstartConfig",
    _quickstart,
    "Tune and probe the embedded model both ways, in one go",
)
_TRAIN = Command(
    "train",
    "response_tuning.training.training_config:TrainingConfig",
    _train,
    "Tune a base model on responses alone, or on pairs",
    spelled=training_arguments,
    instead=print_translation,
)
_RULES = Command(
    "rules",
    "response_tuning.runs.rules.rules_config:RulesConfig",
    _rules,
    "Make a run that answers by rules over a base model, untrained",
)
_IN_CONTEXT = Command(
    "in-context",
    "response_tuning.data.demonstrations.in_context_config:InContextConfig",
    _in_context,
    "Make a run that answers after demonstrations, untrained",
)
_PROBE = Command(
    "probe",
    "response_tuning.evaluation.probe.probe_config:ProbeConfig",
    _probe,
    "Measure, without a judge, how a model answers",
)
_COMPARE = Command(
    "compare",
    "response_tuning.evaluation.compare.compare_config:CompareConfig",
    _compare,
    "Compare what was measured on several runs, paired",
)
_CHAT = Command("chat", "response_tuning.serving.chat_config:ChatConfig", _chat, "Ask runs questions, side by side")
_SERVE = Command(
    "serve",
    "response_tuning.serving.serve_config:ServeConfig",
    _serve,
    "Serve runs to any OpenAI client, and in the browser",
)
_EXPORT = Command(
    "export",
    "response_tuning.export.export_config:ExportConfig",
    _export,
    "Write a run as a model for other servers, and verify it",
)
_DOCTOR = Command(
    "doctor",
    "response_tuning.cli.doctor:DoctorConfig",
    _doctor,
    "Describe this machine, and what is chosen on it",
)
_CACHE = Command("cache", "response_tuning.cli.cache:CacheConfig", _cache, "List or clear what is cached")

COMMANDS = (
    _QUICKSTART,
    _TRAIN,
    _IN_CONTEXT,
    _RULES,
    _PROBE,
    _CHAT,
    _SERVE,
    _COMPARE,
    _EXPORT,
    _DOCTOR,
    _CACHE,
)
"""The commands of one word, in the order of the help."""
