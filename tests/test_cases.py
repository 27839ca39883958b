"""Inputs that went wrong once, each with the tests that hold the right value: an index, so that no case loses its test.

A case is one of a kind; its tests try others of the kind too.
"""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

CASES = {
    "42 chat rows with a prompt of their own": "data/sources/test_layouts.py::test_case_42",
    "04 a message of weight zero": "data/sources/test_layouts.py::test_case_04",
    "03 conversational prompt and completion": "data/sources/test_layouts.py::test_case_03",
    "07 Parquet shards in a folder": "data/sources/test_readers.py::test_case_07",
    "06 tables of Excel": "data/sources/test_readers.py::test_case_06 data/sources/test_workbooks.py::test_case_06",
    "36 JSON that is JSON Lines": "data/sources/test_readers.py::test_case_36",
    "38 packed and office files": "data/sources/test_readers.py::test_case_38",
    "09 the output of a batch": "data/sources/test_batch_requests.py::test_case_09 "
    "data/sources/test_layouts.py::test_case_09",
    "34 duplicates in another Unicode form": "data/quality/test_check.py::test_case_34 "
    "data/quality/test_near_duplicates.py::test_case_34",
    "43 near-duplicates of symbols": "data/quality/test_check.py::test_case_43 "
    "data/quality/test_near_duplicates.py::test_case_43",
    "31 the text of special tokens": "test_conversation.py::test_case_31 data/quality/test_check.py::test_case_31 "
    "export/gguf/test_gguf_file.py::test_case_31 serving/test_llama_cpp.py::test_case_31 "
    "serving/test_serve.py::test_control_tokens_in_a_users_text",
    "columns by other names": "data/sources/test_fields.py::test_case_columns "
    "data/sources/test_layouts.py::test_case_columns data/test_prepare.py::test_case_columns "
    "data/test_prepare.py::test_the_suggested_command",
    "one empty assistant turn": "data/sources/test_layouts.py::test_case_empty_turn",
    "an over-long prompt": "test_conversation.py::test_case_overlong training/test_trainer.py::test_case_overlong",
    "refine and markers": "synthesis/test_refine.py::test_refine_and_markers "
    "synthesis/test_revision.py::test_refine_and_markers",
    "refine and secrets": "synthesis/test_refine.py::test_refine_and_secrets "
    "support/test_secrets.py::test_refine_and_secrets",
    "facts of a long line": "synthesis/test_facts.py::test_lost_facts_takes_linear_time",
    "a run as base": "export/test_round_trip.py::test_trained_in_memory_is_loaded_from_disk_is_exported "
    "training/test_tuning.py::test_a_fully_tuned_run_is_a_base_model_for_another "
    "training/test_tuning.py::test_qlora_over_a_runs_adapter",
    "gated norms": "kernels/test_fused_layers.py::test_a_norm_with_a_gate",
    "narrower values": "training/batches/test_packing.py::test_values_narrower",
    "leaks in bf16": "training/batches/test_packing.py::test_a_leak_is_found_in_bf16",
    "experts": "export/test_round_trip.py::test_the_log_and_the_run_name "
    "architectures/test_architectures.py::test_an_architecture",
    "Mamba and RWKV": "architectures/test_architectures.py::test_an_architecture",
    "the header of a legacy SentencePiece": "test_conversation.py::test_training_prefix "
    "export/test_round_trip.py::test_trained_in_memory",
    "the format of an export": "test_chat_template.py::test_a_saved_template_says "
    "test_chat_template.py::test_templates_of_earlier_versions",
    "resume with other memory settings": "training/test_resume.py::test_resume_with_other_memory_settings",
    "11 a YAML key twice": "cli/test_real_world.py::test_file_line_and_option_are_named",
    "a preset over a saved configuration": "cli/test_real_world.py::test_preset_over",
    "a log that is a file": "support/test_terminal.py::test_a_line_every_thirty_seconds",
    "the first Ctrl-C": "training/test_interruption.py::test_first_ctrl_c",
    "a pipe that closes": "cli/test_real_world.py::test_a_pipe_that_closes",
    "a missing extra": "cli/test_real_world.py::test_missing_extra",
    "flags in printed commands": "cli/test_printed_commands.py::test_flags_in_printed_commands",
    "27 stale results": "evaluation/probe/test_probe.py::test_a_probe_belongs_to_the_content "
    "evaluation/shared/test_results.py::test_metrics_belong_to_the_content",
    "28 a judge that is cut off": "asking/test_ask_once.py::test_28 evaluation/shared/test_judge.py::test_28",
    "rejected prompts": "asking/test_ask_once.py::test_rejected evaluation/alpaca/test_alpaca_eval.py::test_rejected",
    "a ledger cut in a character": "asking/test_ledger.py::test_ledger_cut_in_a_character",
    "keys of asked rows": "asking/test_ask_once.py::test_keys_of_asked synthesis/test_refine.py::test_keys_of_asked",
    "retries": "asking/test_ask_once.py::test_retries",
    "a judge trained again": "asking/test_ask_once.py::test_a_judge_trained "
    "evaluation/shared/test_judge.py::test_a_judge_trained",
    "overwriting": "data/test_prepare.py::test_case_overwriting asking/test_ask_once.py::test_overwriting "
    "evaluation/alpaca/test_alpaca_eval.py::test_overwriting",
    "bad bytes": "cli/test_real_world.py::test_bad_bytes data/sources/test_readers.py::test_case_bad_bytes",
    "several models": "cli/test_real_world.py::test_several_models_run cli/test_commands.py::test_several_models",
    "names in brackets": "cli/test_real_world.py::test_names_in_brackets",
    "19 a system message in a served model": "test_chat_template.py::test_a_system_message "
    "test_chat_template.py::test_messages_are_rendered",
    "20 SYSTEM in the Modelfile": "export/gguf/test_ollama.py::test_the_go_template",
    "Llama 2's tokenizer in GGUF": "export/gguf/test_gguf_tokenizer.py::test_llama_2s",
    "an adapter over four bits, merged": "export/test_round_trip.py::test_a_run_over_four_bits "
    "export/test_round_trip.py::test_an_adapter_is_merged_in_fp32",
}
"""Files and beginnings of test names, by case."""


@pytest.mark.parametrize("case", CASES)
def test_a_case_has_its_tests(case: str) -> None:
    for place in CASES[case].split():
        file, _, beginning = place.partition("::")
        assert re.search(rf"def {beginning}\w*\(", (TESTS / file).read_text(encoding="utf-8")), f"no test {place}"
