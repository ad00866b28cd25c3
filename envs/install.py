"""Fills a virtual environment with the locked versions: `make environment` runs it with that environment's Python.

`--torch cpu` (or another backend that `uv pip install --torch-backend` knows) takes PyTorch's own builds of that kind,
and everything else from the same lock. Where they cannot be had it says so, and takes the builds of the lock.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

PROJECT = Path(__file__).parent.parent
LOCK = PROJECT / "requirements.lock"
DEFAULT = "default"
PROBE_S = 20  # an index that is not there must not hold up the rest
# What differs between PyTorch's builds: itself, and the libraries that the builds for GPUs bring.
OF_TORCH = re.compile(r"(torch|torchvision|triton|(nvidia|cuda)-[a-z0-9-]+)==(\S+)")
BUILT = ("torch", "torchvision")


def split(lock: str) -> tuple[str, dict[str, str]]:
    """A lock without what differs between PyTorch's builds, and the versions of what was taken out.

    >>> split("a==1 \\\\\n    --hash=sha256:0\ntorch==2.9.0 \\\\\n    --hash=sha256:1\n")
    ('a==1 \\\\\n    --hash=sha256:0\n', {'torch': '2.9.0'})
    """
    rest, taken = "", dict[str, str]()
    for entry in re.split(r"(?m)^(?=\S)", lock):  # what follows a name is indented
        if (found := OF_TORCH.match(entry)) is None:
            rest += entry
        else:
            taken[found[1]] = found[3]
    return rest, taken


def backend_fails(install: list[str], builds: list[str]) -> str:
    """Why these builds cannot be had, in a line; empty where they can."""
    try:
        done = subprocess.run([*install, "--dry-run", *builds], capture_output=True, text=True, timeout=PROBE_S)
    except subprocess.TimeoutExpired:
        return f"no answer in {PROBE_S} s"
    if done.returncode == 0:
        return ""
    if "invalid value" in done.stderr:  # no such backend: nothing to make up for
        sys.exit(done.stderr.strip())
    reasons = [re.sub(r"^\W*(error: |Caused by: )?", "", line) for line in done.stderr.splitlines() if line.strip()]
    return reasons[-1] if reasons else f"uv ended with code {done.returncode}"


def main() -> None:
    """Installs the lock, then Tessera itself as an editable package, and compiles all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--torch", default=DEFAULT, metavar="BACKEND", help="cpu, or another of uv's --torch-backend")
    parser.add_argument("--note", type=Path, help="file that tells at last which builds there are")
    options = parser.parse_args()
    backend = options.torch
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    if subprocess.run([*pip, "uv"]).returncode:
        if backend != DEFAULT:
            print(f"note: TORCH={backend} needs uv, which cannot be installed: taking the lock's builds of PyTorch")
        backend = DEFAULT
        subprocess.run([*pip, "--requirement", str(LOCK)], check=True)
    else:
        backend = with_uv(backend)
    subprocess.run([*pip, "--no-deps", "--editable", str(PROJECT)], check=True)
    # Also where PYTHONDONTWRITEBYTECODE keeps Python from doing so when it runs: torch alone takes seconds to compile.
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(PROJECT / "workflow")], check=True)
    if options.note is not None:
        options.note.write_text(f"{backend}\n")


def with_uv(backend: str) -> str:
    """Installs the lock in seconds where pip takes minutes, compiled, so that no job has to; which builds it took."""
    uv = [str(Path(sys.executable).parent / "uv"), "pip"]
    install = [*uv, "install", "--python", sys.executable, "--compile-bytecode"]
    # uv counts a build of any kind as the locked version: another kind must be asked for.
    again = [word for name in BUILT for word in ("--reinstall-package", name)]
    if backend != DEFAULT:
        rest, taken = split(LOCK.read_text())
        builds = [*again, "--no-deps", "--torch-backend", backend, *(f"{name}=={taken[name]}" for name in BUILT)]
        if not (reason := backend_fails(install, builds)):
            with tempfile.NamedTemporaryFile("w", suffix=".lock") as file:
                file.write(rest)
                file.flush()
                # Every name that these need is in the file, save those that were taken out.
                subprocess.run([*install, "--quiet", "--no-deps", "--requirement", file.name], check=True)
            subprocess.run([*uv, "uninstall", "--quiet", "--python", sys.executable, *taken], check=True)
            subprocess.run([*install, "--quiet", *builds], check=True)
            return backend
        print(f"note: TORCH={backend}: PyTorch's builds of that kind cannot be had ({reason}): taking the lock's")
    other = any("+" in metadata.version(name) for name in BUILT if find_spec(name))
    subprocess.run([*install, "--quiet", *(again if other else []), "--requirement", str(LOCK)], check=True)
    return DEFAULT


if __name__ == "__main__":
    main()
