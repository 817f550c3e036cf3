"""What the project that we are in has told pytest, for commands that are not pytest."""

from __future__ import annotations

from pathlib import Path

from pytest_llmperf.errors import UsageError


def configured_path(name: str) -> Path:
    """The path that the ini value ``name`` means here, whichever of its files pytest is configured by.

    Raises :class:`UsageError` where pytest cannot read its configuration (it has said why).
    """
    import pytest

    found: list[Path] = []

    class Asked:
        """Ends pytest before it does anything."""

        @pytest.hookimpl(tryfirst=True)
        def pytest_cmdline_main(self, config: pytest.Config) -> int:
            found.append(config.rootpath / config.getini(name))
            return 0

    pytest.main(["--noconftest", "-p", "llmperf", "-p", "no:cacheprovider"], plugins=[Asked()])
    if not found:
        raise UsageError(
            f"pytest cannot read its configuration here, and so not {name}; correct it or give the directory"
        )
    return found[0]
