"""The benchmarks as modules, and as commands that are run for a moment."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
if str(BENCHMARKS) not in sys.path:
    # Last, not first: benchmarks/profile.py must not be taken for the standard library's.
    sys.path.append(str(BENCHMARKS))


def load_benchmark(name: str) -> ModuleType:
    """A script of benchmarks/ as a module, under a name of its own."""
    spec = importlib.util.spec_from_file_location(f"{name}_benchmark", BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def run_benchmark(
    name: str, *words: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a script as a user would."""
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / f"{name}.py"), *words],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=environment,
    )
