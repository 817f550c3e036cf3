"""``vllm bench serve`` without its console script, once or again and again in one process.

    python -m benchmarks.vllm_bench --backend openai --base-url … --num-prompts 64 …
    python -m benchmarks.vllm_bench --stay          reads arguments from its input, one JSON list a line

The console script asks for package metadata called ``vllm``, which the CPU build does not have. ``--stay`` imports
once, which takes half a minute on some machines: between two loads that are to be compared there should be none. Run
by the interpreter that has vLLM; imports nothing else of this repository.
"""

from __future__ import annotations

import json
import sys
import traceback


def run(arguments: list[str]) -> None:
    from vllm.benchmarks.serve import add_cli_args, main
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = FlexibleArgumentParser()
    add_cli_args(parser)
    main(parser.parse_args(arguments))


def stay() -> None:
    """One line of arguments → one line ``{"error": …}`` on the true standard output, ``""`` if all went well."""
    out, sys.stdout = sys.stdout, sys.stderr
    import vllm.benchmarks.serve  # noqa: F401 - the price of the imports, paid before the first load

    out.write('{"error": ""}\n')
    out.flush()
    for line in sys.stdin:
        error = ""
        try:
            run(json.loads(line))
        except (Exception, SystemExit):
            error = traceback.format_exc()[-2000:]
        out.write(json.dumps({"error": error}) + "\n")
        out.flush()


if __name__ == "__main__":
    if sys.argv[1:] == ["--stay"]:
        stay()
    else:
        run(sys.argv[1:])
