"""Where the tokens of a completion begin, for any tokenizer with offsets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


class Counter:
    """Counts the tokens of completions with a tokenizer of another library.

    Takes a fast tokenizer of transformers, a `tokenizers.Tokenizer`, or a function that returns the (start, end) of each
    token of a text, in characters.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.offsets: Callable[[str], Sequence[tuple[int, int]]]
        if hasattr(tokenizer, "is_fast"):
            if not tokenizer.is_fast:
                raise TypeError(f"tokenizer is {type(tokenizer).__name__}, which has no offsets: use its fast form")
            self.offsets = self._of_transformers
        elif hasattr(tokenizer, "encode_batch"):
            self.offsets = self._of_tokenizers
        elif callable(tokenizer):
            self.offsets = tokenizer
        else:
            raise TypeError(
                f"tokenizer is {type(tokenizer).__name__}, expected a fast tokenizer, a path, or a function that returns "
                "offsets"
            )

    def _of_transformers(self, text: str) -> Sequence[tuple[int, int]]:
        return self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]  # type: ignore[no-any-return]

    def _of_tokenizers(self, text: str) -> Sequence[tuple[int, int]]:
        return self.tokenizer.encode(text, add_special_tokens=False).offsets  # type: ignore[no-any-return]

    def starts(self, text: str) -> list[int]:
        """Returns the character at which each token of a text begins."""
        return [start for start, _ in self.offsets(text)]

    def judge_tokens(self, token_ids: Sequence[int], judge_chars: int) -> int:
        """Returns how many sampled tokens begin in the first `judge_chars` characters.

        A token begins after the characters that the tokens before it complete. Special tokens are texts, too.
        """
        if judge_chars <= 0:
            return 0
        head = self._decode(token_ids)[:judge_chars]
        least, most = 0, len(token_ids)
        while least < most:
            middle = (least + most) // 2
            # Half a character decodes to another character.
            if self._decode(token_ids[:middle])[:judge_chars] == head:
                most = middle
            else:
                least = middle + 1
        return least

    def _decode(self, token_ids: Sequence[int]) -> str:
        if not hasattr(self.tokenizer, "decode"):
            raise TypeError("a row has token_ids, which a function that returns offsets cannot decode")
        more = {"clean_up_tokenization_spaces": False} if hasattr(self.tokenizer, "is_fast") else {}
        return self.tokenizer.decode(list(token_ids), skip_special_tokens=False, **more)  # type: ignore[no-any-return]
