"""Conversations as tokens: what the network reads, and which tokens it learns to write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from retinai.errors import UserError
from retinai.llava.processor import tokens_of_tower

IGNORED = -100


@dataclass(frozen=True)
class Encoded:
    """Token ids of B conversations, padded on the right.

    Args:
        input_ids: int64, (B, T).
        attention_mask: int64, (B, T), 0 on padding.
        labels: int64, (B, T); `IGNORED` on padding, prompt and image tokens, so that only the answer
            and its end are learnt.
        weights: float32, (B, T): weight of each token in the mean over its answer.
    """

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    weights: Tensor

    def to(self, device: torch.device) -> Encoded:
        """Return the same on a device."""
        return Encoded(
            self.input_ids.to(device), self.attention_mask.to(device), self.labels.to(device), self.weights.to(device)
        )


class Conversations:
    """Writes questions and answers the way the chat template of a processor does.

    Args:
        processor: A checked `LlavaProcessor`.
        config: The `LlavaConfig` of the network.
    """

    def __init__(self, processor: Any, config: Any) -> None:
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.context = int(config.text_config.max_position_embeddings)
        self._image = processor.image_token * tokens_of_tower(config)

    def prompt_text(self, question: str) -> str:
        """Return the text before the answer, with one `<image>`, as the chat template writes it."""
        content = [{"type": "image"}, {"type": "text", "text": question}]
        turn = [{"role": "user", "content": content}]
        return str(self.processor.apply_chat_template(turn, add_generation_prompt=True))

    def prompt(self, question: str, begun: str = "") -> list[int]:
        """Return the tokens up to the answer, or up to what of the answer is given.

        Args:
            question: What is asked.
            begun: Words that the answer begins with.

        Raises:
            UserError: If they do not fit into the context.
        """
        text = self.prompt_text(question)
        ids = self._tokens(f"{text} {begun}" if begun else text)
        self._check_length(len(ids), "the prompt")
        return ids

    def encode(self, turns: Sequence[tuple[str, str]], heads: Sequence[tuple[str, float]] | None = None) -> Encoded:
        """Return questions and answers as one padded batch.

        Args:
            turns: (question, answer) of B conversations.
            heads: Words that each answer begins with, and the weight of their tokens; None: every token weighs 1.

        Raises:
            UserError: If a conversation is longer than the context.
        """
        rows = [self._encode_one(question, answer) for question, answer in turns]
        longest = max(len(ids) for ids, _ in rows)
        pad = self.tokenizer.pad_token_id
        ids = torch.full((len(rows), longest), pad, dtype=torch.long)
        labels = torch.full((len(rows), longest), IGNORED, dtype=torch.long)
        mask = torch.zeros((len(rows), longest), dtype=torch.long)
        weights = torch.ones((len(rows), longest))
        for row, (tokens, begins) in enumerate(rows):
            length = len(tokens)
            ids[row, :length] = torch.tensor(tokens)
            labels[row, begins:length] = ids[row, begins:length]
            mask[row, :length] = 1
            words, weight = heads[row] if heads else ("", 1.0)
            if words and weight != 1:
                weights[row, begins : self._end_of(turns[row][0], words, tokens)] = weight
        return Encoded(ids, mask, labels, weights)

    def _end_of(self, question: str, words: str, tokens: list[int]) -> int:
        """Return where the first words of an answer end among the tokens of its conversation."""
        begun = self._tokens(f"{self.prompt_text(question)} {words}")
        same = [a == b for a, b in zip(begun, tokens, strict=False)]
        return same.index(False) if False in same else len(same)

    def continuations(self, question: str, answers: Sequence[str]) -> tuple[list[int], list[list[int]]]:
        """Split answers to one question into the tokens that all share and the ones that differ.

        Args:
            question: What is asked.
            answers: C beginnings of an answer.

        Returns:
            The shared tokens (image, prompt, common beginning), and for each answer its own tokens, at
            least one.

        Raises:
            UserError: If two answers are the same tokens, or one is the beginning of another.
        """
        whole = [self.prompt(question, answer) for answer in answers]
        shared = 0
        while all(shared < len(ids) for ids in whole) and len({ids[shared] for ids in whole}) == 1:
            shared += 1
        own = [ids[shared:] for ids in whole]
        for number, tokens in enumerate(own):
            if not tokens or any(other[: len(tokens)] == tokens for k, other in enumerate(own) if k != number):
                raise UserError(
                    f"the answers {answers[number]!r} and another one begin with the same tokens, so their likelihoods "
                    "cannot be told apart; change the grade sentence of prompt="
                )
        return whole[0][:shared], own

    def decode(self, tokens: Tensor | Sequence[int]) -> str:
        """Return tokens as text, without special ones."""
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True)).strip()

    def _encode_one(self, question: str, answer: str) -> tuple[list[int], int]:
        """Return the tokens of a conversation and the place where its answer begins."""
        text = self.prompt_text(question)
        prompt = self._tokens(text)
        whole = self._tokens(f"{text} {answer}{self.tokenizer.eos_token}")
        if whole[: len(prompt)] != prompt:
            raise UserError(
                "the tokenizer writes the end of the prompt in another way when an answer follows, so the answer "
                f"cannot be told from the prompt ({text[-20:]!r}); use the chat template that belongs to the network"
            )
        self._check_length(len(whole), f"the conversation with the answer {answer[:60]!r}")
        return whole, len(prompt)

    def _tokens(self, text: str) -> list[int]:
        text = text.replace(self.processor.image_token, self._image)
        return list(self.tokenizer(text)["input_ids"])

    def _check_length(self, length: int, what: str) -> None:
        if length > self.context:
            raise UserError(
                f"{what} has {length} tokens, the context of the language model holds {self.context}; "
                "shorten the templates of prompt= or the answer"
            )
