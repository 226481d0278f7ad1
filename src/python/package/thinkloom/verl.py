"""thinkloom in verl: reward functions for any verl, and HiPO's two advantages for verl 0.9.1 (its trainer V1).

    reward.custom_reward_function.path=pkg://thinkloom.verl reward.custom_reward_function.name=compute_score

    export VERL_USE_EXTERNAL_MODULES=thinkloom.verl
    python -m verl.trainer.main_ppo --config-dir=. --config-name=verl_hipo

`recipes/verl_hipo.yaml` of this package is a config to start from; the rows are those of `thinkloom export --format
verl`. The variable must be set on every node (`ray_kwargs.ray_init.runtime_env.env_vars`).

`compute_score` scores one response; `compute_score_batched` scores a batch, for the batch manager of older versions.
`ground_truth` is the reference answer; `kind`, `question`, `choices`, `tests`, `forced_mode`, ... are taken from
`extra_info`. Rows of `thinkloom export` have there what their answers need: `kind` and `choices` say how an answer is
verified, `question` is the question as the dataset has it (an answer that only restates it is wrong), and `forced_mode`
is the mode whose tag ends the prompt, so that the completion begins after it. The score is HiPO's base reward,
ACC + 0.2 FORMAT. verl calls the functions on threads of their own: thinkloom releases the interpreter's lock.

Where verl 0.9.1 or newer is installed, importing this module registers
- the reward manager `hipo`, which grades each response;
- the agent loop `hipo_agent`: verl's single turn, whose token rewards also say mode, verdict and the end of the judge
  block;
- the advantage estimator `hipo`, which reads the token rewards and applies the rule of `thinkloom.reward`.

verl gives an estimator nothing but token rewards, a mask and the names of groups. `token_rewards` therefore writes the
verdict into two neighbouring values, which still sum to the reward: validation, filters and metrics of verl see HiPO's
base reward. The values are exact in bfloat16, and `read_token_rewards` rejects rewards that something else wrote or
changed. So the KL penalty must be in the loss, not in the reward (`use_kl_in_reward` is rejected), and the old trainer
(`trainer.use_v1: false`) does not work.

`algorithm.hipo` in the config has the settings of the rule and `advantage_clip`. A row that cannot be judged gets
advantage 0. Validation has verl's metrics of `acc`, `format_ok`, `think_on`, `no_mode`, ...; with
VERL_LOGGING_LEVEL=INFO the estimator logs the metrics of each training batch. `filter_groups` removes groups of equal
rewards, on which the bias adjustment acts.
"""
from __future__ import annotations

import importlib.metadata
import logging
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import thinkloom
from thinkloom import hipo

logger = logging.getLogger(__name__)
logger.setLevel(os.getenv("VERL_LOGGING_LEVEL", "WARN"))

# The first version with the agent loops and reward managers that the estimator needs.
VERSION_LEAST = (0, 9, 1)


def compute_score(data_source: str, solution_str: str, ground_truth: Any, extra_info: Mapping[str, Any] | None = None,
                  settings: Mapping[str, Any] | None = None, **_: Any) -> dict[str, float]:
    """Returns HiPO's base reward of one response, as a reward function of verl.

    Args:
        data_source: The name of the dataset.
        solution_str: The response.
        ground_truth: The reference answer.
        extra_info: The columns of the query, see above.
        settings: Settings of `thinkloom.reward` (`custom_reward_function.reward_kwargs.settings` in the config).

    Returns:
        `score`, and `acc`, `format_ok`, `think_on` (each 0 or 1) for verl's metrics. The advantages need the group of
        the response, which only `compute_score_batched` sees.

    Raises:
        ValueError: The response could not be judged.

    >>> text = "<judge>\\nA sum.\\n</judge>\\n\\n<think_off>\\n<answer>\\n4\\n</answer>"
    >>> compute_score("sums", text, "4", {"kind": "numeric"})
    {'score': 1.2, 'acc': 1.0, 'format_ok': 1.0, 'think_on': 0.0}
    """
    row = score_row(data_source, solution_str, ground_truth, extra_info)
    score = scores_of(thinkloom.reward([row], **(settings or {})))[0]
    return {name: score[name] for name in ("score", "acc", "format_ok", "think_on")}


def compute_score_batched(data_sources: Sequence[str], solution_strs: Sequence[str], ground_truths: Sequence[Any],
                          extra_infos: Sequence[Mapping[str, Any] | None],
                          settings: Mapping[str, Any] | None = None, **_: Any) -> list[dict[str, float]]:
    """Returns the scores of a batch of responses, with both advantages, `advantage_judge` and `advantage_answer`.

    Takes lists of what `compute_score` takes. A group is the rows whose `extra_info` has the same `query_id` (or
    `index`); without both, the rows of the same ground truth and data source. `judge_chars` is the end of the judge
    block, in code points.
    """
    rows = [score_row(*parts) for parts in zip(data_sources, solution_strs, ground_truths, extra_infos, strict=True)]
    return scores_of(thinkloom.reward(rows, **(settings or {})))


def score_row(data_source: str, solution: str, ground_truth: Any,
              extra_info: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns the row of `thinkloom.reward` for one response."""
    extra = extra_info or {}
    query_id = extra.get("query_id", extra.get("index", f"{data_source}\0{ground_truth}"))
    gold = ground_truth if ground_truth is None or isinstance(ground_truth, (int, float)) else str(ground_truth)
    return hipo.reward_row(query_id if isinstance(query_id, (str, int)) else str(query_id), solution, gold, extra,
                           forced_mode=extra.get("forced_mode"))


def scores_of(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """Returns the scores of rewarded rows; raises ValueError for one without a reward: verl has no value for that."""
    for index, row in enumerate(rows):
        if row["error"] is not None:
            raise ValueError(f"response {index} of {len(rows)} has no reward: {row['error']}")
    return [{"score": row["reward"], "acc": float(row["correct"]), "format_ok": float(row["format_ok"]),
             "think_on": float(row["mode"] == hipo.THINK_ON), "advantage_judge": row["advantage_judge"],
             "advantage_answer": row["advantage_answer"], "judge_chars": row["judge_chars"] or 0} for row in rows]


def installed_version() -> tuple[int, ...] | None:
    """Returns the numbers of the installed verl's version; None without verl."""
    try:
        version = importlib.metadata.version("verl")
    except importlib.metadata.PackageNotFoundError:
        return None
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


VERSION = installed_version()
if VERSION is not None and VERSION >= VERSION_LEAST:
    from thinkloom._verl_hipo import (
        HipoAgentLoop,
        HipoOutput,
        HipoRewardManager,
        hipo_advantage,
        options_of,
        read_token_rewards,
        token_rewards,
    )

    __all__ = ["HipoAgentLoop", "HipoOutput", "HipoRewardManager", "compute_score", "compute_score_batched",
               "hipo_advantage", "options_of", "read_token_rewards", "token_rewards"]
else:
    __all__ = ["compute_score", "compute_score_batched"]
    if __name__ in os.environ.get("VERL_USE_EXTERNAL_MODULES", "").split(","):
        logger.warning("HiPO's advantages need verl %s or newer; this is %s, and has only the reward functions",
                       ".".join(map(str, VERSION_LEAST)), ".".join(map(str, VERSION or ("not installed",))))
