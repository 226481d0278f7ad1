"""What the adapters of trainers share: HiPO's settings, graded rollouts, and their two advantages per token.

`thinkloom.trl`, `thinkloom.verl`, `thinkloom.openrlhf` and `thinkloom.verifiers` are adapters. An adapter

1. grades each completion (`grade`, or `grade_one` in an event loop): mode, correctness, format, end of the judge block;
2. counts the tokens of the judge block in the sampled tokens (`Scored.of`);
3. computes the advantages of whole groups (`batch_advantages`), where a group is all rollouts of one query;
4. spreads the advantages over the tokens (`token_advantages`).

The processes of a trainer grade their own rollouts and exchange the results as rows of integers (`Scored.to_numbers`),
because only all processes together have whole groups. The rule itself is `thinkloom.reward`; `thinkloom help rewards`
describes it. This module needs numpy.
"""
from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

import thinkloom
from thinkloom._tokens import tokens_within

THINK_ON, THINK_OFF = "think_on", "think_off"
MODES = (THINK_ON, THINK_OFF)
# Columns of a dataset that the verdict on a completion needs, beside the gold.
FIELDS = ("kind", "choices", "tests", "test_imports", "entry_point", "question")
# Above the rounding of a mean, below every adjustment that could matter; relative to the mean.
ADJUSTED_MIN = 1e-12

Floats = npt.NDArray[np.float64]


class Tokenizer(Protocol):
    """The part of a transformers tokenizer that this module calls."""

    def decode(self, token_ids: list[int], *, skip_special_tokens: bool = ...,
               clean_up_tokenization_spaces: bool = ...) -> str:
        """Returns the text of tokens."""


@dataclass(frozen=True)
class HipoSettings:
    """The settings of the rule and of the verifier, with the names and defaults of `thinkloom.reward`.

    Raises ValueError (TypeError for a wrong type) that names the setting.

    `boost`: the bias adjustment adds b = omega mean(r_on) to Think-off's mean if Think-on leads by at most b
    ("relative"), or b = omega if Think-on leads by less than omega ("margin": the rule of the selection, with omega as
    its tie margin). `length_weight` is thinkloom's own setting, not HiPO's: the gain of a correct response that is
    shorter than the other correct ones. `other_mode` and `evaluated` apply to the verdicts on completions.

    >>> HipoSettings(omega=0.05).omega
    0.05
    """

    format_weight: float = 0.2
    omega: float = 0.01
    gamma: float = 0.3
    epsilon: float = 1e-6
    deviation: str = "population"
    bias_adjustment: bool = True
    global_term: bool = True
    local_normalization: str = "mode"
    method: str = "hipo"
    boost: str = "relative"
    length_weight: float = 0.0
    other_mode: str = "incorrect"
    evaluated: str = "required"

    def __post_init__(self) -> None:
        # Without rows, the rule checks its settings and does nothing else.
        thinkloom.reward([], **asdict(self))

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> HipoSettings:
        """Returns settings with the given values; raises ValueError for a name that is not a setting.

        >>> HipoSettings.of({"omga": 0.05})
        Traceback (most recent call last):
            ...
        ValueError: HiPO has no setting 'omga'; its settings: format_weight, omega, gamma, epsilon, deviation, \
bias_adjustment, global_term, local_normalization, method, boost, length_weight, other_mode, evaluated
        """
        known = [field.name for field in fields(cls)]
        unknown = sorted(str(name) for name in set(values) - set(known))
        if unknown:
            raise ValueError(f"HiPO has no setting {unknown[0]!r}; its settings: {', '.join(known)}")
        return cls(**values)

    @classmethod
    def with_clip(cls, values: Any, where: str) -> tuple[HipoSettings, float | None]:
        """Returns the settings and the bound of advantages, `advantage_clip`, of a part of a trainer's config.

        Raises ValueError for unknown names and wrong values; `where` is the name of the part in messages.
        """
        if not isinstance(values, Mapping | None):
            raise ValueError(f"{where} is {values!r}; it must map names of settings to values")
        values = dict(values or {})
        clip = values.pop("advantage_clip", None)
        if clip is not None and not clip > 0:
            raise ValueError(f"{where}: advantage_clip is {clip!r}; it must be above 0")
        return cls.of(values), clip

    def keywords(self) -> dict[str, Any]:
        """Returns the settings as keywords of `thinkloom.reward`."""
        return asdict(self)


@dataclass(frozen=True)
class Graded:
    """A graded completion. With an `error` the row has no reward, and the other fields mean nothing."""

    mode: str | None
    correct: bool
    format_ok: bool
    judge_chars: int
    error: str | None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Graded:
        """Reads a row of `thinkloom.reward`."""
        if row["error"] is not None:
            return cls(None, False, False, 0, row["error"])
        mode = None if row["mode"] == "none" else row["mode"]
        return cls(mode, bool(row["correct"]), bool(row["format_ok"]), row["judge_chars"] or 0, None)


def grade(rows: Sequence[Mapping[str, Any]], settings: HipoSettings | None = None) -> list[Graded]:
    """Returns the grade of each row of `reward_row`, in order.

    >>> text = "<judge>\\nA sum.\\n</judge>\\n\\n<think_off>\\n<answer>\\n4\\n</answer>"
    >>> grade([reward_row("q", text, "4", {"kind": "numeric"})])
    [Graded(mode='think_off', correct=True, format_ok=True, judge_chars=36, error=None)]
    """
    settings = settings or HipoSettings()
    found = thinkloom.reward(list(rows), other_mode=settings.other_mode, evaluated=settings.evaluated)
    return [Graded.of(row) for row in found]


async def grade_one(row: Mapping[str, Any], settings: HipoSettings | None = None) -> Graded:
    """Returns the grade of one row; the event loop is free meanwhile, because the work is done on another thread."""
    return (await asyncio.get_running_loop().run_in_executor(None, grade, [row], settings))[0]


def reward_row(query_id: str | int, completion: str, gold: Any, about: Mapping[str, Any], *,
               forced_mode: str | None = None, finish_reason: str = "stop") -> dict[str, Any]:
    """Returns a completion as a row of `thinkloom.reward`, with the columns of its query that decide the verdict.

    Args:
        query_id: The name of the group.
        completion: The response as it was sampled, tags included.
        gold: The reference answer.
        about: The columns of the query; `FIELDS` are read. None and empty texts count as missing.
        forced_mode: The mode whose tag ends the prompt; the completion begins after it.
        finish_reason: "stop", or "length" for a response that was cut.
    """
    row = {"query_id": query_id, "completion": completion, "gold": gold, "finish_reason": finish_reason}
    row.update({name: about[name] for name in FIELDS if not is_missing(about.get(name))})
    return {**row, "forced_mode": forced_mode} if forced_mode else row


def is_missing(value: Any) -> bool:
    """Returns whether a column's value stands for no value."""
    return value is None or (isinstance(value, str) and not value)


@dataclass(frozen=True)
class Scored:
    """A graded rollout with its tokens. Processes exchange it as a row of integers."""

    mode: str | None
    has_reward: bool
    correct: bool
    format_ok: bool
    is_forced: bool
    is_truncated: bool
    has_judge: bool
    ids_match: bool
    tokens: int
    judge_tokens: int

    def to_numbers(self) -> list[int]:
        """Returns the row of integers that stands for this rollout."""
        return [(*MODES, None).index(self.mode), *(int(value) for value in astuple(self)[1:])]

    @classmethod
    def from_numbers(cls, numbers: Iterable[float]) -> Scored:
        """Returns the rollout that a row of integers stands for."""
        mode, *rest = (int(number) for number in numbers)
        flags = [bool(number) for number in rest[:7]]
        return cls((*MODES, None)[mode], *flags, *rest[7:])

    @classmethod
    def of(cls, graded: Graded, token_ids: Sequence[int], text: str, tokenizer: Tokenizer, *,
           forced_mode: str | None = None, finish_reason: str = "stop") -> Scored:
        """Returns a graded rollout with its tokens.

        Args:
            graded: The grade of `text`.
            token_ids: The sampled tokens.
            text: The completion.
            tokenizer: A transformers tokenizer.
            forced_mode: As for `reward_row`. A forced rollout has its judge block in the prompt, and no judge tokens.
            finish_reason: As for `reward_row`.
        """
        judge_chars = 0 if forced_mode else graded.judge_chars
        judge_tokens, ids_match = judge_token_count(token_ids, text, judge_chars, tokenizer)
        return cls(graded.mode, graded.error is None, graded.correct, graded.format_ok, bool(forced_mode),
                   finish_reason == "length", graded.judge_chars > 0, ids_match, len(token_ids), judge_tokens)

    def base_reward(self, settings: HipoSettings) -> float:
        """Returns HiPO's base reward, ACC + `format_weight` FORMAT; 0 for a row without a reward."""
        return (self.correct + settings.format_weight * self.format_ok) * self.has_reward


@dataclass(frozen=True)
class BatchAdvantages:
    """Both advantages of each rollout of a batch, in order, and the metrics of the batch by name."""

    judge: Floats
    answer: Floats
    metrics: dict[str, float]


def batch_advantages(groups: Sequence[Hashable], rows: Sequence[Scored], settings: HipoSettings | None = None,
                     clip: float | None = None) -> BatchAdvantages:
    """Applies the rule to each group of a batch.

    Args:
        groups: The name of the group of each row.
        rows: The rollouts. A row without a reward belongs to no group, and both its advantages are 0.
        settings: The settings of the rule; the defaults without it.
        clip: The bound of every advantage's size.

    >>> row = Scored("think_on", True, True, True, False, False, True, True, tokens=9, judge_tokens=4)
    >>> batch_advantages(["q", "q"], [row, row]).judge.tolist()
    [0.0, 0.0]
    """
    settings = settings or HipoSettings()
    judge, answer = np.zeros(len(rows)), np.zeros(len(rows))
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    own = [(index, numbers[group]) for index, (group, row) in enumerate(zip(groups, rows, strict=True))
           if row.has_reward]
    given = [{"query_id": number, "mode": rows[index].mode or "none", "correct": rows[index].correct,
              "format_ok": rows[index].format_ok, "completion_tokens": rows[index].tokens} for index, number in own]
    found = thinkloom.reward(given, **settings.keywords())
    members: dict[int, list[dict[str, Any]]] = {}
    for (index, number), row in zip(own, found, strict=True):
        if row["error"] is not None:
            raise thinkloom.ThinkloomError(f"row {index} of the batch has no advantages: {row['error']}")
        judge[index], answer[index] = row["advantage_judge"], row["advantage_answer"]
        members.setdefault(number, []).append(row)
    if clip is not None:
        judge, answer = judge.clip(-clip, clip), answer.clip(-clip, clip)
    metrics = {**row_metrics(rows), **group_metrics(list(members.values()))}
    return BatchAdvantages(judge, answer, {name: value for name, value in metrics.items() if value is not None})


def group_metrics(groups: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, float | None]:
    """Returns the metrics of groups of rewarded rows; None without a group."""
    return {"groups/both_modes": share(set(MODES) <= {row["mode"] for row in group} for group in groups),
            "groups/adjusted": share(is_adjusted(group) for group in groups)}


def is_adjusted(group: Sequence[Mapping[str, Any]]) -> bool:
    """Returns whether the bias adjustment raised Think-off's mean: it is then above the mean of the rewards."""
    off = [row for row in group if row["mode"] == THINK_OFF]
    if not off:
        return False
    plain = sum(row["reward"] for row in off) / len(off)
    return bool(off[0]["mean_reward_mode"] - plain > ADJUSTED_MIN * max(1.0, plain))


def row_metrics(rows: Sequence[Scored]) -> dict[str, float | None]:
    """Returns the metrics of single rows; None where no row counts. Forced rows do not count in the think rate."""
    rewarded = [row for row in rows if row.has_reward]
    free = [row for row in rewarded if not row.is_forced]
    metrics = {
        "think_rate": share(row.mode == THINK_ON for row in free if row.mode is not None),
        "share/no_mode": share(row.mode is None for row in rewarded),
        "share/no_judge": share(not row.has_judge for row in free),
        "share/truncated": share(row.is_truncated for row in rows),
        "share/ids_mismatch": share(not row.ids_match for row in rows),
        "share/no_reward": share(not row.has_reward for row in rows),
    }
    for mode in MODES:
        of_mode = [row for row in rewarded if row.mode == mode]
        metrics[f"accuracy/{mode}"] = share(row.correct for row in of_mode)
        metrics[f"tokens/{mode}"] = sum(row.tokens for row in of_mode) / len(of_mode) if of_mode else None
    return metrics


def share(flags: Iterable[bool]) -> float | None:
    """Returns the share of true flags; None if there are no flags."""
    flags = list(flags)
    return sum(flags) / len(flags) if flags else None


def token_advantages(judge: npt.ArrayLike, answer: npt.ArrayLike, judge_tokens: Sequence[int], width: int) -> Floats:
    """Spreads both advantages over tokens.

    Args:
        judge: The advantages of the judge blocks, shape (rows,).
        answer: The advantages of all later tokens, shape (rows,).
        judge_tokens: The number of judge tokens at the beginning of each row.
        width: The number of tokens of the longest row.

    Returns:
        The advantages, shape (rows, width).

    >>> token_advantages([0.5], [-1.0], [2], 4).tolist()
    [[0.5, 0.5, -1.0, -1.0]]
    """
    is_judge = np.arange(width)[None, :] < np.asarray(judge_tokens, dtype=np.int64)[:, None]
    return np.where(is_judge, np.asarray(judge, dtype=float)[:, None], np.asarray(answer, dtype=float)[:, None])


def prefill(mode: str, justification: str) -> str:
    """Returns the text that ends a prompt and forces a mode: a whole judge block and the mode tag.

    >>> prefill("think_off", "A sum.")
    '<judge>\\nA sum.\\n</judge>\\n\\n<think_off>\\n'
    """
    whole = thinkloom.render(mode, justification, "?", thinking="?" if mode == THINK_ON else None)
    head, tag, _ = whole.partition(f"<{mode}>\n")
    return head + tag


def completion_text(token_ids: Sequence[int], tokenizer: Tokenizer, end_ids: Iterable[int]) -> str:
    """Decodes a completion without the end and padding tokens behind it.

    Other special tokens stay: a vocabulary may have the mode tags among them, and a text without its tags shows no
    mode.
    """
    ends, last = set(end_ids), len(token_ids)
    while last and token_ids[last - 1] in ends:
        last -= 1
    return decode(token_ids[:last], tokenizer)


def decode(token_ids: Sequence[int], tokenizer: Tokenizer) -> str:
    """Returns the text of tokens, all of it: nothing is left out or tidied up."""
    return tokenizer.decode(list(token_ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)


def judge_token_count(token_ids: Sequence[int], text: str, judge_chars: int, tokenizer: Tokenizer) -> tuple[int, bool]:
    """Returns the number of tokens that begin before the code point `judge_chars`, and whether the ids are the text's.

    A token begins after the code points that the tokens before it complete. So a token that begins inside a code point
    belongs where this code point is, and a token without text at the end of the judge block belongs to the rest. If the
    ids decode to another text (up to the end of the judge block), positions are those in the decoded text, and the
    second result is False.
    """
    if judge_chars <= 0:
        return 0, True
    decoded = decode(token_ids, tokenizer)
    tokens = tokens_within(token_ids, decoded, judge_chars, lambda some: decode(some, tokenizer))
    return tokens, decoded[:judge_chars] == text[:judge_chars]
