"""Write the lock files in requirements/ anew, with the newest versions that fit pyproject.toml.

    python3.11 tools/lock.py

Run it with the oldest Python that contraflow supports, and try the result on the newest. `run.txt`
holds the needs of the package and its build tools; `test.txt`, `lint.txt` and `docs.txt` add the
extra of that name and leave out what run.txt has. `parity.txt` is written by hand.
"""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "requirements"
BUILD = ["hatchling", "editables"]  # so that the package installs without a build environment


def resolve(needs: list[str]) -> list[str]:
    """`needs` and all that they need, as sorted `name==version` lines."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run"]
    command += ["--ignore-installed", "--report", "-", *needs]
    report = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found = [entry["metadata"] for entry in json.loads(report)["install"]]
    return sorted((f"{entry['name']}=={entry['version']}" for entry in found), key=str.lower)


def write(name: str, lines: list[str]) -> None:
    """One lock file."""
    head = "# Written by tools/lock.py; do not edit.\n"
    FOLDER.joinpath(name).write_text(head + "\n".join(lines) + "\n", encoding="utf-8")
    print(f"requirements/{name}: {len(lines)} lines")


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    run = resolve([*project["dependencies"], *BUILD])
    write("run.txt", run)
    for extra in ("test", "lint", "docs"):
        lines = resolve([*run, *project["optional-dependencies"][extra]])
        write(f"{extra}.txt", ["-r run.txt", *(line for line in lines if line not in run)])


if __name__ == "__main__":
    main()
