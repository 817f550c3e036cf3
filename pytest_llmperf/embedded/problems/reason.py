"""Families about relations between numbers: ratio, ages, sharing, sequence, comparison, average."""

from __future__ import annotations

from pytest_llmperf.embedded.problems.sheet import Sheet
from pytest_llmperf.embedded.problems.words import GOODS, NAMES, PLACES


def ratio(s: Sheet) -> tuple[str, int]:
    """A total is shared in a ratio; asks for one part, or for the difference of the parts."""
    one, two = s.picks(NAMES, 2)
    good = s.pick(GOODS)
    a, b = s.between(1, 3 + s.level), s.between(2, 4 + s.level)
    unit = s.factors()[1]
    parts = s.add("Parts", a, b)
    each = s.div("One part", parts * unit, parts)
    text = s.pick(
        (
            f"{one} and {two} share {parts * unit} {good} in the ratio {a} to {b}.",
            f"{parts * unit} {good} are split between {one} and {two} as {a} to {b}.",
            f"For every {a} {good} of {one}, {two} gets {b}; there are {parts * unit} {good}.",
        )
    )
    if s.level >= 4:
        share = s.mul(one, a, each)
        price = s.between(*((2, 9), (11, 60), (101, 499))[s.level - 4])
        text += s.pick(
            (
                f" {one} sells that share at {price} coins each. How many coins is that?",
                f" What does {one} get for this share at {price} coins each?",
            )
        )
        return text, s.mul("Coins", share, price)
    if s.level == 3 and a != b:
        text += s.pick((" How many more does one get than the other?", " How large is the difference?"))
        return text, s.mul("Difference", s.sub("Parts apart", max(a, b), min(a, b)), each)
    return text + s.pick((f" How many does {one} get?", f" What is the share of {one}?")), s.mul(one, a, each)


def ages(s: Sheet) -> tuple[str, int]:
    """Ages (or years) that depend on each other; asks for a later age or a sum."""
    one, two, three = s.picks(NAMES, 3)
    old = s.between(*((3, 12), (4, 30), (12, 40), (21, 99), (101, 400), (1001, 4000))[s.level - 1])
    older = s.amount(-1)
    unit = "years" if s.level <= 4 else "days"
    text = s.pick(
        (
            f"{one} is {old} {unit} old. {two} is {older} {unit} older.",
            f"{two} is {older} {unit} older than {one}, who is {old} {unit} old.",
        )
    )
    second = s.add(two, old, older)
    if s.level == 1:
        return text + s.pick((f" How old is {two}?", f" What is the age of {two}?")), second
    if s.level == 2:
        later = s.between(2, 30)
        text += s.pick(
            (
                f" How old will {two} be {later} {unit} later?",
                f" What is the age of {two} after {later} {unit}?",
            )
        )
        return text, s.add("Later", second, later)
    times = s.between(*((2, 4), (3, 9), (12, 40), (101, 400))[s.level - 3])
    text += s.pick(
        (f" {three} is {times} times as old as {two}.", f" {three} has {times} times the age of {two}.")
    )
    third = s.mul(three, second, times)
    if s.level == 3:
        return text + f" How old is {three}?", third
    total = s.add("Sum", old, second, third)
    if s.level == 4:
        return text + s.pick((" What is the sum of their ages?", " How old are the three together?")), total
    less = s.amount(-2)
    text += s.pick(
        (
            f" From the sum of their ages {less} is taken away. What is left?",
            f" What is the sum of their ages less {less}?",
        )
    )
    return text, s.sub("Less", total, less)


def sharing(s: Sheet) -> tuple[str, int]:
    """Goods are shared out evenly; asks for a share, for what is left over, or for the boxes needed."""
    good, place = s.pick(GOODS), s.pick(PLACES)
    heads = s.between(*((2, 9), (3, 12), (4, 9), (11, 25), (12, 60), (101, 400))[s.level - 1])
    share = s.between(*((2, 10), (5, 40), (21, 120), (21, 199), (101, 999), (101, 999))[s.level - 1])
    rest = 0 if s.level == 1 else s.between(0, heads - 1)
    total = heads * share + rest
    if s.level <= 2:
        q, r = s.divmod("Each", total, heads)
        text = s.pick(
            (
                f"{total} {good} are shared evenly by {heads} children.",
                f"{heads} friends share {total} {good} evenly.",
                f"The {place} packs {total} {good} into boxes of {heads}.",
            )
        )
        if s.level == 1 or s.chance(0.5):
            return text + s.pick(
                (
                    " How many does each get, or how many full boxes are there?",
                    " How many is that each, or how many full boxes?",
                )
            ), q
        return text + s.pick((" How many are left over?", " What is the remainder?")), r
    used = s.amount(-1)
    whole = total + used
    text = s.pick(
        (
            f"The {place} has {whole} {good}. {used} are broken, {heads} children share the others evenly.",
            f"Of {whole} {good}, {used} are kept. {heads} friends share the rest evenly.",
        )
    )
    q, r = s.divmod("Each", s.sub("To share", whole, used), heads)
    if s.level >= 4:
        price = s.between(*((2, 9), (11, 40), (101, 400))[s.level - 4])
        text += s.pick(
            (
                f" One of them sells such a share at {price} coins each. How many coins is that?",
                f" What is one share worth at {price} coins each?",
            )
        )
        return text, s.mul("Worth", q, price)
    if s.chance(0.5):
        return text + s.pick((" How many does each get?", " How large is one share?")), q
    return text + s.pick((" How many are left over?", " How many remain?")), r


def sequence(s: Sheet) -> tuple[str, int]:
    """Something grows by a constant step, or doubles; asks for a later value or for a sum."""
    name, good = s.pick(NAMES), s.pick(GOODS)
    first = s.amount(-1)
    step = s.factors()[0] if s.level < 6 else s.between(101, 999)
    if s.level <= 2 and s.chance(0.4):
        start = s.between(2, 9 * s.level)
        text = s.pick(
            (
                f"A number starts at {start} and doubles {s.level + 1} times. What is it then?",
                f"{name} has {start} {good}, which double each day. How many after {s.level + 1} days?",
            )
        )
        for _ in range(s.level + 1):
            start = s.mul("Doubled", start, 2)
        return text, start
    nth = s.between(*((3, 6), (5, 15), (11, 40), (21, 99), (51, 99), (101, 499))[s.level - 1])
    text = s.pick(
        (
            f"A sequence starts with {first} and grows by {step} each time.",
            f"{name} makes {first} {good} on the first day and {step} more on each later day.",
            f"The first number is {first}; every next number is {step} larger.",
        )
    )
    growth = s.mul("Growth", s.sub("Steps", nth, 1), step)
    last = s.add("Last", first, growth)
    if s.level <= 3:
        return text + s.pick((f" What is number {nth}?", f" How many is it on day {nth}?")), last
    if s.level == 4:
        text += s.pick(
            (f" What are the first and number {nth} together?", f" Add number 1 and number {nth}.")
        )
        return text, s.add("Together", first, last)
    nth += nth % 2  # an even count keeps the half of the sum whole
    s.lines.clear()
    last = s.add("Last", first, s.mul("Growth", s.sub("Steps", nth, 1), step))
    pair = s.add("Pair", first, last)
    text += s.pick(
        (f" What is the sum of the first {nth} numbers?", f" How many is that in all after {nth} days?")
    )
    return text, s.mul("Sum", pair, nth // 2)


def comparison(s: Sheet) -> tuple[str, int]:
    """Some have more, fewer, or several times as many as others; asks for one or for all together."""
    people, good = s.picks(NAMES, 4), s.pick(GOODS)
    have = s.amount()
    text = s.pick((f"{people[0]} has {have} {good}.", f"{people[0]} owns {have} {good}."))
    everyone = [have]
    for i in range(s.deep(1, 1, 2, 2, 3, 3)):
        before, now = people[i], people[i + 1]
        d = s.amount(-1)
        kind = s.pick(("more", "fewer", "times")) if s.level >= 2 else s.pick(("more", "fewer"))
        if kind == "times":
            t = s.between(*((2, 4), (2, 9), (3, 9), (3, 9), (12, 99))[s.level - 2])
            text += f" {now} has {t} times as many as {before}."
            have = s.mul(now, have, t)
        elif kind == "more" or d >= have:
            text += s.pick(
                (f" {now} has {d} more than {before}.", f" {now} has as many as {before} and {d} more.")
            )
            have = s.add(now, have, d)
        else:
            text += s.pick((f" {now} has {d} fewer than {before}.", f" {now} has {d} less than {before}."))
            have = s.sub(now, have, d)
        everyone.append(have)
    if s.level == 1 or s.chance(0.2):
        return text + f" How many does {people[len(everyone) - 1]} have?", have
    return text + s.pick((" How many do they have together?", f" How many {good} are there in all?")), s.add(
        "Together", *everyone
    )


def average(s: Sheet) -> tuple[str, int]:
    """The mean of a few numbers, or the number that is missing for a wished mean."""
    place, count = s.pick(PLACES), s.deep(2, 3, 3, 4, 5, 5)
    mean = s.amount() + 3
    spread = max(2, mean // 3)
    values = [mean + s.between(-spread, spread) for _ in range(count - 1)]
    values.append(mean * count - sum(values))
    if values[-1] <= 0:  # an unlucky draw: start from the others' own level instead
        values[-1] += count * spread * count
        mean = sum(values) // count
    told = ", ".join(map(str, values[:-1]))
    if s.level <= 2 or s.chance(0.5):
        text = s.pick(
            (
                f"The {place} had {told} and {values[-1]} guests on {count} days. What is the mean?",
                f"Find the average of {told} and {values[-1]}.",
                f"The numbers are {told} and {values[-1]}. What is their mean?",
            )
        )
        return text, s.div("Mean", s.add("Sum", *values), count)
    text = s.pick(
        (
            f"The mean of {count} numbers is {mean}. All but one are {told}. What is the missing number?",
            f"The {place} had {told} guests. How many must come next for a mean of {mean} in {count} days?",
        )
    )
    wanted = s.mul("Needed", mean, count)
    return text, s.sub("Missing", wanted, s.add("Given", *values[:-1]) if count > 2 else values[0])
