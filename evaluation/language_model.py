"""A causal language model that answers prompts: greedily, or by the likelihood of given answers.

An answer follows its prompt after one space. torch and transformers take seconds to import: they
are imported where a model is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artifacts.errors import InputError
from artifacts.models import loading

if TYPE_CHECKING:
    import torch


def load_language_model(folder: Path, device: str) -> LanguageModel:
    """The model in a transformers folder, on `device` ("auto": a GPU if there is one).

    It computes in float32 on a CPU, in bfloat16 elsewhere. Nothing is downloaded, and no code that
    the folder may hold is run. Raises InputError for a folder that holds no such model.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if not (folder / "config.json").is_file():
        raise InputError(f"language model: {folder} has no config.json: give a transformers folder")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    with loading(f"language model: {folder} cannot be loaded as a causal language model"):
        # transformers would ask on a terminal whether to run the folder's code.
        own = {"local_files_only": True, "trust_remote_code": False}
        tokenizer = AutoTokenizer.from_pretrained(str(folder), **own)
        model = AutoModelForCausalLM.from_pretrained(str(folder), **own, dtype=dtype)
    return LanguageModel(model.to(device).eval(), tokenizer)


class LanguageModel:
    """`limit`: its context in tokens, None if it states none. `cut`: how many prompts did not fit
    into that beside their answers so far, and lost tokens on their left."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        from transformers import GenerationConfig

        self.model = model
        self.tokenizer = tokenizer
        self.limit: int | None = getattr(model.config, "max_position_embeddings", None)
        self.cut = 0
        end = tokenizer.eos_token_id
        self._pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else end or 0
        # The folder's own settings may ask for sampling or penalties.
        model.generation_config = GenerationConfig(
            do_sample=False, num_beams=1, eos_token_id=end, pad_token_id=self._pad
        )

    def count(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has."""
        return [len(ids) for ids in self._encode(texts)]

    def answer(self, prompts: Sequence[str], max_new_tokens: int, batch: int = 8) -> list[str]:
        """Greedy answers, each up to its first line break, `batch` at a time.

        What stands in a batch beside a prompt makes no difference but for rounding.
        """
        found: list[str] = []
        for start in range(0, len(prompts), batch):
            rows = self._encode(prompts[start : start + batch])
            found += self._generate(
                [self._fit(ids, max_new_tokens) for ids in rows], max_new_tokens
            )
        return found

    def likelihoods(self, prompt: str, answers: Sequence[str]) -> list[float]:
        """log p(answer | prompt), its mean over the answer's tokens, for each answer.

        Tokens are those of prompt and answer in one piece; the prompt's part, as far as all have it
        in common, is computed once.
        """
        import torch

        alone, *wholes = self._encode([prompt, *(f"{prompt} {answer}" for answer in answers)])
        columns = zip(alone, *wholes, strict=False)
        shared = sum(1 for _ in takewhile(lambda tokens: len(set(tokens)) == 1, columns))
        prefix = self._fit(alone[:shared], max(len(ids) - shared for ids in wholes))
        answers_ids = [ids[shared:] for ids in wholes]
        with torch.inference_mode():
            out = self.model(torch.tensor([prefix], device=self.model.device), use_cache=True)
            first = torch.log_softmax(out.logits[0, -1].float(), dim=-1)
            later = self._later(out.past_key_values, len(prefix), answers_ids)
        return [
            (float(first[ids[0]]) + sum(float(scores[i]) for i in range(len(ids) - 1))) / len(ids)
            for ids, scores in zip(answers_ids, later, strict=True)
        ]

    def _later(self, past: Any, length: int, answers: Sequence[Sequence[int]]) -> torch.Tensor:
        """log p of the second token of each answer and those after it, (answers, longest - 1).

        `past` is what the model keeps of the `length` tokens before the answers. Behind an
        answer's last token stands padding, of no meaning.
        """
        import torch

        device = self.model.device
        longest = max(len(ids) for ids in answers)
        if longest == 1:
            return torch.zeros((len(answers), 0))
        padded = [[*ids, *[self._pad] * (longest - len(ids))] for ids in answers]
        tokens = torch.tensor(padded, device=device)
        past.batch_repeat_interleave(len(answers))
        mask = torch.ones((len(answers), length + longest - 1), dtype=torch.long, device=device)
        out = self.model(tokens[:, :-1], past_key_values=past, attention_mask=mask)
        scores = torch.log_softmax(out.logits.float(), dim=-1)
        return scores.gather(-1, tokens[:, 1:, None]).squeeze(-1)

    def _generate(self, rows: Sequence[Sequence[int]], max_new_tokens: int) -> list[str]:
        import torch
        from transformers import StoppingCriteriaList

        width = max(map(len, rows))
        ids = torch.tensor([[*[self._pad] * (width - len(row)), *row] for row in rows])
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])

        def ended(tokens: torch.Tensor, scores: object, **kwargs: object) -> torch.Tensor:
            texts = self.tokenizer.batch_decode(tokens[:, width:])
            return torch.tensor(["\n" in text for text in texts], device=tokens.device)

        with torch.inference_mode():
            out = self.model.generate(
                input_ids=ids.to(self.model.device),
                attention_mask=mask.to(self.model.device),
                max_new_tokens=max_new_tokens,
                stopping_criteria=StoppingCriteriaList([ended]),
            )
        texts = self.tokenizer.batch_decode(out[:, width:], skip_special_tokens=True)
        return [text.partition("\n")[0].strip() for text in texts]

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        # verbose: texts longer than the model's context are no surprise here.
        encoded: list[list[int]] = self.tokenizer(list(texts), verbose=False)["input_ids"]
        return encoded

    def _fit(self, ids: list[int], room: int) -> list[int]:
        """The prompt's last tokens, as many as leave `room` in the context."""
        if self.limit is None or len(ids) + room <= self.limit:
            return ids
        if room >= self.limit:
            raise InputError(
                f"language model: answers of {room} tokens leave no room for a prompt in its "
                f"context of {self.limit}: ask for shorter ones, or take another model"
            )
        self.cut += 1
        return ids[room - self.limit :]
