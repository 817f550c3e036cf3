"""Labels of turns in a chat template: ``### Human:``, ``GPT4 Correct User:``, ``问：``. They are no text for the model.

A template that knows special tokens writes roles behind them; an older one writes a word and a colon. Everything else
that it adds is read by the model as if somebody had said it.
"""

from __future__ import annotations

import re

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
    ]
)
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


def is_label(line: str, *, opens_turn: bool = False) -> bool:
    """Whether a line that a template adds is a label, or no text at all.

    ``opens_turn``: it stands right behind a special token, where a lone word is the name of a role.
    """
    line = line.strip()
    bare = line.strip(_DECORATION)
    if not any(map(str.isalnum, bare)):
        return True
    colon = line.rstrip(_DECORATION.replace(":", "").replace("：", "")).endswith((":", "："))
    words = bare.split()
    last = words[-1].casefold()
    if len(words) > 1:
        # "GPT4 Correct User:", and not "Help the user:".
        named = len(words) <= _MOST_WORDS and all(
            word[0].isupper() or word[0].isdigit() for word in words[:-1]
        )
        return _TURN.fullmatch(bare) is not None or (colon and last in _SPEAKERS and named)
    sign = line.rstrip(":：")
    if last in _SPEAKERS | _OTHER_LABELS or bare in _UNSPACED_LABELS:
        return not sign.endswith((".", "!"))
    if last.isdigit():
        return len(last) <= 2
    if _UNSPACED.search(bare):
        return colon and len(bare) <= _LONGEST_UNSPACED
    return bare.isidentifier() and (colon or (opens_turn and sign == bare))
