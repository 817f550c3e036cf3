"""Read ``models.toml`` into a :class:`Catalog`, naming every mistake before anything starts."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pytest_llmperf.config import guests
from pytest_llmperf.config.address import Address
from pytest_llmperf.config.models import Catalog, Model, Profile
from pytest_llmperf.config.sizes import EMBEDDED, GPU, LEAST, Sizes
from pytest_llmperf.config.toml_errors import TomlTable, keys_of, nearest, read_toml
from pytest_llmperf.engines import vllm_arguments
from pytest_llmperf.engines.base import Engine
from pytest_llmperf.engines.registry import engine_named, engine_names
from pytest_llmperf.errors import CatalogError, UsageError
from pytest_llmperf.home import expand
from pytest_llmperf.json_values import Json, JsonObject, list_of, object_of

PROFILE_KEYS = tuple(key for key in keys_of(Profile) if key not in ("name", "file"))
ROW_KEYS = (
    "extends",
    *(key for key in keys_of(Model) if key not in ("name", "profile")),
    "add_arguments",
)
# What a server that we start can be given, and one that already runs can't.
_START_KEYS = (
    "engine_python",
    "arguments",
    "add_arguments",
    "environment",
    "damage",
    "generation_config",
    "memory_needed",
)
_PARALLEL = ("--tensor-parallel-size", "--pipeline-parallel-size", "--data-parallel-size")
_FILE_OPTIONS = (
    "--chat-template",
    "--tokenizer",
    "--hf-config-path",
    "--tool-parser-plugin",
    "--reasoning-parser-plugin",
)
_JSON_OBJECTS = ("--default-chat-template-kwargs", "--override-generation-config")


def load_catalog(path: Path) -> Catalog:
    """Read ``path``. Raises :class:`CatalogError`: one line with file, section, key, value and remedy."""
    path = Path(path)
    root = read_toml(path)
    root.only(("profile",))
    root.must_have("profile")
    tables = root.table("profile").tables()
    if not tables:
        raise root.mistake("profile", "holds no profile")
    return Catalog(path, {name: _profile(name, table, path.parent) for name, table in tables.items()})


def choose_profile(wanted: str | None, path: Path, *, has_cuda: Callable[[], bool]) -> Profile:
    """The profile that ``--llmperf-profile`` stands for.

    ``wanted`` is None (``gpu`` with a CUDA device, else ``embedded``), the name of a profile in the catalogue
    ``path``, or a file of the same shape as the catalogue: its only profile, else the one that the device
    asks for; ``FILE#NAME`` names one of several. ``has_cuda`` is asked only where the device decides.
    Raises :class:`CatalogError`.
    """
    catalog = load_catalog(path)
    if wanted is not None:
        is_file = wanted not in catalog.profiles and ("/" in wanted or ".toml" in wanted)
        file, _, name = wanted.partition("#") if is_file else ("", "", wanted)
        if is_file:
            catalog = load_catalog(Path(file))
        if name:
            return catalog.profile(name)
    if len(catalog.profiles) == 1:
        return next(iter(catalog.profiles.values()))
    cuda = has_cuda()
    for_device = "gpu" if cuda else "embedded"
    if for_device not in catalog.profiles:
        raise CatalogError(
            f"{catalog.path.name}: no profile {for_device!r} for a machine with{'' if cuda else 'out'} "
            f"a CUDA device; choose one of {', '.join(catalog.profiles)} with --llmperf-profile"
        )
    return catalog.profiles[for_device]


def _profile(name: str, table: TomlTable, base: Path) -> Profile:
    table.only(PROFILE_KEYS)
    table.must_have("candidate", "baseline", "model")
    rows = _Rows(name, base, table.table("model").tables())
    models = {row: rows.read(row) for row in rows.tables}
    for row, model in models.items():
        if model.same_model_as not in (None, *models):
            known = [other for other in models if other != row]
            raise rows.tables[row].mistake(
                "same_model_as", f"unknown row{nearest(str(model.same_model_as), known)}"
            )
    guests.check_together(rows.tables, models)
    own_sizes = table.table("sizes")
    default = GPU if table.values.get("needs_cuda") is True else EMBEDDED
    values = {
        **{key: value for key, value in table.values.items() if key != "model"},
        "name": name,
        "file": table.file,
        "sizes": {**dataclasses.asdict(default), **own_sizes.values},
    }
    profile = table.parse(Profile, values)
    for key in ("candidate", "baseline"):
        if table.values[key] not in models:
            raise table.mistake(key, f"unknown row{nearest(str(table.values[key]), models)}")
    return dataclasses.replace(profile, models=models, sizes=_sizes(own_sizes, profile.sizes, models))


def _sizes(table: TomlTable, sizes: Sizes, rows: Mapping[str, Model]) -> Sizes:
    """The profile's sizes, where those given in ``table`` can be judged and fit the rows."""
    for key, value in table.values.items():
        least = LEAST[key]
        if isinstance(value, int) and value < least:
            why = f"fewer than {least} rounds give no interval; need {least} or more"
            raise table.mistake(key, why if key == "rounds" else f"must be at least {least}")
    if "in_flight" in table and "most_in_flight" not in table:
        sizes = dataclasses.replace(sizes, most_in_flight=max(sizes.in_flight, sizes.most_in_flight))
    if sizes.most_in_flight < sizes.in_flight:
        raise table.mistake("most_in_flight", f"must be at least in_flight, which is {sizes.in_flight}")
    needed = sizes.prompt_tokens + sizes.answer_tokens
    for key in ("prompt_tokens", "answer_tokens"):
        for row in rows.values() if key in table else ():
            if row.max_model_len is not None and row.max_model_len < needed:
                raise table.mistake(
                    key,
                    f"a prompt of {sizes.prompt_tokens} and an answer of {sizes.answer_tokens} tokens need "
                    f"max_model_len = {needed}, the row {row.name} has {row.max_model_len}",
                )
    return sizes


@dataclass(frozen=True)
class _AddedArguments:
    add_arguments: tuple[str, ...] = ()


@dataclass
class _Rows:
    """The rows of a profile, each read after the row that it extends."""

    profile: str
    base: Path
    """Directory of the catalogue, to which its paths are relative."""
    tables: Mapping[str, TomlTable]
    values: dict[str, dict[str, Json]] = field(default_factory=dict)
    """As written, with everything that is inherited."""
    models: dict[str, Model] = field(default_factory=dict)

    def read(self, name: str, chain: tuple[str, ...] = ()) -> Model:
        """The row ``name``; ``chain`` are the rows that wait for it."""
        if name in self.models:
            return self.models[name]
        table = self.tables[name]
        table.only(ROW_KEYS)
        parent = None
        if "extends" in table:
            parent = self._other(table, "extends", (*chain, name))
        if (key := guests.host_key(table, parent)) is not None:
            self.models[name] = self._guest(name, table, key, parent, (*chain, name))
            return self.models[name]
        if "adapter" in table:
            raise table.mistake("adapter", "needs adapter_of, the row whose server serves it")
        inherited = self.values[parent.name] if parent else {}
        values = self.values[name] = _merged(table, inherited)
        model = table.parse(Model, {**values, "name": name, "profile": self.profile})
        engine = _engine(table, model.engine)
        _check_engine(table, model, engine)
        _check_arguments(table, model, engine)
        _check_lengths(table, model)
        self.models[name] = dataclasses.replace(
            model,
            weights=_weights(model.weights, self.base),
            engine_python=_interpreter(model.engine_python, self.base),
            arguments=_with_paths(model.arguments, self.base),
            gpus=_gpus(table, model, inherited, parent),
            base_url=_url(table, model.base_url),
        )
        return self.models[name]

    def _guest(
        self, name: str, table: TomlTable, key: str, parent: Model | None, chain: tuple[str, ...]
    ) -> Model:
        """The row ``name``, which the server of another one serves; ``key`` says as what."""
        if parent is not None and key not in table:
            host = self.models[parent.server_row]
        else:
            host = self._other(table, key, chain)
        guests.check_keys(table, key, host, parent, engine_named(host.engine))
        given = self.values[parent.name] if parent else {}
        values = self.values[name] = _merged(table, guests.inherited(key, self.values[host.name], given))
        values[key] = host.name
        if key == "adapter_of" and "adapter" not in values:
            table.must_have("adapter")
        own = table.parse(Model, {**values, "name": name, "profile": self.profile})
        _check_lengths(table, own)
        return guests.guest(own, host, None if own.adapter is None else _weights(own.adapter, self.base))

    def _other(self, table: TomlTable, key: str, chain: tuple[str, ...]) -> Model:
        """The row that ``key`` names, read before this one, the last of ``chain``."""
        name = table.values[key]
        if not isinstance(name, str) or name not in self.tables:
            raise table.mistake(
                key,
                f"unknown row{nearest(str(name), [row for row in self.tables if row != chain[-1]])}",
            )
        if name in chain:
            raise table.mistake(key, f"goes in a circle: {' → '.join((*chain, name))}")
        return self.read(name, chain)


def _merged(table: TomlTable, inherited: JsonObject) -> dict[str, Json]:
    """The row's values over those of the row that it extends; tables key by key, ``damage`` as a whole."""
    if "arguments" in table and "add_arguments" in table:
        raise table.mistake("add_arguments", "adds to the arguments of the extended row; give one of the two")
    values = {**inherited, **table.values}
    for key in ("environment", "sampling", "rules"):
        values[key] = {**object_of(inherited.get(key)), **table.table(key).values}
    if "weights" in table and "revision" not in table:
        values.pop("revision", None)  # that of other weights
    added = values.pop("add_arguments", [])
    values.pop("extends", None)
    table.parse(_AddedArguments, {"add_arguments": added})
    if added:
        values["arguments"] = [*list_of(inherited.get("arguments")), *list_of(added)]
    return values


def _engine(table: TomlTable, name: str) -> Engine:
    try:
        return engine_named(name)
    except CatalogError as error:
        if name in engine_names():
            raise table.mistake("engine", str(error)) from error
        raise table.mistake("engine", f"must be one of {', '.join(engine_names())}") from None


def _check_engine(table: TomlTable, model: Model, engine: Engine) -> None:
    if not engine.is_started:
        if model.base_url is None:
            table.must_have("base_url")
        for key in _START_KEYS:
            if key in table:
                raise table.mistake(
                    key, f'a row with engine = "{engine.name}" starts nothing that could take it'
                )
        return
    if not model.weights:
        table.must_have("weights")
    for key in ("base_url", "api_key_env"):
        if key in table:
            raise table.mistake(key, f'needs engine = "url", the engine is "{model.engine}"')


def _check_arguments(table: TomlTable, model: Model, engine: Engine) -> None:
    for key in ("arguments", "add_arguments"):
        words = [str(word) for word in list_of(table.values.get(key))]
        for option in vllm_arguments.options(words):
            for name, remedy in engine.reserved_arguments.items():
                if option.is_called(name):
                    written = words[option.words[0]].partition("=")[0]
                    raise table.mistake(key, f"{written} is not an argument of a row: {remedy}")
    for name in _JSON_OBJECTS:
        try:
            vllm_arguments.table_of(model.arguments, name)
        except CatalogError as error:
            key = "add_arguments" if "add_arguments" in table else "arguments"
            raise table.mistake(key, str(error)) from None


def _check_lengths(table: TomlTable, model: Model) -> None:
    longest, answer = model.max_model_len, model.sampling.max_tokens
    if longest is not None and answer >= longest:
        said = "sampling" in table
        raise (table.table("sampling") if said else table).mistake(
            "max_tokens" if said else "max_model_len",
            f"max_tokens ({answer}) must be less than max_model_len ({longest}), which also holds the prompt",
        )


def _gpus(table: TomlTable, model: Model, inherited: JsonObject, parent: Model | None) -> int:
    """GPUs of the row: as stated, which must be the product of the parallel sizes, or 0 (the CPU)."""
    product = 1
    for name in _PARALLEL:
        if (option := vllm_arguments.option(model.arguments, name)) is None:
            continue
        value = option.value or ""
        if not (value.isascii() and value.isdecimal()) or int(value) < 1:
            written = model.arguments[option.words[0]].partition("=")[0]
            raise table.mistake(
                "arguments", f"{written} must be followed by a positive integer, not {value!r}"
            )
        product *= int(value)
    if "gpus" in table:
        if model.gpus not in (0, product):
            raise table.mistake("gpus", f"must be {product}, the product of the parallel sizes in arguments")
        return model.gpus
    if parent is not None and (parent.gpus == 0 or list(model.arguments) == inherited.get("arguments", [])):
        return parent.gpus
    return product


def _with_paths(words: tuple[str, ...], base: Path) -> tuple[str, ...]:
    """The arguments with their relative paths made absolute: a server is not started in the catalogue's directory.

    A path begins with ``./``, ``../`` or ``~/`` (also behind ``=``, as in ``name=./adapter``), or is the value of an
    option that takes a file, and there is one of that name beside the catalogue.
    """
    found = [_word(word, base) for word in words]
    for option in vllm_arguments.options(words):
        value = option.value
        if value and option.name in _FILE_OPTIONS and not Path(value).is_absolute() and _exists(base / value):
            written = words[option.words[0]].partition("=")[0]
            path = _absolute(value, base)
            found[option.words[-1]] = path if len(option.words) > 1 else f"{written}={path}"
    return tuple(found)


def _word(word: str, base: Path) -> str:
    head, equals, value = word.rpartition("=")
    if value.startswith(("./", "../", "~/")) and not head.startswith("{"):
        return f"{head}{equals}{_absolute(value, base)}"
    return word


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False  # a name that is too long is no file


def _url(table: TomlTable, url: str | None) -> str | None:
    if url is None:
        return None
    try:
        return str(Address.parse(url))
    except UsageError as error:
        # The value is in the message already, apart from what must not be shown.
        raise CatalogError(f"{table.file}: [{table.section}] base_url: {error}") from None


def _weights(value: str, base: Path) -> str:
    """Weights as a path where they are one, relative to the catalogue; hub ids and ``embedded:NAME`` as they are.

    A directory beside the catalogue wins over a hub id of its name.
    """
    if value.startswith("embedded:") or not value:
        return value
    may_be_on_the_hub = value.count("/") <= 1 and not value.startswith((".", "~", "/"))
    return value if may_be_on_the_hub and not _is_directory(base / value) else _absolute(value, base)


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _interpreter(value: str | None, base: Path) -> str | None:
    """An interpreter by its path, relative to the catalogue; a bare name is looked up on ``PATH``."""
    if value is None:
        return None
    return _absolute(value, base) if "/" in value or value.startswith(("~", ".")) else value


def _absolute(value: str, base: Path) -> str:
    path = expand(value)
    # Not resolve(): the python of a virtual environment is a link, and means something only where it stands.
    return os.path.abspath(base / path)  # noqa: PTH100
