"""Generation for many clients at once, on weights that several runs share.

Prompts of one run that wait at the same time are answered in one batch. Several batches are under way at once, each in
a thread of its own, and take turns token by token: whoever has the turn activates its run's adapter, so no forward pass
ever sees another run's weights, and a new prompt waits for one token of the others, not for their whole responses.
"""

import threading
from collections import deque
from collections.abc import Sequence
from time import sleep

import torch
from torch import Tensor

from response_tuning.inference.batch import left_padded
from response_tuning.inference.sampling import RowChoice
from response_tuning.serving.job import Job
from response_tuning.support.progress import warn

__all__ = ["Engine"]

_GATHERING_SECONDS = 0.02
"""How long the first prompt of a batch waits for others."""
_STOPPING = "The server is stopping."


class _Turns:
    """A lock that is handed on in the order of arrival."""

    def __init__(self) -> None:
        self._queue: deque[object] = deque()
        self._changed = threading.Condition()

    def take(self) -> None:
        ticket = object()
        with self._changed:
            self._queue.append(ticket)
            self._changed.wait_for(lambda: self._queue[0] is ticket)

    def release(self) -> None:
        with self._changed:
            self._queue.popleft()
            self._changed.notify_all()

    def pass_on(self) -> None:
        """Let everyone who waits have one turn."""
        with self._changed:
            if len(self._queue) == 1:
                return
        self.release()
        self.take()


class Engine:
    """Answers jobs until it is stopped.

    Args:
        batch_size: the most prompts in one batch.
        batches: the most batches under way at once.
    """

    def __init__(self, *, batch_size: int, batches: int) -> None:
        self._batch_size = batch_size
        self._waiting: list[Job] = []
        self._under_way: list[Job] = []
        self._changed = threading.Condition()
        self._stopped = False
        self._turns = _Turns()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(batches)]
        for thread in self._threads:
            thread.start()

    def submit(self, job: Job) -> None:
        """Have a job answered; its events come in another thread."""
        with self._changed:
            if not self._stopped:
                self._waiting.append(job)
                self._changed.notify()
                return
        job.fail(_STOPPING)

    @property
    def is_idle(self) -> bool:
        """Whether no response is under way or waiting."""
        with self._changed:
            return not self._waiting and not self._under_way

    def stop(self, *, timeout: float = 1.0) -> bool:
        """End every response at its next token. Returns whether all threads ended within ``timeout`` [s]."""
        with self._changed:
            self._stopped = True
            jobs = [*self._waiting, *self._under_way]
            self._waiting = []
            self._changed.notify_all()
        for job in jobs:
            job.cancel()
            job.fail(_STOPPING)
        for thread in self._threads:
            thread.join(timeout / len(self._threads))
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        while batch := self._next_batch():
            try:
                self._answer(batch)
            except Exception as error:  # of the model or the memory: the other batches are not concerned
                warn(f"a response of {batch[0].run.name} failed: {type(error).__name__}: {error}")
                for job in batch:
                    job.fail(f"The model failed: {type(error).__name__}: {error}")
            finally:
                with self._changed:
                    self._under_way = [job for job in self._under_way if job not in batch]

    def _next_batch(self) -> list[Job]:
        """Prompts of one run, with the one that has waited longest; none once the engine is stopped."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopped)
            sleep(_GATHERING_SECONDS)
            with self._changed:
                if self._stopped:
                    return []
                batch = self._take_batch()
                if batch:
                    return batch

    def _take_batch(self) -> list[Job]:
        waiting = [job for job in self._waiting if not job.is_cancelled]
        batch: list[Job] = []
        for job in waiting:
            if len(batch) < self._batch_size and _fits([*batch, job]):
                batch.append(job)
        self._waiting = [job for job in waiting if job not in batch]
        self._under_way += batch
        return batch

    def _answer(self, batch: Sequence[Job]) -> None:
        self._turns.take()
        try:
            _generate(batch, self._turns)
        finally:
            self._turns.release()


def _fits(batch: Sequence[Job]) -> bool:
    """Whether jobs can be one batch: of one run, and no row goes on beyond the model's context while others go on."""
    run = batch[0].run
    if any(job.run is not run for job in batch):
        return False
    longest, steps = max(len(job.prompt_ids) for job in batch), max(job.limit for job in batch)
    return run.context is None or longest + steps <= run.context


@torch.inference_mode()
def _generate(batch: Sequence[Job], turns: _Turns) -> None:
    """Generate until every job of the batch is done. Prompts are padded on the left."""
    run, prompts = batch[0].run, [job.prompt_ids for job in batch]
    input_ids, attention_mask = left_padded(prompts)
    choice = RowChoice(
        [job.sampling for job in batch], prompt_length=input_ids.shape[1], scored=[job.scored for job in batch]
    )

    def take_tokens(ids: Tensor, _scores: object) -> Tensor:
        for row, (job, token) in enumerate(zip(batch, ids[:, -1].tolist(), strict=True)):
            if not job.is_done and not job.is_cancelled:
                job.add(token, choice.scores_of(row, token))
        done = [job.is_done or job.is_cancelled for job in batch]
        if not all(done):
            turns.pass_on()
            run.activate()
        return torch.tensor(done, device=ids.device)

    run.activate()
    cache = run.responder.prefix_cache.of_batch(prompts)
    device = run.weights.model.device
    run.weights.model.generate(  # type: ignore[operator]
        input_ids=input_ids.to(device),
        attention_mask=attention_mask.to(device),
        generation_config=run.generation_config,
        max_new_tokens=max(job.limit for job in batch),
        logits_processor=[*run.responder.processors_of(prompts), choice],
        stopping_criteria=[take_tokens],
        **({} if cache is None else {"past_key_values": cache}),
    )
