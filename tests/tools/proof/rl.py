"""Reinforcement learning with thinkloom's rewards: the two advantages of `/v1/reward` weigh the tokens of responses."""

import random
import time
from dataclasses import dataclass

import numpy as np

from model import Llama, Row
from sampler import Sampled, Sampler
from tool import Rewards
from train import AdamW, Log, ReinforcePlan, Weighted, reinforce
from vocabulary import Tokens

WARM_STEPS = 5
# Mean rewards of a mode differ by more than this only if the adjustment raised one.
ADJUSTED_MIN = 1e-9


@dataclass(frozen=True)
class RlPlan:
    """How a training by reinforcement proceeds; `settings` are those of thinkloom's reward rule."""

    steps: int
    queries: int
    copies: int
    tokens_max: int
    settings: dict
    reinforce: ReinforcePlan
    seed: int


def rollout(place: int, query: dict, text: str, sampled: Sampled) -> dict:
    """A response as a row of `/v1/reward`; `query` is a row of an export's task `rl`."""
    return {
        "query_id": place, "completion": text, "gold": query["solution"], "kind": query["kind"],
        "question": query["question"], "finish_reason": "stop" if sampled.is_ended else "length",
        "completion_tokens": len(sampled.tokens) + sampled.is_ended
    }


def weighted(tokens: Tokens, prompt: list[int], sampled: Sampled, rewarded: dict) -> Weighted:
    """A response with its tokens' advantages: a token that begins before `judge_chars` belongs to the judge block."""
    ids = sampled.tokens + [tokens.end] * sampled.is_ended
    is_judge = tokens.begins(ids) < rewarded["judge_chars"]
    advantages = np.where(is_judge, rewarded["advantage_judge"], rewarded["advantage_answer"]).astype(np.float32)
    return Weighted(Row(prompt + ids, len(prompt)), advantages)


def measures(queries: list[dict], rollouts: list[dict], rewarded: list[dict], copies: int) -> dict:
    """What a step shows: means over responses, shares of groups, and the think rate of each source."""
    is_on = np.array([row["mode"] == "think_on" for row in rewarded]).reshape(-1, copies)
    is_off = np.array([row["mode"] == "think_off" for row in rewarded]).reshape(-1, copies)
    reward = np.array([row["reward"] for row in rewarded]).reshape(-1, copies)
    of_mode = np.array([np.nan if row["mean_reward_mode"] is None else row["mean_reward_mode"]
                        for row in rewarded]).reshape(-1, copies)
    has_both = is_on.any(1) & is_off.any(1)
    adjusted = [
        bool(off.any()) and abs(mean[off][0] - own[off].mean()) > ADJUSTED_MIN
        for off, mean, own in zip(is_off, of_mode, reward)
    ]
    sources = np.array([query["source"] for query in queries])
    return {
        "accuracy": float(np.mean([row["correct"] for row in rewarded])),
        "reward": float(reward.mean()),
        "think_rate": float(is_on.mean()),
        "no_mode": float(1 - (is_on | is_off).mean()),
        "format": float(np.mean([row["format_ok"] for row in rewarded])),
        "tokens": float(np.mean([row["completion_tokens"] for row in rollouts])),
        "cut": float(np.mean([row["finish_reason"] == "length" for row in rollouts])),
        "both_modes": float(has_both.mean()),
        "adjusted": float(np.mean(adjusted)),
        "think_by_source": {
            source: round(float(is_on[sources == source].mean()), 4)
            for source in sorted(set(sources))
        },
    }


class Learner:
    """A model that learns from rewards; `first` and `last` are the rows of the first and the latest step."""

    def __init__(self, model: Llama, reference: Llama | None, sampler: Sampler, tokens: Tokens, rewards: Rewards,
                 plan: RlPlan) -> None:
        self.model, self.reference, self.sampler = model, reference, sampler
        self.tokens, self.rewards, self.plan = tokens, rewards, plan
        self.optimizer, self.rng = AdamW(model), random.Random(plan.seed)
        self.first: tuple[list[dict], list[dict], list[Weighted]] | None = None
        self.last: list[dict] = []

    def first_step(self) -> list[dict]:
        """The responses of the first step with their rewards, and their tokens with advantages, for a check."""
        names = ("rollout", "rewarded", "tokens", "advantages")
        return [dict(zip(names, (rollout, rewarded, one.row.tokens[one.row.prompt:], one.advantages.tolist())))
                for rollout, rewarded, one in zip(*self.first)]

    def step(self, number: int, queries: list[dict], prompts: list[list[int]]) -> dict:
        """Samples, has the responses rewarded, and updates the model; returns the step's measures and seconds."""
        plan, began = self.plan, time.monotonic()
        sampled = self.sampler.sample(prompts, plan.copies, plan.tokens_max)
        is_sampled = time.monotonic()
        rollouts = [rollout(index // plan.copies, queries[index // plan.copies], self.tokens.decode(one.tokens), one)
                    for index, one in enumerate(sampled)]
        rewarded = self.rewards.of(rollouts, plan.settings)
        responses = [weighted(self.tokens, prompts[index // plan.copies], one, row)
                     for index, (one, row) in enumerate(zip(sampled, rewarded))]
        self.first, self.last = self.first or (rollouts, rewarded, responses), rollouts
        is_rewarded = time.monotonic()
        how = plan.reinforce
        warm = min(1.0, (number + 1) / WARM_STEPS)
        own = ReinforcePlan(how.updates, how.rate * warm, how.clip, how.kl, how.tokens_max)
        norm = reinforce(self.model, self.optimizer, self.reference, responses, own, self.rng)
        seconds = {
            "sample": is_sampled - began, "reward": is_rewarded - is_sampled, "train": time.monotonic() - is_rewarded
        }
        return {**measures(queries, rollouts, rewarded, plan.copies), "norm": norm, "seconds": seconds}


def learn(learner: Learner, pool: list[dict], name: str, log: Log, curve: Log) -> None:
    """Trains for the plan's steps; no query of the pool comes twice before all came. Each step goes to `curve`."""
    plan, began = learner.plan, time.monotonic()
    rng, waiting = random.Random(plan.seed), []
    encoded = learner.tokens.encode([query["prompt"] for query in pool])
    for number in range(plan.steps):
        if len(waiting) < plan.queries:
            waiting += rng.sample(range(len(pool)), len(pool))
        chosen, waiting = waiting[:plan.queries], waiting[plan.queries:]
        found = learner.step(number, [pool[index] for index in chosen], [encoded[index] for index in chosen])
        curve(variant=name, step=number, **rounded(found))
        if number % 10 == 0 or number == plan.steps - 1:
            found.pop("think_by_source")
            log("step", name=name, step=number, **rounded(found))
    log("rl", name=name, steps=plan.steps, seconds=round(time.monotonic() - began, 1))


def rounded(values: dict) -> dict:
    """The same with short numbers."""
    return {key: rounded(value) if isinstance(value, dict) else round(value, 4) for key, value in values.items()}
