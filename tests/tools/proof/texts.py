"""The texts of the training proof: prompts, responses, justifications.

The prompts are those that thinkloom sends (`prompts/policy.toml` through the chat template below), and the structured
response is thinkloom's. The check of the proof holds both against a run. Justifications come from rules: they name what
the question is, as far as its text shows, and argue for a mode.
"""

import re
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
MODES = ("think_on", "think_off")
BEGIN, END = "<|im_start|>", "<|im_end|>"
# No system line. thinkloom's preset `qwen3` adds a line to the question; the template ignores the preset's switch.
CHAT_TEMPLATE = (
    "{# enable_thinking #}{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
INSTRUCTIONS = tomllib.loads((REPOSITORY / "prompts" / "policy.toml").read_text(encoding="utf-8"))["instruct"]

NUMBER_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty").split()
FRAMES = ("This is {what}", "Asked is {what}", "Here is {what}", "One sees {what}", "It comes to {what}",
          "The task is {what}", "We have {what}")
ARGUMENTS = {
    "think_on": (", where one slip spoils the rest.", ": the steps should be written down.",
                 ", too much to do in one go.", ", so it pays to work in order.", ", which is safer on paper.",
                 ": each part builds on the last.", ", long enough to lose the thread."),
    "think_off": (", which can be answered at once.", ": a direct answer will do.", ", short enough to see the end.",
                  ", and no written steps are needed.", ", easy to do in the head.", ": one look is enough.",
                  ", quick and hard to get wrong."),
}
VARIANTS = len(FRAMES) * len(ARGUMENTS["think_on"])


def prompt(question: str, kind: str, mode: str | None) -> str:
    """The rendered prompt: with thinkloom's line for a mode, or without a mode the question alone."""
    line = f"\n\n{INSTRUCTIONS[mode][kind]}" if mode else ""
    return f"{BEGIN}user\n{question}{line}{END}\n{BEGIN}assistant\n"


def forced(thinking: str | None, answer: str) -> str:
    """What the base policy writes when it is told the mode: Think-off without thinking."""
    return answer if thinking is None else f"<think>\n{thinking}\n</think>\n\n{answer}"


def structured(justification: str, mode: str, thinking: str | None, answer: str) -> str:
    """thinkloom's structured response."""
    thought = f"<think>\n{thinking}\n</think>\n\n" if mode == "think_on" else ""
    return f"<judge>\n{justification}\n</judge>\n\n<{mode}>\n{thought}<answer>\n{answer}\n</answer>"


def is_structured(text: str) -> bool:
    """Whether a text is a structured response, by a pattern that is independent of thinkloom's parser."""
    mode = r"(<think_on>\n<think>\n.*\n</think>\n\n|<think_off>\n)"
    return bool(re.fullmatch(rf"<judge>\n.*\n</judge>\n\n{mode}<answer>\n.*\n</answer>", text, re.DOTALL))


def words_for(value: int) -> str:
    """A small number as a word."""
    return NUMBER_WORDS[value] if value < len(NUMBER_WORDS) else str(value)


def sized(value: str, digits_max: int = 2) -> str:
    """A short number as it is, a longer one by its size, as in "an eight-digit number"."""
    if len(value) <= digits_max:
        return value
    word = words_for(len(value))
    return f"{'an' if word.startswith('e') else 'a'} {word}-digit number"


def counted(value: int, noun: str) -> str:
    return f"{words_for(value)} {noun}" + ("" if value == 1 else "s")


# What a question is: a pattern of its text, and a description of the match.
DESCRIPTIONS = (
    (r"(?:What is|Add|Find the sum of) (\d+) (?:\+|and) (\d+)",
     lambda m: f"an addition of {sized(m[1])} and {sized(m[2], 3)}"),
    (r"(?:What is|Multiply|Find the product of) (\d+) (?:\*|by|and) (\d+)",
     lambda m: f"a product of {sized(m[1])} and {sized(m[2], 3)}"),
    (r"(?:when|Find|Divide) (\d+) (?:is divided by|mod|by) (\d+)",
     lambda m: f"the remainder of {sized(m[1])} by {m[2]}"),
    (r"Start with (\d+)\. (.*)\. ",
     lambda m: f"a chain of {counted(m[2].count('.') + 1, 'operation')} from {m[1]} on"),
    (r"(?:does|often) (\w+) (?:occur in|stands in this list): ([\w ]+)",
     lambda m: f"a count of {m[1]} over {counted(len(m[2].split()), 'word')}"),
    (r"(?:from small to large|ascending order): (\d+)([\d, ]*)",
     lambda m: f"a sorting of {counted(m[2].count(',') + 1, 'number')} with {m[1]} in front"),
    (r"(?:Which number is|Find) the (largest|smallest)(?:: | of )(\d+)([\d, ]*)",
     lambda m: f"a search for the {m[1]} of {counted(m[3].count(',') + 1, 'number')} from {m[2]} on"),
    (r"(?:Today is|If today is) (\w+), which day .*?(\d+) days|Today is (\w+)\. .*?(\d+) days",
     lambda m: f"a shift of {m[1] or m[3]} by {m[2] or m[4]} days"),
    (r"Count (\d+) days (?:back|on) from (\w+)", lambda m: f"a shift of {m[2]} by {m[1]} days"),
    (r"(?:Start at (\w) and f|F)ollow (\d+) arrows?(?: from (\w))?: (.*)\. W",
     lambda m: f"a walk along {words_for(int(m[2]))} of {counted(m[4].count('>'), 'arrow')} from {m[1] or m[3]}"),
    (r"(.*)How many (\w+) does (\w+) have (?:now|in the end)",
     lambda m: f"a story of {counted(m[1].count('.'), 'sentence')} about the {m[2]} of {m[3]}"),
)


def describe(question: str) -> str:
    """What the question is, in words that a reader of the question could choose."""
    for pattern, description in DESCRIPTIONS:
        found = re.search(pattern, question, re.DOTALL)
        if found:
            return description(found)
    words = sorted(dict.fromkeys(re.findall(r"[a-z]+", question)), key=len, reverse=True)
    numbers = counted(len(re.findall(r"[0-9]+", question)), "number")
    return f"a word problem with {numbers} about {' and '.join(words[:2])}"


def justify(question: str, mode: str, variant: int) -> str:
    """A justification of the mode in one of several wordings."""
    frame, argument = divmod(variant % VARIANTS, len(ARGUMENTS[mode]))
    return FRAMES[frame].format(what=describe(question)) + ARGUMENTS[mode][argument]
