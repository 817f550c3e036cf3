"""The process that Math-Verify runs in: a parent that has imported it, and forks a child for each place of the pool.

Started as a file of its own by ``killable``, with the number of its control socket; nothing of the package is imported
here. A child is ready in milliseconds, so that one that was killed is replaced at no cost.

Control socket: ``fork`` with the child's end of a socket → the child's process id; ``kill PID``, which has no reply.
Child's socket: ``["equal", gold, answer]`` or ``["parse", text]`` → ``true``, ``false`` or the name of a trouble.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import resource
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

_LONGEST_MESSAGE = 1 << 17
_WORN_OUT_BYTES = 256 << 20
"""A child that has used so much goes: its limit is meant for the item that needs it, not for what others left."""


def main(control: socket.socket, limit_s: float, wall_s: float, memory_bytes: int) -> None:
    """Fork and kill on request until the other side is gone."""
    logging.disable(logging.CRITICAL)
    try:
        verify = _math_verify()
    except ImportError as error:
        control.send(str(error).encode()[:1000])
        return
    control.send(b"ready")
    children: set[int] = set()
    while True:
        message, sockets, _, _ = socket.recv_fds(control, 64, 1)
        if not message:
            return
        _bury(children)
        if message == b"fork":
            pid = os.fork()
            if pid == 0:
                control.close()
                child = socket.socket(fileno=sockets[0])
                with contextlib.suppress(BaseException):
                    _serve(child, verify, limit_s, wall_s, memory_bytes)
                os._exit(0)
            os.close(sockets[0])
            children.add(pid)
            control.send(str(pid).encode())
        else:
            pid = int(message.removeprefix(b"kill "))
            if pid in children:  # not buried yet: the number is still this child's
                os.kill(pid, signal.SIGKILL)


def _bury(children: set[int]) -> None:
    for pid in [*children]:
        if os.waitpid(pid, os.WNOHANG)[0]:
            children.discard(pid)


def _serve(
    requests: socket.socket,
    verify: Callable[[list[str]], Any],
    limit_s: float,
    wall_s: float,
    memory_bytes: int,
) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Not caught but left to kill: what hangs inside one long multiplication would never hear of a handler.
    # Processor time, so that a busy machine grades as an idle one does; wall time for what waits for ever.
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    while message := requests.recv(_LONGEST_MESSAGE):
        signal.setitimer(signal.ITIMER_PROF, limit_s)
        signal.setitimer(signal.ITIMER_REAL, wall_s)
        try:
            reply = verify(json.loads(message))
        except MemoryError:
            reply = "memory"
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        worn_out = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 > _WORN_OUT_BYTES
        if worn_out and reply is not True:
            # SymPy takes a MemoryError of its own for "not equal".
            reply = "memory"
        requests.send(json.dumps(reply).encode())
        if worn_out or reply == "memory":
            return


def _math_verify() -> Callable[[list[str]], Any]:
    """The function that answers requests: Math-Verify's reader and comparison, with settings chosen one by one.

    Letters keep their case (``R`` is not ``r``); no letter is taken for a unit; γ and Γ are variables like any other;
    ``i`` is the imaginary unit, and ``I`` a variable; values are compared exactly, or to a relative precision where a
    decimal stands in one of them, and never chopped; sets and inequalities are compared both ways.
    """
    from latex2sympy2_extended import symbols
    from latex2sympy2_extended.latex2sympy2 import (
        ConversionConfig,
        NormalizationConfig,
        latex2sympy,
        normalize_latex,
    )
    from math_verify import grader, verify
    from sympy import Basic, Eq, FiniteSet, I, Intersection, MatrixBase, Set, Symbol, Union
    from sympy.core.relational import Relational
    from sympy.logic.boolalg import And

    normalization = NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none", equations=False
    )
    conversion = ConversionConfig(
        interpret_as_mixed_fractions=True,
        interpret_simple_eq_as_assignment=False,
        interpret_contains_as_eq=True,
        lowercase_symbols=False,
    )
    for name in ("gamma", "Gamma"):  # would be Euler's constant
        symbols.sympy_singleton_map.pop(name, None)
    grader.sympy_numeric_eq = _numeric_equal
    grader.sympy_symbolic_eq = _symbolic_equal
    grader.sympy_compare_symbols = _same_symbols
    imaginary = Symbol("i", real=True)

    def parsed(text: str) -> Any:
        latex = normalize_latex(_CAPITAL_I.sub(r"\\hat{I}", text), normalization)
        found = latex2sympy(
            latex,
            is_real=True,
            convert_degrees=False,
            normalization_config=None,
            conversion_config=conversion,
        )
        if isinstance(found, Basic) and imaginary in found.free_symbols and not found.has(Set):
            found = found.xreplace({imaginary: I})
        return found

    def read(text: str) -> Any:
        if "!!" in text:
            return None  # a double factorial, which would be read as a factorial of one
        for joint, join in ((_OR, Union), (_AND, Intersection)):
            parts = joint.split(text)
            if len(parts) > 1:
                sets = [as_set(parsed(part)) for part in parts]
                if all(found is not None for found in sets):
                    return join(*sets)
        found = parsed(text)
        return found if isinstance(found, Basic | MatrixBase) else None

    def as_set(found: Any) -> Any:
        """The solution set of inequalities in one unknown; None for everything else."""
        if isinstance(found, Eq) and isinstance(found.rhs, Set):
            return found.rhs
        if isinstance(found, Set) and not isinstance(found, FiniteSet):
            return found
        several = found.args if isinstance(found, And | FiniteSet) else (found,)
        if not several or len(found.free_symbols) != 1:
            return None
        if any(isinstance(one, Eq) or not isinstance(one, Relational) for one in several):
            return None
        return Intersection(*(one.as_set() for one in several))

    def equal(gold: Any, given: Any) -> bool:
        if isinstance(given, Eq) and not isinstance(given.rhs, Set) and not grader.is_equation(gold):
            return False  # 2x = 18 is not 18
        wanted, got = _done(as_set(gold)), _done(as_set(given))
        if wanted is not None and got is not None:
            names = [one.free_symbols for one in (gold, given) if not isinstance(one, Set)]
            return _same_set(wanted, got) and (len(names) < 2 or names[0] == names[1])
        return bool(verify([gold], [given], allow_set_relation_comp=True, timeout_seconds=None))

    def answer(request: list[str]) -> Any:
        kind, *texts = request
        read_texts = []
        for text in texts:
            try:
                found = read(text)
            except MemoryError:
                raise
            except Exception:  # whatever the reader raises, it has not read the text
                found = None
            if found is None:
                return "unreadable"
            read_texts.append(found)
        return True if kind == "parse" else equal(*read_texts)

    # Grammar, caches and simplifier, once for all children.
    answer(["equal", "\\frac{x+1}{2}", "0.5 x + \\sqrt{1}/2"])
    return answer


_CAPITAL_I = re.compile(r"(?<![\\A-Za-z{])I(?![A-Za-z_}])")
_OR = re.compile(r"\\text\{\s*,?\s*or\s*,?\s*\}|(?<![A-Za-z\\])or(?![A-Za-z])|\\(?:lor|vee)(?![A-Za-z])")
_AND = re.compile(
    r"\\text\{\s*,?\s*and\s*,?\s*\}|(?<![A-Za-z\\])and(?![A-Za-z])|\\(?:land|wedge)(?![A-Za-z])"
)

_NEAR, _NEAR_RELATIVE = 5e-7, 1.0000001e-6
"""A decimal is as good as the value that it rounds to six places: both at most so far apart, of numbers of any size."""
_DIGITS = 60
"""Two constants that agree in 40 of so many digits are equal; fractions are compared exactly."""


def _numeric_equal(a: Any, b: Any, float_rounding: int, numeric_precision: int) -> bool:
    """In place of Math-Verify's own, which rounds to six decimals and chops at 1e-15: 1e-20 and 1e-21 are not equal."""
    del float_rounding, numeric_precision
    from sympy import Float, MatrixBase, MatrixExpr

    if isinstance(a, MatrixBase | MatrixExpr) or isinstance(b, MatrixBase | MatrixExpr):
        a, b = _done(a), _done(b)
        if not (isinstance(a, MatrixBase) and isinstance(b, MatrixBase) and a.shape == b.shape):
            return False
        return all(_numeric_equal(x, y, 6, 15) or _symbolic_equal(x, y) for x, y in zip(a, b, strict=True))
    if a.free_symbols or b.free_symbols:
        return False
    has_decimal = bool(a.atoms(Float) or b.atoms(Float))
    a, b = _done(a), _done(b)
    if a == b:
        return True
    if not has_decimal and a.is_Rational and b.is_Rational:
        return False
    if not has_decimal and (a - b).expand() == 0:
        return True
    digits = 30 if has_decimal else _DIGITS
    difference, sizes = abs((a - b).evalf(digits)), [abs(a.evalf(digits)), abs(b.evalf(digits))]
    if isinstance(difference, Float) and difference._prec == 1:
        return True  # SymPy found no significant digit in the first hundred: 1/(2 + √3) and 2 - √3
    if not all(value.is_comparable and value.is_finite for value in (difference, *sizes)):
        return False
    size = max(sizes)
    if has_decimal:
        return bool(difference <= _NEAR and difference <= _NEAR_RELATIVE * size)
    return bool(difference <= size * 10 ** -(_DIGITS - 20))


def _same_set(a: Any, b: Any) -> bool:
    """True if two sets are equal; the ends of intervals are compared like other numbers (``0.5`` is ``1/2``)."""
    from sympy import Interval

    if isinstance(a, Interval) and isinstance(b, Interval):
        ends = ((a.start, b.start), (a.end, b.end))
        is_same_kind = (a.left_open, a.right_open) == (b.left_open, b.right_open)
        return bool(is_same_kind and all(x == y or _numeric_equal(x, y, 6, 15) for x, y in ends))
    return bool(a == b)


def _symbolic_equal(a: Any, b: Any) -> bool:
    """True if the difference of two expressions in unknowns is zero."""
    from sympy import Basic, MatrixBase, simplify

    if isinstance(a, Basic) and isinstance(b, Basic) and not (a.free_symbols or b.free_symbols):
        return False  # constants were compared before
    try:
        difference = simplify(a - b)
    except MemoryError:
        raise
    except Exception:  # sets, tuples, relations: no difference
        return False
    if isinstance(difference, MatrixBase):
        return bool(difference.is_zero_matrix)
    return bool(difference.is_zero)


def _same_symbols(gold: Any, given: Any) -> bool:
    """Names as they are written: ``\\Delta`` is not ``\\delta``, and ``ABC`` no product."""
    return bool(gold == given)


def _done(value: Any) -> Any:
    try:
        return value.doit()
    except MemoryError:
        raise
    except Exception:  # what cannot be worked out stays as it is written
        return value


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
    os._exit(0)
