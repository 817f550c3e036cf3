"""Families about places, time and motion: travel, units, rates, clock, area, seats."""

from __future__ import annotations

from pytest_llmperf.embedded.problems.sheet import Sheet
from pytest_llmperf.embedded.problems.words import FIELDS, GOODS, LIQUIDS, NAMES, PLACES, VEHICLES


def travel(s: Sheet) -> tuple[str, int]:
    """One to three legs at a constant speed; asks for the distance, or for what remains."""
    name, vehicle, place = s.pick(NAMES), s.pick(VEHICLES), s.pick(PLACES)
    legs = [s.factors() for _ in range(s.deep(1, 1, 2, 2, 2, 2))]
    told = [f"{hours} hours at {speed} km per hour" for hours, speed in legs]
    gone = [
        s.mul("Leg" if len(legs) == 1 else ("First leg", "Second leg")[i], h, v)
        for i, (h, v) in enumerate(legs)
    ]
    total = gone[0] if len(gone) == 1 else s.add("Both legs", *gone)
    text = s.pick(
        (
            f"A {vehicle} goes {' and then '.join(told)}.",
            f"{name} drives {', then '.join(told)}.",
            f"On the way to the {place} a {vehicle} runs {' and '.join(told)}.",
        )
    )
    if s.level in (1, 3):
        return text + s.pick(
            (" How far is that?", " How many km is the trip?", " What is the distance?")
        ), total
    whole = total + s.amount()
    text += s.pick(
        (f" The whole way is {whole} km. How many km remain?", f" How many km are left of {whole} km?")
    )
    return text, s.sub("Left", whole, total)


_UNITS = (
    ("hours", "minutes", 60),
    ("minutes", "seconds", 60),
    ("weeks", "days", 7),
    ("dozens", "pieces", 12),
    ("days", "hours", 24),
    ("feet", "inches", 12),
    ("pounds", "ounces", 16),
    ("yards", "feet", 3),
)


def units(s: Sheet) -> tuple[str, int]:
    """A number of large units and a rest into small units, or twice in a row (weeks, days, hours)."""
    name = s.pick(NAMES)
    big, small, size = s.pick(_UNITS)
    n = s.between(*((2, 9), (6, 30), (21, 99), (101, 399), (401, 999), (1001, 9999))[s.level - 1])
    rest = s.between(1, size - 1)
    whole = s.mul(small.capitalize(), n, size)
    if s.level == 1:
        return s.pick(
            (
                f"How many {small} are {n} {big}?",
                f"{name} counts {n} {big}. How many {small} is that?",
                f"Change {n} {big} into {small}.",
            )
        ), whole
    whole = s.add("With the rest", whole, rest)
    if s.level <= 3:
        return s.pick(
            (
                f"How many {small} are {n} {big} and {rest} {small}?",
                f"{name} needs {n} {big} and {rest} {small}. How many {small} is that?",
                f"Change {n} {big} and {rest} {small} into {small}.",
            )
        ), whole
    times = s.between(*((3, 9), (11, 30), (31, 99))[s.level - 4])
    text = s.pick(
        (
            f"{name} needs {n} {big} and {rest} {small} for each of {times} tasks. How many {small} is that?",
            f"One piece takes {n} {big} and {rest} {small}. How many {small} do {times} pieces take?",
            f"{times} times {n} {big} and {rest} {small}: how many {small} is that in all?",
        )
    )
    return text, s.mul("In all", whole, times)


def rates(s: Sheet) -> tuple[str, int]:
    """Machines or taps at a constant rate; asks for the output, or for the time until a goal."""
    good, liquid = s.pick(GOODS), s.pick(LIQUIDS)
    hours, rate = s.factors()
    if s.level <= 2:
        made = s.mul("Made", hours, rate)
        return s.pick(
            (
                f"A machine makes {rate} {good} an hour. How many does it make in {hours} hours?",
                f"In one minute {rate} litres of {liquid} run into a tank. How many in {hours} minutes?",
                f"A worker packs {rate} {good} a day. How many are packed after {hours} days?",
            )
        ), made
    other = s.between(2, max(3, rate // 2))
    if s.chance(0.5):
        both = s.add("Both", rate, other)
        made = s.mul("Made", hours, both)
        text = s.pick(
            (
                f"One machine makes {rate} {good} an hour and another makes {other}.",
                f"Two workers pack {rate} and {other} {good} an hour.",
            )
        )
        if s.level <= 3:
            return text + s.pick(
                (f" How many do they make in {hours} hours?", f" What is the output of {hours} hours?")
            ), made
        spoiled = s.amount(-2)
        text += f" After {hours} hours {spoiled} are thrown away. How many good ones are there?"
        return text, s.sub("Good", made, spoiled)
    net = s.sub("Net", rate, other)
    total = hours * net
    text = s.pick(
        (
            f"Each minute {rate} litres of {liquid} run into a tank and {other} litres run out.",
            f"A tank gains {rate} litres of {liquid} a minute and loses {other} litres a minute.",
        )
    )
    if s.level >= 4:
        start = s.amount(-1)
        text += f" It holds {start} litres now. After how many minutes does it hold {start + total} litres?"
        return text, s.div("Minutes", s.sub("Needed", start + total, start), net)
    return text + f" After how many minutes does the empty tank hold {total} litres?", s.div(
        "Minutes", total, net
    )


def _clock(minutes: int) -> str:
    return f"{minutes // 60}:{minutes % 60:02d}"


def clock(s: Sheet) -> tuple[str, int]:
    """Two times of one day, with pauses or repetitions; asks for a number of minutes."""
    vehicle, name = s.pick(VEHICLES), s.pick(NAMES)
    if s.level == 1:
        start = 60 * s.between(6, 20)
        end = start + s.between(5, 55)
    else:
        start = s.between(5 * 60, 13 * 60)
        end = start + s.between(*((65, 170), (65, 400), (65, 600), (125, 640), (185, 650))[s.level - 2])
    begin = s.mul_add("Start", start // 60, 60, start % 60)
    finish = s.mul_add("End", end // 60, 60, end % 60)
    length = s.sub("Minutes", finish, begin)
    where = s.pick(
        (
            f"The {vehicle} leaves at {_clock(start)} and arrives at {_clock(end)}.",
            f"{name} works from {_clock(start)} to {_clock(end)}.",
            f"A film starts at {_clock(start)} and ends at {_clock(end)}.",
        )
    )
    if s.level <= 2:
        return where + s.pick((" How many minutes is that?", " How many minutes pass?")), length
    pause = s.between(5, 60)
    where += s.pick((f" Of that time {pause} minutes are a pause.", f" A break takes {pause} minutes of it."))
    length = s.sub("Without the break", length, pause)
    if s.level == 3:
        return where + s.pick((" How many minutes remain?", " How many minutes are left?")), length
    days = s.between(*((3, 9), (11, 30), (101, 365))[s.level - 4])
    where += s.pick(
        (
            f" This happens on {days} days. How many minutes is that in all?",
            f" How many minutes do {days} such days have?",
        )
    )
    return where, s.mul("In all", length, days)


def area(s: Sheet) -> tuple[str, int]:
    """Rectangles: perimeter, area, what is left of it, and the cost of covering it."""
    field, other = s.picks(FIELDS, 2)
    a, b = s.factors()
    if s.level <= 2 and s.chance(0.4):
        half = s.add("Two sides", a, b)
        return s.pick(
            (
                f"A {field} is {a} m wide and {b} m long. How long is the fence around it?",
                f"What is the distance around a {field} of {a} m by {b} m?",
            )
        ), s.mul("Around", half, 2)
    whole = s.mul("Area", a, b)
    text = s.pick((f"A {field} is {a} m wide and {b} m long.", f"A {field} measures {a} m by {b} m."))
    if s.level <= 2:
        return text + s.pick((" What is its area?", " How many square metres is it?")), whole
    c, d = s.factors(-2)
    inner = s.mul("Inner area", c, d)
    text += s.pick(
        (f" In it lies a {other} of {c} m by {d} m.", f" A {other} of {c} m by {d} m is taken out.")
    )
    if inner >= whole:
        rest = s.add("Together", whole, inner)
        text = text.replace("In it lies", "Beside it lies").replace("is taken out", "is added")
    else:
        rest = s.sub("Rest", whole, inner)
    if s.level <= 3:
        return text + s.pick((" What area is that now?", " How many square metres count?")), rest
    cost = s.between(*((2, 9), (3, 19), (11, 99))[s.level - 4])
    return text + f" Grass for what counts costs {cost} coins per square metre. What is the cost?", s.mul(
        "Cost", rest, cost
    )


def seats(s: Sheet) -> tuple[str, int]:
    """Rows of seats, several halls, some seats taken; asks for the free seats."""
    place, (rows, each) = s.pick(PLACES), s.factors()
    count = s.mul("Seats", rows, each)
    text = s.pick(
        (
            f"The {place} has {rows} rows of {each} seats.",
            f"In the {place} there are {rows} rows with {each} seats.",
            f"Each of the {rows} rows in the {place} has {each} seats.",
        )
    )
    if s.level == 1:
        return text + s.pick((" How many seats are there?", " What is the number of seats?")), count
    if s.level >= 4:
        halls = s.between(*((2, 9), (2, 9), (11, 30))[s.level - 4])
        count = s.mul("All halls", count, halls)
        text += s.pick((f" There are {halls} such halls.", f" The town has {halls} halls like this."))
    if s.level >= 3:
        more = s.amount(-1)
        count = s.add("With more", count, more)
        text += s.pick((f" They bring {more} more seats.", f" {more} seats are added."))
    taken = s.between(1, count - 1)
    text += s.pick((f" {taken} seats are taken.", f" People sit on {taken} of them."))
    return text + s.pick((" How many are free?", " How many seats are still free?")), s.sub(
        "Free", count, taken
    )
