"""thinkloom in TRL: a reward function for any GRPOTrainer, and a GRPOTrainer with both advantages of HiPO.

    from thinkloom.trl import thinkloom_reward
    GRPOTrainer(..., reward_funcs=[thinkloom_reward])           # in a config: [thinkloom.trl.thinkloom_reward]

    from thinkloom.trl import HipoConfig, HipoGRPOTrainer       # TRL 1.16.0 or newer
    HipoGRPOTrainer(model, HipoConfig(...), train_dataset)

    accelerate launch -m thinkloom.trl --config trl-rl.yaml --hipo_omega 0.05   # with the config of `thinkloom export`

The dataset has `prompt` (text or messages) and `gold` (or `solution`), and may have `query_id`, `kind`, `choices`,
`tests`, `test_imports`, `entry_point`, `question` (as the dataset has it: an answer that only restates it is wrong) and
`forced_mode` (the mode whose tag ends the prompt: the completion then begins after the tag). The `rl` rows of
`thinkloom export` have what their answers need.

`thinkloom_reward` returns HiPO's base rewards, ACC + 0.2 FORMAT, and the trainer forms its own advantages of them.
`thinkloom_rows` returns everything, both advantages included, for trainers that apply them by segment.

HipoGRPOTrainer gives judge block and mode tag one advantage, and all later tokens another:
- Rewards are HiPO's base rewards; advantages follow the rule of `thinkloom.reward`. They replace the trainer's own, so
  the options that shape those (`scale_rewards`, `reward_weights`, `multi_objective_aggregation`) are rejected.
- Every `loss_type`, `num_iterations`, gradient accumulation, `beta`, and `importance_sampling_level` work as in GRPO:
  the loss multiplies each token's ratio (with "sequence": the sequence's one ratio) by this token's advantage.
  `off_policy_mask_threshold` and the loss `vespo` look at the advantage's sign: they then treat the two parts of a
  response apart. `mask_truncated_completions` removes truncated responses from the loss; they still count in their
  group's means.
- With `hipo_force_modes` the first two rollouts of each group in training get a judge block and the tag of one mode at
  the end of the prompt. Both modes then have a mean in every group, and these rollouts have no judge tokens in the
  loss. A vLLM server then gets every prompt by itself, not one for each group.
- A row that cannot be judged gets advantage 0.
- TRL logs, of each batch: `hipo/think_rate` (of rollouts that no prompt forced), `hipo/accuracy/MODE`,
  `hipo/tokens/MODE`, the shares of groups `hipo/groups/both_modes` and `hipo/groups/adjusted`, and the shares of rows
  `hipo/share/no_mode`, `no_judge` (neither judge block nor mode tag), `truncated`, `ids_mismatch` and `no_reward`. In
  the table of completions `advantage` is GRPO's; `advantage_judge` and `advantage_answer` apply.
"""
from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import trl
from packaging.version import Version
from trl import GRPOConfig, GRPOTrainer

import thinkloom
from thinkloom import hipo
from thinkloom.hipo import HipoSettings

# The loss of older versions would broadcast advantages of shape (B, T) to something else, without an error.
VERSION_LEAST = "1.16.0"

logger = logging.getLogger(__name__)
# Options that shape the advantages which HiPO replaces, and the values that leave these alone.
REPLACED = {"scale_rewards": "group", "multi_objective_aggregation": "sum_then_normalize", "reward_weights": None}
# The reward functions of exported configs: the same rewards, which HipoGRPOTrainer computes by itself.
OWN_REWARDS = {"trl_reward.thinkloom_reward", "thinkloom.trl.thinkloom_reward"}


def thinkloom_reward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
    """Returns HiPO's base reward of each completion, as a reward function of TRL.

    Args:
        prompts: Texts or messages.
        completions: Texts or messages.
        columns: The columns of the dataset, and what else TRL hands to reward functions.

    Returns:
        The rewards; None, which TRL passes over, for a completion that could not be judged.

    Raises:
        ValueError: The dataset has neither reference answers nor tests.
    """
    rows = thinkloom_rows(prompts, completions, columns)
    warn_of([row["error"] for row in rows])
    return [row["reward"] for row in rows]


def thinkloom_rows(prompts: Sequence[Any], completions: Sequence[Any], columns: Mapping[str, Any],
                   **settings: Any) -> list[dict[str, Any]]:
    """Returns the row of `thinkloom.reward` for each completion: reward, mode, both advantages, and more.

    Args:
        prompts: Texts or messages. Completions of one `query_id`, or without that column of one prompt, are a group.
        completions: Texts or messages.
        columns: The columns of the dataset.
        settings: Keywords of `thinkloom.reward`.
    """
    forced = columns.get("forced_mode") or [None] * len(completions)
    rows = []
    for index, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        query_id = columns["query_id"][index] if columns.get("query_id") else json.dumps(prompt)
        rows.append(row_of(query_id, text_of(completion), index, columns, forced[index]))
    return thinkloom.reward(rows, **settings)


def text_of(completion: str | Sequence[Mapping[str, Any]]) -> str:
    """Returns a completion as text: itself, or the assistant's messages."""
    if isinstance(completion, str):
        return completion
    return "".join(message.get("content") or "" for message in completion if message.get("role") == "assistant")


def row_of(query_id: str | int, text: str, index: int, columns: Mapping[str, Any], forced_mode: str | None,
           finish_reason: str = "stop") -> dict[str, Any]:
    """Returns the row of `thinkloom.reward` for the completion at an index of the batch."""
    golds = columns.get("gold") or columns.get("solution")
    if golds is None and not columns.get("tests"):
        raise ValueError(f"the dataset has no column `gold` or `solution`, only {', '.join(sorted(columns))}")
    about = {name: columns[name][index] for name in hipo.FIELDS if columns.get(name)}
    gold = golds[index] if golds else None
    return hipo.reward_row(query_id, text, gold, about, forced_mode=forced_mode, finish_reason=finish_reason)


def warn_of(errors: Sequence[str | None]) -> None:
    """Logs how many completions have no reward, and why the first has none."""
    found = [error for error in errors if error is not None]
    if found:
        logger.warning("%d of %d completions have no reward, the first: %s", len(found), len(errors), found[0])


def setting(default: Any, text: str) -> Any:
    """Returns a field of a config, with its help text."""
    return field(default=default, metadata={"help": text})


@dataclass
class HipoConfig(GRPOConfig):
    """GRPOConfig with HiPO's settings; those of the rule are described in `thinkloom help rewards`."""

    hipo_format_weight: float = setting(HipoSettings.format_weight, "Reward of a good format.")
    hipo_omega: float = setting(HipoSettings.omega, "Scale of Think-off's boost.")
    hipo_gamma: float = setting(HipoSettings.gamma, "Weight of the own reward in the judge's advantage.")
    hipo_epsilon: float = setting(HipoSettings.epsilon, "Added to deviations before dividing by them.")
    hipo_deviation: str = setting(HipoSettings.deviation, "population or sample.")
    hipo_bias_adjustment: bool = setting(HipoSettings.bias_adjustment, "False is an ablation.")
    hipo_global_term: bool = setting(HipoSettings.global_term, "False is an ablation.")
    hipo_local_normalization: str = setting(HipoSettings.local_normalization, "mode, group or none.")
    hipo_method: str = setting(HipoSettings.method, "hipo or grpo.")
    hipo_boost: str = setting(HipoSettings.boost, "relative or margin.")
    hipo_length_weight: float = setting(HipoSettings.length_weight, "Weight of being short, 0 to 1.")
    hipo_other_mode: str = setting(HipoSettings.other_mode, "incorrect or as_verified, for forced responses.")
    hipo_evaluated: str = setting(HipoSettings.evaluated, "How much arithmetic an answer may leave undone.")
    hipo_advantage_clip: float | None = setting(None, "Bounds the size of every advantage.")
    hipo_force_modes: bool = setting(False, "Force one rollout of each mode in every group.")
    hipo_forced_justification: str = setting("The mode is given.", "The judge block in the prompts of forced rollouts.")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.hipo_settings()
        for name, value in REPLACED.items():
            if getattr(self, name) != value:
                raise ValueError(f"{name} is {getattr(self, name)!r}, but HiPO replaces the advantages that it shapes; "
                                 "leave it out")
        if self.use_liger_kernel:
            raise ValueError("use_liger_kernel is set, but is not tested with one advantage per token; leave it out")
        if self.hipo_advantage_clip is not None and not self.hipo_advantage_clip > 0:
            raise ValueError(f"hipo_advantage_clip is {self.hipo_advantage_clip!r}; it must be above 0")
        if self.hipo_force_modes and self.num_generations <= len(hipo.MODES):
            raise ValueError(f"hipo_force_modes forces two rollouts of each group: num_generations must be 3 or more, "
                             f"not {self.num_generations}")

    def hipo_settings(self) -> HipoSettings:
        """Returns the settings of the rule."""
        return HipoSettings.of({name: getattr(self, f"hipo_{name}") for name in HipoSettings.__dataclass_fields__})


class HipoGRPOTrainer(GRPOTrainer):
    """GRPOTrainer with HiPO's two advantages. Takes its arguments, without rewards, tools and environments."""

    args: HipoConfig

    def __init__(self, model: Any, args: HipoConfig, train_dataset: Any = None, **options: Any) -> None:
        if Version(trl.__version__) < Version(VERSION_LEAST):
            raise ImportError(f"HipoGRPOTrainer needs TRL {VERSION_LEAST} or newer, this is {trl.__version__}")
        if not isinstance(args, HipoConfig):
            raise TypeError(f"args is a {type(args).__name__}; HipoGRPOTrainer needs a HipoConfig")
        for name in ("reward_funcs", "reward_processing_classes", "tools", "environment_factory"):
            if options.get(name):
                raise ValueError(f"HipoGRPOTrainer takes no {name}: it rewards the model's text alone, with thinkloom")
        if args.hipo_force_modes and options.get("rollout_func"):
            raise ValueError("hipo_force_modes changes the prompts' tokens, which a rollout_func makes: use only one")
        self.hipo_settings = args.hipo_settings()
        # Of the process's own rows, between the reward function and the advantages: judge, answer, judge tokens.
        self._advantage_parts: tuple[Any, Any, list[int]] | None = None
        super().__init__(model, [self.hipo_reward], args, train_dataset=train_dataset, **options)

    def _is_training(self) -> bool:
        """Returns whether the current batch is for training, not for an evaluation."""
        return self.model is not None and self.model.training

    def _forced_modes(self, count: int) -> list[str | None]:
        """Returns the mode that each of the process's rollouts is forced to; all rollouts of a group stand together."""
        if not (self.args.hipo_force_modes and self._is_training()):
            return [None] * count
        first = self.accelerator.process_index * count
        places = [(first + index) % self.num_generations for index in range(count)]
        return [hipo.MODES[place] if place < len(hipo.MODES) else None for place in places]

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[Any, Any, Any]:
        """Ends the prompts of forced rollouts with a judge block and a mode tag."""
        prompt_ids, images, multimodal_fields = super()._tokenize_prompts(prompts)
        forced = self._forced_modes(len(prompts))
        if any(forced) and multimodal_fields:
            raise ValueError("hipo_force_modes works with text prompts only")
        prefills = {mode: self._tokenizer(hipo.prefill(mode, self.args.hipo_forced_justification),
                                          add_special_tokens=False)["input_ids"] for mode in hipo.MODES}
        pairs = zip(prompt_ids, forced, strict=True)
        return [list(ids) + (prefills[mode] if mode else []) for ids, mode in pairs], images, multimodal_fields

    def _generate_single_turn(self, prompt_ids: Any, images: Any, multimodal_fields: Any, num_generations: Any,
                              *rest: Any, **options: Any) -> Any:
        """Generates for every prompt, where forced prompts differ within a group.

        With a vLLM server TRL sends the first prompt of each group only, for `num_generations` completions.
        """
        if any(self._forced_modes(len(prompt_ids))):
            num_generations = 1
        return super()._generate_single_turn(prompt_ids, images, multimodal_fields, num_generations, *rest, **options)

    def hipo_reward(self, prompts: list[Any], completions: list[Any], completion_ids: list[list[int]], log_extra: Any,
                    log_metric: Any, **columns: Any) -> list[float | None]:
        """Returns the rewards of the process's rows, as TRL's reward functions do.

        Keeps the advantages of these rows for `_generate_and_score_completions`; the rule sees the rows of all
        processes.
        """
        own = self._scored(completion_ids, columns)
        numbers = torch.tensor([row.to_numbers() for row in own], device=self.accelerator.device)
        rows = [hipo.Scored.from_numbers(row) for row in self.accelerator.gather(numbers).tolist()]
        generations = self.num_generations if self._is_training() else self.num_generations_eval
        groups = [index // generations for index in range(len(rows))]
        batch = hipo.batch_advantages(groups, rows, self.hipo_settings, self.args.hipo_advantage_clip)
        first = self.accelerator.process_index * len(own)
        judge, answer = batch.judge[first:first + len(own)], batch.answer[first:first + len(own)]
        self._advantage_parts = judge, answer, [row.judge_tokens for row in own]
        for name, value in batch.metrics.items():
            log_metric(f"hipo/{name}", value)
        for name, values in (("mode", [row.mode for row in own]), ("advantage_judge", judge.tolist()),
                             ("advantage_answer", answer.tolist())):
            log_extra(name, values)
        return [row.base_reward(self.hipo_settings) if row.has_reward else None for row in own]

    def _scored(self, completion_ids: list[list[int]], columns: dict[str, Any]) -> list[hipo.Scored]:
        """Returns the process's rollouts with their grades. If one process fails, all of them raise."""
        ends = [*self.eos_token_ids, self._tokenizer.pad_token_id]
        forced = self._all_forced(len(completion_ids), columns)
        texts = [hipo.completion_text(ids, self._tokenizer, ends) for ids in completion_ids]
        reasons = ["length" if len(ids) > 0 and ids[-1] not in ends else "stop" for ids in completion_ids]
        rows = [self._row(index, text, forced[index], reasons[index], columns) for index, text in enumerate(texts)]
        graded: list[hipo.Graded] = []
        problem: Exception | None = None
        try:
            graded = hipo.grade(rows, self.hipo_settings)
        except Exception as error:  # whatever it is: the other processes would wait for this one forever
            problem = error
        has_failed = torch.tensor([problem is not None], device=self.accelerator.device)
        if self.accelerator.gather(has_failed).any():
            raise problem or thinkloom.ThinkloomError("another process failed to grade its completions; it logs why")
        warn_of([row.error for row in graded])
        parts = zip(graded, completion_ids, texts, forced, reasons, strict=True)
        return [hipo.Scored.of(row, ids, text, self._tokenizer, forced_mode=mode, finish_reason=reason)
                for row, ids, text, mode, reason in parts]

    def _all_forced(self, count: int, columns: dict[str, Any]) -> list[str | None]:
        """Returns the mode whose tag ends each prompt: the dataset's or the trainer's doing."""
        given, forced = columns.get("forced_mode") or [None] * count, self._forced_modes(count)
        if any(given) and any(forced):
            raise ValueError("the dataset's prompts force a mode (column `forced_mode`): leave out hipo_force_modes")
        return [own or mode or None for own, mode in zip(forced, given, strict=True)]

    def _row(self, index: int, text: str, forced: str | None, finish_reason: str,
             columns: dict[str, Any]) -> dict[str, Any]:
        """Returns the row that thinkloom grades; its group does not matter to that."""
        query_id = columns["query_id"][index] if columns.get("query_id") else index
        return row_of(query_id, text, index, columns, forced, finish_reason)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Replaces the advantages, one for each completion, by one for each token."""
        output = super()._generate_and_score_completions(inputs)
        if self._advantage_parts is None:
            raise RuntimeError("TRL did not call the reward function of HipoGRPOTrainer, so there are no advantages")
        judge, answer, judge_tokens = self._advantage_parts
        advantages = hipo.token_advantages(judge, answer, judge_tokens, output["completion_ids"].size(1))
        output["advantages"] = torch.tensor(advantages, dtype=torch.float32, device=self.accelerator.device)
        return output


def main() -> None:
    """Trains as `trl grpo` does, from the same config files."""
    from datasets import load_dataset
    from trl import DatasetMixtureConfig, ModelConfig, TrlParser, get_dataset, get_peft_config, get_quantization_config
    from trl.scripts.grpo import GRPOScriptArguments

    parser = TrlParser((GRPOScriptArguments, HipoConfig, ModelConfig, DatasetMixtureConfig))
    script, args, model, mixture = parser.parse_args_and_config()
    other = set(script.reward_funcs or []) - OWN_REWARDS
    if other or script.reward_model_name_or_path:
        own = " or ".join(sorted(OWN_REWARDS))
        raise ValueError(f"the config names other rewards than {own}: HiPO's advantages are thinkloom's alone")
    args.model_init_kwargs = {"revision": model.model_revision, "attn_implementation": model.attn_implementation,
                              "dtype": model.dtype, **(args.model_init_kwargs or {})}
    dataset = get_dataset(mixture) if mixture.datasets else load_dataset(
        script.dataset_name, name=script.dataset_config, streaming=script.dataset_streaming)
    trainer = HipoGRPOTrainer(
        model.model_name_or_path, args, dataset[script.dataset_train_split],
        eval_dataset=dataset[script.dataset_test_split] if args.eval_strategy != "no" else None,
        quantization_config=get_quantization_config(model), peft_config=get_peft_config(model))
    trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)
    trainer.save_model(args.output_dir)


if __name__ == "__main__":
    # The module under its own name: checkpoints name the class of the config by it.
    from thinkloom.trl import main as main_of_package

    main_of_package()
