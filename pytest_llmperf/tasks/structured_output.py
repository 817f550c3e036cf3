"""Generated texts to be filled into forms: schemas from flat to nested, with enums, formats, unions and bounds.

Every text holds each value in the words that the form asks for, so that there is one right answer. Every string has an
end: under a grammar without one (``"format": "email"``) a weak model writes until its limit. Only strings without a
format or pattern have a length in their schema, since xgrammar knows no length beside these.
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_llmperf.tasks.grading.structured import grade_structured
from pytest_llmperf.tasks.task import Item, Task

_SEED = 2026
_COUNT = 480
_NAMES = (
    "Ana Lopez",
    "Ben Carter",
    "Chloe Martin",
    "David Okoro",
    "Emma Novak",
    "Farid Haddad",
    "Grace Kim",
    "Hugo Silva",
)
_CITIES = ("Lisbon", "Oslo", "Nairobi", "Lima", "Osaka", "Toronto", "Vienna", "Auckland")
_GOODS = ("desk lamp", "water bottle", "notebook", "phone charger", "rain jacket", "coffee grinder")
_COLOURS = ("red", "green", "blue", "black", "white")

Values = Mapping[str, Any]
Case = tuple[str, Values, Values]
"""The text, the schema's properties (or a whole schema), the right answer."""


def _text(most: int = 40) -> Values:
    return {"type": "string", "minLength": 1, "maxLength": most}


def _whole(low: int, high: int) -> Values:
    return {"type": "integer", "minimum": low, "maximum": high}


def _form(properties: Values, optional: Sequence[str] = ()) -> Values:
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def _date(chance: random.Random) -> str:
    return f"20{chance.randint(24, 29)}-{chance.randint(1, 12):02}-{chance.randint(1, 28):02}"


def _email(name: str) -> str:
    return f"{name.lower().replace(' ', '.')}@example.org"


def _contact(chance: random.Random) -> Case:
    name, born = chance.choice(_NAMES), _date(chance)
    number = str(uuid.UUID(int=chance.getrandbits(128), version=4))
    text = f"{name} has the customer number {number}, writes from {_email(name)} and joined on {born}."
    properties = {
        "name": _text(),
        "email": {"type": "string", "pattern": r"^[a-z]{2,12}\.[a-z]{2,12}@example\.org$"},
        "customer_number": {"type": "string", "format": "uuid"},
        "joined": {"type": "string", "format": "date"},
    }
    answer = {"name": name, "email": _email(name), "customer_number": number, "joined": born}
    return text, _form(properties), answer


def _product(chance: random.Random) -> Case:
    goods, colour = chance.choice(_GOODS), chance.choice(_COLOURS)
    stock, cents, sold = chance.randint(0, 900), chance.randint(100, 9999), chance.random() < 0.5
    text = (
        f"We list a {colour} {goods}. There are {stock} of them in stock, each costs {cents} cents, and it is "
        f"{'on sale' if sold else 'not on sale'}."
    )
    properties = {
        "product": {"type": "string", "enum": list(_GOODS)},
        "colour": {"type": "string", "enum": list(_COLOURS)},
        "stock": _whole(0, 999),
        "price_cents": _whole(1, 9999),
        "on_sale": {"type": "boolean"},
    }
    answer = {"product": goods, "colour": colour, "stock": stock, "price_cents": cents, "on_sale": sold}
    return text, _form(properties), answer


def _order(chance: random.Random) -> Case:
    name, city = chance.choice(_NAMES), chance.choice(_CITIES)
    lines = [(goods, chance.randint(1, 9)) for goods in chance.sample(_GOODS, chance.randint(1, 3))]
    listed = "; ".join(f"{count} × {goods}" for goods, count in lines)
    text = f"{name} from {city} orders, in this order: {listed}."
    line = _form({"product": {"type": "string", "enum": list(_GOODS)}, "quantity": _whole(1, 9)})
    properties = {
        "customer": _form({"name": _text(), "city": _text()}),
        "lines": {"type": "array", "items": line, "minItems": 1, "maxItems": 3},
    }
    answer = {
        "customer": {"name": name, "city": city},
        "lines": [{"product": goods, "quantity": count} for goods, count in lines],
    }
    return text, _form(properties), answer


def _event(chance: random.Random) -> Case:
    title = f"{chance.choice(_CITIES)} planning meeting"
    day, room, seats = _date(chance), chance.randint(100, 399), chance.randint(4, 60)
    online = _form({"kind": {"const": "online"}, "channel": {"type": "string", "enum": ["video", "phone"]}})
    on_site = _form({"kind": {"const": "on-site"}, "room": _whole(100, 399), "seats": _whole(1, 99)})
    place: Values
    if chance.random() < 0.5:
        channel = chance.choice(("video", "phone"))
        where, place = f"online, by {channel}", {"kind": "online", "channel": channel}
    else:
        where = f"on-site, in room {room} with {seats} seats"
        place = {"kind": "on-site", "room": room, "seats": seats}
    properties = {
        "title": _text(),
        "date": {"type": "string", "format": "date"},
        "place": {"anyOf": [online, on_site]},
    }
    text = f'The "{title}" is on {day}, {where}.'
    return text, _form(properties), {"title": title, "date": day, "place": place}


def _patient(chance: random.Random) -> Case:
    """Optional fields: what the text does not say is left out, and what it denies is null."""
    name, age = chance.choice(_NAMES), chance.randint(18, 90)
    allergy = chance.choice((None, "pollen", "nuts", "latex"))
    weight = chance.choice((None, chance.randint(45, 110)))
    text = f"{name} is {age} years old and has {'no allergy' if allergy is None else f'an allergy to {allergy}'}."
    properties: dict[str, Values] = {
        "name": _text(),
        "age": _whole(0, 120),
        "allergy": {"type": ["string", "null"], "enum": ["pollen", "nuts", "latex", None]},
        "weight_kg": _whole(20, 250),
    }
    answer: dict[str, Any] = {"name": name, "age": age, "allergy": allergy}
    if weight is not None:
        text += f" The weight is {weight} kg."
        answer["weight_kg"] = weight
    return text, _form(properties, optional=["weight_kg"]), answer


def _shipment(chance: random.Random) -> Case:
    start, end = chance.sample(_CITIES, 2)
    size = [chance.randint(5, 80) for _ in range(3)]
    grams, speed = chance.randint(100, 20000), chance.choice(("standard", "express"))
    insured = chance.random() < 0.5
    text = (
        f"A parcel goes from {start} to {end} by {speed} delivery. It measures {size[0]} by {size[1]} by {size[2]} cm, "
        f"weighs {grams} g, and is {'insured' if insured else 'not insured'}."
    )
    parcel = _form(
        {
            "size_cm": {"type": "array", "items": _whole(1, 99), "minItems": 3, "maxItems": 3},
            "weight_g": _whole(1, 20000),
        }
    )
    route = _form(
        {"from": {"type": "string", "enum": list(_CITIES)}, "to": {"type": "string", "enum": list(_CITIES)}}
    )
    service = _form(
        {"speed": {"type": "string", "enum": ["standard", "express"]}, "insured": {"type": "boolean"}}
    )
    answer = {
        "shipment": {
            "route": {"from": start, "to": end},
            "parcel": {"size_cm": size, "weight_g": grams},
            "service": {"speed": speed, "insured": insured},
        }
    }
    properties = {"shipment": _form({"route": route, "parcel": parcel, "service": service})}
    return text, _form(properties), answer


FAMILIES: Mapping[str, Callable[[random.Random], Case]] = {
    "contact": _contact,
    "product": _product,
    "order": _order,
    "event": _event,
    "patient": _patient,
    "shipment": _shipment,
}


@dataclass(frozen=True)
class Forms:
    """Drawn from ``seed``: the same on any machine, nothing to fetch."""

    seed: int = _SEED
    count: int = _COUNT
    sha256: str | None = None

    def items(self, data_dir: Path | None) -> Sequence[Item]:
        del data_dir
        names = list(FAMILIES)
        return [self._item(names[number % len(names)], number) for number in range(self.count)]

    def _item(self, family: str, number: int) -> Item:
        text, schema, answer = FAMILIES[family](random.Random(f"forms/{self.seed}/{number}"))
        prompt = (
            "Fill in the form with what the text says. Reply with the JSON object alone, without any other text. "
            f"It has to follow this JSON Schema:\n{json.dumps(schema)}\n\nText: {text}"
        )
        named: dict[str, Any] = {"name": family, "schema": schema, "strict": True}
        return Item(
            f"{family}-{number}",
            prompt,
            json.dumps(answer, ensure_ascii=False),
            {"family": family},
            response_format={"type": "json_schema", "json_schema": named},
        )

    def describe(self) -> str:
        return f"{self.count} generated forms, seed {self.seed}"


STRUCTURED_OUTPUT = Task(
    name="structured_output",
    source=Forms(),
    max_tokens=512,
    message_grader=grade_structured,
)
