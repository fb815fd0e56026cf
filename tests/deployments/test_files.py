"""The files of the deployment name things that exist."""

from __future__ import annotations

import configparser
import importlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from flows.catalogue import FLOWS
from nightcrew.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DEPLOYMENTS = ROOT / "deployments"


def test_prefect_yaml_names_every_flow_by_module_path() -> None:
    text = yaml.safe_load((DEPLOYMENTS / "prefect.yaml").read_text(encoding="utf-8"))
    entrypoints = [row["entrypoint"] for row in text["deployments"]]
    assert sorted(entrypoints) == sorted(path.replace(":", ".") for path in FLOWS.values())
    for entrypoint in entrypoints:
        module, _, name = entrypoint.rpartition(".")
        assert hasattr(importlib.import_module(module), name)
    assert text["pull"] == []


def test_compose_sets_options_that_exist() -> None:
    text = yaml.safe_load((DEPLOYMENTS / "compose.yaml").read_text(encoding="utf-8"))
    names = [name for name in text["services"]["nightcrew"]["environment"] if name.startswith("NIGHTCREW_")]
    assert names
    for name in names:
        section, _, key = name.removeprefix("NIGHTCREW_").lower().partition("__")
        model = Settings.model_fields[section].default
        assert key in type(model).model_fields, name
    ports = text["services"]["nightcrew"]["ports"]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_systemd_units_call_commands_that_exist() -> None:
    for unit in (DEPLOYMENTS / "systemd").glob("*.service"):
        parser = configparser.ConfigParser(strict=False, interpolation=None)
        parser.optionxform = str  # type: ignore[assignment,method-assign]  # keys keep their case
        parser.read_string(unit.read_text(encoding="utf-8"))
        assert parser["Service"]["ExecStart"]
    text = (DEPLOYMENTS / "systemd" / "nightcrew.service").read_text(encoding="utf-8")
    assert re.search(r"^ExecStart=/opt/nightcrew/bin/nightcrew up$", text, re.MULTILINE)


@pytest.mark.parametrize("target", ["night", "install", "test", "lint", "bench", "docs"])
def test_make_has_its_targets(target: str) -> None:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", "--directory", str(ROOT), target], check=True, capture_output=True, text=True
    )
    told = [line for line in done.stdout.splitlines() if not line.startswith("make")]  # of a folder it says that nothing is to be done
    assert told
