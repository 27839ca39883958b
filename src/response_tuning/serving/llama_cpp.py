"""``rt serve --engine llama-cpp``: generation by llama.cpp, from a GGUF file, behind the same endpoints.

llama.cpp gets token ids and returns token ids: prompts are encoded and responses decoded here, by the run's own chat
format, so its own handling of templates and special tokens plays no part.
"""

import json
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from response_tuning.inference.sampling import TokenScores
from response_tuning.serving.job import Job
from response_tuning.support.errors import UserError
from response_tuning.support.progress import warn

__all__ = ["LlamaCppEngine"]

_SLOTS = 4
"""Responses at once; each has a key-value cache of its own."""
_MOST_CONTEXT = 8192
"""Of a slot, in tokens: the cache of a whole long context would take gigabytes."""
_STOPPING = "The server is stopping."


class LlamaCppEngine:
    """Answers jobs by llama.cpp's server, in this process, on a free port of 127.0.0.1.

    Args:
        files: the GGUF file of each run, by name.
        contexts: the context of each run [tokens].
        threads: of the processor.

    Raises:
        UserError: a file cannot be loaded.
    """

    def __init__(self, files: dict[str, Path], *, contexts: dict[str, int], threads: int) -> None:
        self._servers = {name: _server(path, contexts[name], threads) for name, path in files.items()}
        self._slots = threading.Semaphore(_SLOTS)
        self._under_way: set[Job] = set()
        self._changed = threading.Lock()
        self._stopped = False

    def submit(self, job: Job) -> None:
        """Have a job answered; its events come in another thread."""
        with self._changed:
            if not self._stopped:
                self._under_way.add(job)
                threading.Thread(target=self._work, args=(job,), daemon=True).start()
                return
        job.fail(_STOPPING)

    def stop(self) -> bool:
        """End every response at its next token."""
        with self._changed:
            self._stopped = True
            jobs = list(self._under_way)
        for job in jobs:
            job.cancel()
            job.fail(_STOPPING)
        return not jobs

    def _work(self, job: Job) -> None:
        try:
            with self._slots:
                if not job.is_cancelled:
                    self._answer(job)
        except Exception as error:  # of the connection or the program: other responses are not concerned
            warn(f"a response of {job.run.name} failed: {type(error).__name__}: {error}")
            job.fail(f"llama.cpp failed: {type(error).__name__}: {error}")
        finally:
            with self._changed:
                self._under_way.discard(job)

    def _answer(self, job: Job) -> None:
        if job.sampling.presence_penalty or job.sampling.frequency_penalty:
            job.fail("llama.cpp's penalties count the tokens of the prompt as well. Leave them out.")
            return
        url = f"{self._servers[job.run.name].listening_address}/completion"
        for token, scores in _tokens(url, job):
            job.add(token, scores)
            if job.is_done or job.is_cancelled:
                return
        if not job.is_done:  # an end token that was not listed
            job.add(job.run.conversation.stop_token_ids[0], None)


def _tokens(url: str, job: Job) -> Generator[tuple[int, TokenScores | None], None, None]:
    """The generated tokens, one per request: a stream of llama.cpp leaves out tokens that end within a character.

    The prompt and what was generated so far are in its cache. The seed is another one for each token.
    """
    ids = list(job.prompt_ids)
    scored = {} if job.scored is None else {"n_probs": max(1, job.scored)}
    while True:
        body = {**_options(job, step=len(ids)), **scored, "prompt": ids, "n_predict": 1}
        with _open(url, body) as response:
            result = json.loads(response.read())
        if not result["tokens"]:
            return
        (token,) = result["tokens"]
        ids.append(token)
        listed = result.get("completion_probabilities", [])  # empty for a token that ends within a character
        if job.scored is None:
            yield token, None
        else:
            yield token, _scores(token, listed[0], job.scored) if listed else TokenScores(token, None, ())


def _scores(token: int, listed: dict[str, Any], count: int) -> TokenScores:
    likeliest = tuple((int(other["id"]), float(other["logprob"])) for other in listed["top_logprobs"][:count])
    return TokenScores(token, float(listed["logprob"]), likeliest)


def _options(job: Job, *, step: int) -> dict[str, Any]:
    """The request's sampling in llama.cpp's words, with its other samplers off."""
    sampling = job.sampling
    seed = {} if sampling.seed is None else {"seed": (sampling.seed + step) % (1 << 32)}
    return {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": 0,
        "min_p": 0.0,
        "typical_p": 1.0,
        "repeat_penalty": 1.0,
        "return_tokens": True,
        "cache_prompt": True,
        **seed,
    }


def _open(url: str, body: dict[str, Any]) -> Any:
    try:
        return urlopen(Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"}))
    except HTTPError as error:
        raise RuntimeError(error.read().decode(errors="replace")) from error


def _server(path: Path, context: int, threads: int) -> Any:
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.cpuparams.n_threads = threads
    parameters.cpuparams_batch.n_threads = threads
    parameters.n_parallel = _SLOTS
    parameters.n_ctx = _SLOTS * min(context, _MOST_CONTEXT)
    parameters.warmup = False
    parameters.verbosity = -1
    try:
        return xllamacpp.Server(parameters)
    except RuntimeError as error:
        raise UserError(f"llama.cpp cannot load the GGUF file {path.name}: {error}") from error
