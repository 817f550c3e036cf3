"""A row's chat template, rendered as the server will: what the model really reads, and its fingerprint."""

from __future__ import annotations

import ctypes
import hashlib
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

from pytest_llmperf.config.models import Model
from pytest_llmperf.engines.vllm_arguments import table_of, value_of
from pytest_llmperf.errors import DataError, LlmperfError
from pytest_llmperf.json_values import Json, JsonObject, object_of, parse_json
from pytest_llmperf.prompts.content_parts import wants_parts
from pytest_llmperf.prompts.variants import Ask, Message

if TYPE_CHECKING:
    import jinja2

_CONFIG = "tokenizer_config.json"
_TEMPLATE = "chat_template.jinja"
_PROCESSOR = "chat_template.json"
_SPECIAL_TOKENS = ("pad_token", "unk_token", "sep_token", "cls_token", "mask_token")
RENDERED_WITHIN_S = 10.0
"""A template that has not ended then is taken for endless; the slowest that were seen take milliseconds."""


@dataclass(frozen=True)
class Rendered:
    """A prompt as text, with the tokenizer's first token if the server will put it there."""

    text: str
    bos: str = ""
    """The tokenizer's token for the beginning; empty if it has none."""
    adds_bos: bool = False
    """The tokenizer puts ``bos`` in front of a text by itself."""
    special: tuple[str, ...] = ()
    """The tokenizer's special tokens, as far as its configuration names them."""

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True)
class ChatTemplate:
    """A chat template with the special tokens and the variables that it is rendered with."""

    source: str
    bos: str = ""
    eos: str = ""
    adds_bos: bool = False
    origin: str = field(default="", compare=False)
    """The file that it comes from, for messages."""
    special: tuple[str, ...] = ()
    tokens: Mapping[str, str] = field(default_factory=dict)
    """Further special tokens by name (``pad_token``, …), which a template may use."""
    variables: JsonObject = field(default_factory=dict)
    """Variables that the server sets in every chat: ``--default-chat-template-kwargs``."""
    content_format: str = "auto"
    """``--chat-template-content-format``: ``string``, ``openai`` (a list of parts), or ``auto``, by the template."""

    def render(self, messages: Sequence[Message], **variables: Any) -> Rendered:
        """The text up to where the reply begins.

        Raises :class:`DataError`, one line with file and line, if the template refuses, fails or does not end.
        """
        try:
            template = _compiled(self.source)
            content = [self._content(message, template.environment) for message in messages]
            given = {"tools": None, "documents": None, **self.tokens, **self.variables, **variables}
            text = _within(
                RENDERED_WITHIN_S,
                lambda: template.render(
                    messages=content,
                    add_generation_prompt=True,
                    bos_token=self.bos,
                    eos_token=self.eos,
                    **given,
                ),
            )
        except _Endless:
            raise DataError(f"{self._place(None)}: does not end within {RENDERED_WITHIN_S:g} s") from None
        except Exception as error:  # code of whoever made the weights: it may raise anything
            reason = " ".join(str(error).split())[:200]
            raise DataError(f"{self._place(_line_of(error))}: {type(error).__name__}: {reason}") from error
        return Rendered(text, self.bos, self.adds_bos, self.special)

    def render_ask(self, ask: Ask) -> Rendered:
        """Return ``ask`` as the model reads it: a text that is to be continued has no template."""
        if ask.prompt is not None:
            return Rendered(ask.prompt, self.bos, self.adds_bos, self.special)
        return self.render(ask.messages, **({"tools": ask.tools} if ask.tools else {}))

    def _content(self, message: Message, environment: jinja2.Environment) -> dict[str, Json]:
        """A message as the server hands it to the template: its text, or a list with one part."""
        parts = self.content_format == "openai"
        if self.content_format == "auto":
            parts = wants_parts(self.source, environment)
        text = message["content"]
        given = cast(dict[str, Json], dict(message))
        given["content"] = [{"type": "text", "text": text}] if parts else text
        if calls := message.get("tool_calls"):
            given["tool_calls"] = [_with_read_arguments(call) for call in calls]
        return given

    def _place(self, line: int | None) -> str:
        place = f"{self.origin}: chat template" if self.origin else "chat template"
        return place if line is None else f"{place}, line {line}"


class _Endless(BaseException):
    """Raised in a thread whose template does not end; no Exception, which templates' own handlers would take."""


def _with_read_arguments(call: JsonObject) -> JsonObject:
    """A call of an earlier turn as vLLM hands it to the template: with its arguments as an object."""
    function = object_of(call.get("function"))
    arguments = function.get("arguments")
    read = parse_json(arguments) if isinstance(arguments, str) else arguments
    return {**call, "function": {**function, "arguments": read}}


def _within(limit_s: float, render: Callable[[], str]) -> str:
    """The result of ``render``, which is ended with :class:`_Endless` if it takes longer than ``limit_s``.

    By an exception set in this thread from another one: signals belong to pytest-timeout, and a process would cost
    more than all templates of a run.
    """
    thread, lock = threading.get_ident(), threading.Lock()
    state = {"over": False, "fired": False}
    began_s = time.thread_time()

    def watch(left_s: float) -> threading.Timer:
        timer = threading.Timer(left_s, fire)
        timer.daemon = True
        timer.start()
        return timer

    def fire() -> None:
        with lock:
            if state["over"]:
                return
            # By processor time: a machine that stood still, or that is busy, says nothing of the template.
            left_s = limit_s - (_thread_time(thread, began_s + limit_s) - began_s)
            if left_s > 0.0:
                watch(max(left_s, 0.01))
                return
            state["fired"] = True
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(_Endless))

    timer = watch(limit_s)
    try:
        return render()
    finally:
        with lock:
            state["over"] = True
        timer.cancel()
        if state["fired"]:
            for _ in range(
                100
            ):  # it is delivered at one of the next instructions: here, and not behind this function
                pass


def _thread_time(thread: int, unknown: float) -> float:
    """Processor time of a thread of this process, seconds; ``unknown`` where the system does not tell."""
    if not hasattr(time, "pthread_getcpuclockid"):
        return unknown
    return time.clock_gettime(time.pthread_getcpuclockid(thread))


def _line_of(error: BaseException) -> int | None:
    """The template's line at which it failed; jinja2 maps the frames of its compiled code to it."""
    line: int | None = getattr(error, "lineno", None)
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename in ("<template>", "<unknown>"):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def template_from(
    directory: Path,
    override: Path | str | None = None,
    *,
    variables: JsonObject | None = None,
    content_format: str = "auto",
) -> ChatTemplate:
    """The chat template of the tokenizer in ``directory``, or ``override``: a file, or the text of a template.

    Looks in the same order as vLLM: ``chat_template.jinja``, then ``chat_template`` in ``chat_template.json`` (a
    processor's) and in ``tokenizer_config.json``, where a list of named templates counts by its ``default``. Raises
    :class:`DataError` if there is none.
    """
    config = _read_config(directory / _CONFIG)
    source, origin = _source(directory, config, override)
    return ChatTemplate(
        source,
        bos=_token(config, "bos_token"),
        eos=_token(config, "eos_token"),
        adds_bos=_adds_bos(config),
        origin=origin,
        special=_special(config),
        tokens={name: token for name in _SPECIAL_TOKENS if (token := _token(config, name))},
        variables=variables or {},
        content_format=content_format,
    )


def first_token(directory: Path) -> str:
    """The token that a text without a context stands behind: the tokenizer's ``bos_token``, else its ``eos_token``.

    Empty if it has neither. Raises :class:`DataError` for a configuration that cannot be read.
    """
    config = _read_config(directory / _CONFIG)
    return _token(config, "bos_token") or _token(config, "eos_token")


def _source(directory: Path, config: JsonObject, override: Path | str | None) -> tuple[str, str]:
    """The template's text, and where it comes from."""
    own = directory / _TEMPLATE
    if (
        override is not None
        and not Path(override).is_file()
        and any(sign in str(override) for sign in "{}\n")
    ):
        return str(
            override
        ), "--chat-template"  # as vLLM takes it: no file of that name, and it looks like a template
    if override is not None or own.is_file():
        file = own if override is None else Path(override)
        try:
            return file.read_text("utf-8"), str(file)
        except OSError as error:
            raise DataError(f"{file}: the chat template can't be read: {error.strerror}") from None
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise DataError(
                f"{file}: the chat template can't be read: not UTF-8 in line {line}; save it as UTF-8"
            ) from None
    # Of a multimodal model: vLLM takes the template of the processor before the tokenizer's.
    processor = directory / _PROCESSOR
    source = _read_config(processor).get("chat_template")
    if isinstance(source, str):
        return source, str(processor)
    source = config.get("chat_template")
    if isinstance(source, list):
        named = {t.get("name"): t.get("template") for t in source if isinstance(t, dict)}
        source = named.get("default")
    if not isinstance(source, str):
        raise DataError(
            f"{directory}: no chat template in {_TEMPLATE} or {_CONFIG}; the server would refuse every chat"
        )
    return source, str(directory / _CONFIG)


def template_of(model: Model, weights: Path | None = None) -> ChatTemplate:
    """The template of a row. ``weights`` is the directory of its weights where that is known already.

    Files of a hub row are taken from the cache or the hub at the row's revision. ``--chat-template``,
    ``--tokenizer``, ``--default-chat-template-kwargs`` and ``--chat-template-content-format`` in the row's arguments
    count as they do for the server. Raises :class:`DataError`, and :class:`CatalogError` for arguments that cannot be
    read.
    """
    return template_from(
        tokenizer_directory(model, weights) or weights or _directory(model),
        value_of(model.arguments, "--chat-template"),
        variables=table_of(model.arguments, "--default-chat-template-kwargs"),
        content_format=value_of(model.arguments, "--chat-template-content-format") or "auto",
    )


def template_sha256(model: Model, directory: Path | None) -> str | None:
    """Checksum of the chat template that the server uses; None if it cannot be read here."""
    if directory is None:
        return None
    try:
        source = template_of(model, directory).source
    except LlmperfError:
        return None
    return hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()


def tokenizer_directory(model: Model, weights: Path | None = None) -> Path | None:
    """Directory of the row's tokenizer: the one that ``--tokenizer`` names, else that of its weights if it is known.

    Raises :class:`DataError` for one that is not here.
    """
    named = value_of(model.arguments, "--tokenizer")
    if not named:
        return weights
    if Path(named).is_dir():
        return Path(named)
    if named.startswith((".", "/", "~")):
        raise DataError(f"--tokenizer {named}: no such directory")
    return _from_hub(named, value_of(model.arguments, "--tokenizer-revision"))


def _directory(model: Model) -> Path:
    if model.weights.startswith("embedded:"):
        name = model.weights.removeprefix("embedded:")
        return Path(__file__).parents[1] / "embedded" / "weights" / name
    if Path(model.weights).is_dir():
        return Path(model.weights)
    return _from_hub(model.weights, model.revision)


def _from_hub(name: str, revision: str | None) -> Path:
    import huggingface_hub

    found: Path | None = None
    reason = "it holds none of them"
    for file in (_CONFIG, _TEMPLATE):
        try:
            found = Path(huggingface_hub.hf_hub_download(name, file, revision=revision))
        except (
            Exception
        ) as error:  # absent file, offline, gated, no such name: only having none at all matters
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
    if found is None:
        raise DataError(f"{name}: no {_CONFIG} or {_TEMPLATE} could be had from the hub ({reason})")
    return found.parent


def _read_config(file: Path) -> JsonObject:
    try:
        config = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: can't be read: {error}") from None
    if not isinstance(config, dict):
        raise DataError(f"{file}: needs a JSON object")
    return config


def _token(config: JsonObject, name: str) -> str:
    """A special token, written as a text or as ``{"content": …}``; empty if there is none."""
    token = config.get(name)
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else ""


def _special(config: JsonObject) -> tuple[str, ...]:
    """The special tokens that a tokenizer's configuration names."""
    added = config.get("added_tokens_decoder")
    tokens = [
        token["content"]
        for token in (added.values() if isinstance(added, dict) else ())
        if isinstance(token, dict) and token.get("special") and isinstance(token.get("content"), str)
    ]
    further = config.get("additional_special_tokens")
    tokens += [token for token in further if isinstance(token, str)] if isinstance(further, list) else []
    return tuple(dict.fromkeys(tokens))


def _adds_bos(config: JsonObject) -> bool:
    return bool(config.get("add_bos_token")) and bool(_token(config, "bos_token"))


@lru_cache(maxsize=16)
def _compiled(source: str) -> jinja2.Template:
    from jinja2 import ext, sandbox

    # As transformers does it, so that whitespace comes out the same; sandboxed, because a template is
    # code from whoever made the weights.
    environment = sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[ext.loopcontrols, _generation_tag()]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)  # noqa: DTZ005, as the server's
    return environment.from_string(source)


def _generation_tag() -> type:
    from jinja2 import ext, nodes
    from jinja2.parser import Parser

    class Generation(ext.Extension):
        """``{% generation %}…{% endgeneration %}`` marks what to train on; here it is its content."""

        tags = {"generation"}  # noqa: RUF012, an attribute of jinja2's own

        def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    return Generation


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """The filter ``tojson`` with the arguments of transformers' own."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _refuse(message: str) -> NoReturn:
    import jinja2

    raise jinja2.TemplateError(message)
