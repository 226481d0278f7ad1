"""Where the tokens of a completion begin, for any tokenizer with offsets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def tokens_within(token_ids: Sequence[int], decoded: str, chars: int, decode: Callable[[Sequence[int]], str]) -> int:
    """Returns the fewest tokens that decode to the first `chars` characters of what all of them decode to."""
    head = decoded[:chars]
    least, most = 0, len(token_ids)
    # More tokens give the head, too; half a character is another character.
    while least < most:
        middle = (least + most) // 2
        if decode(token_ids[:middle])[:chars] == head:
            most = middle
        else:
            least = middle + 1
    return least


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
            if tokenizer.truncation is not None or tokenizer.padding is not None:
                # Neither belongs to the completion.
                self.tokenizer = type(tokenizer).from_str(tokenizer.to_str())
                self.tokenizer.no_truncation()
                self.tokenizer.no_padding()
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
        """Returns the character at which each token of a text begins.

        Raises ValueError if a tokenizer of the caller's own gives something else than pairs of places in the text.
        """
        try:
            starts = [start for start, _ in self.offsets(text)]
        except (TypeError, ValueError) as error:
            raise ValueError(f"tokenizer gave no (start, end) for each token: {error}") from error
        for start in starts:
            if not isinstance(start, int) or not 0 <= start <= len(text):
                raise ValueError(f"tokenizer gave a token that begins at {start!r}, in a text of {len(text)} characters")
        return starts

    def judge_tokens(self, token_ids: Sequence[int], completion: str, judge_chars: int) -> int | None:
        """Returns how many sampled tokens begin in the first `judge_chars` characters of their completion.

        A token begins after the characters that the tokens before it complete. Special tokens are texts, too; the
        completion may leave them out before and behind itself. None if the tokens are not this completion's.
        """
        decoded = self._decode(token_ids)
        before = decoded.find(completion)
        if before < 0:
            return None
        if judge_chars <= 0:
            return 0
        return tokens_within(token_ids, decoded, judge_chars + before, self._decode)

    def _decode(self, token_ids: Sequence[int]) -> str:
        if not hasattr(self.tokenizer, "decode"):
            raise TypeError("a row has token_ids, which a function that returns offsets cannot decode")
        more = {"clean_up_tokenization_spaces": False} if hasattr(self.tokenizer, "is_fast") else {}
        return self.tokenizer.decode(list(token_ids), skip_special_tokens=False, **more)  # type: ignore[no-any-return]
