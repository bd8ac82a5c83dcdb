"""Compiles the engine where a wheel is built with HATCH_BUILD_HOOKS_ENABLE=1 (docs/adr/011).

The same files, by mypyc: whoever imports `qbft.core` gets the compiled modules where the wheel has
them. Nothing else of the project is compiled, and no build does so unless it is told to.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ENGINE = "qbft/core"


class CompiledEngine(BuildHookInterface[Any]):
    """Adds the compiled modules to the wheel, beside their sources."""

    _scratch: Path

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile into a folder of its own, and have the wheel take what came out."""
        from mypyc.build import mypycify  # noqa: PLC0415 - only where the hook is on
        from setuptools import Distribution  # noqa: PLC0415

        os.chdir(self.root)
        files = Path(ENGINE).glob("*.py")
        sources = sorted(str(path) for path in files if path.name != "__init__.py")
        self._scratch = scratch = Path(tempfile.mkdtemp(prefix="qbft-compiled-"))
        modules = mypycify(
            ["--config-file=", "--ignore-missing-imports", "--follow-imports=silent", *sources],
            opt_level="3",
            debug_level="0",
            group_name="qbft_engine",
            target_dir=str(scratch / "c"),
        )
        distribution = Distribution({"name": "qbft", "packages": [], "ext_modules": modules})
        build = distribution.get_command_obj("build_ext")
        build.build_lib, build.build_temp = str(scratch / "lib"), str(scratch / "temp")
        build.ensure_finalized()
        build.run()
        for built in (scratch / "lib").rglob("*.so"):
            build_data["force_include"][str(built)] = str(built.relative_to(scratch / "lib"))
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Leave nothing behind."""
        shutil.rmtree(self._scratch)
