"""model.tar.gz comes from outside: hostile and damaged ones are refused, and nothing is written."""

import gzip
import io
import tarfile

import pytest

from models_lib.errors import TrainingError
from tasks.adapters.sagemaker.model_archive import open_archive

KNOWN = {"weights.safetensors": 1_000, "history.json": 1_000}
WHOLE = {"weights.safetensors": b"w" * 900, "history.json": b"{}"}


def packed(path, *members):
    """An archive of (TarInfo or name, content)."""
    with tarfile.open(path, "w:gz") as tar:
        for member, content in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            if info.type == tarfile.REGTYPE:
                info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def opened(path):
    return open_archive(path, KNOWN, subject="BTC-USD: s3://b/model.tar.gz", ignored=frozenset({"tensorboard"}))


def test_whole_archive_gives_its_files(tmp_path):
    members = [(special(".", tarfile.DIRTYPE), b""), *((f"./{name}", content) for name, content in WHOLE.items())]
    extra = ("./tensorboard/events.out", b"never looked at")
    assert opened(packed(tmp_path / "m", *members, extra)) == WHOLE


@pytest.mark.parametrize(
    ("member", "fault"),
    [
        (("../weights.safetensors", b"x"), "../weights.safetensors"),
        (("/etc/passwd", b"x"), "/etc/passwd"),
        (("run.sh", b"x"), "run.sh"),
        (("deep/weights.safetensors", b"x"), "deep/weights.safetensors"),
        (("weights.safetensors", b"second"), r"weights.safetensors \(a file\)"),
        (("history.json\x1b[2J", b"x"), r"history.json\?\[2J"),
        ((".", b"x"), r"\. \(a file\)"),
        ((special("pipe", tarfile.FIFOTYPE), b""), "a special file"),
        ((special("disk", tarfile.BLKTYPE), b""), "a special file"),
    ],
)
def test_hostile_member_is_refused(tmp_path, member, fault):
    path = packed(tmp_path / "model.tar.gz", *WHOLE.items(), member)
    with pytest.raises(TrainingError, match=fault) as caught:
        opened(path)
    assert "Nothing of it is used" in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert [each.name for each in tmp_path.iterdir()] == ["model.tar.gz"]


@pytest.mark.parametrize(("kind", "fault"), [(tarfile.SYMTYPE, "a link"), (tarfile.LNKTYPE, "a hard link")])
def test_link_in_place_of_a_file_is_refused(tmp_path, kind, fault):
    (name, content), (linked, _) = WHOLE.items()
    path = packed(tmp_path / "model.tar.gz", (name, content), (special(linked, kind, name), b""))
    with pytest.raises(TrainingError, match=rf"holds what no training of this project writes: {linked} \({fault}\)"):
        opened(path)


def test_file_above_its_size_is_refused(tmp_path):
    with pytest.raises(TrainingError, match=r"history.json with 1001 bytes \(at most 1000 allowed\)"):
        opened(packed(tmp_path / "m", ("history.json", b"x" * 1001)))


def test_too_many_members_are_refused(tmp_path):
    with pytest.raises(TrainingError, match="more than 200 members"):
        opened(packed(tmp_path / "m", *((f"tensorboard/{n}", b"") for n in range(201))))


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE])
def test_archive_that_unpacks_to_gigabytes_is_refused_soon(tmp_path, kind):
    path = tmp_path / "m"
    info = tarfile.TarInfo("tensorboard/zeros")
    info.type, info.size = kind, 4 << 30
    with gzip.open(path, "wb", compresslevel=1) as stream:
        stream.write(info.tobuf(tarfile.PAX_FORMAT))
        for _ in range(80):
            stream.write(bytes(1 << 20))
    with pytest.raises(TrainingError, match="unpacks to more than 67108864 bytes"):
        opened(path)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "no gzip", "missing"])
def test_damaged_archive_is_refused_with_the_remedy(tmp_path, damage):
    path = packed(tmp_path / "m", *WHOLE.items())
    whole = path.read_bytes()
    wrong = {
        "cut": whole[:-30],
        "flipped": whole[:40] + bytes([whole[40] ^ 255]) + whole[41:],
        "empty": b"",
        "no gzip": b"x" * 500,
    }
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(wrong[damage])
    with pytest.raises(TrainingError, match=r"no whole archive|lacks") as caught:
        opened(path)
    assert "Start the run again: the next attempt is another job" in str(caught.value)


def test_lacking_file_is_named(tmp_path):
    with pytest.raises(TrainingError, match=r"lacks history\.json"):
        opened(packed(tmp_path / "m", ("weights.safetensors", b"w")))
