"""Small damage to programs, as typing does it: tokens deleted, doubled, swapped, renamed."""

from __future__ import annotations

import random
import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
MODELS = TESTS.parent / "models"
PROGRAMS = tuple(
    path.read_text(encoding="utf-8")
    for folder in (TESTS / "programs", MODELS, TESTS / "diagnostics" / "cases")
    for path in sorted(folder.glob("*.nn"))
)
_TOKEN = re.compile(
    r'#[^\n]*|"(?:[^"\\\n]|\\.)*"|[A-Za-z_]\w*|\d[\w.]*%?|\|>|->|==|!=|<=|>=|//|\.\.\.?|\s+|.',
    re.DOTALL,
)
_NUMBERS = (
    "0 1 2 3 -1 7 0.5 1e-3 1e30 64 65 100_000 10% 5epochs 3steps 99999999999999999999 none true "
    '"text" [1,2] (1,2) step N _ 0..4 ...'
)
_WORDS = (
    "let if else repeat for scan fn block return yield param buffer training weights gradient "
    "stop_gradient frozen with_weights split concat reshape rearrange einsum mean take one_hot "
    "normal map Dense Conv Embedding"
)


def mutate(text: str, random: random.Random) -> str:
    """One to three small changes of a program."""
    tokens = _TOKEN.findall(text)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        places = [i for i, token in enumerate(tokens) if token.strip() and token[0] != "#"]
        if len(places) < 2:
            break
        at = random.choice(places)
        random.choice(_CHANGES)(tokens, at, places, random)
    return "".join(tokens)


def _delete(tokens: list[str], at: int, places: list[int], random: random.Random) -> None:
    tokens[at] = ""


def _double(tokens: list[str], at: int, places: list[int], random: random.Random) -> None:
    tokens[at] = f"{tokens[at]} {tokens[at]}"


def _swap(tokens: list[str], at: int, places: list[int], random: random.Random) -> None:
    other = random.choice((random.choice(places), places[places.index(at) - 1]))
    tokens[at], tokens[other] = tokens[other], tokens[at]


def _copy(tokens: list[str], at: int, places: list[int], random: random.Random) -> None:
    """A token put where another stood: of the same kind, mostly."""
    alike = [i for i in places if tokens[i][0].isalpha() == tokens[at][0].isalpha()]
    tokens[at] = tokens[random.choice(alike)]


def _number(tokens: list[str], at: int, places: list[int], random: random.Random) -> None:
    numbers = [i for i in places if tokens[i][0].isdigit()]
    tokens[random.choice(numbers or [at])] = random.choice(_NUMBERS.split())


def _word(tokens: list[str], at: int, places: list[int], random: random.Random) -> None:
    names = [i for i in places if tokens[i][0].isalpha()]
    tokens[random.choice(names or [at])] = random.choice(_WORDS.split())


def _misspell(tokens: list[str], at: int, places: list[int], random: random.Random) -> None:
    word = tokens[at]
    cut = random.randrange(len(word))
    tokens[at] = word[:cut] + word[cut + 1 :]


_CHANGES = (_delete, _double, _swap, _copy, _copy, _number, _number, _word, _misspell)
