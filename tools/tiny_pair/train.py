"""Train the pair: ``python -m tools.tiny_pair.train --out DIR`` (ten minutes on one H100).

Writes into DIR, as it goes: ``train.log``, ``metrics.json``, ``pair.tar.gz`` (both model directories) and,
unless ``--archive`` is given, the directories ``tiny-math`` and ``tiny-distill``. Needs torch, tokenizers,
safetensors and numpy; ``transformers`` is only used to check the export. The schedule follows the clock.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import itertools
import json
import os
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmperf.embedded.recall import ENGLISH, user
from tools.tiny_pair import prompts, tokenizer
from tools.tiny_pair.batches import bucketed, epochs, merge
from tools.tiny_pair.card import card
from tools.tiny_pair.corpus import (
    Piece,
    Workers,
    encode,
    other_thinking_piece,
    rewritten_piece,
    teacher_prompts,
)

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

    from tools.tiny_pair.evaluate import Speaker
    from tools.tiny_pair.optimise import Done
    from tools.tiny_pair.qwen2 import Qwen2

# Where each phase ends, as a share of the whole time; evaluation takes the rest.
MATH_ENDS, SAMPLING_ENDS, DISTILL_ENDS = 0.57, 0.64, 0.86
TEACHING_LIMIT = 224  # tokens; the longest right working has about 190
NAMES = ("tiny-math", "tiny-distill")


@dataclass(frozen=True)
class Scale:
    """Sizes that ``--smoke`` shrinks."""

    tokens_per_batch: int = 131_072
    piece: int = 4_000
    samples: int = 400_000
    sample_task: int = 4_000
    evaluation: float = 1.0
    steps: int | None = None


SMOKE = Scale(tokens_per_batch=4_096, piece=120, samples=120, sample_task=60, evaluation=0.012, steps=6)


class Run:
    """The clock, the log and the files of one training run."""

    def __init__(
        self, out: Path, models: Path, seed: int, minutes: float, scale: Scale, began: float
    ) -> None:
        self.out, self.models, self.seed, self.scale, self.began = out, models, seed, scale, began
        self.seconds = 60 * minutes
        # Not sys.argv: a model card should not name somebody's folders.
        command = f"python -m tools.tiny_pair.train --out DIR --seed {seed} --minutes {minutes:g}"
        self.metrics: dict[str, Any] = {"command": command}
        out.mkdir(parents=True, exist_ok=True)
        self._log = (out / "train.log").open("a", encoding="utf-8")

    def elapsed(self) -> float:
        return time.perf_counter() - self.began

    def left_until(self, share: float) -> float:
        """Seconds until ``share`` of the whole time has passed, at least one."""
        return max(1.0, share * self.seconds - self.elapsed())

    def log(self, text: str) -> None:
        line = f"[{self.elapsed():6.1f} s] {text}"
        print(line, flush=True)
        self._log.write(line + "\n")
        self._log.flush()

    def store(self) -> None:
        """Write the metrics and the archive, each in one go, so that a killed run leaves whole files."""
        for name, write in (("metrics.json", self._metrics), ("pair.tar.gz", self._archive)):
            temporary = self.models / f".{name}"
            write(temporary)
            (self.out / name).write_bytes(temporary.read_bytes())
            temporary.unlink()

    def _metrics(self, path: Path) -> None:
        path.write_text(json.dumps(self.metrics, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    def _archive(self, path: Path) -> None:
        with tarfile.open(path, "w:gz", compresslevel=6) as archive:
            for name in NAMES:
                if (self.models / name / "model.safetensors").is_file():
                    archive.add(self.models / name, name)


def export(run: Run, name: str, model: Qwen2, words: Tokenizer) -> Path:
    """Write one model directory (its card comes after the evaluation) and return it."""
    from tools.tiny_pair import qwen2

    distilled = name == "tiny-distill"
    bos = prompts.BEGIN if distilled else prompts.PAD
    eos = prompts.END if distilled else prompts.IM_END
    ids = {
        "bos": words.token_to_id(bos),
        "eos": words.token_to_id(eos),
        "pad": words.token_to_id(prompts.PAD),
    }
    sampling: dict[str, object] = (
        {"do_sample": True, "temperature": 0.6, "top_p": 0.95} if distilled else {"do_sample": False}
    )
    folder = run.models / name
    qwen2.save(model, folder, **ids, sampling=sampling)
    tokenizer.save(
        words,
        folder,
        template=prompts.R1_TEMPLATE if distilled else prompts.CHATML_TEMPLATE,
        bos=bos,
        eos=eos,
        max_length=model.shape.positions,
    )
    return folder


def compare_with_transformers(
    run: Run, folder: Path, model: Qwen2, words: Tokenizer, device: torch.device
) -> None:
    """Log how far the export's logits in ``transformers`` are from ours, and whether prompts agree."""
    try:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        from tools.tiny_pair.qwen2 import rotary

        theirs: Any = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32).to(device)
        messages = [user(f"What is 12 * 3?\n{ENGLISH}")]
        render = prompts.r1 if folder.name == "tiny-distill" else prompts.chatml
        rendered = AutoTokenizer.from_pretrained(str(folder)).apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
        ids = torch.tensor(encode(words, [render(messages)]), device=device)
        # A copy drops the compiled layers; rounded as the export is, so that only the code is compared.
        rounded = copy.deepcopy(model).to(torch.bfloat16).float()
        with torch.no_grad():
            ours = rounded(ids, *rotary(model.shape, device, torch.float32))
            difference = float((theirs(ids).logits - ours).abs().max() / ours.abs().max())
        same = rendered == render(messages)
        run.log(
            f"{folder.name} in transformers: largest relative difference of logits {difference:.1e}"
            f", same prompt: {same}"
        )
        run.metrics.setdefault("transformers_check", {})[folder.name] = {
            "difference": difference,
            "same_prompt": same,
        }
    except Exception as error:  # a check only: the training result must not be lost to it
        run.log(f"{folder.name} could not be compared with transformers: {type(error).__name__}: {error}")


def quick_check(run: Run, speaker: Speaker, name: str) -> None:
    """A glance at 300 held-out items and 100 recall conversations."""
    from pytest_llmperf.embedded.problems import eval_problems
    from tools.tiny_pair.evaluate import recall_rate

    n = 300 if run.scale.steps is None else 8
    solved = speaker.solve(eval_problems(n))
    recall = recall_rate(speaker, 512, n // 3)
    run.log(
        f"{name}: right {solved['accuracy']['rate']:.3f}, boxed {solved['boxed']['rate']:.3f}, unfinished"
        f" {solved['unfinished']['rate']:.3f}, {solved['mean_tokens']} tokens, recall {recall['rate']:.3f}"
    )


def teach(run: Run, workers: Workers, speaker: Speaker) -> tuple[Piece, int, float]:
    """Sample tiny-math; the distillation set, the number of samples and the share of right ones."""
    import numpy as np

    from tools.tiny_pair.sampler import sample

    count, per_task = run.scale.samples, run.scale.sample_task
    base = 1_000_003 * run.seed
    end = speaker.tokenizer.token_to_id(prompts.IM_END)
    asked = [
        (base + i, workers.pool.apply_async(teacher_prompts, (base + i, per_task)))
        for i in range(count // per_task)
    ]
    others = [
        workers.pool.apply_async(other_thinking_piece, (base + i, per_task // 2))
        for i in range(max(1, round(count * 0.16 / per_task * 2)))
    ]
    rewritten = []
    group = 4  # tasks sampled together: larger batches keep the GPU busier
    for start in range(0, len(asked), group):
        if start and run.scale.steps is None and run.elapsed() > SAMPLING_ENDS * run.seconds:
            break
        part = [(seed, result.get()) for seed, result in asked[start : start + group]]
        replies = iter(
            sample(
                speaker.model,
                list(itertools.chain.from_iterable(p for _, p in part)),
                end=end,
                limit=TEACHING_LIMIT,
                temperature=0.6,
                top_p=0.95,
                seed=base + start,
            )
        )
        for seed, asks in part:
            # Without the end token, which is no text; a reply that never ended is read as it stands.
            own = [np.array([t for t in next(replies) if t != end], np.int16) for _ in asks]
            rewritten.append(workers.pool.apply_async(rewritten_piece, (seed, own)))
    found = [result.get() for result in rewritten]
    sampled = len(found) * per_task
    right = sum(hits for _, hits in found) / sampled
    wanted_others = max(1, round(len(others) * sampled / count))
    piece = merge([p for p, _ in found] + [result.get() for result in others[:wanted_others]])
    run.log(f"{sampled} samples, {right:.3f} right; {len(piece.lengths)} examples for tiny-distill")
    return piece, sampled, right


def fit(
    run: Run,
    name: str,
    model: Qwen2,
    batches: Iterator[Any],
    ends: float,
    peak: float,
    speaker: Speaker,
    device: torch.device,
    compiled: bool,
) -> Done:
    """One phase of training, with quick checks and exports on the way."""
    import torch

    from tools.tiny_pair.optimise import Plan, optimise, speed_up
    from tools.tiny_pair.qwen2 import rotary

    if compiled:
        import torch._dynamo.config as dynamo

        dynamo.suppress_errors = True  # a shape that can't be compiled runs as it is
        dynamo.recompile_limit = 64
        trial = [next(batches) for _ in range(12)]
        speed_up(model, trial, rotary(model.shape, device, torch.bfloat16), device, run.log)

    def check() -> None:
        quick_check(run, speaker, name)
        export(run, name, model, speaker.tokenizer)
        run.store()

    plan = Plan(
        run.left_until(ends), peak, warm_up=300 if name == "tiny-math" else 100, steps=run.scale.steps
    )
    done = optimise(model, batches, plan, device, run.log, check)
    run.metrics[name] = {"training": asdict(done)}
    check()
    return done


def measure(run: Run, name: str, speaker: Speaker, facts: dict[str, Any]) -> None:
    """The full evaluation of one model, its card, and the damage scan of the distilled one."""
    from tools.tiny_pair.evaluate import abilities, damage_scan

    scores = abilities(speaker, run.scale.evaluation)
    run.metrics[name].update(scores, facts=facts)
    for key, value in scores.items():
        if isinstance(value, dict) and "accuracy" in value:
            run.log(
                f"{name} {key}: right {value['accuracy']['rate']}, boxed {value['boxed']['rate']}, unfinished"
                f" {value['unfinished']['rate']}, {value['mean_tokens']} tokens"
            )
        elif key in ("recall", "summary", "per_level", "grid"):
            run.log(f"{name} {key}: {json.dumps(value)}")
    (run.models / name / "README.md").write_text(card(name, facts, scores), encoding="utf-8")
    run.store()
    if name == "tiny-distill":
        run.metrics["damage"] = damage_scan(speaker, run.models / name, run.scale.evaluation)
        run.log("damage: " + json.dumps({k: v["rate"] for k, v in run.metrics["damage"].items()}))
        run.store()


def train(run: Run, processes: int, compiled: bool) -> None:
    """Both models, from nothing to cards."""
    words = tokenizer.build(tokenizer.corpus_texts())
    workers = Workers(words.to_str(), processes)
    try:
        run.log(f"tokenizer built, {processes} workers started")
        import torch

        from tools.tiny_pair.evaluate import Speaker
        from tools.tiny_pair.qwen2 import Qwen2, Shape

        torch.manual_seed(run.seed)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        kind = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
        compiled = compiled and device.type == "cuda"
        math = Qwen2(Shape(), run.seed).to(device)
        run.log(f"{kind}, torch {torch.__version__}, {math.parameters_count():,} parameters")
        run.metrics.update(
            device=kind, torch=torch.__version__, parameters=math.parameters_count(), seed=run.seed
        )

        stream = bucketed(workers.stream(run.seed, run.scale.piece), run.scale.tokens_per_batch)
        teacher = Speaker(math, words, thinking=False, temperature=0.0, top_p=1.0)
        first = fit(run, NAMES[0], math, stream, MATH_ENDS, 2e-3, teacher, device, compiled)
        compare_with_transformers(run, run.models / NAMES[0], math, words, device)

        piece, sampled, right = teach(run, workers, teacher)
        distill = copy.deepcopy(math)
        pupil = Speaker(distill, words, thinking=True, temperature=0.6, top_p=0.95)
        rows = epochs(piece, run.scale.tokens_per_batch, run.seed)
        second = fit(run, NAMES[1], distill, rows, DISTILL_ENDS, 1e-3, pupil, device, compiled)
        run.log(f"{second.tokens / max(1, int(piece.lengths.sum())):.1f} epochs over the distillation set")
        compare_with_transformers(run, run.models / NAMES[1], distill, words, device)

        common = {
            "command": run.metrics["command"],
            "device": kind,
            "parameters": math.parameters_count(),
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "samples": sampled,
            "teacher_right": right,
        }
        measure(run, NAMES[0], teacher, {**common, **asdict(first)})
        measure(run, NAMES[1], pupil, {**common, **asdict(second)})
        run.log("done")
    finally:
        workers.close()


def main() -> None:
    began = time.perf_counter()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="where the results go")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=9.3, help="wall-clock budget of the whole run")
    parser.add_argument(
        "--workers", type=int, default=max(1, (os.cpu_count() or 2) - 2), help="data processes"
    )
    parser.add_argument(
        "--archive", action="store_true", help="leave the directories out: they are in pair.tar.gz"
    )
    parser.add_argument("--no-compile", action="store_true", help="never try torch.compile")
    parser.add_argument("--smoke", action="store_true", help="a few steps of everything, for a test on a CPU")
    arguments = parser.parse_args()
    scale = SMOKE if arguments.smoke else Scale()
    with tempfile.TemporaryDirectory() as temporary:
        models = Path(temporary) if arguments.archive else arguments.out
        run = Run(arguments.out, models, arguments.seed, arguments.minutes, scale, began)
        train(run, arguments.workers, not arguments.no_compile)


if __name__ == "__main__":
    main()
