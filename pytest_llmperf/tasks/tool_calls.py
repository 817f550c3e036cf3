"""Generated requests with tools: the right one of several, none needed, several calls at once, nested arguments."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_llmperf.json_values import JsonObject, object_of
from pytest_llmperf.tasks.grading.tool_calls import grade_tool_calls
from pytest_llmperf.tasks.task import Item, Task

_SEED = 2026
_COUNT = 480
_CITIES = ("Lisbon", "Oslo", "Nairobi", "Lima", "Osaka", "Toronto", "Vienna", "Auckland")
_CURRENCIES = ("EUR", "USD", "JPY", "CHF", "BRL")
_LANGUAGES = ("French", "German", "Japanese", "Spanish")
_PEOPLE = ("Ana", "Ben", "Chloe", "David", "Emma", "Farid")

Call = tuple[str, Mapping[str, Any]]
Case = tuple[str, list[Call]]
"""The user's request, and the calls that answer it."""


def _tool(
    name: str, description: str, properties: Mapping[str, Any], optional: Sequence[str] = ()
) -> JsonObject:
    parameters: JsonObject = {
        "type": "object",
        "properties": properties,
        "required": [key for key in properties if key not in optional],
        "additionalProperties": False,
    }
    function: JsonObject = {"name": name, "description": description, "parameters": parameters}
    return {"type": "function", "function": function}


def _text(description: str, most: int = 60) -> JsonObject:
    return {"type": "string", "minLength": 1, "maxLength": most, "description": description}


def _whole(description: str, low: int, high: int) -> JsonObject:
    return {"type": "integer", "minimum": low, "maximum": high, "description": description}


def _one_of(description: str, values: Sequence[str]) -> JsonObject:
    return {"type": "string", "enum": list(values), "description": description}


_DATE = {"type": "string", "format": "date", "description": "as YYYY-MM-DD"}
_EMAIL = {"type": "string", "format": "email"}
_SKU = {"type": "string", "pattern": "^[A-Z]{3}-[0-9]{3}$", "description": "number of the article"}
_LINE = {
    "type": "object",
    "properties": {"sku": _SKU, "quantity": _whole("how many", 1, 9)},
    "required": ["sku", "quantity"],
    "additionalProperties": False,
}
TOOLS: Mapping[str, JsonObject] = {
    "get_weather": _tool(
        "get_weather",
        "Weather of one city now",
        {
            "city": _text("name of the city", 30),
            "unit": _one_of("unit of temperatures", ("celsius", "fahrenheit")),
        },
    ),
    "convert_currency": _tool(
        "convert_currency",
        "Convert an amount of money at today's rate",
        {
            "amount": _whole("whole units of the source currency", 1, 99999),
            "source": _one_of("currency of the amount", _CURRENCIES),
            "target": _one_of("currency that is wanted", _CURRENCIES),
        },
    ),
    "set_timer": _tool(
        "set_timer", "Start a countdown", {"minutes": _whole("length of the countdown", 1, 600)}
    ),
    "translate": _tool(
        "translate",
        "Translate a text",
        {"text": _text("the text, unchanged"), "language": _one_of("target language", _LANGUAGES)},
    ),
    "get_order": _tool(
        "get_order",
        "State of an order",
        {"order_id": {"type": "string", "pattern": "^T-[0-9]{5}$", "description": "number of the order"}},
    ),
    "create_event": _tool(
        "create_event",
        "Put an event into the calendar",
        {
            "title": _text("title of the event"),
            "when": {
                "type": "object",
                "properties": {"date": _DATE, "hour": _whole("full hour of the day", 0, 23)},
                "required": ["date", "hour"],
                "additionalProperties": False,
            },
            "attendees": {"type": "array", "items": _EMAIL, "minItems": 1, "maxItems": 3},
        },
    ),
    "add_to_cart": _tool(
        "add_to_cart",
        "Put articles into the shopping cart, in the order in which they are named",
        {"lines": {"type": "array", "items": _LINE, "minItems": 1, "maxItems": 3}},
    ),
}
_UNRELATED = (
    "Which is larger, an elephant or a mouse?",
    "Write one sentence about the sea.",
    "What is the opposite of hot?",
    "How many legs does a spider have?",
    "Tell me a word that rhymes with moon.",
    "Is ice colder than steam?",
    "Name a fruit that is yellow.",
    "What colour do blue and yellow give when they are mixed?",
)
_BEFORE = (
    "",
    "Hello! ",
    "Good morning. ",
    "A short question: ",
    "Thanks for your help so far. ",
    "I am curious: ",
)
_AFTER = ("", " Please answer in one sentence.", " A short answer will do.", " I am asking for a friend.")


def _weather(chance: random.Random, city: str) -> Call:
    return "get_weather", {"city": city, "unit": chance.choice(("celsius", "fahrenheit"))}


def _single(chance: random.Random) -> Case:
    kind = chance.randrange(5)
    if kind == 0:
        call = _weather(chance, chance.choice(_CITIES))
        return f"What is the weather in {call[1]['city']} now, in degrees {call[1]['unit'].title()}?", [call]
    if kind == 1:
        amount, (source, target) = chance.randint(2, 9999), chance.sample(_CURRENCIES, 2)
        asked = f"How much are {amount} {source} in {target}?"
        return asked, [("convert_currency", {"amount": amount, "source": source, "target": target})]
    if kind == 2:
        minutes = chance.randint(2, 120)
        return f"Wake me in {minutes} minutes, please: start a timer.", [("set_timer", {"minutes": minutes})]
    if kind == 3:
        text = f"{chance.choice(_PEOPLE)} arrives in {chance.choice(_CITIES)} tomorrow."
        language = chance.choice(_LANGUAGES)
        return f'Translate "{text}" into {language}.', [("translate", {"text": text, "language": language})]
    number = f"T-{chance.randint(0, 99999):05}"
    return f"Where is my order {number}?", [("get_order", {"order_id": number})]


def _nested(chance: random.Random) -> Case:
    if chance.random() < 0.5:
        title = f"{chance.choice(_CITIES)} review"
        date, hour = f"2027-{chance.randint(1, 12):02}-{chance.randint(1, 28):02}", chance.randint(8, 17)
        mails = [f"{name.lower()}@example.org" for name in chance.sample(_PEOPLE, chance.randint(1, 3))]
        arguments = {"title": title, "when": {"date": date, "hour": hour}, "attendees": mails}
        asked = f'Put "{title}" into the calendar for {date} at {hour}:00 and invite {", ".join(mails)}, in this order.'
        return asked, [("create_event", arguments)]
    skus = [
        f"{''.join(chance.sample('ABCDEFGH', 3))}-{chance.randint(0, 999):03}"
        for _ in range(chance.randint(1, 3))
    ]
    lines = [{"sku": sku, "quantity": chance.randint(1, 9)} for sku in skus]
    listed = ", then ".join(f"{line['quantity']} of {line['sku']}" for line in lines)
    return f"Add these to my cart all at once: {listed}.", [("add_to_cart", {"lines": lines})]


def _parallel(chance: random.Random) -> Case:
    cities, unit = chance.sample(_CITIES, chance.randint(2, 3)), chance.choice(("celsius", "fahrenheit"))
    asked = (
        f"Compare the weather in {', '.join(cities[:-1])} and {cities[-1]} now, in degrees {unit.title()}."
    )
    return asked, [("get_weather", {"city": city, "unit": unit}) for city in cities]


def _none(chance: random.Random) -> Case:
    return f"{chance.choice(_BEFORE)}{chance.choice(_UNRELATED)}{chance.choice(_AFTER)}", []


FAMILIES: Mapping[str, Callable[[random.Random], Case]] = {
    "single": _single,
    "none": _none,
    "nested": _nested,
    "parallel": _parallel,
}


def _strict(tool: JsonObject) -> JsonObject:
    """The tool with ``strict``: the server has to keep the arguments to its schema."""
    return {**tool, "function": {**object_of(tool["function"]), "strict": True}}


@dataclass(frozen=True)
class ToolRequests:
    """Drawn from ``seed``: the same on any machine, nothing to fetch.

    ``forced``: only requests that one call answers, and which the server is told to make (``tool_choice``), with
    ``strict`` tools: without it vLLM 0.32 lets the arguments be any JSON value.
    """

    seed: int = _SEED
    count: int = _COUNT
    forced: bool = False
    sha256: str | None = None

    def items(self, data_dir: Path | None) -> Sequence[Item]:
        del data_dir
        families = ["single", "nested"] if self.forced else list(FAMILIES)
        items = [self._item(families[number % len(families)], number) for number in range(self.count)]
        return list({(item.prompt, str(item.tools)): item for item in items}.values())

    def _item(self, family: str, number: int) -> Item:
        chance = random.Random(f"tools/{self.seed}/{number}")
        asked, calls = FAMILIES[family](chance)
        needed = sorted({name for name, _ in calls})
        others = [name for name in TOOLS if name not in needed]
        names = needed + chance.sample(others, chance.randint(2, 4))
        chance.shuffle(names)
        answer = [{"name": name, "arguments": arguments} for name, arguments in calls]
        item = Item(
            f"{family}-{number}",
            asked,
            json.dumps(answer, ensure_ascii=False),
            {"family": family},
            tools=[TOOLS[name] for name in names],
        )
        if not self.forced:
            return item
        choice: JsonObject = {"type": "function", "function": {"name": needed[0]}}
        return dataclasses.replace(item, tools=[_strict(TOOLS[name]) for name in names], tool_choice=choice)

    def describe(self) -> str:
        return f"{self.count} generated requests with {'forced calls' if self.forced else 'tools'}, seed {self.seed}"


TOOL_CALLS = Task(name="tool_calls", source=ToolRequests(), max_tokens=512, message_grader=grade_tool_calls)
FORCED_TOOL_CALLS = Task(
    name="forced_tool_calls",
    source=ToolRequests(forced=True),
    max_tokens=512,
    message_grader=grade_tool_calls,
)
