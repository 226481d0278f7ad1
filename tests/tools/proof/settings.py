"""The proof's settings: sizes, training plans, and the variants that are compared."""

import dataclasses
import json
from dataclasses import dataclass, field

import tasks


@dataclass(frozen=True)
class Settings:
    """All sizes of one seed. Token limits are in tokens of the policy."""

    families: tuple[str, ...] = tuple(tasks.FAMILIES)
    levels: tuple[int, ...] = tasks.LEVELS
    # The base policy: items in both modes, then direct answers alone, for the levels at which they can be learnt.
    base_items: int = 40000
    base_direct: int = 80000
    base_direct_levels: tuple[int, ...] = (1, 2, 3)
    base_svamp: int = 8
    base_rows: int = 512
    base_rate: float = 7e-4
    # Levels at which a direct answer may hold one short line of working.
    off_working: tuple[int, ...] = (2, 3)
    # The run of thinkloom.
    queries: int = 5000
    samples_per_mode: int = 8
    tie_margin: float = 0.1
    thinking_max: int = 288
    direct_max: int = 96
    slots: int = 1024
    kv_cache_mib: int = 24576
    # Fine-tuning of a variant.
    sft_epochs: int = 3
    sft_rows: int = 128
    sft_rate: float = 3e-4
    # Reinforcement learning.
    rl_steps: int = 100
    rl_queries: int = 64
    rl_copies: int = 16
    rl_updates: int = 2
    rl_rate: float = 2e-5
    rl_clip: float = 0.2
    rl_kl: float = 0.0
    rl_slots: int = 480
    response_max: int = 320
    # Evaluation, and the second round.
    eval_queries: int = 1000
    eval_samples: int = 4
    round2_queries: int = 300
    # Tokens of a micro-batch.
    batch_tokens: int = 90000
    # Shape of a model with random weights, in place of the GGUF file's: hidden, layers, heads, kv_heads, inner.
    random_shape: tuple[int, ...] = ()

    def changed(self, changes: list[str]) -> "Settings":
        """The settings with changes NAME=VALUE; the values of a tuple are separated by commas."""
        values = {}
        for change in changes:
            name, _, text = change.partition("=")
            old = getattr(self, name, None)
            if old is None:
                raise ValueError(f"there is no setting {name}")
            if isinstance(old, tuple):
                kind = str if name == "families" else int
                values[name] = tuple(kind(part) for part in text.split(",") if part)
            else:
                values[name] = type(old)(text)
        return dataclasses.replace(self, **values)


# Small sizes for a CPU. The model learns the form of responses; answers are few, so that some are correct by chance.
TINY = Settings(families=("count", "remainder"), levels=(1,), random_shape=(64, 2, 2, 1, 128), base_items=4800,
                base_direct=0, base_rows=32, base_rate=4e-3, queries=100, samples_per_mode=3, thinking_max=72,
                direct_max=24, slots=32, kv_cache_mib=256, sft_epochs=48, sft_rows=16, sft_rate=3e-3, rl_steps=3,
                rl_queries=4, rl_copies=6, rl_rate=1e-4, rl_slots=224, response_max=112, eval_queries=12,
                eval_samples=2, round2_queries=8, batch_tokens=4000)


def value_of(text: str) -> object:
    """A number, true or false; any other text is itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


@dataclass(frozen=True)
class Variant:
    """Fine-tuning on the data `start`; then reinforcement, if there are settings of the reward rule."""

    start: str
    rewards: dict = field(default_factory=dict)

    @staticmethod
    def parse(text: str) -> tuple[str, "Variant"]:
        """Reads NAME=START:KEY=VALUE,... with settings of the reward rule; without settings nothing is reinforced."""
        name, _, rest = text.partition("=")
        start, _, listed = rest.partition(":")
        pairs = [pair.partition("=") for pair in listed.split(",") if pair]
        return name, Variant(start, {key: value_of(value) for key, _, value in pairs})


# `on` (Think-on only) and `cold+grpo` are what the others are compared with. In this order, as far as the time lasts.
VARIANTS = {
    "on": Variant("on"),
    "cold": Variant("cold"),
    "cold+grpo": Variant("cold", {"method": "grpo"}),
    # The adjustment agrees with the selection's margin.
    "cold+hipo": Variant("cold", {"boost": "margin", "omega": 0.1}),
    # The rule's defaults.
    "cold+hipo-relative": Variant("cold", {"boost": "relative", "omega": 0.01}),
    "round2": Variant("cold+hipo"),
    "mix": Variant("mix"),
    "cold+hipo-length": Variant("cold", {"boost": "margin", "omega": 0.1, "length_weight": 0.2}),
    "on+grpo": Variant("on", {"method": "grpo"}),
    "cold+hipo-unadjusted": Variant("cold", {"bias_adjustment": False}),
    "margin-0.2": Variant("margin-0.2"),
    "margin-0.4": Variant("margin-0.4"),
    "shuffled": Variant("shuffled"),
    "inverted": Variant("inverted"),
    "longest": Variant("longest"),
    "bare": Variant("bare"),
    "alien": Variant("alien"),
    "mix+hipo": Variant("mix", {"boost": "margin", "omega": 0.1}),
}
SECOND_ROUND = "round2"
# Data that `thinkloom redecide` selects from the stored responses of the run.
REDECIDED = {
    "mix": ["select.random_mode_rate=1"], "margin-0.2": ["select.tie_margin=0.2"],
    "margin-0.4": ["select.tie_margin=0.4"]
}
