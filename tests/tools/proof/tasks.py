"""Ten families of questions in five levels of difficulty, and SVAMP: the queries of the training proof.

`make` draws one item of a family and level. An item knows its reasoning (`steps`), which is correct by construction,
and may know one short line of working (`brief`) for a direct answer. Items are held out by their calculation, so that
training and evaluation share no calculation; small tables, which a model knows by heart, are held out by the wording of
the question.
"""

import hashlib
import json
import random
import re
from dataclasses import dataclass, replace
from pathlib import Path

LEVELS = (1, 2, 3, 4, 5)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
NAMES = ("Adam", "Bella", "Carl", "Diana", "Eric", "Fiona", "George", "Helen", "Ian", "Julia", "Kevin", "Laura", "Mark",
         "Nina", "Oscar", "Paula", "Ralph", "Sarah", "Tom", "Wendy")
THINGS = ("apples", "books", "cards", "coins", "cookies", "eggs", "flowers", "pens", "shells", "stamps", "toys",
          "marbles", "cups", "keys", "buttons", "pears")
WORDS = ("cat", "dog", "sun", "tree", "fish", "bird", "star", "moon", "book", "ship", "rain", "wind", "rock", "leaf",
         "frog", "bell", "cake", "door", "lamp", "ring")
LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
# Small tables: their calculations all occur in training.
TABLES = {("weekday", 1), ("weekday", 2), ("multiply", 1), ("remainder", 1)}
# One item of so many is held out.
HELD_OUT_SHARE = 8
TRIES_MAX = 300
BRIEF_CHARS_MAX = 48


@dataclass(frozen=True)
class Item:
    """One question with its answer and reasoning; `kind` is thinkloom's kind of query, level 0 is SVAMP."""

    family: str
    level: int
    question: str
    answer: str
    steps: tuple[str, ...]
    intro: str
    brief: str = ""
    kind: str = "numeric"
    id: str = ""

    @property
    def source(self) -> str:
        """The dataset under which thinkloom reports the item: its level."""
        return "svamp" if self.family == "svamp" else f"level {self.level}"


def number(rng: random.Random, digits: int) -> int:
    """A number of so many digits, at least 2."""
    return rng.randint(10 ** (digits - 1) if digits > 1 else 2, 10 ** digits - 1)


def add(level: int, rng: random.Random) -> Item:
    least, most = {1: (1, 2), 2: (3, 3), 3: (4, 5), 4: (6, 7), 5: (11, 13)}[level]
    a, b = (number(rng, rng.randint(least, most)) for _ in range(2))
    question = rng.choice((f"What is {a} + {b}?", f"Add {a} and {b}.", f"Find the sum of {a} and {b}."))
    steps, carry, (x, y) = [], 0, (str(n)[::-1] for n in (a, b))
    for place in range(max(len(x), len(y))):
        p, q = (int(digits[place]) if place < len(digits) else 0 for digits in (x, y))
        total = p + q + carry
        steps.append(f"{p}+{q}+{carry}={total}, write {total % 10}")
        carry = total // 10
    steps += [f"carry {carry}"] * (carry > 0) + [f"Result {a + b}"]
    head = b - b % 10 ** (len(str(b)) - 1)
    brief = f"{a}+{head}={a + head}" if head != b else ""
    return Item("add", level, question, str(a + b), tuple(steps), "I add column by column from the right.", brief)


def multiply(level: int, rng: random.Random) -> Item:
    if level == 1:
        a, b = number(rng, rng.choice((1, 2))), rng.choice((2, 3, 4, 5, 10))
    else:
        a, b = (number(rng, digits) for digits in {2: (2, 1), 3: (3, 1), 4: (2, 2), 5: (3, 3)}[level])
    question = rng.choice((f"What is {a} * {b}?", f"Multiply {a} by {b}.", f"Find the product of {a} and {b}."))
    steps, total, parts = [], 0, []
    for right in parts_of(b):
        part = 0
        for left in parts_of(a):
            product = left * right
            steps.append(f"{left}*{right}={product}" + (f", sum {part + product}" if part else ""))
            part += product
            parts.append(product)
        if total:
            steps.append(f"{total}+{part}={total + part}")
        total += part
    brief = "+".join(map(str, parts)) if len(parts) > 1 else ""
    return Item("multiply", level, question, str(total), tuple(steps), "I split the numbers and add the products.",
                brief)


def parts_of(value: int) -> list[int]:
    """The places of a number from the right, without zeros: 305 is 5 and 300."""
    return [int(digit) * 10 ** place for place, digit in enumerate(reversed(str(value))) if digit != "0"]


def chain(level: int, rng: random.Random) -> Item:
    value = rng.randint(2, 30)
    sentences, steps, values = [f"Start with {value}."], [], []
    for _ in range({1: 1, 2: 2, 3: 3, 4: 6, 5: 10}[level]):
        divisors = [d for d in (2, 3, 4, 5) if value % d == 0 and value > d]
        allowed = ["+"] + ["-"] * (value > 6) + ["*"] * (value <= 99) + ["/"] * bool(divisors)
        sign = rng.choice(allowed)
        operands = {"+": range(2, 61), "-": range(2, min(value, 61)), "*": range(2, 6), "/": divisors}[sign]
        operand = rng.choice(operands)
        after = {"+": value + operand, "-": value - operand, "*": value * operand, "/": value // operand}[sign]
        verb = {"+": "Add", "-": "Subtract", "*": "Multiply by", "/": "Divide by"}[sign]
        sentences.append(f"{verb} {operand}.")
        steps.append(f"{value}{sign}{operand}={after}")
        value = after
        values.append(str(after))
    question = " ".join(sentences) + rng.choice(
        (" What is the result?", " What number do you get?", " Which number is it now?"))
    return Item("chain", level, question, str(value), tuple(steps), "I apply the operations one by one.",
                " ".join(values[:-1]))


def remainder(level: int, rng: random.Random) -> Item:
    divisor = rng.randint(3, 9) if level > 1 else rng.choice((2, 5, 10))
    value = rng.randint(11, 99) if level == 1 else number(rng, {2: 2, 3: 3, 4: 6, 5: 11}[level])
    question = rng.choice((f"What is the remainder when {value} is divided by {divisor}?",
                           f"Find {value} mod {divisor}.", f"Divide {value} by {divisor}. What remainder is left?"))
    steps, rest = [], 0
    for digit in str(value):
        steps.append(f"{rest * 10 + int(digit)} mod {divisor}={(rest * 10 + int(digit)) % divisor}")
        rest = (rest * 10 + int(digit)) % divisor
    brief = f"{divisor}*{value // divisor}={value - rest}" if level > 1 else ""
    return Item("remainder", level, question, str(rest), tuple(steps), "I go through the digits from the left.", brief)


def count(level: int, rng: random.Random) -> Item:
    few = rng.sample(WORDS, 3 if level < 3 else 4)
    words = [rng.choice(few) for _ in range({1: 4, 2: 7, 3: 11, 4: 18, 5: 30}[level])]
    wanted = few[0]
    question = rng.choice((f"How many times does {wanted} occur in: {' '.join(words)}?",
                           f"Count how often {wanted} stands in this list: {' '.join(words)}."))
    steps, found = [], 0
    for word in words:
        found += word == wanted
        steps.append(f"{word} {found}")
    brief = " ".join([wanted] * found)
    return Item("count", level, question, str(found), tuple(steps), f"I go through the list and count {wanted}.", brief)


def sort(level: int, rng: random.Random) -> Item:
    values = rng.sample(range(10, 100), {1: 3, 2: 4, 3: 6, 4: 9, 5: 13}[level])
    listed = ", ".join(map(str, values))
    question = rng.choice((f"Sort these numbers from small to large: {listed}.", f"Put in ascending order: {listed}."))
    steps = []
    for tens in range(1, 10):
        group = [value for value in values if value // 10 == tens]
        if group:
            ordered = f" -> {' '.join(map(str, sorted(group)))}" if len(group) > 1 else ""
            steps.append(f"{tens}0s: {' '.join(map(str, group))}{ordered}")
    answer = ", ".join(map(str, sorted(values)))
    return Item("sort", level, question, answer, tuple(steps), "I group the numbers by their tens.", kind="text")


def weekday(level: int, rng: random.Random) -> Item:
    start, days = rng.randrange(7), rng.randint(*{1: (2, 4), 2: (5, 9), 3: (10, 30), 4: (31, 99), 5: (100, 999)}[level])
    today, sign = DAYS[start], rng.choice((1, 1, -1))
    future = (f"Today is {today}. Which day is it in {days} days?",
              f"Count {days} days on from {today}. Which day is that?",
              f"If today is {today}, which day will it be in {days} days?")
    past = (f"Today is {today}. Which day was it {days} days ago?",
            f"Count {days} days back from {today}. Which day is that?",
            f"If today is {today}, which day was {days} days ago?")
    question = rng.choice(future if sign > 0 else past)
    steps, left = [], days
    for weeks in (700, 350, 140, 70, 35, 14, 7):
        while left >= weeks:
            steps.append(f"{left}-{weeks}={left - weeks}")
            left -= weeks
    walk = [DAYS[(start + sign * step) % 7] for step in range(left + 1)]
    steps.append(("Forward" if sign > 0 else "Back") + f" {left}: " + ", ".join(walk))
    brief = f"{days}=7*{days // 7}+{days % 7}" if days > 7 else ""
    return Item("weekday", level, question, DAYS[(start + sign * days) % 7], tuple(steps),
                "Whole weeks change nothing.", brief, "text")


def story(level: int, rng: random.Random) -> Item:
    """A word problem of one to eight changes; from level 3 on one number of the text does not matter."""
    (name, friend), (thing, other) = rng.sample(NAMES, 2), rng.sample(THINGS, 2)
    value = rng.randint(5, 40)
    sentences, steps, values = [f"{name} has {value} {thing}."], [], []
    if level >= 3:
        sentences.insert(rng.randrange(2), f"{friend} has {rng.randint(3, 60)} {other}.")
    for _ in range({1: 1, 2: 2, 3: 3, 4: 5, 5: 8}[level]):
        event = rng.choice(["gets", "packs"] + ["loses"] * 2 * (value > 8) + ["grows"] * (value <= 60) +
                           ["halves"] * (value % 2 == 0 and value > 8))
        sentence, working = happen(event, rng, name, friend, thing, value)
        sentences.append(sentence)
        steps += working
        value = int(working[-1].rpartition("=")[2])
        values.append(str(value))
    question = " ".join(sentences) + rng.choice((f" How many {thing} does {name} have now?",
                                                 f" How many {thing} does {name} have in the end?"))
    return Item("story", level, question, str(value), tuple(steps), f"I follow the {thing} of {name}.",
                " ".join(values[:-1]))


def happen(event: str, rng: random.Random, name: str, friend: str, thing: str, value: int) -> tuple[str, list[str]]:
    """One change of a story: its sentence, and the working, whose last line ends in the new value."""
    if event == "gets":
        n = rng.randint(2, 40)
        sentence = rng.choice(
            (f"{friend} gives {name} {n} {thing}.", f"{name} buys {n} more {thing}.", f"{name} finds {n} {thing}."))
        return sentence, [f"{value}+{n}={value + n}"]
    if event == "packs":
        n, m = rng.randint(2, 6), rng.randint(3, 9)
        return f"{name} gets {n} bags with {m} {thing} each.", [f"{n}*{m}={n * m}", f"{value}+{n * m}={value + n * m}"]
    if event == "loses":
        n = rng.randint(2, min(value - 2, 40))
        sentence = rng.choice(
            (f"{name} gives {friend} {n} {thing}.", f"{name} sells {n} {thing}.", f"{name} loses {n} {thing}."))
        return sentence, [f"{value}-{n}={value - n}"]
    if event == "grows":
        n = rng.randint(2, 3)
        return f"Then the {thing} of {name} become {n} times as many.", [f"{value}*{n}={value * n}"]
    return f"{name} gives away half of the {thing}.", [f"{value}/2={value // 2}"]


def largest(level: int, rng: random.Random) -> Item:
    values = rng.sample(range(100, 10000), {1: 2, 2: 3, 3: 5, 4: 8, 5: 12}[level])
    best_of, word = rng.choice(((max, "largest"), (min, "smallest")))
    listed = ", ".join(map(str, values))
    question = rng.choice((f"Which number is the {word}: {listed}?", f"Find the {word} of {listed}."))
    best, steps = values[0], []
    for value in values[1:]:
        steps.append(f"{best} or {value}: {best_of(best, value)}")
        best = best_of(best, value)
    return Item("largest", level, question, str(best), tuple(steps), "I compare the numbers one by one.")


def arrows(level: int, rng: random.Random) -> Item:
    points, hops = {1: (4, 1), 2: (5, 2), 3: (7, 3), 4: (9, 5), 5: (12, 8)}[level]
    order = rng.sample(LETTERS, points)
    follower = dict(zip(order, order[1:] + order[:1]))
    listed = ", ".join(f"{point}->{follower[point]}" for point in rng.sample(order, points))
    path = [rng.choice(order)]
    for _ in range(hops):
        path.append(follower[path[-1]])
    plural = "arrow" if hops == 1 else "arrows"
    question = rng.choice((f"Follow {hops} {plural} from {path[0]}: {listed}. Where do you end?",
                           f"Start at {path[0]} and follow {hops} {plural}: {listed}. Which letter do you reach?"))
    steps = [f"{number} {here}->{there}" for number, (here, there) in enumerate(zip(path, path[1:]), 1)]
    return Item("arrows", level, question, path[-1], tuple(steps), "I follow the arrows one by one.",
                " ".join(path[1:-1]), "text")


FAMILIES = {"add": add, "multiply": multiply, "chain": chain, "remainder": remainder, "count": count, "sort": sort,
            "weekday": weekday, "story": story, "largest": largest, "arrows": arrows}


def make(family: str, level: int, rng: random.Random) -> Item:
    """Draws one item."""
    return FAMILIES[family](level, rng)


def is_held_out(item: Item) -> bool:
    """Whether the item belongs to the evaluation."""
    is_table = (item.family, item.level) in TABLES
    key = f"{item.family}|{item.question if is_table else item.steps}|{item.answer}"
    return hashlib.sha256(key.encode()).digest()[0] % HELD_OUT_SHARE == 0


def draw(total: int, seed: int, held_out: bool, families: tuple[str, ...], levels: tuple[int, ...],
         prefix: str) -> list[Item]:
    """Draws distinct items evenly over families and levels, with ids; cells without new items are passed over."""
    rng = random.Random(seed)
    cells = [(family, level) for family in families for level in levels]
    seen, items = set(), []
    while cells and len(items) < total:
        for cell in list(cells):
            item = next((item for item in (make(*cell, rng) for _ in range(TRIES_MAX))
                         if is_held_out(item) == held_out and item.question not in seen), None)
            if item is None:
                cells.remove(cell)
            elif len(items) < total:
                seen.add(item.question)
                items.append(replace(item, id=f"{prefix}-{len(items):05}-{item.family}-{item.level}"))
    return items


def svamp(path: str, part: str) -> list[Item]:
    """A third of SVAMP with its equations as reasoning: `base` (base policy), `train` (sampled, and for RL) or `held`.

    The parts are disjoint, because questions that the base policy was trained on have other pass rates than new ones.
    """
    items = []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if ("held", "base", "train")[hashlib.sha256(row["id"].encode()).digest()[0] % 3] != part:
            continue
        equation = re.sub(r"\.0\b| ", "", row["equation"]).removeprefix("(").removesuffix(")")
        items.append(Item("svamp", 0, row["question"].strip(), row["answer"], (f"{equation}={row['answer']}",),
                          "I write down the equation.", id=f"svamp-{part}-{row['id']}"))
    return items


def thinking(item: Item, rng: random.Random) -> str:
    """The reasoning in one of three styles of different length: bare, with an introduction, with a check of its end."""
    style = rng.randrange(3)
    body = "; ".join(item.steps) + "."
    if style == 0:
        return body
    if style == 1:
        return f"{item.intro} {body}"
    return f"{item.intro} {body} Let me check: {'; '.join(item.steps[-3:])}. So the answer is {item.answer}."


def direct(item: Item, working_levels: tuple[int, ...]) -> str:
    """A direct answer: the box alone, or at some levels one short line of working before it."""
    has_line = item.level in working_levels and item.brief and len(item.brief) <= BRIEF_CHARS_MAX
    return (f"{item.brief}\n" if has_line else "") + boxed(item.answer)


def boxed(answer: str) -> str:
    return f"\\boxed{{{answer}}}"


def cell_of(id: str) -> tuple[str, str]:
    """Family and level of an item, read from its id."""
    family, level = id.split("-")[2:4] if not id.startswith("svamp-") else ("svamp", "0")
    return family, f"level {level}"


def query(item: Item) -> dict:
    """The item as a row of thinkloom's input."""
    return {"id": item.id, "question": item.question, "answer": item.answer, "kind": item.kind, "source": item.source}
