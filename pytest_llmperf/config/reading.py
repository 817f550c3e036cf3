"""``models.toml`` → :class:`~pytest_llmperf.config.models.Catalog`, every mistake named before anything starts."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from pytest_llmperf.address import Address
from pytest_llmperf.config.models import (
    PROMPT_FINDINGS,
    Catalog,
    Damage,
    Engine,
    GenerationConfig,
    Model,
    Profile,
    PromptRules,
    Protocol,
    Sampling,
)
from pytest_llmperf.config.sizes import EMBEDDED, GPU, LEAST, Sizes
from pytest_llmperf.config.toml_errors import Table, nearest, read_toml
from pytest_llmperf.engines import vllm_arguments
from pytest_llmperf.errors import CatalogError, UsageError
from pytest_llmperf.home import expand

ENGINES = ("vllm", "transformers", "url")
DTYPES = ("auto", "bfloat16", "float16", "half", "float32", "float")

_PROFILE_KEYS = ("says", "candidate", "baseline", "task", "needs_cuda", "silence_limit", "sizes", "model")
_ROW_KEYS = (
    *(
        "extends",
        "weights",
        "revision",
        "engine",
        "engine_python",
        "arguments",
        "add_arguments",
        "environment",
    ),
    *(
        "dtype",
        "quantization",
        "max_model_len",
        "gpus",
        "gpu_memory_fraction",
        "memory_needed",
        "ready_timeout",
    ),
    *(
        "generation_config",
        "in_flight",
        "trust_remote_code",
        "base_url",
        "extra_body",
        "served_name",
        "api_key_env",
        "damage",
        "sampling",
        "rules",
    ),
)
_SAMPLING_KEYS = tuple(f.name for f in dataclasses.fields(Sampling))
_RULE_KEYS = tuple(f.name for f in dataclasses.fields(PromptRules))
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
# One truth: what the catalogue or serving says may not be said a second time, differently, in arguments.
_SAID_ELSEWHERE = {
    "--config": "write the options of that file into the row, where they are checked",
    "--model": "use weights = …",
    "--revision": "use revision = …",
    "--dtype": "use dtype = …",
    "--quantization": "use quantization = …",
    "--max-model-len": "use max_model_len = …",
    "--gpu-memory-utilization": "use gpu_memory_fraction = …",
    "--trust-remote-code": "use trust_remote_code = true",
    "--served-model-name": "use served_name = …",
    "--host": "the server listens on 127.0.0.1 only",
    "--port": "a free port is chosen at each start",
    "--api-key": "a random key is made at each start",
}


def read_catalog(path: Path) -> Catalog:
    """See :func:`pytest_llmperf.config.models.load_catalog`."""
    root = read_toml(path)
    root.only(("profile",))
    root.must_have("profile")
    tables = root.table("profile").tables()
    if not tables:
        raise root.mistake("profile", "holds no profile")
    return Catalog(path, {name: _profile(name, table, path.parent) for name, table in tables.items()})


def _profile(name: str, table: Table, base: Path) -> Profile:
    table.only(_PROFILE_KEYS)
    table.must_have("candidate", "baseline", "model")
    rows = table.table("model").tables()
    models: dict[str, Model] = {}
    for row in rows:
        _read_row(row, rows, models, name, base, chain=())
    for key in ("candidate", "baseline"):
        if table.text(key, "") not in models:
            raise table.mistake(key, f"unknown row{nearest(str(table.values[key]), models)}")
    needs_cuda = table.boolean("needs_cuda", False)
    return Profile(
        name=name,
        says=table.text("says", ""),
        candidate=table.text("candidate", ""),
        baseline=table.text("baseline", ""),
        task=table.text("task", "gsm8k"),
        needs_cuda=needs_cuda,
        models={row: models[row] for row in rows},
        file=table.file,
        silence_limit_s=table.quantity("silence_limit", "s", 60.0, low=1.0),
        sizes=_sizes(table, GPU if needs_cuda else EMBEDDED, [models[row] for row in rows]),
    )


def _sizes(profile: Table, default: Sizes, rows: Sequence[Model]) -> Sizes:
    table = profile.table("sizes")
    table.only(LEAST)
    given: dict[str, int] = {}
    for key in table.values:
        if key == "rounds" and type(table.values[key]) is int and table.values[key] < LEAST[key]:
            raise table.mistake(
                key, f"fewer than {LEAST[key]} rounds give no interval; need {LEAST[key]} or more"
            )
        given[key] = table.integer(key, 0, low=LEAST[key])
    sizes = dataclasses.replace(default, **given)
    if "in_flight" in table and "most_in_flight" not in table:
        sizes = dataclasses.replace(sizes, most_in_flight=max(sizes.in_flight, sizes.most_in_flight))
    if sizes.most_in_flight < sizes.in_flight:
        raise table.mistake("most_in_flight", f"must be at least in_flight, which is {sizes.in_flight}")
    needed = sizes.prompt_tokens + sizes.answer_tokens
    for key in ("prompt_tokens", "answer_tokens"):
        for row in rows if key in table else ():
            if row.max_model_len is not None and row.max_model_len < needed:
                raise table.mistake(
                    key,
                    f"a prompt of {sizes.prompt_tokens} and an answer of {sizes.answer_tokens} tokens need "
                    f"max_model_len = {needed}, the row {row.name} has {row.max_model_len}",
                )
    return sizes


def _read_row(
    name: str,
    rows: Mapping[str, Table],
    models: dict[str, Model],
    profile: str,
    base: Path,
    chain: tuple[str, ...],
) -> Model:
    """Read ``name`` after the row that it extends; ``chain`` are the rows that wait for it."""
    if name in models:
        return models[name]
    table = rows[name]
    table.only(_ROW_KEYS)
    parent_name = table.text("extends", None)
    if parent_name is None:
        parent = Model(name=name, profile=profile, weights="")
    else:
        if parent_name not in rows:
            others = [row for row in rows if row != name]
            raise table.mistake("extends", f"unknown row{nearest(parent_name, others)}")
        circle = (*chain, name)
        if parent_name in circle:
            raise table.mistake("extends", f"goes in a circle: {' → '.join((*circle, parent_name))}")
        parent = _read_row(parent_name, rows, models, profile, base, circle)
    models[name] = _row(name, table, parent, base)
    return models[name]


def _row(name: str, table: Table, parent: Model, base: Path) -> Model:
    engine = cast(Engine, table.choice("engine", ENGINES, parent.engine))
    if parent.weights == "" and engine != "url":
        table.must_have("weights")
    _fits_engine(table, engine, parent)
    arguments = _arguments(table, parent, base)
    interpreter = table.text("engine_python", parent.engine_python)
    max_model_len = table.integer("max_model_len", parent.max_model_len, low=1)
    sampling = _sampling(table.table("sampling"), parent.sampling)
    if max_model_len is not None and sampling.max_tokens >= max_model_len:
        raise (table.table("sampling") if "sampling" in table else table).mistake(
            "max_tokens" if "sampling" in table else "max_model_len",
            f"max_tokens ({sampling.max_tokens}) must be less than max_model_len ({max_model_len}), "
            "which also holds the prompt",
        )
    return Model(
        name=name,
        profile=parent.profile,
        weights=_weights(table.text("weights", parent.weights), base),
        engine=engine,
        revision=table.text("revision", parent.revision if "weights" not in table else None),
        engine_python=_interpreter(interpreter, base) if interpreter else None,
        arguments=arguments,
        environment={**parent.environment, **_environment(table.table("environment"))},
        dtype=table.choice("dtype", DTYPES, parent.dtype),
        quantization=table.text("quantization", parent.quantization),
        max_model_len=max_model_len,
        gpus=_gpus(table, parent, arguments),
        gpu_memory_fraction=table.number(
            "gpu_memory_fraction", parent.gpu_memory_fraction, low=0.0, high=1.0, above=True
        ),
        memory_needed_bytes=_bytes(
            table.quantity("memory_needed", "bytes", None), parent.memory_needed_bytes
        ),
        ready_timeout_s=table.quantity("ready_timeout", "s", parent.ready_timeout_s, low=1.0),
        generation_config=cast(
            GenerationConfig,
            table.choice("generation_config", ("neutral", "weights"), parent.generation_config),
        ),
        in_flight=table.integer("in_flight", parent.in_flight, low=1),
        trust_remote_code=table.boolean("trust_remote_code", parent.trust_remote_code),
        base_url=_url(table, parent.base_url),
        extra_body=table.boolean("extra_body", parent.extra_body),
        served_name=table.text("served_name", parent.served_name),
        api_key_env=table.text("api_key_env", parent.api_key_env),
        damage=_damage(table, parent.damage),
        sampling=sampling,
        rules=_rules(table.table("rules"), parent.rules),
    )


def _fits_engine(table: Table, engine: Engine, parent: Model) -> None:
    if engine == "url":
        if parent.base_url is None:
            table.must_have("base_url")
        for key in _START_KEYS:
            if key in table:
                raise table.mistake(key, 'a row with engine = "url" starts nothing that could take it')
    else:
        for key in ("base_url", "api_key_env"):
            if key in table:
                raise table.mistake(key, f'needs engine = "url", the engine is "{engine}"')


def _arguments(table: Table, parent: Model, base: Path) -> tuple[str, ...]:
    if "arguments" in table and "add_arguments" in table:
        raise table.mistake("add_arguments", "adds to the arguments of the extended row; give one of the two")
    for key in ("arguments", "add_arguments"):
        words = table.texts(key, ())
        for option in vllm_arguments.options(words):
            for name, remedy in _SAID_ELSEWHERE.items():
                if option.is_called(name):
                    written = words[option.words[0]].partition("=")[0]
                    raise table.mistake(key, f"{written} is not an argument of a row: {remedy}")
    own = table.texts("arguments", None)
    mine = parent.arguments if own is None else _with_paths(own, base)
    arguments = (*mine, *_with_paths(table.texts("add_arguments", ()), base))
    for name in _JSON_OBJECTS:
        try:
            vllm_arguments.table_of(arguments, name)
        except CatalogError as error:
            key = "add_arguments" if "add_arguments" in table else "arguments"
            raise table.mistake(key, str(error)) from None
    return arguments


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


def _gpus(table: Table, parent: Model, arguments: tuple[str, ...]) -> int:
    """GPUs of the row: as stated, which must be the product of the parallel sizes, or 0 (the CPU)."""
    product = 1
    for name in _PARALLEL:
        if (option := vllm_arguments.option(arguments, name)) is None:
            continue
        value = option.value or ""
        if not (value.isascii() and value.isdecimal()) or int(value) < 1:
            written = arguments[option.words[0]].partition("=")[0]
            raise table.mistake(
                "arguments", f"{written} must be followed by a positive integer, not {value!r}"
            )
        product *= int(value)
    inherited = parent.gpus if arguments == parent.arguments else (0 if parent.gpus == 0 else product)
    gpus = table.integer("gpus", inherited, low=0)
    if gpus not in (0, product):
        raise table.mistake("gpus", f"must be {product}, the product of the parallel sizes in arguments")
    return gpus


def _environment(table: Table) -> dict[str, str]:
    for key, value in table.values.items():
        if not isinstance(value, str):
            raise table.mistake(key, f'must be a string; write "{str(value).lower()}"')
        if "\0" in key + value or "=" in key or not key:
            raise table.mistake(key, "is no environment variable: it holds a NUL character, = or nothing")
    return dict(table.values)


def _sampling(table: Table, parent: Sampling) -> Sampling:
    table.only(_SAMPLING_KEYS)
    return Sampling(
        temperature=table.number("temperature", parent.temperature, low=0.0, high=2.0),
        top_p=table.number("top_p", parent.top_p, low=0.0, high=1.0, above=True),
        max_tokens=table.integer("max_tokens", parent.max_tokens, low=1),
        seed=table.integer("seed", parent.seed, low=0),
        samples=table.integer("samples", parent.samples, low=1),
    )


def _rules(table: Table, parent: PromptRules) -> PromptRules:
    table.only(_RULE_KEYS)
    return PromptRules(
        protocol=cast(Protocol, table.choice("protocol", ("chat", "few-shot"), parent.protocol)),
        system=table.text("system", parent.system),
        instruction=table.text("instruction", parent.instruction),
        instruction_zh=table.text("instruction_zh", parent.instruction_zh),
        thinking=table.boolean("thinking", parent.thinking),
        temperature=table.pair("temperature", parent.temperature, low=0.0, high=2.0),
        accepts=_accepts(table, parent.accepts),
    )


def _accepts(table: Table, parent: tuple[str, ...]) -> tuple[str, ...]:
    accepted = table.texts("accepts", parent)
    for name in accepted:
        if name not in PROMPT_FINDINGS:
            raise table.mistake("accepts", f"nothing is called {name!r}{nearest(name, PROMPT_FINDINGS)}")
    return accepted


def _damage(table: Table, parent: Damage | None) -> Damage | None:
    if "damage" not in table:
        return parent
    damage = table.table("damage")
    damage.only(("seed", "amount"))
    damage.must_have("seed", "amount")
    return Damage(
        seed=damage.integer("seed", 0, low=0),
        amount=damage.number("amount", 0.0, low=0.0, high=10.0, above=True),
    )


def _url(table: Table, parent: str | None) -> str | None:
    url = table.text("base_url", parent)
    if url is None:
        return None
    try:
        return str(Address.parse(url))
    except UsageError as error:
        # The value is in the message already, apart from what must not be shown.
        raise CatalogError(f"{table.file}: [{table.section}] base_url: {error}") from None


def _bytes(value: float | None, parent: int | None) -> int | None:
    return parent if value is None else round(value)


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


def _interpreter(value: str, base: Path) -> str:
    """An interpreter by its path, relative to the catalogue; a bare name is looked up on ``PATH``."""
    return _absolute(value, base) if "/" in value or value.startswith(("~", ".")) else value


def _absolute(value: str, base: Path) -> str:
    path = expand(value)
    # Not resolve(): the python of a virtual environment is a link, and means something only where it stands.
    return os.path.abspath(base / path)  # noqa: PTH100
