"""Files appear whole or not at all, whatever happens while they are written."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from models_lib import files

# SHA-256 of "abc": FIPS 180-2, appendix B.1.
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_hashes_are_sha_256_in_lower_case_hex(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert files.sha256_bytes(b"abc") == files.sha256_file(tmp_path / "abc") == ABC


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_hash_of_a_file_does_not_depend_on_the_pieces(tmp_path: Path, size: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    (tmp_path / "file").write_bytes(content[:size])
    assert files.sha256_file(tmp_path / "file") == hashlib.sha256(content[:size]).hexdigest()


def test_canonical_json_gives_equal_bytes_for_equal_values() -> None:
    assert files.canonical_json({"b": [1, 2.5], "a": "é"}) == '{"a":"é","b":[1,2.5]}'.encode()
    assert files.canonical_json({"b": 1, "a": 2}) == files.canonical_json({"a": 2, "b": 1})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [float("-inf")]])
def test_json_refuses_what_it_cannot_say(tmp_path: Path, value: object) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.canonical_json(value)
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "out.json", value)
    assert names(tmp_path) == []


def test_writing_makes_the_folders_and_leaves_nothing_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "out.json"
    files.write_json(path, {"x": 1})
    files.write_text(path.with_name("out.txt"), "é")
    assert json.loads(path.read_text()) == {"x": 1}
    assert path.with_name("out.txt").read_bytes() == "é".encode()
    assert names(path.parent) == ["out.json", "out.txt"]


def test_replaced_file_is_another_file_so_readers_of_the_old_one_keep_it(tmp_path: Path) -> None:
    path = tmp_path / "out"
    files.write_bytes(path, b"old")
    with path.open("rb") as reader:
        files.write_bytes(path, b"new")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize(
    "error", [RuntimeError("x"), KeyboardInterrupt(), SystemExit(1)], ids=lambda e: type(e).__name__
)
def test_body_that_raises_leaves_the_old_file_and_no_new_one(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"old")

    def write_half() -> None:
        with files.whole_file(path) as fresh:
            fresh.write_bytes(b"ha")
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["out"]


def test_body_that_writes_nothing_is_an_error_and_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"old")
    with pytest.raises(FileNotFoundError), files.whole_file(path):
        pass
    assert path.read_bytes() == b"old"


def test_many_writers_of_one_name_leave_the_content_of_one(tmp_path: Path) -> None:
    path = tmp_path / "out"
    contents = [bytes([65 + k]) * 50_000 for k in range(8)]
    writers = [threading.Thread(target=files.write_bytes, args=(path, content)) for content in contents]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert path.read_bytes() in contents
    assert names(tmp_path) == ["out"]


def test_killed_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"old")
    code = (
        "import os, signal, sys; from pathlib import Path; from models_lib.files import whole_file\n"
        "with whole_file(Path(sys.argv[1])) as fresh:\n"
        "    fresh.write_bytes(b'half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(path)], check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"


def test_folder_can_be_made_durable(tmp_path: Path) -> None:
    files.fsync_folder(tmp_path)
    with pytest.raises(OSError, match=os.strerror(20)):  # ENOTDIR: names live in folders
        files.fsync_folder(Path(__file__))


def test_fresh_folder_becomes_the_folder_or_goes_however_the_body_ends(tmp_path: Path) -> None:
    folder = tmp_path / "out"

    def fill(*, whole: bool) -> None:
        with files.fresh_folder(folder) as fresh:
            files.write_bytes(fresh / "part", b"half")
            if not whole:
                raise KeyboardInterrupt
            fresh.rename(folder)

    with pytest.raises(KeyboardInterrupt):
        fill(whole=False)
    assert names(tmp_path) == []
    fill(whole=True)
    assert names(tmp_path) == ["out"]
    assert (folder / "part").read_bytes() == b"half"
