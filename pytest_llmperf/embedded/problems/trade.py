"""Families about money and goods: shopping, change, percent, mixtures, saving, stock."""

from __future__ import annotations

from pytest_llmperf.embedded.problems.sheet import Sheet
from pytest_llmperf.embedded.problems.words import GOODS, GRAINS, NAMES, PLACES


def shopping(s: Sheet) -> tuple[str, int]:
    """Several goods at a price each, perhaps a delivery fee or a voucher; asks for the total."""
    name, goods = s.pick(NAMES), s.picks(GOODS, 3)
    kinds = s.deep(1, 1, 2, 2, 3, 2)
    parts = [s.factors() for _ in range(kinds)]
    listing = [f"{n} {g} at {p} coins each" for (n, p), g in zip(parts, goods, strict=False)]
    joined = listing[0] if kinds == 1 else ", ".join(listing[:-1]) + " and " + listing[-1]
    extra, kind = s.amount(-1), "none"
    text = s.pick(
        (
            f"{name} buys {joined}.",
            f"At the market {name} pays for {joined}.",
            f"A shop sells {name} {joined}.",
        )
    )
    costs = [s.mul(g.capitalize(), n, p) for (n, p), g in zip(parts, goods, strict=False)]
    if s.level >= 2:
        kind = s.pick(("fee", "voucher")) if sum(costs) > extra else "fee"
    total = costs[0] if kinds == 1 else s.add("Together", *costs)
    if kind == "fee":
        text += s.pick(
            (f" Delivery costs {extra} coins.", f" Sending everything home costs {extra} coins more.")
        )
        total = s.add("With delivery", total, extra)
    elif kind == "voucher":
        text += s.pick(
            (f" A voucher takes {extra} coins off.", f" The seller takes {extra} coins off the price.")
        )
        total = s.sub("After the voucher", total, extra)
    text += s.pick((" What is the total?", f" How many coins does {name} pay?", " How much is that in all?"))
    return text, total


def change(s: Sheet) -> tuple[str, int]:
    """Pays with notes and gets money back; asks for the change."""
    name, good, other = s.pick(NAMES), *s.picks(GOODS, 2)
    n, p = s.factors(-1 if s.level == 6 else 0)
    q = s.amount(-1)
    cost = s.mul(good.capitalize(), n, p)
    second = s.level >= 3
    if second:
        cost = s.add(f"With the {other}", cost, q)
    note = s.pick((10, 20, 50, 100, 500, 1000, 5000))
    count = cost // note + s.between(1, 3)
    bag = f"{n} {good} at {p} coins each" + (f" and some {other} for {q} coins" if second else "")
    text = s.pick(
        (
            f"{name} buys {bag} and pays with {count} notes of {note} coins. What change does {name} get?",
            f"{name} has {count} notes of {note} coins and buys {bag}. How many coins come back?",
            f"To pay for {bag}, {name} hands over {count} notes of {note} coins each. What is the change?",
        )
    )
    paid = s.mul("Paid", count, note)
    return text, s.sub("Change", paid, cost)


def percent(s: Sheet) -> tuple[str, int]:
    """A price rises or falls by a percentage, once or twice; asks for the price or the difference."""
    good, place = s.pick(GOODS), s.pick(PLACES)
    rate = s.pick((10, 20, 50, 25)) if s.level <= 2 else s.pick((5, 15, 30, 35, 40, 45, 60, 75, 12, 18, 8, 6))
    unit = {1: 20, 2: 20, 3: 100, 4: 100, 5: 100, 6: 100}[s.level]
    base = unit * s.between(*((1, 9), (3, 15), (2, 19), (11, 99), (101, 499), (1001, 9999))[s.level - 1])
    share = s.percent(f"{rate} percent", base, rate)
    if s.level == 1:
        text = s.pick(
            (
                f"The {place} has {base} {good} and sells {rate} percent of them. How many are sold?",
                f"Of {base} {good} in the {place}, {rate} percent are new. How many are new?",
                f"What is {rate} percent of {base} {good}?",
            )
        )
        return text, share
    up = s.chance(0.5)
    after = s.add("New number", base, share) if up else s.sub("New number", base, share)
    moved = "rises" if up else "falls"
    if s.level <= 2:
        return s.pick(
            (
                f"The number of {good} in the {place}, {base}, {moved} by {rate} percent. What is it now?",
                f"The {place} had {base} {good}. The number {moved} by {rate} percent. How many are there?",
                f"A price of {base} coins {moved} by {rate} percent. What is the new price?",
            )
        ), after
    n = s.between(*((2, 5), (2, 9), (3, 12), (11, 99))[s.level - 3])
    text = s.pick(
        (
            f"One of the {good} is {base} coins. The price {moved} by {rate} percent. What do {n} cost?",
            f"The {place} sells {good} at {base} coins; it {moved} by {rate} percent. What do {n} cost?",
            f"The price, {base} coins, {moved} by {rate} percent. What do {n} {good} cost?",
        )
    )
    return text, s.mul(good.capitalize(), after, n)


def mixture(s: Sheet) -> tuple[str, int]:
    """Two or three sorts at different prices are mixed; asks for the value or the price of one kilogram."""
    one, two = s.picks(GRAINS, 2)
    name = s.pick(NAMES)
    if s.level <= 2:
        (n, p), (m, q) = s.factors(), s.factors()
        first, second = f"{n} kg of {one} at {p} coins per kg", f"{m} kg of {two} at {q} coins per kg"
        text = s.pick(
            (
                f"{name} mixes {first} with {second}. What is the mixture worth?",
                f"A bag holds {first} and {second}. What is its value in coins?",
                f"How much do {first} and {second} cost together?",
            )
        )
        return text, s.add("Together", s.mul(one.capitalize(), n, p), s.mul(two.capitalize(), m, q))
    weight, price = s.factors(-1)
    price += weight  # so that the cheaper sort, price - lift * n, still costs something
    n = s.between(1, weight - 1)
    m, lift = weight - n, s.between(1, 3) if price > 3 * weight else 1
    p, q = price + lift * m, price - lift * n
    first, second = f"{n} kg of {one} at {p} coins per kg", f"{m} kg of {two} at {q} coins per kg"
    text = s.pick(
        (
            f"{name} mixes {first} with {second}. What does one kg of the mixture cost?",
            f"A blend has {first} and {second}. Find its price per kg.",
            f"Someone mixes {first} and {second}. What is one kg worth?",
        )
    )
    total = s.add("Value", s.mul(one.capitalize(), n, p), s.mul(two.capitalize(), m, q))
    return text, s.div("Price per kg", total, s.add("Weight", n, m))


def saving(s: Sheet) -> tuple[str, int]:
    """Money is put aside every day or week and partly spent; asks what is left or what is missing."""
    name = s.pick(NAMES)
    n, rate = s.factors()
    start, spent = s.amount(), s.amount(-1)
    saved = s.mul("Saved", n, rate)
    if s.level == 1:
        return s.pick(
            (
                f"{name} saves {rate} coins a week for {n} weeks. How many coins is that?",
                f"Each day {name} puts {rate} coins aside. How many coins are there after {n} days?",
                f"For {n} months {name} saves {rate} coins a month. How much is saved?",
            )
        ), saved
    have = s.add("With the start", saved, start)
    text = s.pick(
        (
            f"{name} has {start} coins and saves {rate} coins a week for {n} weeks.",
            f"Starting with {start} coins, {name} puts aside {rate} coins on each of {n} days.",
            f"{name} owns {start} coins and earns {rate} coins a month for {n} months.",
        )
    )
    if s.level >= 3 and spent < have:
        text += s.pick((f" Then {name} spends {spent} coins.", f" A bill takes {spent} coins away."))
        have = s.sub("After spending", have, spent)
    if s.level >= 4:
        goal = have + s.amount()
        text += s.pick(
            (f" How many coins are missing to reach {goal}?", f" The goal is {goal} coins. How far is it?")
        )
        return text, s.sub("Missing", goal, have)
    return text + s.pick((f" How many coins does {name} have?", " What is there in the end?")), have


def stock(s: Sheet) -> tuple[str, int]:
    """Goods come in and go out several times; asks how many are there at the end."""
    place, good = s.pick(PLACES), s.pick(GOODS)
    now = s.amount()
    text = s.pick(
        (
            f"The {place} has {now} {good}.",
            f"There are {now} {good} in the {place}.",
            f"On Monday the {place} keeps {now} {good}.",
        )
    )
    for _ in range(s.deep(1, 2, 3, 4, 5, 5)):
        n = s.amount(-1 if s.chance(0.5) else 0)
        if s.chance(0.5) and n < now:
            text += s.pick((f" Then {n} are sold.", f" {n} of them go out.", f" It loses {n}."))
            now = s.sub("Left", now, n)
        else:
            text += s.pick((f" Then {n} more arrive.", f" {n} new ones come in.", f" It gets another {n}."))
            now = s.add("Now", now, n)
    return text + s.pick((f" How many {good} are there now?", " How many are there at the end?")), now
