"""LoRA adapters: find the files of one and refuse those that no engine can load, before the server starts.

An adapter is a directory as PEFT writes it: ``adapter_config.json`` with the rank of its matrices, and
``adapter_model.safetensors`` (or ``.bin``, ``.pt``).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

from pytest_llmperf.config.models import Model
from pytest_llmperf.engines.base import ServedBeside
from pytest_llmperf.errors import StartError
from pytest_llmperf.home import expand
from pytest_llmperf.json_values import JsonObject, object_of
from pytest_llmperf.serving.safetensors_header import HeaderError, read_header
from pytest_llmperf.serving.weights import EMBEDDED, cached_snapshot, hub_cache, is_hub_id, read_json

CONFIGURATION = "adapter_config.json"
_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin", "adapter_model.pt")


def served_beside(
    guests: Sequence[Model], environment: Mapping[str, str] | None = None
) -> tuple[ServedBeside, ...]:
    """The names that a server answers under besides its own row's, with the adapters behind them.

    Raises `StartError` for an adapter that is not there or can't be loaded.
    """
    return tuple(
        ServedBeside(guest.served)
        if guest.adapter is None
        else ServedBeside(
            guest.served, directory := adapter_directory(guest, environment), _rank(guest, directory)
        )
        for guest in guests
    )


def adapter_directory(model: Model, environment: Mapping[str, str] | None = None) -> Path:
    """The directory of the row's adapter, whose files are whole. Raises `StartError` for one that can't be loaded.

    A hub id is looked for in the cache alone: its rank must be known before the server starts.
    """
    adapter = model.adapter or ""
    environment = {**(os.environ if environment is None else environment), **model.environment}
    if is_hub_id(adapter):
        cache = hub_cache(environment)
        snapshot = cached_snapshot(adapter, None, cache)
        if snapshot is None:
            raise _refusal(
                model,
                f"is not in the Hugging Face cache ({cache})",
                f"fetch it where the network allows it: hf download {adapter}; or give its directory",
            )
        directory = snapshot
    else:
        directory = expand(adapter).absolute()
    if not directory.is_dir():
        raise _refusal(model, f"there is no directory {directory}", "correct `adapter` in models.toml")
    if not (directory / CONFIGURATION).is_file():
        what, remedy = (
            f"{directory} holds no {CONFIGURATION}",
            "give the directory that PEFT saved the adapter to",
        )
        if (directory / "config.json").is_file():
            what = f"{directory} holds a model, not an adapter"
            remedy = "give it as `weights` of a row of its own, without adapter_of"
        raise _refusal(model, what, remedy)
    _check_weights(model, directory)
    return directory


def remarks(model: Model, directory: Path) -> list[str]:
    """Remarks on an adapter that can be loaded, one line each."""
    trained_on = _configuration(model, directory).get("base_model_name_or_path")
    if not isinstance(trained_on, str) or not trained_on or model.weights.startswith(EMBEDDED):
        return []
    if PurePath(trained_on).name.casefold() == PurePath(model.weights).name.casefold():
        return []
    where = directory / CONFIGURATION
    return [
        f"{model.name}: {where} says that it was trained on {trained_on}, and it is served on {model.weights}"
    ]


def _rank(model: Model, directory: Path) -> int:
    """The largest rank of its modules, by ``r`` and ``rank_pattern``."""
    configuration = _configuration(model, directory)
    kind = configuration.get("peft_type", "LORA")
    if kind != "LORA":
        raise _refusal(
            model,
            f'{directory / CONFIGURATION} has peft_type = {kind!r}, engines serve "LORA"',
            "merge it into weights of their own",
        )
    ranks = [configuration.get("r"), *object_of(configuration.get("rank_pattern")).values()]
    for rank in ranks:
        if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
            raise _refusal(
                model,
                f"{directory / CONFIGURATION} has the rank {rank!r}, a positive integer is needed (r, rank_pattern)",
                "take the file that was saved with the adapter",
            )
    return max(rank for rank in ranks if isinstance(rank, int))


def _configuration(model: Model, directory: Path) -> JsonObject:
    if found := read_json(directory / CONFIGURATION):
        return found
    raise _refusal(
        model,
        f"{directory / CONFIGURATION} is no JSON object, or can't be read",
        "take the file that was saved with the adapter",
    )


def _check_weights(model: Model, directory: Path) -> None:
    file = next((directory / name for name in _WEIGHTS if (directory / name).is_file()), None)
    if file is None:
        raise _refusal(
            model, f"{directory} holds no weights ({', '.join(_WEIGHTS)})", "copy or fetch the adapter again"
        )
    if file.suffix != ".safetensors":
        return
    try:
        tensors = read_header(file)
    except (HeaderError, OSError) as error:
        raise _refusal(model, f"{file} {error}", "copy or fetch the adapter again") from error
    if not tensors:
        raise _refusal(model, f"{file} holds no tensor", "copy or fetch the adapter again")


def _refusal(model: Model, what: str, remedy: str) -> StartError:
    return StartError(f"{model.name}: adapter = {model.adapter!r}: {what}", remedy=remedy)
