"""What every way to a trading host must do: commands as they were given, folders whole or not at all."""

import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from models_lib.deployment.host_link import HostLink, LocalLink, new_piece
from models_lib.errors import DeployError, StoppedError, TransientError
from models_lib.interruption import allow_work, request_stop
from tasks.adapters.ssh import SshLink
from tests.disks import small_disk

LIMIT = 60.0
ODD = ["two words", "", "$HOME `id` $(id)", "'single' \"double\"", "back\\slash", "new\nline", "-n", "*", "é€"]


@pytest.fixture(scope="module", params=["local", "ssh"])
def link(request: pytest.FixtureRequest) -> Iterator[HostLink]:
    """One for all tests: what one of them breaks, the next one's call mends."""
    if request.param == "local":
        yield LocalLink()
        return
    with SshLink(request.getfixturevalue("sshd").section()) as link:
        yield link


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(os.urandom(200_000))
    (folder / "empty").write_bytes(b"")
    (folder / "deep" / "er" / "odd name 'x'.json").write_text("{}")
    return folder


@pytest.fixture
def place(tmp_path: Path) -> PurePosixPath:
    return PurePosixPath(tmp_path / "host" / "incoming" / "abc")


def files_of(folder: Path | PurePosixPath) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


def names_beside(place: PurePosixPath) -> set[str]:
    return {path.name for path in Path(place.parent).iterdir()}


def has_ended(pid: int, *, seconds: float = 30.0) -> bool:
    """Waits for a process that need not be a child of this one."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


def test_command_gets_exactly_its_arguments(link: HostLink) -> None:
    answer = link.run(["printf", "%s\\0", *ODD], timeout_seconds=LIMIT)
    assert (answer.status, answer.stdout.decode().split("\0")[:-1], answer.stderr) == (0, ODD, b"")


def test_input_and_output_of_any_size_pass_whole(link: HostLink) -> None:
    given = os.urandom(3_000_000)
    assert link.run(["cat"], input=given, timeout_seconds=LIMIT).stdout == given


def test_command_may_ignore_its_input(link: HostLink) -> None:
    assert link.run(["true"], input=bytes(1_000_000), timeout_seconds=LIMIT).status == 0


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["sh", "-c", "exit 7"], 7),
        (["sh", "-c", "kill -TERM $$"], -signal.SIGTERM),
        (["crpbot-is-not-here"], 127),
        (["/etc/passwd"], 126),
        (["sh", "-c", "exit 124"], 124),
    ],
    ids=["its-own", "signal", "not-there", "not-runnable", "as-if-out-of-time"],
)
def test_answer_has_the_status(link: HostLink, command: list[str], status: int) -> None:
    assert link.run(command, timeout_seconds=LIMIT).status == status


def test_complaints_are_kept_apart(link: HostLink) -> None:
    answer = link.run(["sh", "-c", "echo yes; echo no >&2"], timeout_seconds=LIMIT)
    assert (answer.stdout, answer.stderr) == (b"yes\n", b"no\n")


def test_lines_are_told_as_they_come_in_the_callers_thread(link: HostLink, tmp_path: Path) -> None:
    """The command goes on only after its first line was heard."""
    told: list[tuple[bytes, int]] = []

    def on_line(line: bytes) -> None:
        told.append((line, threading.get_ident()))
        (tmp_path / "heard").touch()

    wait = f"echo one; until [ -e {tmp_path}/heard ]; do sleep 0.02; done; echo; printf last"
    answer = link.run(["sh", "-c", wait], timeout_seconds=LIMIT, on_line=on_line)
    here = threading.get_ident()
    assert (answer.status, told) == (0, [(b"one", here), (b"", here), (b"last", here)])
    assert answer.stdout == b"one\n\nlast"


def test_command_out_of_time_is_gone_with_its_children(link: HostLink, tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(TransientError, match=r"sh took longer than 0\.7 s"):
        link.run(["sh", "-c", f"sleep 60 & echo $$ $! > {tmp_path}/pids; wait"], timeout_seconds=0.7)
    assert time.monotonic() - began < 5.0
    assert all(has_ended(int(pid)) for pid in (tmp_path / "pids").read_text().split())
    assert link.run(["true"], timeout_seconds=LIMIT).status == 0


@pytest.mark.long
def test_command_that_hears_no_signal_is_killed(link: HostLink, tmp_path: Path) -> None:
    deaf = f"trap '' TERM; echo $$ > {tmp_path}/pid; while :; do sleep 0.1; done"
    with pytest.raises(TransientError):
        link.run(["sh", "-c", deaf], timeout_seconds=0.5)
    assert has_ended(int((tmp_path / "pid").read_text()))


def test_what_stays_in_the_background_is_left_alone(link: HostLink) -> None:
    """A restart command may leave the runtime behind, with the command's own stdout."""
    began = time.monotonic()
    answer = link.run(["sh", "-c", "sleep 60 & echo $!"], timeout_seconds=LIMIT)
    assert time.monotonic() - began < 30.0
    assert not has_ended(int(answer.stdout), seconds=0.0)
    os.kill(int(answer.stdout), signal.SIGKILL)


def test_error_of_the_listener_comes_through_and_the_link_still_works(link: HostLink) -> None:
    with pytest.raises(KeyError):
        link.run(["sh", "-c", "echo x; sleep 60"], timeout_seconds=LIMIT, on_line=lambda line: {}[line])
    assert link.run(["echo", "again"], timeout_seconds=LIMIT).stdout == b"again\n"


def test_stop_ends_the_wait_and_refuses_the_next_call(link: HostLink, tree: Path, place: PurePosixPath) -> None:
    began = time.monotonic()
    try:
        with pytest.raises(StoppedError):
            link.run(
                ["sh", "-c", "echo x; sleep 60"],
                timeout_seconds=LIMIT,
                on_line=lambda _: threading.Thread(target=request_stop).start(),
            )
        assert time.monotonic() - began < 5.0
        with pytest.raises(StoppedError):
            link.send(tree, place, timeout_seconds=LIMIT)
    finally:
        allow_work()
    assert not Path(place).exists()
    link.send(tree, place, timeout_seconds=LIMIT)
    assert files_of(place) == files_of(tree)


@pytest.fixture
def hears_ctrl_c() -> Iterator[None]:
    """A shell's background job, which a test run may be, ignores SIGINT unless told otherwise."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("hears_ctrl_c")
def test_interrupt_ends_the_wait(link: HostLink) -> None:
    began = time.monotonic()
    interrupt = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        link.run(["sh", "-c", "echo x; sleep 60"], timeout_seconds=LIMIT, on_line=lambda _: interrupt.start())
    assert time.monotonic() - began < 5.0
    assert link.run(["true"], timeout_seconds=LIMIT).status == 0


def test_folder_arrives_as_it_is_also_twice(link: HostLink, tree: Path, place: PurePosixPath) -> None:
    for _ in range(2):
        link.send(tree, place, timeout_seconds=LIMIT)
        assert files_of(place) == files_of(tree)
        assert names_beside(place) == {place.name}


def test_folder_replaces_the_earlier_one_and_takes_its_files_away(
    link: HostLink, tree: Path, place: PurePosixPath
) -> None:
    link.send(tree, place, timeout_seconds=LIMIT)
    (tree / "model.onnx").rename(tree / "renamed.onnx")
    link.send(tree, place, timeout_seconds=LIMIT)
    assert files_of(place) == files_of(tree)


def test_pieces_of_earlier_calls_go_and_what_is_others_stays(link: HostLink, tree: Path, place: PurePosixPath) -> None:
    piece, others = Path(new_piece(place)), Path(new_piece(place.with_name("abd")))
    for folder in (piece, others):
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "half").write_bytes(b"x")
    link.send(tree, place, timeout_seconds=LIMIT)
    assert names_beside(place) == {place.name, others.name}


@pytest.mark.parametrize("fault", ["link", "pipe", "absent", "without-files"])
def test_what_is_no_folder_of_plain_files_is_refused(
    link: HostLink, tree: Path, place: PurePosixPath, fault: str, tmp_path: Path
) -> None:
    match fault:
        case "link":
            (tree / "deep" / "secret").symlink_to("/etc/passwd")
        case "pipe":
            os.mkfifo(tree / "pipe")
        case "absent":
            tree = tmp_path / "nowhere"
        case "without-files":
            tree = tmp_path / "void"
            (tree / "deep").mkdir(parents=True)
    with pytest.raises(DeployError):
        link.send(tree, place, timeout_seconds=LIMIT)
    assert not Path(place).parent.exists()


def test_destination_below_a_file_is_refused(link: HostLink, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DeployError):
        link.send(tree, PurePosixPath(tmp_path / "file" / "abc"), timeout_seconds=LIMIT)
    assert (tmp_path / "file").read_text() == "mine"


def test_folder_larger_than_the_free_space_is_refused_before_it_is_written(
    link: HostLink, tree: Path, tmp_path: Path
) -> None:
    (tree / "large").write_bytes(bytes(2_000_000))
    with small_disk(tmp_path / "disk", num_bytes=1 << 20) as disk:
        place = PurePosixPath(disk / "abc")
        with pytest.raises(DeployError, match=r"need 2,200,002 bytes, and the disk has 1,048,576"):
            link.send(tree, place, timeout_seconds=LIMIT)
        assert names_beside(place) == set()


def test_disk_that_gets_full_leaves_the_earlier_folder_and_no_pieces(
    link: HostLink, tree: Path, tmp_path: Path
) -> None:
    """Forty files of one byte fill forty pages, which their sizes do not tell."""
    with small_disk(tmp_path / "disk", num_bytes=1 << 19) as disk:
        place = PurePosixPath(disk / "abc")
        link.send(tree, place, timeout_seconds=LIMIT)
        earlier = files_of(tree)
        for number in range(40):
            (tree / f"{number}").write_bytes(b"x")
        with pytest.raises(DeployError, match="the disk got full"):
            link.send(tree, place, timeout_seconds=LIMIT)
        assert files_of(place) == earlier
        assert names_beside(place) == {place.name}
        for number in range(5, 40):
            (tree / f"{number}").unlink()
        link.send(tree, place, timeout_seconds=LIMIT)
        assert files_of(place) == files_of(tree)


@pytest.mark.long
def test_two_calls_at_once_bring_one_whole_folder(link: HostLink, tree: Path, tmp_path: Path) -> None:
    """Each ends well or may be tried again; neither brings a mixture."""
    place = PurePosixPath(tmp_path / "host" / "abc")
    ended: list[BaseException | None] = []

    def send(one: HostLink) -> None:
        try:
            one.send(tree, place, timeout_seconds=LIMIT)
            ended.append(None)
        except TransientError as error:
            ended.append(error)

    beside = threading.Thread(target=send, args=(LocalLink(),))
    beside.start()
    send(link)
    beside.join()
    assert None in ended
    link.send(tree, place, timeout_seconds=LIMIT)
    assert files_of(place) == files_of(tree)
    assert names_beside(place) == {place.name}


def test_closed_link_may_be_closed_again_and_used_again(link: HostLink) -> None:
    for _ in range(2):
        assert link.run(["true"], timeout_seconds=LIMIT).status == 0
        link.close()
        link.close()
