"""What the contract of exchanges leaves open and ccxt gets wrong: damaged answers, bans, slow servers, lists of markets."""

import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from models_lib.candles.bars import Span
from models_lib.config.exchange_section import ExchangeName, ExchangeSection
from models_lib.errors import ConfigError, DataError, StoppedError, TransientError
from models_lib.interruption import allow_work, request_stop
from tasks.adapters.exchange.catalogue import CATALOGUE
from tasks.adapters.exchange.ccxt_exchange import CcxtExchange, open_exchange
from tasks.adapters.exchange.speaker import Speaker
from tasks.adapters.exchange.waiting import answered_within
from tests.contracts.endpoints import make_authority, trust
from tests.exchange.faults import Fault, FaultKind
from tests.exchange.listed import MINUTE_MS
from tests.exchange.local_exchange import LocalExchange
from tests.exchange.sample_bars import FIRST_MS, made_up_bars
from tests.ports import free_port

NUM_BARS = 2500
MARKETS = {"BTC-USD": made_up_bars(NUM_BARS)}
END_MS = FIRST_MS + NUM_BARS * MINUTE_MS
NAMES: tuple[ExchangeName, ...] = ("coinbase", "binance", "kraken", "bybit")
HOUR = Span(END_MS - 60 * MINUTE_MS, END_MS)


@pytest.fixture
def local() -> Iterator[LocalExchange]:
    with LocalExchange(MARKETS) as server:
        yield server


def opened(url: str, folder: Path, name: ExchangeName = "binance", **settings: object) -> CcxtExchange:
    values = {"base_url": url, "requests_per_second": 1000.0, "request_timeout_seconds": 5.0, **settings}
    return open_exchange(ExchangeSection.model_validate({"name": name, **values}), pace_folder=folder)


def stamps(exchange: CcxtExchange, span: Span = HOUR) -> list[int]:
    return [int(str(row[0])) for row in exchange.page("BTC-USD", span).rows]


@pytest.mark.parametrize("name", NAMES)
def test_catalogue_agrees_with_what_ccxt_says(name: ExchangeName) -> None:
    import ccxt  # noqa: PLC0415 - a second, for this test alone

    listing = CATALOGUE[name]
    kind = getattr(ccxt, listing.name)()
    most = kind.features["spot"]["fetchOHLCV"]["limit"]
    assert listing.page_bars <= most
    assert "1m" in kind.timeframes
    assert set(CATALOGUE) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_page_is_one_request(name: ExchangeName, local: LocalExchange, tmp_path: Path) -> None:
    exchange = opened(local.url, tmp_path, name)
    exchange.market("BTC-USD")
    exchange.clock()
    assert [request.kind for request in local.requests] == ["markets", "time"]
    for _ in range(3):
        exchange.page("BTC-USD", HOUR)
    assert [request.kind for request in local.requests][2:] == ["candles"] * 3


@pytest.mark.parametrize("kind", ["cut_json", "cut_body", "html", "empty", "reset"])
@pytest.mark.parametrize("name", NAMES)
def test_damaged_page_is_never_an_empty_one(
    name: ExchangeName, kind: FaultKind, local: LocalExchange, tmp_path: Path
) -> None:
    exchange = opened(local.url, tmp_path, name)
    local.script(Fault(kind))
    with pytest.raises(TransientError, match=rf"^BTC-USD: {name} .* Try again later\.$") as told:
        exchange.page("BTC-USD", HOUR)
    assert ("the answer is no JSON" in str(told.value)) == (kind in ("cut_json", "html", "empty"))
    assert len([stamp for stamp in stamps(exchange) if stamp >= HOUR.start_ms]) == 60


@pytest.mark.parametrize("kind", ["cut_json", "cut_body", "html", "empty", "reset"])
@pytest.mark.parametrize("name", NAMES)
def test_damaged_list_of_markets_is_not_believed(
    name: ExchangeName, kind: FaultKind, local: LocalExchange, tmp_path: Path
) -> None:
    exchange = opened(local.url, tmp_path, name)
    local.script(Fault(kind, asking="markets"))
    with pytest.raises(TransientError, match=rf"^{name} "):
        exchange.market("BTC-USD")
    assert exchange.market("BTC-USD").name == "BTC/USD"


@pytest.mark.parametrize("kind", ["cut_json", "html", "empty"])
@pytest.mark.parametrize("name", NAMES)
def test_damaged_time_is_not_believed(
    name: ExchangeName, kind: FaultKind, local: LocalExchange, tmp_path: Path
) -> None:
    exchange = opened(local.url, tmp_path, name)
    local.script(Fault(kind, asking="time"))
    with pytest.raises(TransientError, match=rf"^{name} "):
        exchange.clock()


@pytest.mark.parametrize("name", NAMES)
def test_odd_pages_are_given_whole(name: ExchangeName, local: LocalExchange, tmp_path: Path) -> None:
    exchange = opened(local.url, tmp_path, name)
    right = stamps(exchange)
    local.script(Fault("shuffled"), Fault("duplicated"), Fault("overlapping"))
    assert sorted(stamps(exchange)) == sorted(right)
    repeated = stamps(exchange)
    assert len(repeated) > len(right)
    assert set(repeated) == set(right)
    assert set(stamps(exchange)) >= set(right)


@pytest.mark.parametrize("name", NAMES)
def test_whole_page_with_repeated_rows_loses_none(name: ExchangeName, local: LocalExchange, tmp_path: Path) -> None:
    exchange = opened(local.url, tmp_path, name)
    minutes = min(exchange.page_bars, exchange.history_minutes or NUM_BARS)
    span = Span(END_MS - minutes * MINUTE_MS, END_MS)
    local.script(Fault("duplicated"))
    assert set(stamps(exchange, span)) >= set(range(span.start_ms, span.end_ms, MINUTE_MS))


@pytest.mark.parametrize("name", NAMES)
def test_refused_country_is_a_mistake_of_the_configuration(
    name: ExchangeName, local: LocalExchange, tmp_path: Path
) -> None:
    exchange = opened(local.url, tmp_path, name)
    local.script(Fault("refused"))
    with pytest.raises(ConfigError, match="refuses this machine"):
        exchange.page("BTC-USD", HOUR)


@pytest.mark.parametrize("name", NAMES)
def test_market_that_was_struck_off_is_refused_for_itself(
    name: ExchangeName, local: LocalExchange, tmp_path: Path
) -> None:
    exchange = opened(local.url, tmp_path, name)
    exchange.market("BTC-USD")
    local.strike_off("BTC-USD")
    with pytest.raises(DataError, match=rf"^BTC-USD: {name} refuses the question"):
        exchange.page("BTC-USD", HOUR)


@pytest.mark.parametrize(
    ("status", "as_date"),
    [
        (429, False),
        (418, True),
        pytest.param(418, False, marks=pytest.mark.long),
        pytest.param(503, False, marks=pytest.mark.long),
    ],
)
def test_exchange_is_left_alone_for_as_long_as_it_says(
    status: int, as_date: bool, local: LocalExchange, tmp_path: Path
) -> None:
    first, second = (opened(local.url, tmp_path) for _ in range(2))
    stamps(first)
    stamps(second)
    local.skew_ms = 3_600_000  # its date is an hour ahead: what counts is how far apart its two dates are
    local.script(Fault("busy", status=status, retry_after=1, as_date=as_date))
    with pytest.raises(TransientError) as told:
        first.page("BTC-USD", HOUR)
    assert told.value.retry_after_seconds == pytest.approx(1.0, abs=1.01 if as_date else 0.0)
    assert len(stamps(second)) == len(stamps(first)) == 60
    assert local.requests.impatient(0.0) == []


def test_busy_exchange_that_says_nothing_of_time_is_left_alone_for_a_while(
    local: LocalExchange, tmp_path: Path
) -> None:
    exchange = opened(local.url, tmp_path, "coinbase")
    stamps(exchange)
    local.script(Fault("busy"))
    with pytest.raises(TransientError):
        exchange.page("BTC-USD", HOUR)
    began = time.monotonic()
    assert len(stamps(exchange)) == 60
    assert time.monotonic() - began > 0.9 * CATALOGUE["coinbase"].cool_down_seconds


PAGES = """
import sys
from pathlib import Path
from models_lib.candles.bars import Span
from models_lib.config.exchange_section import ExchangeSection
from models_lib.errors import TransientError
from tasks.adapters.exchange.ccxt_exchange import open_exchange
url, folder, start, end = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
exchange = open_exchange(ExchangeSection(base_url=url, requests_per_second=40.0), pace_folder=folder)
exchange.page("BTC-USD", Span(start, end))
print("ready", flush=True)
sys.stdin.readline()
pages = 0
while pages < 12:
    try:
        pages += len(exchange.page("BTC-USD", Span(start, end)).rows) == 60
    except TransientError:
        pass
"""


@pytest.mark.long
def test_two_processes_together_obey_the_exchange(local: LocalExchange, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PAGES, local.url, str(tmp_path), str(HOUR.start_ms), str(HOUR.end_ms)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(subprocess.Popen(command, **pipes, text=True)) for _ in range(2)]
        assert [process.stdout.readline() for process in processes] == ["ready\n"] * 2
        local.requests.clear()
        local.script(Fault("busy", after=6, retry_after=0.7))
        assert [process.communicate("\n", 60) for process in processes] == [("", None)] * 2
    assert [process.returncode for process in processes] == [0, 0]
    busy = local.requests.faults["busy"]  # of the other process, too, where it had sent already
    assert 1 <= busy == len(local.requests.spoiled) <= 2
    assert local.requests.impatient() == []
    assert len(local.requests.of()) == 24 + busy


def test_server_that_hangs_is_given_up_in_time(local: LocalExchange, tmp_path: Path) -> None:
    exchange = opened(local.url, tmp_path, request_timeout_seconds=0.5)
    stamps(exchange)
    local.script(Fault("hang"))
    began = time.monotonic()
    with pytest.raises(TransientError, match=r"^BTC-USD: binance "):
        exchange.page("BTC-USD", HOUR)
    assert time.monotonic() - began < 3.0
    assert len(stamps(exchange)) == 60


@contextlib.contextmanager
def serving(answer: Callable[[BaseHTTPRequestHandler], object], tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """The port of a server of one answer at a time."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_answer_that_drips_is_given_up_in_time(tmp_path: Path) -> None:
    ended = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        with contextlib.suppress(OSError):
            while not ended.wait(0.05):
                handler.wfile.write(b" ")

    with serving(drip) as port, contextlib.ExitStack() as at_the_end:
        at_the_end.callback(ended.set)
        exchange = opened(f"http://127.0.0.1:{port}", tmp_path, request_timeout_seconds=0.3)
        began = time.monotonic()
        with pytest.raises(TransientError, match=r"^binance does not answer within 0\.3 s"):
            exchange.clock()
        assert time.monotonic() - began < 2.0
        asking = [thread for thread in threading.enumerate() if thread.name == "asks-an-exchange"]
        for thread in asking:
            thread.join(10.0)  # it ends by itself, although the answer never does
            assert not thread.is_alive()
        assert len(asking) == 1


def tell_the_time(handler: BaseHTTPRequestHandler) -> None:
    answer_with(handler, b'{"serverTime":1767225600000}')


def answer_with(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def test_certificate_must_be_signed_by_somebody_whom_the_machine_trusts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = make_authority(tmp_path)
    with serving(tell_the_time, authority.server) as port:
        with pytest.raises(ConfigError) as told:
            opened(f"https://localhost:{port}", tmp_path).clock()
        assert "CERTIFICATE_VERIFY_FAILED" in str(told.value)
        assert str(told.value).endswith("Check exchange.base_url, the proxy and the certificates.")
        trust(authority, monkeypatch)
        assert opened(f"https://localhost:{port}", tmp_path).clock().skew_ms < 0.0
        with pytest.raises(ConfigError, match=r"Check exchange\.base_url"):
            opened(f"https://127.0.0.1:{port}", tmp_path).clock()  # another name than the certificate's


class _SlowToStart(CcxtExchange):
    """As where ccxt is imported for the first time, on a small machine."""

    def _new_speaker(self) -> Speaker:
        time.sleep(1.0)
        return super()._new_speaker()


def test_import_of_ccxt_is_no_uncertainty_of_the_clock(local: LocalExchange, tmp_path: Path) -> None:
    section = ExchangeSection(name="binance", base_url=local.url, requests_per_second=1000.0)
    exchange = _SlowToStart(section, pace_folder=tmp_path, second=False, longest_wait_seconds=1.0)
    assert exchange.clock().uncertain_ms < 400.0  # half a second and more with the import


def test_clock_that_cannot_be_asked_any_more_costs_no_page(
    local: LocalExchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange = opened(local.url, tmp_path)
    before = exchange.page("BTC-USD", HOUR)
    began = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: began + 7200.0)
    local.script(Fault("error", times=None, asking="time"))
    for _ in range(3):
        answer = exchange.page("BTC-USD", HOUR)
        assert len(answer.rows) == 60
        assert answer.asked_ms - before.asked_ms <= 7200_000 * (1 - 5e-5)  # a little too early, if anything
    assert [request.kind for request in local.requests].count("time") == 2, "it is not asked at every page"


@pytest.mark.parametrize("told", ["0", "-5", "1e30", "9999999999999999999", "true"])
def test_time_that_cannot_be_is_not_believed(told: str, tmp_path: Path) -> None:
    body = b'{"serverTime":%s}' % told.encode()

    with (
        serving(lambda handler: answer_with(handler, body)) as port,
        pytest.raises(TransientError, match=r"^binance gives no usable answer \(the time is told as "),
    ):
        opened(f"http://127.0.0.1:{port}", tmp_path).clock()


def test_bar_that_leaves_the_newest_ones_while_it_is_asked_for_is_no_hole(local: LocalExchange, tmp_path: Path) -> None:
    """Kraken's clock is known to a second at best, and a minute may pass until the answer is made."""
    local.be_at(END_MS - 10 * MINUTE_MS)
    exchange = opened(local.url, tmp_path, "kraken")
    exchange.market("BTC-USD")
    exchange.clock()
    local.be_at(END_MS - 8 * MINUTE_MS)
    end_ms = END_MS - 10 * MINUTE_MS
    answer = exchange.page("BTC-USD", Span(end_ms - 720 * MINUTE_MS, end_ms))
    assert answer.span == Span(int(str(answer.rows[0][0])), end_ms)
    assert answer.span.minutes == 717


def test_handshake_that_is_broken_off_is_worth_another_try(tmp_path: Path) -> None:
    """No certificate was seen, so none was refused; a busy server does so."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65_536)

        hanging_up = threading.Thread(target=hang_up)
        hanging_up.start()
        with pytest.raises(TransientError, match=r"Try again later\.$"):
            opened(f"https://127.0.0.1:{server.getsockname()[1]}", tmp_path).clock()
        hanging_up.join()


def test_missing_file_of_certificates_is_a_mistake_of_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
    with pytest.raises(ConfigError, match=r"invalid path: /nowhere/ca\.pem\)\. .* the certificates\.$"):
        opened(f"https://127.0.0.1:{free_port()}", tmp_path).clock()


def test_redirection_to_nowhere_is_a_mistake_of_the_configuration(tmp_path: Path) -> None:
    def redirect(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", "http://[bad")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    with serving(redirect) as port, pytest.raises(ConfigError, match=r"Check exchange\.base_url"):
        opened(f"http://127.0.0.1:{port}", tmp_path).clock()


@pytest.mark.parametrize("proxy", ["http://me:SEC/RET@proxy:80", "http://me:SECRET@proxy:port", "me:SECRET@"])
def test_password_of_an_unreadable_proxy_is_not_told(
    proxy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.lower() in ("no_proxy", "http_proxy", "all_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(ConfigError, match="the proxy") as told:
        opened("http://exchange.invalid", tmp_path).clock()
    assert "SEC" not in str(told.value)


def test_stop_ends_a_question_at_once(local: LocalExchange, tmp_path: Path) -> None:
    exchange = opened(local.url, tmp_path, request_timeout_seconds=30.0)
    stamps(exchange)
    local.requests.clear()
    local.script(Fault("hang"))
    outcome: list[BaseException] = []

    def ask() -> None:
        try:
            exchange.page("BTC-USD", HOUR)
        except StoppedError as error:
            outcome.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        while not len(local.requests):
            time.sleep(0.01)
        began = time.monotonic()
        request_stop()
        asking.join(20.0)
        assert time.monotonic() - began < 1.0
        assert len(outcome) == 1
    finally:
        allow_work()


def test_signal_whose_handler_is_slow_does_not_lengthen_the_limit() -> None:
    """It outlasts what is left of the limit; a SimpleQueue then waits for the answer itself, five seconds here."""
    over = threading.Event()
    before = signal.signal(signal.SIGALRM, lambda *_: time.sleep(0.06))  # it is the subject of the test
    signal.setitimer(signal.ITIMER_REAL, 0.28, 0.08)
    began = time.monotonic()
    try:
        with pytest.raises(TimeoutError):
            answered_within(0.3, lambda: over.wait(5.0))
        assert time.monotonic() - began < 2.0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
        over.set()


def test_server_that_is_gone_is_worth_another_try(tmp_path: Path) -> None:
    with pytest.raises(TransientError, match=r"^coinbase gives no usable answer .* Try again later\.$"):
        opened(f"http://127.0.0.1:{free_port()}", tmp_path, "coinbase").clock()


def test_proxy_of_the_environment_is_used(
    local: LocalExchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.lower() in ("no_proxy", "http_proxy", "all_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(TransientError):
        opened(local.url, tmp_path).clock()
    assert len(local.requests) == 0


def test_list_of_markets_is_asked_for_once_a_day_by_all(local: LocalExchange, tmp_path: Path) -> None:
    for _ in range(3):
        assert opened(local.url, tmp_path).market("BTC-USD").name == "BTC/USD"
    assert len(local.requests.of("markets")) == 1
    kept = tmp_path / "binance.markets.json"
    tree = json.loads(kept.read_text())
    tree["asked_seconds"] -= 86_401
    kept.write_text(json.dumps(tree))
    assert opened(local.url, tmp_path).market("BTC-USD").name == "BTC/USD"
    assert len(local.requests.of("markets")) == 2


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"asked_seconds": "now"}', "[" * 10_000])
def test_damaged_list_on_disk_is_asked_for_again(content: str, local: LocalExchange, tmp_path: Path) -> None:
    (tmp_path / "binance.markets.json").write_text(content)
    assert opened(local.url, tmp_path).market("BTC-USD").name == "BTC/USD"


def test_list_from_another_address_is_another_one(local: LocalExchange, tmp_path: Path) -> None:
    opened(local.url, tmp_path).market("BTC-USD")
    with LocalExchange({"ETH-USD": made_up_bars(10)}) as other:
        with pytest.raises(DataError, match=r"^BTC-USD: binance has no spot market BTC/USD among its 1; near it "):
            opened(other.url, tmp_path).market("BTC-USD")
        assert len(other.requests.of("markets")) == 1


def test_unknown_symbol_is_looked_for_in_a_new_list_once(local: LocalExchange, tmp_path: Path) -> None:
    opened(local.url, tmp_path).market("BTC-USD")
    exchange = opened(local.url, tmp_path)
    for _ in range(3):
        with pytest.raises(DataError, match=r"^NEW-USD: binance has no spot market NEW/USD"):
            exchange.market("NEW-USD")
    assert len(local.requests.of("markets")) == 2


def test_symbol_that_is_listed_later_is_found_without_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trading host's process lives for months."""
    lists = iter(["ETH", "BTC"])

    def describe(handler: BaseHTTPRequestHandler) -> None:
        base = next(lists)
        market = {"symbol": f"{base}USD", "status": "TRADING", "baseAsset": base, "quoteAsset": "USD", "filters": []}
        answer_with(handler, json.dumps({"symbols": [{**market, "permissionSets": [["SPOT"]]}]}).encode())

    with serving(describe) as port:
        exchange = opened(f"http://127.0.0.1:{port}", tmp_path)
        for _ in range(2):
            with pytest.raises(DataError):
                exchange.market("BTC-USD")
        tomorrow = time.monotonic() + 86_401.0
        monkeypatch.setattr(time, "monotonic", lambda: tomorrow)
        assert exchange.market("BTC-USD").name == "BTC/USD"


def test_market_of_another_name_is_asked_for(local: LocalExchange, tmp_path: Path) -> None:
    exchange = opened(local.url, tmp_path, markets={"XBT-EUR": "BTC/USD"})
    assert exchange.market("XBT-EUR").name == "BTC/USD"
    assert len(exchange.page("XBT-EUR", HOUR).rows) == 60


def test_second_exchange_has_its_own_markets_and_address(local: LocalExchange, tmp_path: Path) -> None:
    section = ExchangeSection(
        second="bybit", second_base_url=local.url, second_markets={"BTC-EUR": "BTC/USD"}, requests_per_second=1000.0
    )
    exchange = open_exchange(section, pace_folder=tmp_path, second=True)
    assert (exchange.name, exchange.market("BTC-EUR").name) == ("bybit", "BTC/USD")
    assert len(exchange.page("BTC-EUR", HOUR).rows) == 60


def test_nothing_is_asked_and_no_ccxt_imported_before_the_first_question(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from models_lib.config.exchange_section import ExchangeSection\n"
        "from tasks.adapters.exchange.ccxt_exchange import open_exchange\n"
        f"open_exchange(ExchangeSection(), pace_folder=Path({str(tmp_path)!r}))\n"
        "assert not {'ccxt', 'requests'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_machine_without_ccxt_is_told_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from models_lib.config.exchange_section import ExchangeSection\n"
        "from tasks.adapters.exchange.ccxt_exchange import open_exchange\n"
        "sys.modules['ccxt'] = None\n"  # as Python itself marks what cannot be imported
        f"open_exchange(ExchangeSection(), pace_folder=Path({str(tmp_path)!r})).clock()"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.stderr.endswith(
        "ConfigError: ccxt is not installed, without which no exchange can be asked. Install crpbot-runtime[exchange].\n"
    )
