"""HiPO's advantages for verl 0.9.1: agent loop, reward manager and estimator. `thinkloom.verl` describes them."""
from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from omegaconf import OmegaConf

from thinkloom import hipo
from thinkloom.hipo import HipoSettings
from verl import DataProto
from verl.experimental.agent_loop.agent_loop import AgentLoopOutput, register as register_agent_loop
from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop
from verl.experimental.reward_loop.reward_manager import register as register_reward_manager
from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase
from verl.trainer.ppo.core_algos import register_adv_est
from verl.utils.model import get_generation_config

logger = logging.getLogger(__name__)
logger.setLevel(os.getenv("VERL_LOGGING_LEVEL", "WARN"))

# Marks are whole 128ths from a half on: bfloat16 has them all.
MARK_ONE, MARK_FIRST = 128, 64
# Three places of the judge block's end relative to the mark, for each mode, correct, format_ok; then rows without a
# reward.
PLACES, NO_REWARD = 3, 3 * 2 * 2
# How far bfloat16 may move a reward.
REWARD_SLACK = 0.02


def options_of(algorithm: Any) -> tuple[HipoSettings, float | None]:
    """Reads `algorithm.hipo` of verl's config: the settings of the rule, and the bound of advantages."""
    found = algorithm.get("hipo", None) if algorithm is not None else None
    return HipoSettings.with_clip(OmegaConf.to_container(found, resolve=True) if OmegaConf.is_config(found) else found,
                                  "algorithm.hipo")


def token_rewards(row: hipo.Scored, width: int, settings: HipoSettings) -> npt.NDArray[np.float32]:
    """Returns the rewards of a response's tokens, shape (width,): they sum to the reward and hold the verdict.

    A mark stands at the end of the judge block, or up to two tokens before it at the end of the response; the next
    token has the rest of the reward. A single token has room for its reward only: it is read as a response without a
    mode.
    """
    reward = row.base_reward(settings)
    values = np.zeros(width, dtype=np.float32)
    if width == 1:
        values[0] = float(row.correct)
        return values
    start = min(row.judge_tokens, width - 2)
    verdict = NO_REWARD
    if row.has_reward:
        verdict = (2 * (*hipo.MODES, None).index(row.mode) + row.correct) * 2 + row.format_ok
    mark = (MARK_FIRST + PLACES * verdict + row.judge_tokens - start) / MARK_ONE
    values[start], values[start + 1] = mark, reward - mark
    return values


def read_token_rewards(values: npt.NDArray[np.float32], tokens: int, settings: HipoSettings) -> hipo.Scored:
    """Returns the verdict that `token_rewards` wrote. `tokens` counts those that the mask keeps."""
    places = np.flatnonzero(values)
    if tokens <= 1 and (len(places) == 0 or (len(places) == 1 and values[0] == 1.0)):
        # verl's padding rows have no token at all.
        return scored(None, len(places) == 1, False, tokens == 1 or len(places) == 1, tokens, 0)
    code = values[places[0]] * MARK_ONE - MARK_FIRST if len(places) else -1.0
    if code == int(code) and 0 <= code < PLACES * (NO_REWARD + 1) and places[-1] <= places[0] + 1:
        verdict, shift = divmod(int(code), PLACES)
        (mode, correct), format_ok = divmod(verdict // 2, 2), verdict % 2
        judge_tokens = int(places[0]) + shift
        row = scored((*hipo.MODES, None, None)[mode], correct, format_ok, verdict < NO_REWARD, tokens, judge_tokens)
        reward = row.base_reward(settings)
        if abs(float(values.sum()) - reward) <= REWARD_SLACK * max(1.0, reward):
            return row
    raise ValueError("these token rewards are not those of the agent loop `hipo_agent` with the reward manager `hipo`: "
                     f"at {places[:4].tolist()} {values[places[:4]].tolist()}. Does the config name both, as in "
                     "verl_hipo.yaml, with trainer.use_v1: true, and does nothing else change rewards?")


def scored(mode: str | None, correct: int, format_ok: int, has_reward: bool, tokens: int,
           judge_tokens: int) -> hipo.Scored:
    """Returns a rollout as far as token rewards tell of it."""
    return hipo.Scored(mode, has_reward, bool(correct), bool(format_ok), is_forced=False, is_truncated=False,
                       has_judge=judge_tokens > 0, ids_match=True, tokens=tokens, judge_tokens=judge_tokens)


@register_adv_est("hipo")
def hipo_advantage(token_level_rewards: torch.Tensor, response_mask: torch.Tensor, index: Sequence[Any],
                   config: Any = None, **_: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns HiPO's advantages, shape (rows, tokens), twice: verl has no other returns without a critic."""
    if config is not None and config.get("use_kl_in_reward", False):
        raise ValueError("algorithm.use_kl_in_reward changes the token rewards, which hold the verdicts: "
                         "use actor_rollout_ref.actor.use_kl_loss")
    settings, clip = options_of(config)
    values = token_level_rewards.detach().float().cpu().numpy()
    tokens = response_mask.sum(1).tolist()
    rows = [read_token_rewards(row, int(count), settings) for row, count in zip(values, tokens, strict=True)]
    batch = hipo.batch_advantages([str(name) for name in index], rows, settings, clip)
    logger.info("hipo: %s", {name: round(value, 4) for name, value in batch.metrics.items()})
    spread = hipo.token_advantages(batch.judge, batch.answer, [row.judge_tokens for row in rows], values.shape[1])
    advantages = torch.tensor(spread, dtype=torch.float32, device=response_mask.device) * response_mask
    return advantages, advantages


@register_reward_manager("hipo")
class HipoRewardManager(RewardManagerBase):
    """Rewards responses with HiPO's base reward, and hands the verdicts to the agent loop in `reward_extra_info`."""

    tokenizer: Any

    def __init__(self, config: Any, tokenizer: Any, compute_score: Any = None, **_: Any) -> None:
        super().__init__(config, tokenizer, compute_score)
        if config.reward.custom_reward_function.path is not None:
            raise ValueError("reward.custom_reward_function is set, but the manager `hipo` calls none; leave it out")
        self.settings, _clip = options_of(config.algorithm)
        self.response_length = config.actor_rollout_ref.rollout.response_length
        generation = get_generation_config(config.actor_rollout_ref.model.path)
        ends = generation.eos_token_id if generation is not None else None
        ends = list(ends) if isinstance(ends, (list, tuple)) else [ends]
        self.ends = [end for end in (tokenizer.eos_token_id, tokenizer.pad_token_id, *ends) if end is not None]

    @classmethod
    def assemble_rm_scores(cls, data: DataProto, scores: list[float]) -> torch.Tensor:
        """Rejects the path on which a reward model scores whole batches: verdicts would be lost."""
        raise ValueError("reward.reward_model.enable is true, but the reward manager `hipo` uses none; leave it out")

    async def run_single(self, data: DataProto) -> dict[str, Any]:
        """Returns the reward of one response."""
        item = data[-1]
        width = item.batch["responses"].shape[-1]
        ids = item.batch["responses"][:int(item.batch["attention_mask"][-width:].sum())].tolist()
        about = item.non_tensor_batch.get("extra_info") or {}
        forced = about.get("forced_mode") or None
        reason = "length" if len(ids) >= self.response_length and ids[-1] not in self.ends else "stop"
        text = hipo.completion_text(ids, self.tokenizer, self.ends)
        query_id = about.get("query_id", about.get("index", "0"))
        row = hipo.reward_row(query_id if isinstance(query_id, (str, int)) else str(query_id), text,
                              item.non_tensor_batch["reward_model"]["ground_truth"], about, forced_mode=forced,
                              finish_reason=reason)
        graded = await hipo.grade_one(row, self.settings)
        if graded.error is not None:
            logger.warning("a response has no reward: %s", graded.error)
        found = hipo.Scored.of(graded, ids, text, self.tokenizer, forced_mode=forced, finish_reason=reason)
        reward = found.base_reward(self.settings)
        extra = {"score": reward, "acc": float(found.correct), "format_ok": float(found.format_ok),
                 "think_on": float(found.mode == hipo.THINK_ON), "no_mode": float(found.mode is None),
                 "has_reward": float(found.has_reward), "truncated": float(found.is_truncated),
                 "ids_match": float(found.ids_match), "judge_tokens": float(found.judge_tokens)}
        return {"reward_score": reward, "reward_extra_info": {**extra, "hipo": found.to_numbers()}}


class HipoOutput(AgentLoopOutput):
    """verl's output of an agent loop, whose token rewards hold the verdict."""

    format_weight: float

    def as_dict(self) -> dict[str, Any]:
        """Returns what the trainer stores, with the token rewards in place of one reward at the last token."""
        output = super().as_dict()
        output.pop("format_weight", None)
        numbers = output["extra_fields"].get("reward_extra_info", {}).pop("hipo", None)
        if numbers is not None:
            settings = HipoSettings(format_weight=self.format_weight)
            rewards = token_rewards(hipo.Scored.from_numbers(numbers), len(output["response_mask"]), settings)
            output["rm_scores"] = torch.from_numpy(rewards)
        return output


@register_agent_loop("hipo_agent")
class HipoAgentLoop(SingleTurnAgentLoop):
    """verl's single turn, with token rewards that hold the verdict."""

    async def run(self, sampling_params: dict[str, Any], **columns: Any) -> HipoOutput:
        """Samples one response."""
        output = await super().run(sampling_params, **columns)
        values = {name: getattr(output, name) for name in output.model_fields_set}
        return HipoOutput(**values, format_weight=options_of(self.config.algorithm)[0].format_weight)
