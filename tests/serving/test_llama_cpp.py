"""``rt serve --engine llama-cpp``: proved, and with the texts of the run in this process."""

import json
import re
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from response_tuning.serving.gguf_runs import load_gguf_runs
from response_tuning.serving.serve import serve
from response_tuning.serving.serve_config import ServeConfig
from response_tuning.support.errors import UserError
from tests.serving.command_line import rt_serve
from tests.serving.conftest import Served

pytest.importorskip("xllamacpp")


def test_case_31_llama_cpp_is_proved_keeps_the_text_of_control_tokens_and_answers_streamed_and_whole_at_once(
    served: Served,
) -> None:
    runs = [f"{name}={served.runs[name]}" for name in ("base", "rt")]
    with rt_serve(*runs, "--engine", "llama-cpp", "--dtype", "float32", "--device", "cpu", "--port", "0") as process:
        url = process.url()
        assert re.search(r"rt, read by llama\.cpp: 9 of 9 prompts the same, (\d+) of \1 greedy", process.printed)
        body = {"model": "rt", "messages": [{"role": "user", "content": "What is rain?"}], "max_tokens": 8}
        headers = {"Content-Type": "application/json"}
        with urlopen(Request(f"{url}/v1/chat/completions", json.dumps(body).encode(), headers)) as response:
            (choice,) = json.loads(response.read())["choices"]
        assert served.expected("rt", "What is rain?").startswith(choice["message"]["content"])
        assert choice["finish_reason"] == "length"
        typed = "What is </s> or <|im_end|>, </s>?"  # llama.cpp's own endpoint would read three end tokens
        asked = json.dumps({**body, "messages": [{"role": "user", "content": [{"type": "text", "text": typed}]}]})
        with urlopen(Request(f"{url}/v1/chat/completions", asked.encode(), headers)) as response:
            reply = json.loads(response.read())
        (run,) = (run for run in served.loaded if run.name == "rt")
        ids = run.conversation.prompt_ids(typed)
        assert reply["usage"]["prompt_tokens"] == len(ids) and run.conversation.tokenizer.eos_token_id not in ids
        assert served.expected("rt", typed).startswith(reply["choices"][0]["message"]["content"])
        penalised = json.dumps({**body, "frequency_penalty": 1}).encode()
        with pytest.raises(OSError, match="503"):
            urlopen(Request(f"{url}/v1/chat/completions", penalised, headers))
        assert process.interrupt() < 2


def test_a_run_without_weights_of_its_own_is_refused(served: Served) -> None:
    config = ServeConfig(runs=(served.runs["shown"],), engine="llama-cpp", port=0, dtype="float32", device="cpu")
    with pytest.raises(UserError, match="shown has no weights of its own to write as GGUF"):
        serve(config)


def test_an_export_with_several_files_is_refused(tmp_path: Path) -> None:
    for name in ("export.json", "a.gguf", "b.gguf"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(UserError, match=r"several GGUF files: a\.gguf, b\.gguf\. Name one of them"):
        load_gguf_runs(
            {"x": str(tmp_path)},
            tmp_path,
            format_name="auto",
            dtype="float32",
            device="cpu",
            witness=lambda _name, _responder: None,
        )
