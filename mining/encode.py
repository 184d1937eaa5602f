"""Texts to unit vectors with a sentence-transformers model."""

from __future__ import annotations

import functools
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import batch_to_device
from transformers import PreTrainedTokenizerBase

from artifacts.encoder import Vectors
from artifacts.errors import DatasetError, InputError
from artifacts.models import loading
from mining.device import resolve_device
from mining.options import EncoderOptions, Precision

_DTYPE = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_COUNTED_AT_ONCE = 1024  # texts; bounds the token lists that are held to count them

_CORES = torch.get_num_threads()

_loading = threading.Lock()

_Pool = dict[Any, Any]  # as SentenceTransformer.start_multi_process_pool makes it
_Done = tuple[list[int], Vectors]
_Work = Callable[[list[int], _Pool | None], _Done]


def load_encoder(model: str | Path, options: EncoderOptions) -> SentenceEncoder:
    """The encoder of a local folder or Hub name, loaded once a process for all its threads.

    A folder whose files have changed since is loaded again. Raises InputError as SentenceEncoder.
    """
    with _loading:
        return _load(str(model), options, _state_of(Path(model)))


class SentenceEncoder:
    """artifacts.encoder.Encode by a sentence-transformers model, static embeddings included.

    `device` and `precision` are what is really used, for the record. `devices` are those that
    share the work, one process each where there are several; by default every GPU, or the CPU,
    whose threads take a batch each. Batches do not hang on their number. Threads may share one
    encoder. Raises InputError for a model that cannot be loaded and for T5 in fp16, which
    overflows.
    """

    def __init__(
        self, model: str | Path, options: EncoderOptions, devices: Sequence[str] = ()
    ) -> None:
        self.name = str(model)
        self.device = resolve_device(options.device)
        self.precision: Precision = options.precision
        if options.precision == "fp16" and self.device.type == "cpu":
            self.precision = "fp32"
        self._options = options
        self._lock = threading.Lock()  # a tokenizer's padding is state that its threads share
        self._model = _open(self.name, self.device)
        _refuse_overflow(self._model, self.name, options.precision)
        _limit_tokens(self._model, options.max_tokens)
        self._model.to(_DTYPE[self.precision]).eval()
        self._workers = _Workers(self._model, devices or _all_of(self.device))

    @property
    def dimension(self) -> int:
        return self._model.get_embedding_dimension() or 0

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """fp32 [len(texts), dim] in the caller's order, each row of length 1.

        A text that has no token is a row of zeros: it is similar to nothing. Raises DatasetError
        naming the text whose vector is not finite.
        """
        distinct = list(dict.fromkeys(texts))
        vectors = np.zeros((len(distinct), self.dimension), np.float32)
        for rows, batch in self.batches(distinct, self.token_lengths(distinct)):
            vectors[rows] = batch
        place = {text: i for i, text in enumerate(distinct)}
        return vectors[[place[text] for text in texts]]

    def batches(
        self, texts: Sequence[str], tokens: Sequence[int]
    ) -> Iterator[tuple[list[int], Vectors]]:
        """Rows of `texts`, each row once, with their vectors as `__call__` gives them.

        `tokens` are the texts' token_lengths. Longest first, each batch no larger than the token
        budget once padded. Raises as `__call__`.
        """
        yield from self._workers.map(
            lambda rows, pool: (rows, self._encode([texts[i] for i in rows], pool)),
            _by_length(tokens, self._options.budget(self.device.type)),
        )

    def _encode(self, texts: list[str], pool: _Pool | None) -> Vectors:
        raw = self._forward(texts) if pool is None else self._in_pool(texts, pool)
        vectors = raw.to("cpu", torch.float64).numpy()
        for text, finite in zip(texts, np.isfinite(vectors).all(axis=1), strict=True):
            if not finite:
                raise DatasetError(
                    f"encoder {self.name} at {self.precision}: the vector of the text "
                    f"{text[:80]!r} is not finite; precision fp32 may hold it"
                )
        norms = np.sqrt(np.einsum("ND,ND->N", vectors, vectors))[:, None]
        vectors /= np.where(norms > 0, norms, 1.0)
        return vectors.astype(np.float32)

    def _forward(self, texts: list[str]) -> torch.Tensor:
        """As SentenceTransformer.encode, which would hold the lock while it computes."""
        with self._lock:
            features = self._model.preprocess(texts, prompt=self._options.prompt)
        with torch.inference_mode():
            vectors = self._model(batch_to_device(features, self.device))["sentence_embedding"]
        truncated: torch.Tensor = vectors[:, : self.dimension]
        return truncated

    def _in_pool(self, texts: list[str], pool: _Pool) -> torch.Tensor:
        vectors: torch.Tensor = self._model.encode(
            texts,
            batch_size=len(texts),
            chunk_size=len(texts),
            pool=pool,
            prompt=self._options.prompt,
            convert_to_tensor=True,
            show_progress_bar=False,
        )
        return vectors

    def token_lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of prompt and text, special ones and truncation included."""
        lengths: list[int] = []
        for start in range(0, len(texts), _COUNTED_AT_ONCE):
            part = [self._options.prompt + text for text in texts[start : start + _COUNTED_AT_ONCE]]
            with self._lock:
                lengths.extend(self._count(part))
        return lengths

    def _count(self, texts: list[str]) -> list[int]:
        tokenizer = self._model.tokenizer
        if isinstance(tokenizer, PreTrainedTokenizerBase):
            ids = tokenizer(texts, truncation=True, return_attention_mask=False)["input_ids"]
            return [len(tokens) for tokens in ids]
        return [len(encoding.ids) for encoding in tokenizer.encode_batch(texts)]


class _Workers:
    """What computes batches at once: the cores of a CPU, or a process for each of several devices.

    A core takes a whole batch: several at one batch wait for each other at every layer, and longer
    where the machine does other work too. Processes are started when first needed. A pool of
    sentence-transformers' has one of them here, and takes one whole batch at a time, so that a
    batch is computed as it would be without pools.
    """

    def __init__(self, model: SentenceTransformer, devices: Sequence[str]) -> None:
        self._model = model
        self._devices = devices
        self._lock = threading.Lock()
        self._idle: SimpleQueue[_Pool] = SimpleQueue()
        self._started = False

    def map(self, work: _Work, batches: Iterator[list[int]]) -> Iterator[_Done]:
        """The results of `work` in the order of `batches`, whichever device does which."""
        if len(self._devices) == 1:
            cores = _CORES if self._devices[0] == "cpu" else 1
            with _threads(cores) as threads:
                yield from _in_order(threads, lambda rows: work(rows, None), batches, cores)
            return
        self._start()
        with ThreadPoolExecutor(len(self._devices)) as threads:
            on_idle = functools.partial(self._on_idle, work)
            yield from _in_order(threads, on_idle, batches, len(self._devices))

    def _on_idle(self, work: _Work, rows: list[int]) -> _Done:
        pool = self._idle.get()
        try:
            return work(rows, pool)
        finally:
            self._idle.put(pool)

    def _start(self) -> None:
        with self._lock:
            if self._started:
                return
            for device in self._devices:
                pool = self._model.start_multi_process_pool([device])
                weakref.finalize(self, SentenceTransformer.stop_multi_process_pool, pool)
                self._idle.put(pool)
            self._started = True


@contextmanager
def _threads(cores: int) -> Iterator[ThreadPoolExecutor]:
    """Each computes alone: what a thread sets holds for itself, and for threads yet to come.

    So it is set back in a thread of its own, and the caller's own number stays as it is.
    """
    alone = functools.partial(torch.set_num_threads, 1)
    try:
        with ThreadPoolExecutor(cores, initializer=alone) as threads:
            yield threads
    finally:
        last = threading.Thread(target=torch.set_num_threads, args=(_CORES,))
        last.start()
        last.join()


def _in_order(
    threads: ThreadPoolExecutor,
    work: Callable[[list[int]], _Done],
    batches: Iterator[list[int]],
    workers: int,
) -> Iterator[_Done]:
    """Executor.map, but never far ahead of who takes the results: they are not to pile up."""
    begun: deque[Future[_Done]] = deque()
    for rows in batches:
        begun.append(threads.submit(work, rows))
        if len(begun) > workers:
            yield begun.popleft().result()
    while begun:
        yield begun.popleft().result()


@functools.lru_cache(maxsize=2)
def _load(model: str, options: EncoderOptions, state: tuple[object, ...]) -> SentenceEncoder:
    return SentenceEncoder(model, options)


def _state_of(folder: Path) -> tuple[object, ...]:
    """Name, size and time of each file; empty for a Hub name."""
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
    stats = [(path, path.stat()) for path in files]
    return tuple((str(path), stat.st_size, stat.st_mtime_ns) for path, stat in stats)


def _all_of(device: torch.device) -> list[str]:
    if device.type != "cuda":
        return [device.type]
    return [f"cuda:{i}" for i in range(torch.cuda.device_count())]


def _by_length(tokens: Sequence[int], budget: int) -> Iterator[list[int]]:
    order = sorted(range(len(tokens)), key=lambda i: (-tokens[i], i))
    start = 0
    while start < len(order):
        size = max(1, budget // max(1, tokens[order[start]]))
        yield order[start : start + size]
        start += size


def _open(name: str, device: torch.device) -> SentenceTransformer:
    neither = "neither a sentence-transformers folder nor a model that the Hub gives from here"
    with loading(f"encoder {name!r}: {neither}"):
        return SentenceTransformer(name, device=str(device))


def _refuse_overflow(model: SentenceTransformer, name: str, precision: Precision) -> None:
    kind = getattr(model.config, "model_type", "")
    if precision == "fp16" and "t5" in kind:
        raise InputError(f"encoder {name!r} is a T5, which overflows in fp16; use fp32 or bf16")


def _limit_tokens(model: SentenceTransformer, max_tokens: int | None) -> None:
    if max_tokens is None:
        return
    if isinstance(model.tokenizer, PreTrainedTokenizerBase):
        model.max_seq_length = min(max_tokens, model.max_seq_length or max_tokens)
    else:
        model.tokenizer.enable_truncation(max_tokens)
