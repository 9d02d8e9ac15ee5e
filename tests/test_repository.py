"""Workflows, hooks, templates and container files do what the project's own commands do."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from tests.tool_modules import tool_modules

ROOT = Path(__file__).resolve().parents[1]
GITHUB = ROOT / ".github"
CONTAINERS = sorted((ROOT / "containers").glob("*.Dockerfile"))


@pytest.fixture
def check_wheel() -> Iterator[ModuleType]:
    with tool_modules(ROOT / "tools") as module:
        yield module("check_wheel")


def workflow(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((GITHUB / "workflows" / name).read_text(encoding="utf-8"))
    return content


def commands(job: dict[str, Any]) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


def instructions(path: Path) -> list[tuple[str, str]]:
    """(instruction, its words) of a container file, continued lines joined."""
    text = re.sub(r"^#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1].strip()) for line in text.splitlines() if line.strip()]


def test_ci_is_the_script_that_runs_here() -> None:
    assert commands(workflow("ci.yml")["jobs"]["test"]) == [".ci/run"]


def test_a_release_is_checked_on_every_python_before_it_is_published(check_wheel: ModuleType) -> None:
    jobs = workflow("release.yml")["jobs"]
    assert tuple(jobs["wheel"]["strategy"]["matrix"]["python"]) == check_wheel.PYTHONS
    assert jobs["wheel"]["needs"] == "build"
    assert jobs["publish"]["needs"] == "wheel"
    assert jobs["publish"]["permissions"] == {"id-token": "write"}  # trusted publishing, and nothing else
    called = [line for job in jobs.values() if "steps" in job for line in commands(job)]
    tools = [line for line in called if line.startswith("python tools/check_wheel.py")]
    assert len(tools) == 2
    for line in tools:
        words = line.split()[2:]
        help_text = subprocess.run(
            [sys.executable, str(ROOT / "tools" / "check_wheel.py"), "--help"], capture_output=True, text=True
        ).stdout
        assert all(word in help_text for word in words if word.startswith("--"))


def test_the_classifiers_name_the_pythons_that_are_released_for(check_wheel: ModuleType) -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert tuple(re.findall(r"Python :: (3\.\d+)", text)) == check_wheel.PYTHONS
    assert f'requires-python = ">={check_wheel.PYTHONS[0]}"' in text


def test_the_tag_must_be_the_version(tmp_path: Path) -> None:
    (line,) = [line for line in commands(workflow("release.yml")["jobs"]["build"]) if line.startswith("grep")]
    version = re.findall(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)[0]
    for tag, code in ((f"v{version}", 0), ("v99.0.0", 1)):
        assert (
            subprocess.run(["bash", "-c", line], cwd=ROOT, env={"GITHUB_REF_NAME": tag}, check=False).returncode == code
        )


def test_hooks_are_commands_of_make_lint() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("$(BIN)", ".venv/bin").replace("$(MAKE)", "make")
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    for hook in repository["hooks"]:
        assert "\t" + hook["entry"].removesuffix(" --fix") in makefile


def test_lint_looks_at_every_workflow_template_and_container_file() -> None:
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").partition("lint-files:")[2].partition("\n\n")[0]
    seen = {match for word in recipe.split() if "*" in word or "." in word for match in ROOT.glob(word.split(",")[0])}
    forms = GITHUB / "ISSUE_TEMPLATE"
    for path in [*GITHUB.glob("workflows/*"), *forms.iterdir(), *CONTAINERS, ROOT / "CITATION.cff"]:
        assert path in seen, path


@pytest.mark.parametrize("path", CONTAINERS, ids=lambda path: path.name)
def test_containers_run_rtseg_as_a_user_who_is_not_root(path: Path) -> None:
    lines = instructions(path)
    last = max(place for place, (word, _) in enumerate(lines) if word == "FROM")
    final = dict(lines[last:])
    assert final["ENTRYPOINT"] == '["rtseg"]'
    user = final["USER"].partition(":")[0]
    assert user.isdecimal()
    assert int(user) >= 1000
    for word, rest in lines:
        if word == "FROM":
            image = rest.split()[0]
            assert re.fullmatch(r"[\w./-]+:\d+\.\d+[\w.-]*", image), "a version, not latest"
    assert "not yet built" in path.read_text(encoding="utf-8")


def test_what_containers_copy_is_enough_for_the_wheel(tmp_path: Path) -> None:
    allowed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for name in (line[1:] for line in allowed if line.startswith("!")):
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(ROOT / name)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for path in CONTAINERS:
        for script in re.findall(r"\S*tools/\S+\.py", path.read_text(encoding="utf-8")):
            assert (tmp_path / script).exists()


def test_nobody_and_no_address_is_invented() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["authors"] == [{"name": "rtseg developers"}]
    assert "://" not in (ROOT / "SECURITY.md").read_text(encoding="utf-8")
