"""thinkloom in OpenRLHF 0.11.2: a reward function, and HiPO's two advantages with a patch of ten lines.

    FILE="$(python -c 'import thinkloom; print(thinkloom.__path__[0])')/openrlhf.py"
    python -m openrlhf.cli.train_ppo_ray --reward.remote_url "$FILE" ...          # the reward alone
    python -m openrlhf.cli.train_ppo_ray --train.agent_func_path "$FILE" --algo.advantage.estimator hipo ...

OpenRLHF loads a file by its path. From this one it takes `reward_func`, which returns HiPO's base rewards, or
`AgentExecutor`: its single turn, whose responses thinkloom judges. The estimator `hipo` needs
`recipes/openrlhf_hipo.patch` of this package; `recipes/openrlhf_hipo.md` describes both. The patched trainer calls
`hipo_advantages`. The settings of the rule are JSON in THINKLOOM_HIPO, for example
'{"omega": 0.05, "advantage_clip": 3}'.
"""
from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from openrlhf.utils.agent import SingleTurnAgentExecutor

from thinkloom import hipo

logger = logging.getLogger(__name__)
# What the workers hand to the trainer, beside the reward: the numbers of hipo.Scored.
PREFIX = "hipo_"
FIELDS = tuple(hipo.Scored.__dataclass_fields__)
# An end-of-turn or padding token at the end of a response that was decoded with special tokens; its greatest length.
END_TOKEN = re.compile(r"(?:</s>|<eos>|<pad>|<end_of_turn>|<\|[A-Za-z0-9_]*\|>"
                       r"|<\uff5cend\u2581of\u2581sentence\uff5c>)\Z")
END_CHARS_MAX = 64


def options_of() -> tuple[hipo.HipoSettings, float | None]:
    """Reads THINKLOOM_HIPO: the settings of the rule, and the bound of advantages."""
    return hipo.HipoSettings.with_clip(json.loads(os.environ.get("THINKLOOM_HIPO") or "{}"), "THINKLOOM_HIPO")


def reward_func(queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any],
                **_: Any) -> dict[str, Any]:
    """Returns HiPO's base reward of each response, as OpenRLHF's reward functions do.

    Args:
        queries: The prompts with their responses, decoded with special tokens.
        prompts: The prompts alone.
        labels: Reference answers, or JSON objects with `gold`, `kind`, `question`, `choices`, `forced_mode`, ...

    Returns:
        `rewards` and `scores` (the correctness), tensors of shape (responses,), and `extra_logs` with such tensors.

    Raises:
        ValueError: A response could not be judged. OpenRLHF logs such an error and goes on without the reward.
    """
    settings, _clip = options_of()
    rows = []
    for query, prompt, label in zip(queries, prompts, labels, strict=True):
        text = without_end_tokens(query.removeprefix(prompt))
        about = read_label(label)
        rows.append(hipo.reward_row(prompt, text, about.get("gold"), about, forced_mode=about.get("forced_mode")))
    graded = hipo.grade(rows, settings)
    for index, row in enumerate(graded):
        if row.error is not None:
            message = f"labels[{index}]: the response has no reward: {row.error}"
            logger.error(message)
            raise ValueError(message)
    columns = {"rewards": [row.correct + settings.format_weight * row.format_ok for row in graded],
               "scores": [float(row.correct) for row in graded],
               "format_ok": [float(row.format_ok) for row in graded],
               "think_on": [float(row.mode == hipo.THINK_ON) for row in graded]}
    tensors = {name: torch.tensor(values, dtype=torch.float32) for name, values in columns.items()}
    return {"rewards": tensors.pop("rewards"), "scores": tensors.pop("scores"), "extra_logs": tensors}


def without_end_tokens(text: str) -> str:
    """Returns a response without the end-of-turn and padding tokens behind it."""
    while True:
        trimmed = text.rstrip("\n")
        found = END_TOKEN.search(trimmed, max(0, len(trimmed) - END_CHARS_MAX))
        if found is None:
            return text
        text = trimmed[:found.start()]


class AgentExecutor(SingleTurnAgentExecutor):
    """OpenRLHF's single turn, with thinkloom's verdict on each response."""

    def __init__(self) -> None:
        super().__init__(None)
        self.settings, _clip = options_of()

    async def execute(self, prompt: str, label: Any, sampling_params: Any, max_length: int, hf_tokenizer: Any,
                      llm_engine: Any, images: Any = None) -> dict[str, Any]:
        """Samples one response and judges it."""
        output = await super().execute(prompt, label, sampling_params, max_length, hf_tokenizer, llm_engine, images)
        ids = output["observation_tokens"][slice(*output["action_ranges"][0])]
        text = hipo.completion_text(ids, hf_tokenizer, [hf_tokenizer.eos_token_id, hf_tokenizer.pad_token_id])
        about = read_label(label)
        forced = about.get("forced_mode") or None
        reason = "length" if output["truncated"] else "stop"
        row = hipo.reward_row(str(about.get("query_id", prompt)), text, about.get("gold"), about, forced_mode=forced,
                              finish_reason=reason)
        graded = await hipo.grade_one(row, self.settings)
        if graded.error is not None:
            logger.warning("a response has no reward: %s", graded.error)
        found = hipo.Scored.of(graded, ids, text, hf_tokenizer, forced_mode=forced, finish_reason=reason)
        numbers = {PREFIX + name: float(number) for name, number in zip(FIELDS, found.to_numbers(), strict=True)}
        output.update(reward=found.base_reward(self.settings), scores=float(found.correct), extra_logs=numbers)
        return output


def read_label(label: Any) -> Mapping[str, Any]:
    """Returns the fields of a label: a reference answer, or a JSON object with `gold`, `kind`, `question`, ..."""
    if isinstance(label, str) and label.lstrip().startswith("{"):
        try:
            fields: dict[str, Any] = json.loads(label)
            return fields
        except json.JSONDecodeError:
            pass  # an answer that begins with a brace
    return label if isinstance(label, Mapping) else {"gold": label}


def hipo_advantages(experiences: list[Any], args: Any) -> list[Any]:
    """Sets advantages and returns of a batch of experiences: shape (rows, actions), 0 outside the response."""
    refuse(args)
    settings, clip = options_of()
    rows = [row for experience in experiences for row in rows_of(experience)]
    groups = [index // args.rollout.n_samples_per_prompt for experience in experiences for index in experience.index]
    batch = hipo.batch_advantages(groups, rows, settings, clip)
    logger.info("hipo: %s", {name: round(value, 4) for name, value in batch.metrics.items()})
    start = 0
    for experience in experiences:
        end = start + len(experience.index)
        mask = experience.action_mask.bool()
        # A response is a run of actions; its first token is the first of them.
        places = mask.long().cumsum(1) - 1
        judge_tokens = torch.tensor([row.judge_tokens for row in rows[start:end]])[:, None]
        judge, answer = (torch.tensor(values[start:end], dtype=torch.float32)[:, None]
                         for values in (batch.judge, batch.answer))
        experience.advantages = torch.where(places < judge_tokens, judge, answer) * mask
        experience.returns = experience.advantages.clone()
        experience.info["return"] = experience.rewards.reshape(len(rows[start:end]))
        experience.kl = None
        start = end
    return experiences


def rows_of(experience: Any) -> list[hipo.Scored]:
    """Returns the rollouts that the workers judged."""
    missing = [name for name in FIELDS if PREFIX + name not in experience.info]
    if missing:
        raise ValueError(f"the experience has no {PREFIX}{missing[0]}: add --train.agent_func_path with the file of "
                         "thinkloom.openrlhf")
    columns = [experience.info[PREFIX + name].flatten().tolist() for name in FIELDS]
    return [hipo.Scored.from_numbers(numbers) for numbers in zip(*columns, strict=True)]


def refuse(args: Any) -> None:
    """Rejects options that change rewards, which the estimator `hipo` does not read."""
    if args.algo.kl.init_coef > 0 and not args.algo.kl.use_loss:
        raise ValueError("--algo.kl.init_coef puts a penalty into the rewards: add --algo.kl.use_loss, or set it to 0")
    for name in ("overlong_buffer_len", "stop_properly_penalty_coef"):
        if getattr(args.reward, name, None) is not None:
            raise ValueError(f"--reward.{name} changes rewards, but the estimator `hipo` reads verdicts: leave it out")
