"""Results of steps that two machines share through a bucket of a real S3 server: two homes stand for the machines."""

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.cli import main
from models_lib.config import RunConfig, load_config
from models_lib.config.sections import RetentionSection
from models_lib.errors import TransientError
from models_lib.files import write_text
from models_lib.registry import LocalStore
from models_lib.retention import clean_home
from models_lib.steps import once
from models_lib.steps.finished import done_once
from models_lib.steps.plan import RunPlan, plan_run
from models_lib.steps.refs import FileRef, Prepared, Reference
from models_lib.steps.shared_results import NotShared, SharedResults
from tasks.adapters.aws.clients import Aws
from tasks.adapters.results import leavings, open_results
from tasks.adapters.s3.leavings import S3Leavings
from tasks.adapters.s3.objects import S3Folder
from tasks.adapters.s3.results import S3Results
from tasks.adapters.sources import open_source
from tasks.clean import clean_home as clean_the_home
from tests.aws.weed import REGION, Weed
from tests.markets import QUICK
from tests.proxy import Proxy

NOW = datetime(2026, 1, 15, 2, tzinfo=UTC)
BTC = "BTC-USD"
TAKEN_OVER = "finished on another machine, taken over"


class NotesRef(Reference):
    """An answer of the tests: two files."""

    first: FileRef
    second: FileRef


@dataclass
class Work:
    """A step that counts how often it worked, and never writes the same twice."""

    times: list[Path] = field(default_factory=list)

    def __call__(self, folder: Path) -> NotesRef:
        self.times.append(folder)
        write_text(folder / "first.txt", f"made in {folder}, time {len(self.times)}")
        write_text(folder / "deep" / "second.txt", "always the same")
        return NotesRef(first=FileRef.of(folder / "first.txt"), second=FileRef.of(folder / "deep" / "second.txt"))


def plan_at(home: Path, *settings: str) -> RunPlan:
    config = load_config(None, settings) if settings else RunConfig()
    return plan_run(config, home=home, symbols=(BTC,), who="test", now=NOW)


def done(home: Path, work: Work, shared: SharedResults) -> NotesRef:
    return done_once(plan_at(home), BTC, "notes", NotesRef, work, shared=shared, rows=3)


@pytest.fixture
def folder(bucket: str) -> S3Folder:
    return S3Folder(Aws(REGION), f"s3://{bucket}/kept/results")


@pytest.fixture
def shared(folder: S3Folder) -> S3Results:
    return S3Results(folder)


def test_what_one_machine_finished_another_takes_over(
    shared: S3Results, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    work = Work()
    first = done(tmp_path / "one", work, shared)
    assert TAKEN_OVER not in caplog.text
    second = done(tmp_path / "two", work, shared)
    assert TAKEN_OVER in caplog.text
    assert len(work.times) == 1
    assert (second.first.sha256, second.second.sha256) == (first.first.sha256, first.second.sha256)
    assert second.first.checked().is_relative_to(tmp_path / "two")
    caplog.clear()
    done(tmp_path / "two", work, shared)
    assert "finished before, taken over" in caplog.text


def test_machines_that_share_nothing_work_for_themselves(tmp_path: Path) -> None:
    work = Work()
    for home in ("one", "two"):
        done(tmp_path / home, work, NotShared())
    assert len(work.times) == 2


def test_of_two_machines_that_finished_the_same_the_first_stays(shared: S3Results, tmp_path: Path) -> None:
    class FinishesLater(NotShared):
        """Nothing is there when the work begins; the other one is done when it ends."""

        keep = staticmethod(shared.keep)

    done(tmp_path / "one", Work(), FinishesLater())
    done(tmp_path / "two", Work(), FinishesLater())
    third = done(tmp_path / "three", Work(), shared)
    assert third.first.checked().read_text().startswith(f"made in {tmp_path / 'one'}")


def test_half_uploaded_result_is_not_there(shared: S3Results, folder: S3Folder, tmp_path: Path) -> None:
    """A machine that is killed before the last object leaves files that no result names."""

    def killed(params: dict[str, str], **_: object) -> None:
        if params["Key"].endswith("result.json"):
            raise KeyboardInterrupt

    folder._client.meta.events.register("provide-client-params.s3.PutObject", killed)
    work = Work()
    with pytest.raises(KeyboardInterrupt):
        done(tmp_path / "one", work, shared)
    folder._client.meta.events.unregister("provide-client-params.s3.PutObject", killed)
    assert len(list(folder.names())) == 2
    done(tmp_path / "two", work, shared)
    assert len(work.times) == 2
    done(tmp_path / "three", work, shared)
    assert len(work.times) == 2


@pytest.mark.parametrize("damage", ["another content", "gone", "no result"])
def test_damaged_result_is_made_again_and_kept_again(
    shared: S3Results,
    folder: S3Folder,
    weed: Weed,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damage: str,
) -> None:
    work = Work()
    first = done(tmp_path / "one", work, shared)
    (key,) = [name for name in folder.names() if name.endswith(first.first.sha256)]
    match damage:
        case "another content":
            weed.client().put_object(
                Bucket=folder.bucket,
                Key=f"kept/results/{key}",
                Body=b"other",
                Metadata={"sha256": first.first.sha256},
            )
        case "gone":
            folder.delete(key)
        case "no result":
            folder.put(f"{Path(key).parent}/result.json", b'{"files": {"../../x": ""}}')
    done(tmp_path / "two", work, shared)
    assert "not taken over from other machines" in caplog.text
    assert len(work.times) == 2
    done(tmp_path / "three", work, shared)
    assert len(work.times) == 2
    assert not list(tmp_path.rglob("x"))


def test_bucket_that_does_not_answer_is_a_warning(
    weed: Weed, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Proxy(weed.port) as proxy:
        weed.use(monkeypatch, port=proxy.port)
    shared = S3Results(S3Folder(Aws(REGION, attempts=1), f"s3://{bucket}/results"))
    work = Work()
    done(tmp_path / "one", work, shared)
    done(tmp_path / "one", work, shared)
    assert len(work.times) == 1
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [("not taken over" in line, "not kept" in line) for line in said] == [(True, False), (False, True)]
    assert all("AWS does not answer" in line for line in said)


def test_fault_of_the_work_itself_is_not_hidden(shared: S3Results, tmp_path: Path) -> None:
    def fails(_folder: Path) -> NotesRef:
        raise TransientError("the work's own")

    with pytest.raises(TransientError, match="the work's own"):
        done_once(plan_at(tmp_path), BTC, "notes", NotesRef, fails, shared=shared, rows=3)


# cleaning


@pytest.fixture
def settings(bucket: str) -> tuple[str, ...]:
    return (f"storage.uri=s3://{bucket}/kept", "storage.results=s3", f"aws.region={REGION}")


def test_old_results_and_uploads_go(
    shared: S3Results, folder: S3Folder, settings: tuple[str, ...], weed: Weed, tmp_path: Path
) -> None:
    home = tmp_path / "one"
    first = done(home, Work(), shared)
    place = {"Bucket": folder.bucket, "Key": "kept/results/BTC-USD/training-1/2"}
    upload = weed.client().create_multipart_upload(**place)
    weed.client().upload_part(**place, UploadId=upload["UploadId"], PartNumber=1, Body=b"seven b")
    folder.put("not/a/result", b"")
    weed.client().put_object(Bucket=folder.bucket, Key="kept/promoted/x.json", Body=b"")

    def clean(*, days: float, dry_run: bool = False) -> set[tuple[str, str, int]]:
        now, section = datetime.now(UTC) + timedelta(days=days), RetentionSection(cache_days=5)
        places = leavings(load_config(None, settings))
        cleaned = clean_home(home, section, store=LocalStore(home), now=now, elsewhere=places, dry_run=dry_run)
        assert cleaned.faults == ()
        return {(item.kind, item.path, item.size_bytes) for item in cleaned.removed if item.path.startswith("s3://")}

    left = f"s3://{folder.bucket}/{place['Key']}"
    assert clean(days=0.9) == set()
    assert clean(days=4.9, dry_run=True) == {("leftover", left, 7)}
    assert clean(days=4.9) == {("leftover", left, 7)}
    assert clean(days=4.9) == set()
    assert len(list(folder.names())) == 4
    gone = {kind: (path, size) for kind, path, size in clean(days=5.1) if path.endswith(first.first.path.parent.name)}
    assert gone["step result"][0] == f"{folder.uri}/{BTC}/{first.first.path.parent.name}"
    assert gone["step result"][1] > 100
    assert list(folder.names()) == []
    assert list(S3Folder(Aws(REGION), f"s3://{folder.bucket}").names()) == ["kept/promoted/x.json"]


@pytest.mark.parametrize("who", ["the command", "the night"])
def test_every_cleaning_looks_into_the_bucket(
    shared: S3Results,
    folder: S3Folder,
    settings: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    who: str,
) -> None:
    home = tmp_path / "one"
    monkeypatch.setenv("CRPBOT_HOME", str(home))
    done(home, Work(), shared)
    settings = (*settings, "retention.cache_days=1e-9")
    if who == "the command":
        assert main(["clean", *(word for setting in settings for word in ("--set", setting))]) == 0
    else:
        clean_the_home.fn(plan_at(home, *settings))
    assert list(folder.names()) == []


def test_bucket_that_does_not_answer_is_no_reason_to_keep_what_is_old_at_home(
    settings: tuple[str, ...], weed: Weed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy(weed.port) as proxy:
        weed.use(monkeypatch, port=proxy.port)
    place = S3Leavings(S3Folder(Aws(REGION, attempts=1), "s3://crpbot-gone/kept"), holds_results=True)
    (tmp_path / "cache" / "kind" / "old").mkdir(parents=True)
    now, section = datetime.now(UTC) + timedelta(days=3), RetentionSection()
    cleaned = clean_home(tmp_path, section, store=LocalStore(tmp_path), now=now, elsewhere=(place,))
    assert [item.path for item in cleaned.removed] == ["cache/kind/old"]
    (fault,) = cleaned.faults
    assert fault.startswith("s3://crpbot-gone/kept was not cleaned: ")
    assert "AWS does not answer" in fault


def test_cleaning_looks_where_the_configuration_shares_or_rents_and_nowhere_else() -> None:
    places = {"storage.uri": "s3://bucket/kept", "training.sagemaker.uri": "s3://bucket/jobs", "aws.region": REGION}
    rented = {"training.sagemaker.role_arn": "arn:aws:iam::123456789012:role/trains", "training.backend": "sagemaker"}

    def looked_at(**settings: str) -> list[str]:
        config = load_config(None, [f"{name}={value}" for name, value in (places | settings).items()])
        return [place.name for place in leavings(config)]

    assert looked_at() == looked_at(**{"storage.kind": "s3"}) == []
    assert looked_at(**{"storage.results": "s3"}) == ["s3://bucket/kept/results"]
    assert looked_at(**{"storage.results": "s3"}, **rented) == ["s3://bucket/kept/results", "s3://bucket/jobs"]


def test_a_run_on_another_machine_goes_on_where_the_first_one_was(
    bucket: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    settings = (
        "data.days=14",
        *QUICK,
        f"storage.uri=s3://{bucket}/kept",
        "storage.results=s3",
        f"aws.region={REGION}",
    )

    def prepared(home: Path) -> Prepared:
        plan = plan_at(home, *settings)
        shared = open_results(plan.config)
        candles = once.fetch_candles(plan, BTC, source=open_source(plan.config, home=plan.home), shared=shared)
        features = once.compute_features(plan, candles, shared=shared)
        labels = once.label_rows(plan, candles, shared=shared)
        scaler = once.fit_scaler(plan, candles, features, labels, shared=shared)
        return Prepared(candles=candles, features=features, labels=labels, scaler=scaler)

    first = prepared(tmp_path / "one")
    assert TAKEN_OVER not in caplog.text
    second = prepared(tmp_path / "two")
    assert caplog.text.count(TAKEN_OVER) == 4
    second.check_files()
    assert str(second).replace(str(tmp_path / "two"), "") == str(first).replace(str(tmp_path / "one"), "")
