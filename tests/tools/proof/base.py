"""The start of the proof: a model from a GGUF file with a cut vocabulary, and the data of the base policy.

The base policy learns to answer in both modes, as thinkloom's forced prompts ask. It never sees a structured response:
that is what the data of thinkloom teaches.
"""

import os
import random
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import torch

import tasks
import texts
from gguf import Gguf
from model import Llama, Row, Shape
from settings import Settings
from vocabulary import Tokens, cut

# Items of each family and level whose texts decide which tokens stay.
CORPUS_ITEMS = 40
# Parts that processes make at the same time; the data does not depend on the number of processes.
PARTS = 32


def corpus(settings: Settings, svamp: str | None) -> Iterator[str]:
    """Texts with the tokens that the tasks need."""
    rng = random.Random(0)
    cells = [(family, level) for family in settings.families for level in settings.levels]
    items = [tasks.make(*cell, rng) for cell in cells for _ in range(CORPUS_ITEMS)]
    if svamp:
        items += [item for part in ("base", "train", "held") for item in tasks.svamp(svamp, part)]
    for index, item in enumerate(items):
        thinking, direct = tasks.thinking(item, rng), tasks.direct(item, settings.off_working)
        for mode in texts.MODES:
            response = texts.forced(thinking if mode == "think_on" else None, direct)
            yield texts.prompt(item.question, item.kind, mode) + response
            yield texts.structured(texts.justify(item.question, mode, index), mode, thinking, direct) + texts.END
    # All names and words, whichever the items above drew.
    yield " ".join((*tasks.NAMES, *tasks.THINGS, *tasks.WORDS, *tasks.DAYS, *tasks.LETTERS, *texts.NUMBER_WORDS))


def start_model(gguf: str, svamp: str | None, settings: Settings, seed: int, directory: Path) -> dict:
    """Writes the directory of the start model; returns its sizes."""
    source = Gguf(gguf)
    tokenizer, ids = cut(source.meta, corpus(settings, svamp))
    if settings.random_shape:
        shape = Shape(len(ids), *settings.random_shape)
        model = Llama(shape, "cpu", torch.float32).randomize(seed)
    else:
        model = Llama(Shape.of_gguf(source.meta, len(ids)), "cpu", torch.bfloat16).read_gguf(source, ids)
    model.save(directory, tokenizer.to_str())
    return {"vocabulary": len(ids), "parameters": model.flat.numel()}


def forced_pair(item: tasks.Item, mode: str, settings: Settings, rng: random.Random) -> tuple[str, str]:
    """Prompt and response of an item in a mode, as the base policy learns them."""
    if mode == "think_on":
        response = texts.forced(tasks.thinking(item, rng), tasks.boxed(item.answer))
    else:
        response = texts.forced(None, tasks.direct(item, settings.off_working))
    return texts.prompt(item.question, item.kind, mode), response + texts.END


def rows_of(tokens: Tokens, pairs: Iterable[tuple[str, str]]) -> list[Row]:
    """Prompts and completions as rows; the completions carry loss."""
    prompts, completions = (tokens.encode(list(column)) for column in zip(*pairs))
    return [Row(prompt + completion, len(prompt)) for prompt, completion in zip(prompts, completions)]


def rows_of_part(settings: Settings, seed: int, tokenizer: Path, part: int) -> list[Row]:
    """One part of the base policy's data: items that are not held out, evenly over families and levels."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the parts are parallel already
    rng = random.Random(seed * PARTS + part)
    pairs = []
    plans = ((settings.base_items, settings.levels, texts.MODES),
             (settings.base_direct, settings.base_direct_levels, ("think_off",)))
    for total, levels, modes in plans:
        cells = [(family, level) for family in settings.families for level in levels]
        for index in range(part, total, PARTS):
            item = next(item for item in iter(partial(tasks.make, *cells[index // PARTS % len(cells)], rng), None)
                        if not tasks.is_held_out(item))
            pairs += [forced_pair(item, mode, settings, rng) for mode in modes]
    return rows_of(Tokens(tokenizer), pairs)


def base_rows(settings: Settings, svamp: str | None, seed: int, tokenizer: Path) -> list[Row]:
    """All of the base policy's data."""
    with ProcessPoolExecutor(min(PARTS, os.cpu_count() or 1)) as pool:
        parts = pool.map(partial(rows_of_part, settings, seed, tokenizer), range(PARTS))
        rows = [row for part in parts for row in part]
    if svamp:
        rng = random.Random(seed)
        items = tasks.svamp(svamp, "base") * settings.base_svamp
        rows += rows_of(Tokens(tokenizer),
                        [forced_pair(item, mode, settings, rng) for item in items for mode in texts.MODES])
    return rows
