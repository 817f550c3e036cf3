"""The small vocabulary of the problems: a 768-token vocabulary has to hold all of it."""

from __future__ import annotations

NAMES = (
    "Anna", "Ben", "Carla", "David", "Emma", "Felix", "Grace", "Hugo", "Ines", "Jonas", "Karim", "Lena",
    "Maya", "Noah", "Olga", "Pavel", "Rosa", "Sam", "Tara", "Wei",
)  # fmt: skip
GOODS = (
    "apples", "pens", "books", "lamps", "cups", "chairs", "shirts", "plants", "cakes", "maps", "clocks",
    "bags", "balls", "hats", "toys", "stamps",
)  # fmt: skip
PLACES = (
    "school",
    "market",
    "library",
    "museum",
    "factory",
    "hotel",
    "farm",
    "station",
    "harbour",
    "theatre",
)
VEHICLES = ("train", "bus", "truck", "ship", "car", "plane")
LIQUIDS = ("juice", "milk", "oil", "paint", "water", "syrup")
GRAINS = ("rice", "nuts", "tea", "sugar", "flour", "coffee")
FIELDS = ("garden", "field", "hall", "yard", "park", "roof")
COLOURS = ("red", "blue", "green", "yellow", "black", "white", "brown", "purple", "orange", "grey")
THINGS = ("box", "door", "locker", "room", "safe", "cart", "gate", "shelf", "desk", "chest")
