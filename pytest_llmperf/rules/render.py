"""A row's chat template, rendered as the server will: what the model really reads, and its fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pytest_llmperf.catalog import Model
from pytest_llmperf.engines.vllm_arguments import value_of
from pytest_llmperf.errors import DataError
from pytest_llmperf.rules.messages import Ask, Message

if TYPE_CHECKING:
    import jinja2

_CONFIG = "tokenizer_config.json"
_TEMPLATE = "chat_template.jinja"


@dataclass(frozen=True)
class Rendered:
    """A prompt as text, with the tokenizer's first token if the server will put it there."""

    text: str
    bos: str = ""
    """The tokenizer's token for the beginning; empty if it has none."""
    adds_bos: bool = False
    """The tokenizer puts ``bos`` in front of a text by itself."""

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True)
class ChatTemplate:
    """A chat template with the special tokens that it may use."""

    source: str
    bos: str = ""
    eos: str = ""
    adds_bos: bool = False

    def render(self, messages: Sequence[Message], **variables: Any) -> Rendered:
        """The text up to where the reply begins. Raises :class:`DataError` if the template refuses."""
        import jinja2

        try:
            text = _compiled(self.source).render(
                messages=[dict(m) for m in messages],
                add_generation_prompt=True,
                bos_token=self.bos,
                eos_token=self.eos,
                **variables,
            )
        except jinja2.TemplateError as error:
            raise DataError(
                f"chat template: {type(error).__name__}: {' '.join(str(error).split())}"
            ) from error
        return Rendered(text, self.bos, self.adds_bos)

    def render_ask(self, ask: Ask) -> Rendered:
        """What the model reads of ``ask``: a text that is to be continued has no template."""
        if ask.prompt is not None:
            return Rendered(ask.prompt, self.bos, self.adds_bos)
        return self.render(ask.messages)


def template_from(directory: Path, override: Path | None = None) -> ChatTemplate:
    """The chat template of the tokenizer in ``directory``, or the one in the file ``override``.

    As ``transformers`` looks for it: ``chat_template.jinja`` first, then ``chat_template`` in
    ``tokenizer_config.json``, a text or a list of named ones of which ``default`` counts. Raises
    :class:`DataError` if there is none.
    """
    config = _read_config(directory / _CONFIG)
    file = override or directory / _TEMPLATE
    if override is not None or file.is_file():
        try:
            source: Any = file.read_text("utf-8")
        except OSError as error:
            raise DataError(f"{file}: the chat template can't be read: {error.strerror}") from None
    else:
        source = config.get("chat_template")
        if isinstance(source, list):
            named = {t.get("name"): t.get("template") for t in source if isinstance(t, dict)}
            source = named.get("default")
    if not isinstance(source, str):
        raise DataError(
            f"{directory}: no chat template in {_TEMPLATE} or {_CONFIG}; the server would refuse every chat"
        )
    return ChatTemplate(
        source, bos=_token(config, "bos_token"), eos=_token(config, "eos_token"), adds_bos=_adds_bos(config)
    )


def template_of(model: Model, weights: Path | None = None) -> ChatTemplate:
    """The template of a row. ``weights`` is the directory of its weights where that is known already.

    Files of a hub row are taken from the cache or the hub at the row's revision. ``--chat-template
    FILE`` in the row's arguments counts as it does for the server. Raises :class:`DataError`.
    """
    return template_from(weights or _directory(model), _override(model.arguments))


def _override(arguments: Sequence[str]) -> Path | None:
    file = value_of(arguments, "--chat-template")
    return None if file is None else Path(file)


def _directory(model: Model) -> Path:
    if model.weights.startswith("embedded:"):
        name = model.weights.removeprefix("embedded:")
        return Path(__file__).parents[1] / "embedded" / "weights" / name
    if Path(model.weights).is_dir():
        return Path(model.weights)
    import huggingface_hub

    found: Path | None = None
    reason = "it holds none of them"
    for file in (_CONFIG, _TEMPLATE):
        try:
            found = Path(huggingface_hub.hf_hub_download(model.weights, file, revision=model.revision))
        except (
            Exception
        ) as error:  # absent file, offline, gated, no such name: only having none at all matters
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
    if found is None:
        raise DataError(f"{model.weights}: no {_CONFIG} or {_TEMPLATE} could be had from the hub ({reason})")
    return found.parent


def _read_config(file: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: can't be read: {error}") from None
    if not isinstance(config, dict):
        raise DataError(f"{file}: needs a JSON object")
    return config


def _token(config: Mapping[str, Any], name: str) -> str:
    """A special token, written as a text or as ``{"content": …}``; empty if there is none."""
    token = config.get(name)
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else ""


def _adds_bos(config: Mapping[str, Any]) -> bool:
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


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)


def _refuse(message: str) -> NoReturn:
    import jinja2

    raise jinja2.TemplateError(message)
