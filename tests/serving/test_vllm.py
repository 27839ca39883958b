"""``rt serve --engine vllm``: the exact command, and its course with a program in vLLM's place.

vLLM needs CUDA. The program in its place passes requests on to a server of the same runs.
"""

import json
import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from response_tuning.cli.main import main
from response_tuning.models.load import load_tokenizer
from response_tuning.runs.trained import conversation_of
from response_tuning.serving.serve import serve
from response_tuning.serving.serve_config import ServeConfig
from response_tuning.support.errors import UserError
from tests.serving.conftest import Served

PLAIN = ("--dtype", "float32", "--device", "cpu")

STAND_IN = """#!{python}
import os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import Request, urlopen

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(None)
    def do_POST(self):
        self.answer(self.rfile.read(int(self.headers["Content-Length"])))
    def answer(self, body):
        if "{wrong}":
            body = body and body.replace(b'"model": "it"', b'"model": "{wrong}"')
        request = Request("{url}" + self.path, body, {{"Content-Type": "application/json"}})
        with urlopen(request) as response:
            data = response.read()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def log_message(self, *_):
        pass

port = int(sys.argv[sys.argv.index("--port") + 1])
ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


def put_in_place(folder: Path, monkeypatch: pytest.MonkeyPatch, served: Served, *, wrong: str = "") -> None:
    program = folder / "vllm"
    program.write_text(STAND_IN.format(python=sys.executable, url=served.url, wrong=wrong))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def trained(served: Served) -> list[str]:
    return [f"{name}={served.runs[name]}" for name in ("base", "rt", "it")]


def test_the_command_has_the_adapters_the_template_and_the_stop_ids(
    served: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    runs = trained(served)
    assert main(["serve", *runs, "--engine", "vllm", "--show-command", "--port", "8123", *PLAIN]) == 0
    typed = shlex.split(capfd.readouterr().out)
    folder = Path(typed[typed.index("--generation-config") + 1])
    assert typed == [
        *("vllm", "serve", served.runs["base"], "--served-model-name", "base"),
        *("--host", "127.0.0.1", "--port", "8123", "--dtype", "float32"),
        *("--chat-template", str(folder / "chat_template.jinja"), "--generation-config", str(folder)),
        *("--override-generation-config", '{"temperature": 0}'),
        *("--enable-lora", "--max-loras", "2", "--max-lora-rank", "8", "--lora-modules"),
        *(f"rt={served.runs['rt']}/adapter", f"it={served.runs['it']}/adapter"),
    ]
    conversation = conversation_of(served.runs["rt"], "auto", load_tokenizer(served.runs["rt"]))
    assert (folder / "chat_template.jinja").read_text() == conversation.chat_template
    stops = json.loads((folder / "generation_config.json").read_text())
    assert stops == {"eos_token_id": conversation.stop_token_ids}


def test_vllm_is_started_proved_and_ended(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    put_in_place(tmp_path, monkeypatch, served)
    ended: list[int] = []

    def wait_as_if_interrupted(process: "subprocess.Popen[bytes]", timeout: float | None = None) -> int:
        if timeout is None and not ended:
            ended.append(process.pid)
            raise KeyboardInterrupt
        return wait(process, timeout)

    wait = subprocess.Popen.wait
    monkeypatch.setattr(subprocess.Popen, "wait", wait_as_if_interrupted)
    serve(config_of(served))
    assert "it, read by vLLM: 3 of 3 prompts the same, 8 of 8 greedy tokens the same" in caplog.text
    assert "the text of a control token in a message, such as <|im_end|>, as the token" in caplog.text
    assert caplog.messages[-1] == "stopped"
    with pytest.raises(ProcessLookupError):
        os.kill(ended[0], 0)


def test_vllm_that_answers_for_another_run_is_ended_and_the_reason_is_said(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in_place(tmp_path, monkeypatch, served, wrong="rt")
    with pytest.raises(UserError, match=r"does not answer as the run does, so it was not started\. it, read by vLLM"):
        serve(config_of(served))


def config_of(served: Served) -> ServeConfig:
    options = {"engine": "vllm", "port": 0, "dtype": "float32", "device": "cpu"}
    return ServeConfig.model_validate({"runs": trained(served), "check_prompts": 2, "check_tokens": 4, **options})


def test_what_vllm_cannot_serve_is_refused(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["serve", served.runs["rt"], "--engine", "vllm", "--port", "0", *PLAIN]) == 2
    assert "--engine vllm needs the program vllm" in capfd.readouterr().err
    assert main(["serve", served.runs["shown"], "--engine", "vllm", *PLAIN]) == 2
    assert "shown has no weights of its own" in capfd.readouterr().err
    changed = tmp_path / "changed"
    changed.mkdir()
    (changed / "adapter").mkdir()
    for file in (Path(served.runs["rt"]) / "adapter").iterdir():
        (changed / "adapter" / file.name).write_bytes(file.read_bytes())
    settings = changed / "adapter" / "adapter_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "use_dora": True}))
    assert main(["serve", str(changed), "--engine", "vllm", *PLAIN]) == 2
    assert "it has DoRA. Merge it into the base model" in capfd.readouterr().err
    runs = [served.runs["rt"], served.runs["base"], "--format", "alpaca"]
    assert main(["serve", *runs, "--engine", "vllm", "--show-command", *PLAIN]) == 0
    assert main(["serve", *runs[:2], str(_with_other_format(changed)), "--engine", "vllm", *PLAIN]) == 2
    assert "vLLM has one chat template" in capfd.readouterr().err


def _with_other_format(run: Path) -> Path:
    adapter = run / "adapter"
    template = conversation_of(str(run), "alpaca", load_tokenizer(str(run))).chat_template
    (adapter / "chat_template.jinja").write_text(template)
    settings = adapter / "adapter_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "use_dora": False}))
    return run
