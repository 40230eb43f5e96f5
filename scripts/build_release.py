"""Build what is released, from what is committed, and show that anybody gets the same bytes.

    .venv/bin/python scripts/build_release.py            # into dist/

The last commit is cloned twice, to folders of different depth, with files of different dates and under another
umask and time zone; both build an sdist and a wheel, and a third wheel is built from the sdist as pip would do
it. All must be equal byte for byte, or nothing is written. The bytes depend on the version of hatchling, which
a wheel records.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LONG_AGO = 1_000_000_000  # 2001-09-09, for dates of files


def build(
    source: Path, output: Path, *targets: str, umask: int = 0o022, zone: str = "UTC"
) -> dict[str, bytes]:
    """What hatchling makes of a folder.

    Args:
        source: the folder, with its `pyproject.toml`.
        output: folder for the files.
        targets: "sdist", "wheel".
        umask: under which.
        zone: time zone in which.

    Returns:
        File name to content.
    """
    env = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"} | {"TZ": zone}
    flags = [word for target in targets for word in ("-t", target)]
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(output), *flags]
    done = subprocess.run(command, cwd=source, env=env, umask=umask, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{source} does not build:\n{done.stderr}")
    return {path.name: path.read_bytes() for path in sorted(output.iterdir())}


def build_in_two_ways(first: Path, second: Path, scratch: Path) -> dict[str, bytes]:
    """What two folders with the same files build to, and a wheel from the sdist.

    Args:
        first: one folder.
        second: another; the dates of its files are changed.
        scratch: an empty folder to work in.

    Returns:
        File name to content; ends the program where anything differs.
    """
    for path in second.rglob("*"):
        if path.is_file() and not path.is_symlink():
            os.utime(path, (LONG_AGO, LONG_AGO))
    built = build(first, scratch / "one", "sdist", "wheel")
    again = build(second, scratch / "two", "sdist", "wheel", umask=0o077, zone="Asia/Kathmandu")
    (sdist,) = (scratch / "one").glob("*.tar.gz")
    shutil.unpack_archive(sdist, scratch / "unpacked")
    (unpacked,) = (scratch / "unpacked").iterdir()
    again_from_sdist = build(unpacked, scratch / "three", "wheel")
    differing = [name for name in built if again.get(name) != built[name]]
    differing += [
        f"{name} from the sdist" for name in again_from_sdist if again_from_sdist[name] != built[name]
    ]
    if differing or built.keys() != again.keys():
        sys.exit(f"two builds differ: {', '.join(differing) or 'they have other names'}")
    return built


def clone(folder: Path, umask: int = 0o022) -> Path:
    """The last commit, in a folder that is made."""
    command = ["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(folder)]
    subprocess.run(command, check=True, umask=umask)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(
        description="build the sdist and the wheel of the last commit, reproducibly"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="folder (default: dist)")
    output = parser.parse_args().output
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=no"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    if changed:
        print(f"not in it, because not committed: {len(changed.splitlines())} changed files", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        first, second = clone(scratch / "a"), clone(scratch / "some" / "where" / "else", 0o077)
        built = build_in_two_ways(first, second, scratch / "built")
    output.mkdir(parents=True, exist_ok=True)
    for name, content in built.items():
        (output / name).write_bytes(content)
        print(f"{sha256(content).hexdigest()}  {output / name}  {len(content):,} bytes")


if __name__ == "__main__":
    main()
