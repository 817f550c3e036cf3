"""Recognises the labels that a chat template puts around messages: ``### Human:``, ``GPT4 Correct User:``, ``问：``.

Templates with special tokens write a role after the token; older ones write a word and a colon. Anything else that a
template adds reads to the model like part of the conversation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_SPEAKERS = frozenset(
    [
        "system",
        "user",
        "human",
        "assistant",
        "model",
        "ai",
        "bot",
        "chatbot",
        "agent",
        "developer",
        "tool",
        "tools",
        "function",
        "gpt",
        "ipython",
        "environment",
        "пользователь",
        "ассистент",
        "система",
        "usuario",
        "asistente",
        "utilisateur",
        "nutzer",
        "benutzer",
        "assistent",
        "usuário",
        "kullanıcı",
        "asistan",
        "utente",
        "assistente",
        "person",
        "student",
        "teacher",
        "customer",
    ]
)
_OTHER_LABELS = frozenset(
    [
        "instruction",
        "instructions",
        "instruct",
        "input",
        "output",
        "response",
        "question",
        "answer",
        "query",
        "prompt",
        "problem",
        "solution",
        "reply",
        "task",
        "context",
        "conversation",
        "q",
        "a",
        "final",
        "analysis",
        "commentary",
        "thought",
        "reasoning",
        "вопрос",
        "ответ",
        "pregunta",
        "respuesta",
        "message",
        "text",
        "passage",
        "exercise",
        "instrução",
        "resposta",
        "pergunta",
        "domanda",
        "risposta",
        "frage",
        "antwort",
        "câu hỏi",
        "trả lời",
    ]
)
_FIELDS = frozenset(["source", "destination", "role", "from", "to", "speaker", "recipient", "name"])
"""Words before a colon that name a speaker behind it: ``Source: user``."""
_OF_A_TURN = frozenset(
    ["message", "prompt", "input", "output", "question", "query", "response", "reply", "turn"]
)
"""Words that may stand behind a speaker in a heading: ``### User Message``."""
_UNSPACED_LABELS = frozenset(
    [
        "用户",
        "使用者",
        "助手",
        "助理",
        "系统",
        "系統",
        "问",
        "問",
        "答",
        "问题",
        "問題",
        "回答",
        "提问",
        "回复",
        "人类",
        "人類",
        "机器人",
        "指令",
        "输入",
        "输出",
        "ユーザー",
        "アシスタント",
        "システム",
        "質問",
        "人間",
        "指示",
        "応答",
        "사용자",
        "어시스턴트",
        "시스템",
        "질문",
        "답변",
        "ผู้ใช้",
        "ผู้ช่วย",
        "ระบบ",
    ]
)
_DECORATION = "#*_=~|<>[](){}-–—•`'\"《》【】「」:：.,;!?… \t\r▁"
_TURN = re.compile(r"(?:round|turn)\s+\d{1,3}", re.IGNORECASE)
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_LONGEST_UNSPACED = 4
_MOST_WORDS = 3
_REQUESTS = "请請勿不别別"
"""Characters that begin a request or a ban: ``请简洁：`` is text, however short."""


def is_label(line: str, *, opens_turn: bool = False, ends_prompt: bool = False) -> bool:
    """True for a line that names a speaker or a part of the chat, and for one without any letter or digit.

    ``opens_turn``: the line follows a special token, where a single word is the name of a role.
    ``ends_prompt``: the line follows the last message, where any name with a colon opens the reply (``Falcon:``).
    In front of a message a name must be known: ``Solve:`` is an instruction.
    """
    line = line.strip()
    bare = line.strip(_DECORATION)
    if not any(map(str.isalnum, bare)):
        return True
    colon = line.rstrip(_DECORATION.replace(":", "").replace("：", "")).endswith((":", "："))
    words = bare.split()
    if len(words) > 1:
        return _is_long_label(bare, words, colon=colon, heading=line.startswith("#"))
    word = words[0].casefold()
    sign = line.rstrip(":：")
    if word in _SPEAKERS | _OTHER_LABELS or bare in _UNSPACED_LABELS:
        return not sign.endswith((".", "!"))
    if word.isdigit():
        return len(word) <= 2
    if _UNSPACED.search(bare):
        return colon and len(bare) <= _LONGEST_UNSPACED and bare[0] not in _REQUESTS
    return bare.isidentifier() and ((colon and ends_prompt) or (opens_turn and sign == bare))


def _is_long_label(bare: str, words: Sequence[str], *, colon: bool, heading: bool) -> bool:
    """The same for a line of several words."""
    first, last = words[0].casefold(), words[-1].casefold()
    if _TURN.fullmatch(bare) is not None or (colon and bare.casefold() in _OTHER_LABELS):
        return True
    if len(words) == 2 and first.endswith(":") and first[:-1] in _FIELDS:
        return last in _SPEAKERS
    # "GPT4 Correct User:" is a label, "Help the user:" is not.
    named = len(words) <= _MOST_WORDS and all(word[0].isupper() or word[0].isdigit() for word in words[:-1])
    if heading and named and last in _OF_A_TURN and words[-1][0].isupper():
        return all(word.casefold() in _SPEAKERS for word in words[:-1])
    return colon and named and last in _SPEAKERS
