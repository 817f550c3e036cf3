"""``comment RECORD``: a run for a pull request or a chat."""

from __future__ import annotations

import argparse
import json
import os
import sys

from pytest_llmperf.cli.github_comments import PullRequest, TooLong
from pytest_llmperf.cli.parts import command, record_argument, tell
from pytest_llmperf.record.store import read_record
from pytest_llmperf.report.comment import chat_text, comment_text, key_of, marker

_SHORT = 2_000
"""Characters of the text that is tried where GitHub refuses the whole one."""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = command(
        commands,
        "comment",
        "write a run as the comment of a pull request, or as a chat message",
        "Prints Markdown of at most 65,000 characters, the worst gates first. --post puts it on the pull request and "
        "updates it in place (GITHUB_TOKEN, GITHUB_REPOSITORY). Exit code 0 also for a red run: pytest said that.",
    )
    record_argument(parser)
    parser.add_argument("--post", action="store_true", help="put it on the pull request through GitHub's API")
    parser.add_argument(
        "--pull-request", type=int, metavar="NUMBER", help="which one (default: that of the workflow's run)"
    )
    parser.add_argument(
        "--key",
        metavar="TEXT",
        help="tells several comments of one pull request apart (default: profile, device and entries)",
    )
    parser.add_argument(
        "--chat", action="store_true", help='print {"text": …} for a webhook of Slack, Mattermost, …'
    )
    parser.set_defaults(run=run)


def run(asked: argparse.Namespace) -> int:
    record = read_record(asked.record)
    if asked.chat:
        sys.stdout.write(json.dumps({"text": chat_text(record)}) + "\n")
        if not asked.post:
            return 0
    key = asked.key or key_of(record)
    if not asked.post:
        sys.stdout.write(comment_text(record, key))
        return 0
    to = PullRequest.of(os.environ, asked.pull_request)
    try:
        done = to.put(comment_text(record, key), marker(key))
    except TooLong:
        done = to.put(comment_text(record, key, longest=_SHORT), marker(key))
    if not asked.chat:
        tell([f"{done} the comment on {to.repository}#{to.number}"])
    return 0
