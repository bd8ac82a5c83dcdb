"""Builds wheel and sdist, and tries both in new environments of every Python that is promised.

    python tests/releases/installs.py        # what `make wheels` does; needs a package index

A Python that is not installed here is named and passed over; any other failure ends it. From the
sdist the bare library, which verifies certificates and brings no gRPC; over it the wheel with a
node's extra: a cluster is made, and every requirement fits.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/compatibility/golden"
_CLASSIFIER = "Programming Language :: Python :: 3."
_NO_GRPC = "from importlib.util import find_spec; assert find_spec('grpc') is None"


def promised() -> list[str]:
    """The versions that pyproject.toml names: "3.11" and so on."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    prefix, _, _ = _CLASSIFIER.rpartition("3.")
    return [c.removeprefix(prefix) for c in project["classifiers"] if c.startswith(_CLASSIFIER)]


def interpreter(version: str) -> str | None:
    """A Python of this version, if one is installed."""
    name = f"python{version}"
    if shutil.which(name) is None:
        return None
    # PYENV_VERSION: where pyenv stands before them, it starts only those that it is told.
    told = subprocess.run(
        [name, "-c", "import sys; print(sys.executable)"],
        env={**_clean(), "PYENV_VERSION": version},
        capture_output=True,
        text=True,
        check=False,
    )
    return told.stdout.strip() if told.returncode == 0 else None


def main() -> None:
    """Build once, try everywhere."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _run(sys.executable, "-m", "build", "--outdir", folder, ROOT)
        (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
        for version in promised():
            python = interpreter(version)
            if python is None:
                print(f"Python {version}: NOT TRIED, it is not installed here")
                continue
            _try(python, folder / version, wheel, sdist)
            print(f"Python {version}: wheel and sdist install, and work")


def _try(python: str, folder: Path, wheel: Path, sdist: Path) -> None:
    _run(python, "-m", "venv", folder)
    own, qbft = folder / "bin/python", folder / "bin/qbft"
    pip = (own, "-m", "pip", "--quiet", "--disable-pip-version-check")
    _run(*pip, "install", sdist)
    _run(own, "-c", _NO_GRPC)
    for kept in sorted(GOLDEN.iterdir()):
        certificates = sorted(kept.glob("*.cert"))
        _run(qbft, "verify", *certificates, "--cluster", kept / "cluster.toml", "--json")
    _run(*pip, "install", "--force-reinstall", "--no-deps", wheel)
    _run(*pip, "install", f"{wheel}[node]")
    _run(*pip, "check")
    _run(qbft, "init", folder / "cluster", "--json")


def _run(*command: object) -> None:
    """Run it; silent where it does well, and the end of all where it does not."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=tempfile.gettempdir(),
        env=_clean(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{' '.join(str(word) for word in command)}\n{done.stdout}")


def _clean() -> dict[str, str]:
    """The environment without what would let an environment find this checkout."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}


if __name__ == "__main__":
    main()
