"""What only the store in S3 must do: kills and races, copies, damage in the bucket, cleaning, careless servers."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from models_lib.bundle import verify_hashes
from models_lib.config.sections import RetentionSection
from models_lib.errors import BundleError, ConfigError, PromotionError, RecordError, TransientError
from models_lib.registry import Registry
from models_lib.registry.store import Cleaning
from models_lib.retention import Cleaned, Item, clean_home
from tasks.adapters.aws.clients import Aws
from tasks.adapters.s3.objects import S3Folder
from tasks.adapters.s3.store import S3Store
from tests.aws.killed_requests import kills_told_by
from tests.aws.weed import REGION, Weed
from tests.contracts.s3_stores import PREFIX, damage_in_s3, keys, s3_store
from tests.judged import at, judged

SECTION = RetentionSection(held_bundles_days=30)


@pytest.fixture
def client(weed: Weed) -> Any:
    """Looks behind the store."""
    return weed.client()


@pytest.fixture
def store(bucket: str, tmp_path: Path) -> S3Store:
    return s3_store(bucket, tmp_path / "home")


def keep(store: S3Store, name: str, tmp_path: Path, **facts: Any) -> str:
    folder = tmp_path / f"candidate-{name}-{len(list(tmp_path.iterdir()))}"
    judged(name, folder, **facts)
    return store.put(folder)


def promote(store: S3Store, bundle: str, expected: str | None, *, who: str = "me", symbol: str = "BTC-USD") -> bool:
    registry = Registry(store)
    return registry.promote(symbol, bundle, expected_champion=expected, who=who, why="test", now=at(1)).changed


def requests(store: S3Store) -> Counter[str]:
    """Counts the requests of this store from now on, by operation."""
    counts: Counter[str] = Counter()
    client = store._folder._client
    client.meta.events.register("before-call.s3", lambda model, **_: counts.update([model.name]))
    return counts


# races and kills


def test_of_concurrent_promoters_one_wins(bucket: str, tmp_path: Path) -> None:
    stores = [s3_store(bucket, tmp_path / f"home-{number}") for number in range(3)]
    bundles = [keep(store, name, tmp_path) for store, name in zip(stores, "ABC", strict=True)]
    barrier, won, refused = threading.Barrier(3), [], []

    def run(store: S3Store, bundle: str) -> None:
        barrier.wait()
        try:
            promote(store, bundle, None, who=bundle)
            won.append(bundle)
        except PromotionError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=run, args=pair) for pair in zip(stores, bundles, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert all(f"the champion is {won[0][:12]}, not no champion" in fact for fact in refused)
    assert len(refused) == 2
    history = Registry(stores[0]).history()
    assert [entry.to_bundle for entry in history.entries] == won
    assert history.damage == ()
    assert Registry(stores[1]).champion("BTC-USD").bundle == won[0]  # type: ignore[union-attr]


def test_two_puts_of_one_bundle_leave_one(bucket: str, client: Any, tmp_path: Path) -> None:
    """Two runs of the same training: each has its report beside the model, and one of them lies in the store, whole."""
    for name in ("one", "two"):
        bundle = judged("A", tmp_path / name, run_id=name, judged_at=at(1 if name == "one" else 2))
    barrier = threading.Barrier(2)

    def put(name: str) -> None:
        store = s3_store(bucket, tmp_path / f"home-{name}")
        barrier.wait()
        store.put(tmp_path / name)

    threads = [threading.Thread(target=put, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reader = s3_store(bucket, tmp_path / "reader")
    assert verify_hashes(reader.bundle(bundle)) == bundle
    assert [facts.run_id for facts in reader.verdicts(bundle)] == ["one", "two"]
    assert len({key.split("/")[2] for key in keys(client, bucket, "bundles/")}) == 1


@pytest.mark.long
def test_put_that_is_killed_anywhere_leaves_nothing_visible_and_the_next_one_completes(
    weed: Weed, bucket: str, tmp_path: Path
) -> None:
    bundle = judged("A", tmp_path / "candidate")
    told = kills_told_by("tests.contracts.s3_kills", weed, bucket, tmp_path)
    whole = {"found": [bundle], "sound": True, "verdicts": 1}
    assert all(kill["again"] == whole for kill in told)
    seen = [(kill["after"]["found"], kill["after"]["sound"]) for kill in told]
    visible = seen.index(([bundle], True))
    assert set(map(str, seen[:visible])) == {str(([], False))}
    assert set(map(str, seen[visible:])) == {str(([bundle], True))}
    assert told[visible]["at"] > 8, "each file is a request, and so is looking for a marker"
    assert [kill["killed"] for kill in told] == [True] * (len(told) - 1) + [False]


# copies


def test_copy_is_used_again_and_mended_when_it_is_damaged(store: S3Store, tmp_path: Path) -> None:
    bundle = keep(store, "A", tmp_path)
    folder = store.bundle(bundle)
    assert folder == tmp_path / "home" / "cache" / "bundles" / bundle
    counts = requests(store)
    assert store.bundle(bundle) == folder
    assert counts == {"GetObject": 1, "ListObjectsV2": 1}, "the marker and a listing"
    for damage in (b"", None):
        if damage is None:
            (folder / "manifest.json").unlink()
        else:
            (folder / "manifest.json").write_bytes(damage)
        assert verify_hashes(store.bundle(bundle)) == bundle
    assert sorted(path.name for path in folder.parent.iterdir()) == [bundle], "nothing else is left there"


def test_damage_in_the_bucket_is_refused_whatever_the_copy_says(
    store: S3Store, bucket: str, client: Any, tmp_path: Path
) -> None:
    bundle = keep(store, "A", tmp_path)
    store.bundle(bundle)
    damage_in_s3(client, bucket, bundle, "model.safetensors", b"zero")
    with pytest.raises(BundleError, match=r"s3://.*damaged: model\.safetensors changed"):
        store.bundle(bundle)
    with pytest.raises(BundleError, match=r"s3://.*damaged: model\.safetensors changed"):
        store.put(next(tmp_path.glob("candidate-A-*")))


def test_objects_of_a_backup_are_the_bundle_by_their_content(
    store: S3Store, bucket: str, client: Any, tmp_path: Path
) -> None:
    """Copied in parts, as a restore may do it, an object has another ETag and the same content."""
    bundle = keep(store, "A", tmp_path)
    (key,) = (key for key in keys(client, bucket, "bundles/") if key.endswith("model.safetensors"))
    place = {"Bucket": bucket, "Key": f"{PREFIX}/{key}"}
    content = client.get_object(**place)["Body"].read()
    upload = client.create_multipart_upload(**place)["UploadId"]
    part = client.upload_part(**place, UploadId=upload, PartNumber=1, Body=content)
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    client.complete_multipart_upload(**place, UploadId=upload, MultipartUpload=parts)
    assert verify_hashes(store.bundle(bundle)) == bundle
    assert store.put(next(tmp_path.glob("candidate-A-*"))) == bundle


def write_lines(client: Any, bucket: str, num: int) -> None:
    def write(index: int) -> None:
        client.put_object(Bucket=bucket, Key=f"{PREFIX}/ledger/{index:08d}.json", Body=f"line {index}".encode())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(num)))


@pytest.mark.parametrize("num", [30, pytest.param(1005, marks=pytest.mark.long)])
def test_ledger_is_fetched_once_and_then_listed(bucket: str, client: Any, tmp_path: Path, num: int) -> None:
    write_lines(client, bucket, num)
    expected = tuple(f"line {index}".encode() for index in range(num))
    store = s3_store(bucket, tmp_path / "home")
    counts, pages = requests(store), num // 1000 + 1
    assert store.ledger().lines == expected
    assert counts == {"ListObjectsV2": pages, "GetObject": num}
    counts.clear()
    assert s3_store(bucket, tmp_path / "home").ledger().lines == expected
    assert store.ledger().lines == expected
    assert counts == {"ListObjectsV2": pages}
    (copies,) = (tmp_path / "home" / "cache" / "s3").iterdir()
    copies.write_bytes(copies.read_bytes().replace(b"line 7", b"line 8"))
    assert store.ledger().lines == expected, "a damaged file of copies is not believed"


# damage in the bucket


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda client, place: client.delete_object(**place(1)), "ledger line 2: it is entry 2, expected was 1"),
        (lambda client, place: client.put_object(**place(1), Body=b"{}"), "ledger line 2: not readable"),
        (
            lambda client, place: client.put_object(
                **place(1), Body=client.get_object(**place(1))["Body"].read().replace(b"test", b"best")
            ),
            "ledger line 2: its content is not what its hash says",
        ),
        (
            lambda client, place: client.delete_object(**place(2)),
            "ledger line 3: the pointer of BTC-USD does not agree",
        ),
    ],
    ids=["removed", "unreadable", "edited", "cut off"],
)
def test_changed_ledger_is_told_also_by_a_home_that_read_it_before(
    store: S3Store, bucket: str, client: Any, tmp_path: Path, change: Callable[[Any, Any], Any], told: str
) -> None:
    champion = None
    for name in "ABC":
        bundle = keep(store, name, tmp_path, champion=champion)
        promote(store, bundle, champion)
        champion = bundle
    assert Registry(store).history().damage == ()
    change(client, lambda index: {"Bucket": bucket, "Key": f"{PREFIX}/ledger/{index:08d}.json"})
    for home in ("home", "another"):
        registry = Registry(s3_store(bucket, tmp_path / home))
        assert told in [str(damage)[: len(told)] for damage in registry.history().damage]
        with pytest.raises(RecordError, match="while the record is damaged"):
            registry.rollback("BTC-USD", who="me", why="test", now=at(9))


def test_marker_that_names_other_files_is_refused(store: S3Store, bucket: str, client: Any, tmp_path: Path) -> None:
    bundle = keep(store, "A", tmp_path)
    place = {"Bucket": bucket, "Key": f"{PREFIX}/kept/{bundle}.json"}
    marker = json.loads(client.get_object(**place)["Body"].read())
    marker["files"]["../../escape"] = marker["files"]["manifest.json"]
    client.put_object(**place, Body=json.dumps(marker).encode())
    with pytest.raises(BundleError, match="names another bundle, or files that no bundle holds"):
        store.bundle(bundle)
    assert not list(tmp_path.rglob("escape"))


def test_verdict_that_was_changed_is_refused(store: S3Store, bucket: str, client: Any, tmp_path: Path) -> None:
    bundle = keep(store, "A", tmp_path)
    assert len(store.verdicts(bundle)) == 1
    (key,) = keys(client, bucket, "verdicts/")
    client.put_object(Bucket=bucket, Key=f"{PREFIX}/{key}", Body=b"{}")
    with pytest.raises(BundleError, match="this verdict was changed"):
        store.verdicts(bundle)


# cleaning


def clean(store: S3Store, home: Path, *, days: float, **options: Any) -> Cleaned:
    return clean_home(home, SECTION, store=store, now=datetime.now(UTC) + timedelta(days=days), **options)


def bundles(cleaned: Cleaned) -> list[Item]:
    return [item for item in cleaned.removed if item.kind == "bundle"]


def test_cleaning_removes_what_nobody_needs(store: S3Store, bucket: str, client: Any, tmp_path: Path) -> None:
    home = tmp_path / "home"
    held, a = keep(store, "E", tmp_path), keep(store, "A", tmp_path)
    b, deployed = keep(store, "B", tmp_path, champion=a), keep(store, "S", tmp_path)
    promote(store, a, None)
    promote(store, b, a)
    assert bundles(clean(store, home, days=29)) == []
    options = {"days": 31, "deployed": frozenset({deployed})}
    before = keys(client, bucket)
    told = clean(store, home, dry_run=True, **options)
    assert keys(client, bucket) == before
    done = clean(store, home, **options)
    assert done.faults == ()
    (gone,) = bundles(done)
    assert gone.path == f"s3://{bucket}/{PREFIX}/bundles/{held}"
    assert gone.size_bytes > 10_000
    assert [item.path for item in bundles(told)] == [gone.path]
    assert {Path(item.path).name: item.why for item in done.kept if item.kind == "bundle"} == {
        a: "a rollback of BTC-USD goes to it",
        b: "champion of BTC-USD",
        deployed: "deployed",
    }
    assert store.find("") == tuple(sorted((a, b, deployed)))
    assert not [key for key in keys(client, bucket) if held in key]
    assert Registry(store).rollback("BTC-USD", who="me", why="test", now=at(9)).champion == a


def test_bundle_that_is_renewed_while_it_is_cleaned_stays(store: S3Store, tmp_path: Path) -> None:
    bundle = keep(store, "A", tmp_path)
    with store.cleaning(now=datetime.now(UTC), dry_run=False) as cleaning:
        assert list(cleaning.bundles()) == [bundle]
        store.renew(bundle)
        assert cleaning.take(bundle) is None
        assert list(cleaning.bundles()) == [bundle]
        assert removed(cleaning, bundle) == []
    with pytest.raises(BundleError, match="is not in the store"):
        store.renew(bundle)


def removed(cleaning: Cleaning, bundle: str) -> list[str]:
    taken = cleaning.take(bundle)
    assert taken is not None
    return list(taken.remove())


def test_what_killed_puts_and_cleanings_left_goes_a_day_later(
    store: S3Store, bucket: str, client: Any, tmp_path: Path
) -> None:
    kept, orphan = keep(store, "A", tmp_path), "f" * 64
    sound = keys(client, bucket)
    left = [f"bundles/{orphan}/{'1' * 16}/manifest.json", f"bundles/{kept}/{'2' * 16}/run.json"]
    left.append(f"verdicts/{orphan}/{'3' * 64}.json")
    for key in left:
        client.put_object(Bucket=bucket, Key=f"{PREFIX}/{key}", Body=b"left")
    assert clean(store, tmp_path / "home", days=0.9).removed == ()
    cleaned = clean(store, tmp_path / "home", days=1.1)
    assert {(item.kind, item.why) for item in cleaned.removed} == {("leftover", "left by a killed put")}
    assert len(cleaned.removed) == 3
    assert keys(client, bucket) == sound
    assert verify_hashes(store.bundle(kept)) == kept


def test_server_that_is_gone_removes_nothing_and_is_told(
    weed: Weed, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = s3_store(bucket, tmp_path / "home")
    bundle = keep(store, "A", tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as nobody:
        port = nobody.server_port
    weed.use(monkeypatch, port=port)
    gone = S3Store(S3Folder(Aws(REGION, attempts=1), f"s3://{bucket}/{PREFIX}"), tmp_path / "home")
    cleaned = clean(gone, tmp_path / "home", days=100)
    (fault,) = cleaned.faults
    assert fault.startswith("no bundle was removed: s3://")
    assert "does not answer" in fault
    with pytest.raises(TransientError):
        gone.ledger()
    assert store.find("") == (bundle,)


# servers that keep no promise


class _TakesEverything(BaseHTTPRequestHandler):
    """Says yes to every write, under whatever condition, and has nothing."""

    protocol_version = "HTTP/1.1"
    written: list[str]

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.written.append(self.path)
        self._answer(200)

    def do_DELETE(self) -> None:
        self._answer(204)

    def do_GET(self) -> None:
        self._answer(404)

    def do_HEAD(self) -> None:
        self._answer(404)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("ETag", f'"{"a" * 32}"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def careless(weed: Weed, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    written: list[str] = []
    handler = type("Handler", (_TakesEverything,), {"written": written})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        weed.use(monkeypatch, port=server.server_port)
        yield written
        server.shutdown()
        thread.join()


def test_server_that_ignores_conditions_gets_no_registry(careless: list[str], tmp_path: Path) -> None:
    store = s3_store("crpbot-careless", tmp_path / "home")
    judged("A", tmp_path / "candidate")
    writes: list[Callable[[], object]] = [
        lambda: store.put(tmp_path / "candidate"),
        lambda: store.append(b"line", index=0),
        lambda: store.replace_pointer("BTC-USD", b"x", expected=None),
        lambda: store.renew("0" * 64),
    ]
    for write in writes:
        with pytest.raises(ConfigError, match="does not hold to conditions on writes"):
            write()
    assert careless
    assert all("/.probe-" in path for path in careless)
