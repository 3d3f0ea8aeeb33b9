"""The text that the example's generator learns from: what is read of a wheel, and what must never be in it."""

import importlib.util
import re
import zipfile
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
LONG = "word " * 200


@pytest.fixture(scope="module")
def data():
    spec = importlib.util.spec_from_file_location("generator_data", EXAMPLES / "generator_data.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_wheel(folder, name="shop", functions=1):
    lines = [f'"""About the {name}. {LONG}"""']
    for number in range(functions):
        body = "\n".join(f"    {name}_{number}_{i} = {i}" for i in range(80))
        lines.append(f'def serve_{number}():\n    """Serve {number}. {LONG}"""\n{body}\n')
    source = "\n".join(lines)
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}/__init__.py", source)
        wheel.writestr(f"{name}/tests/test_{name}.py", source.replace(name, "secret"))
        wheel.writestr(f"{name}/broken.py", "def (")
        wheel.writestr(f"{name}/latin.py", "# é".encode("latin-1"))
        wheel.writestr(f"{name}-1.0.dist-info/METADATA", f"Name: {name}\n\n# {name}\n\n{LONG}")


def test_held_out_projects_are_not_among_the_wheels(data):
    lines = [line for line in data.PACKAGES.read_text().splitlines() if not line.startswith("#")]
    assert len(lines) > 100 and all(re.fullmatch(r"[a-z0-9_.]+==[a-z0-9_.]+", line) for line in lines)
    names = {line.partition("==")[0] for line in lines}
    projects = {name.replace("rest_framework", "djangorestframework") for name in data.HELD_OUT}
    related = {"scikit_learn", "boto3", "kombu", "textual"}
    assert not names & (projects | related | {"django_" + name for name in names})
    assert not [name for name in names if name.startswith("django")]


def test_a_wheel_is_read_without_its_tests_and_what_is_no_python(data, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "packages", dict)
    write_wheel(tmp_path)
    docstrings = [text for _, text in data.wide("docstrings", tmp_path)]
    assert sorted(text[:8] for text in docstrings) == ["About th", "Serve 0."]
    ((package, code),) = data.wide("code", tmp_path)
    assert package == "shop" and code.startswith("def serve_0():") and "shop_0_79" in code and "Serve" not in code
    assert [text[:6] for _, text in data.readmes(tmp_path)] == ["# shop"]
    assert "secret" not in " ".join([*docstrings, code])


def test_installed_packages_are_read_beside_the_wheels_but_for_those_held_out(data, tmp_path, monkeypatch):
    files = {"mine": tmp_path / "mine.py", "sklearn": tmp_path / "sklearn.py"}
    for name, path in files.items():
        path.write_text(f'"""{name} says. {LONG}"""')
    monkeypatch.setattr(data, "packages", lambda: {name: [path] for name, path in files.items()})
    write_wheel(tmp_path)
    assert {package for package, _ in data.wide("docstrings", tmp_path)} == {"mine", "shop"}


def test_no_package_is_most_of_the_text(data, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "packages", dict)
    write_wheel(tmp_path, "large", functions=150)
    write_wheel(tmp_path, "small")
    for domain, most in data.MOST_OF_A_PACKAGE.items():
        found = list(data.wide(domain, tmp_path))
        assert sum(package == "large" for package, _ in found) == most < 150
        assert found == list(data.wide(domain, tmp_path))
    again = tmp_path / "large.py"  # The same package, installed too; its functions have other names.
    with zipfile.ZipFile(tmp_path / "large-1.0-py3-none-any.whl") as wheel:
        again.write_text(wheel.read("large/__init__.py").decode().replace("serve", "offer"))
    monkeypatch.setattr(data, "packages", lambda: {"large": [again]})
    found = [package for package, _ in data.wide("code", tmp_path)]
    assert found.count("large") == data.MOST_OF_A_PACKAGE["code"] and "small" in found
    monkeypatch.setattr(data, "MOST_SOURCE", 10)
    assert sum(1 for _ in data.wide("code", tmp_path)) > 0, "the file that goes beyond is still read whole"
