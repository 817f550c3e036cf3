"""Bandwidth and peak arithmetic of devices by their NVML name, from their makers' data sheets.

Dense figures: where a data sheet gives the one with structured sparsity, half of it. Where a device has two speeds for
16 bits (sums kept in 16 or in 32 bits), the faster one: a limit must not refuse what is possible.
"""

from __future__ import annotations

import re

from pytest_llmperf.load.roofline import Limits

_GB, _T, _MIB = 1e9, 1e12, 2.0**20


def _row(
    pattern: str, name: str, gb_s: float, tflops_16: float, tops_8: float, cache_mib: float
) -> tuple[re.Pattern[str], Limits]:
    return re.compile(pattern), Limits(
        name, gb_s * _GB, {16: tflops_16 * _T, 8: tops_8 * _T}, cache_mib * _MIB
    )


# The first that matches counts: a variant stands before the family.
_TABLE = (
    # NVIDIA T4 product brief: 256 bit at 5,001 MHz, twice a clock; cache: Turing architecture white paper
    _row(r"\bT4\b", "T4", 320.064, 65, 130, 4),
    # NVIDIA L4 and L40S data sheets; cache: Ada architecture white paper, AD104 and AD102
    _row(r"\bL4\b", "L4", 300, 121, 242.5, 48),
    _row(r"\bL40S\b", "L40S", 864, 362.05, 733, 96),
    # NVIDIA A10 data sheet (A10G differs, and is not here); cache: Ampere GA102 white paper
    _row(r"\bA10\b", "A10", 600, 125, 250, 6),
    # Ampere GA102 and Ada white papers, appendices
    _row(r"\bRTX 3090(?! Ti)\b", "RTX 3090", 936, 142, 284, 6),
    _row(r"\bRTX 4090(?! D)\b", "RTX 4090", 1008, 330.3, 660.6, 72),
    # NVIDIA A100 data sheet: 40 GB, 80 GB PCIe, 80 GB SXM
    _row(r"\bA100\b.*40GB", "A100 40GB", 1555, 312, 624, 40),
    _row(r"\bA100\b.*80GB PCIe", "A100 80GB PCIe", 1935, 312, 624, 40),
    _row(r"\bA100\b.*80GB", "A100 80GB SXM", 2039, 312, 624, 40),
    # NVIDIA H100 data sheet: PCIe, NVL, SXM; cache: Hopper architecture white paper
    _row(r"\bH100 PCIe\b", "H100 PCIe", 2039, 756, 1513, 50),
    _row(r"\bH100 NVL\b", "H100 NVL", 3938, 835.5, 1671, 60),
    _row(r"\bH100\b.*80GB HBM3", "H100 SXM", 3350, 989.5, 1979, 50),
    # NVIDIA H200 data sheet: NVL, SXM; the cache is that of the whole chip, of which a product may have less
    _row(r"\bH200 NVL\b", "H200 NVL", 4800, 835.5, 1671, 60),
    _row(r"\bH200\b", "H200 SXM", 4800, 989.5, 1979, 60),
    # NVIDIA DGX B200 data sheet, an eighth of it (64 TB/s, 36 dense and 72 sparse Pflop/s of FP8)
    _row(r"\bB200\b", "B200", 8000, 2250, 4500, 126),
)
_NOT_THESE = re.compile(r"\bGH200\b|\bGB200\b|\bMIG\b|vGPU|GRID", re.IGNORECASE)


def limits_of(name: str) -> Limits | None:
    """The limits of the device that NVML calls ``name``, or None where no data sheet is known, as for a CPU.

    A class alone (``T4``) is a name as well; ``A100`` and ``H100`` are not, since their variants differ.
    """
    if _NOT_THESE.search(name):
        return None
    return next((limits for pattern, limits in _TABLE if pattern.search(name)), None)


def measured_limits(name: str, bandwidth: float) -> Limits:
    """Limits of a device without a data sheet, from the bandwidth (bytes per second) that a copy in its memory reached.

    They give a share and never refuse anything: a copy reaches 80 to 95 % of what is possible.
    """
    if not bandwidth > 0.0:
        raise ValueError(f"bandwidth is {bandwidth:g}, a bandwidth is above zero")
    unlimited = float("inf")
    return Limits(name, bandwidth, {16: unlimited, 8: unlimited}, 0.0, measured=True)
