"""The words of the command line: every command with its options and its help.

What does not belong here: what a command does (flows/commands) and how it ends (flows/cli.py).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from flows.home import config_file
from flows.runtime_cli import add_options

_DESCRIPTION = """\
Trains, calibrates, judges and promotes crypto direction classifiers. Nothing reaches
the trading host unless every blocking gate was measured and passed."""

_EPILOG = """\
examples:
  crpbot run                                  three models on the embedded market
  crpbot run --symbols BTC-USD --set data.source=parquet --set data.path=CANDLES
  crpbot fetch --since 2y                     candles from the exchange, as far as they are missing
  crpbot data check CANDLES                   before training on them
  crpbot status                               where each symbol stands, and what needs a look
  crpbot history                              who promoted what, when and why

exit status:
  0  done; a model that is held by a gate is a normal outcome
  1  the answer is no: a symbol failed, a check found damage, a promotion was refused
  2  nothing was started: usage, configuration, a file that is missing or refused
  3  try again later

State lives under CRPBOT_HOME (default: .crpbot/ in the working directory). CRPBOT_CONFIG names
the configuration of runs and commands that are given none.
`crpbot COMMAND --help` explains a command."""


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="crpbot", description=_DESCRIPTION, epilog=_EPILOG, formatter_class=_AsWritten, allow_abbrev=False
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument("--version", action=_Version, help="show version and commit, and exit")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", title="commands")
    for add in (
        _add_run,
        _add_preflight,
        _add_fetch,
        _add_data,
        _add_diagnose,
        _add_repair,
        _add_compare,
        _add_temperature,
        _add_verify,
        _add_promote,
        _add_rollback,
        _add_deploy,
        _add_export,
        _add_signals,
        _add_history,
        _add_status,
        _add_hold,
        _add_release_hold,
        _add_approve,
        _add_costs,
        _add_clean,
        _add_notify,
    ):
        add(commands)
    return parser


# argparse has no public name for what add_subparsers returns.
_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001


class _AsWritten(argparse.RawDescriptionHelpFormatter):
    """Help with the line ends of the texts, and options and their meaning side by side."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26, width=96)


def _add(commands: _Commands, name: str, *, module: str, summary: str, text: str) -> argparse.ArgumentParser:
    """A command with its help; `--debug` may stand before or after its name."""
    what, _, rest = text.partition("\n\n")
    command = commands.add_parser(
        name, help=summary, description=what, epilog=rest or None, formatter_class=_AsWritten, allow_abbrev=False
    )
    command.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error"
    )
    command.set_defaults(module=module)
    return command


def _add_json(command: argparse.ArgumentParser, what: str) -> None:
    command.add_argument("--json", action="store_true", help=f"print {what} as JSON, and nothing else, on stdout")


def _add_config(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--config",
        type=Path,
        default=config_file(),
        metavar="FILE",
        help="YAML configuration (default: CRPBOT_CONFIG, else the built-in one)",
    )
    command.add_argument(
        "--set",
        action="append",
        default=[],
        dest="settings",
        metavar="dotted.key=value",
        help="one value over the configuration; may be repeated",
    )


def _add_run(commands: _Commands) -> None:
    command = _add(
        commands,
        "run",
        module="run",
        summary="train, judge and promote every symbol in this process; no server needed",
        text="""\
Trains every symbol, judges each model on rows that it never saw, and promotes those that
pass every blocking gate. Ends with one line a symbol: promoted, held (by which gates),
or failed (why). One symbol's failure does not stop the others.

examples:
  crpbot run
  crpbot run --set data.days=30 --set training.max_epochs=4
  crpbot run --set data.source=parquet --set data.path=CANDLES/perp-50d --json > summary.json
  crpbot run --config configs/forward_return.yaml --symbols BTC-USD,ETH-USD
  crpbot run --control shuffled --control signflip

A control is one more training that must find nothing, judged beside the model: on permuted
labels (shuffled), or on candles whose returns got random signs (signflip). What it finds is a
leak, and an alarm; the model's verdict stands. It runs on this machine and is never paid for.

Settings lie over the file, the file over the defaults; an unknown key is refused.
Summary, models' reports and the resolved configuration: CRPBOT_HOME/runs/<run id>/.
exit status: 0 done, also when a model is held; 1 a symbol failed; 2 nothing was started.""",
    )
    _add_config(command)
    command.add_argument("--symbols", metavar="A,B", help="symbols to train (default: every configured one)")
    command.add_argument(
        "--control",
        action="append",
        choices=("shuffled", "signflip"),
        dest="controls",
        help="train and judge this control, too; may be repeated (default: evaluation.controls)",
    )
    _add_json(command, "the summary")
    command.add_argument("--yes", action="store_true", help="approve whatever asks for approval")


def _add_preflight(commands: _Commands) -> None:
    command = _add(
        commands,
        "preflight",
        module="preflight",
        summary="everything that a training would fail at, before it begins and anything is billed",
        text="""\
Asks all that a training needs and shows every answer at once, each with its remedy: pass, fail,
or unknown where AWS forbids the question. Nothing is started and nothing is billed.

For sagemaker: credentials, one region, the image (its tag, its end, its CUDA against the GPU of
the machine), the machine and its quota, the source archive, candles of each symbol, the role and
who may pass it, the bucket, the ceiling of the costs against the budgets. Each job is asked for
the same again before it is submitted. For local: state folder, disk, torch, candles.

--dry-run also makes the inputs of the first symbol, trains one epoch on at most 5,000 of its rows
through the very archive that would be uploaded, and prints the validated request.

examples:
  crpbot preflight
  crpbot preflight --backend sagemaker --config aws.yaml --dry-run
  crpbot preflight --backend sagemaker --config aws.yaml --symbols BTC-USD --json

exit status: 0 nothing failed; 1 a check failed; 2 the configuration is not complete; 3 AWS does not
answer.""",
    )
    command.add_argument(
        "--backend", choices=("local", "sagemaker"), help="where the training would run (default: training.backend)"
    )
    _add_config(command)
    command.add_argument("--symbols", metavar="A,B", help="symbols to train (default: every configured one)")
    command.add_argument(
        "--dry-run", action="store_true", help="also rehearse the first symbol's job here, and print its request"
    )
    _add_json(command, "the findings")


def _add_fetch(commands: _Commands) -> None:
    command = _add(
        commands,
        "fetch",
        module="fetch",
        summary="bring the archive of candles up to date from the exchange",
        text="""\
Asks the exchange of the section `exchange` (public data, no account) for what the archive does
not have yet: the minutes since --since that were never answered, the newest ones once more, and
on later days the holes. It waits as the exchange demands. Whatever came is kept at once, so a
fetch that is interrupted or killed goes on where it was.

The archive lies in CRPBOT_HOME/candles/<exchange>, or where data.path or data.uri say with
data.source=exchange. `crpbot run --set data.source=exchange` does the same before it trains.

Ends with one line a symbol: bars in the archive since --since, new ones, values that the exchange
corrected, bars that it now tells differently, minutes without a bar, requests, seconds.

examples:
  crpbot fetch --since 2y
  crpbot fetch --symbols BTC-USD --since 2024-04-01 --set exchange.name=binance \\
      --set exchange.markets.BTC-USD=BTC/USDT

exit status: 0 all is up to date; 1 a symbol failed, as one that is unknown there; 2 nothing was
started; 3 the exchange gives no usable answer, or another process fetches: try again later.""",
    )
    command.add_argument("--symbols", metavar="A,B", help="symbols to fetch (default: every configured one)")
    command.add_argument(
        "--since",
        metavar="WHEN",
        help="2y, 30d or 2024-04-01 (default: data.days before now)",
    )
    _add_config(command)
    _add_json(command, "what each symbol came to")


def _add_data(commands: _Commands) -> None:
    data = commands.add_parser(
        "data",
        help="check a folder of candles before it is used",
        description="Looks at candles.",
        formatter_class=_AsWritten,
        allow_abbrev=False,
    )
    actions = data.add_subparsers(dest="action", required=True, metavar="ACTION", title="actions")
    check = _add(
        actions,
        "check",
        module="data_check",
        summary="check every <SYMBOL>.parquet of a folder, or an archive of fetched candles",
        text="""\
Checks every <SYMBOL>.parquet of a folder by the rules that training applies: columns and
types, UTC open times on whole minutes, order, duplicates, prices, high and low, volume,
length. Holes, long stretches without trades and a stale end are warnings. In the folder of an
archive (<SYMBOL>/manifest.json), as `crpbot fetch` fills it, every symbol is checked likewise.

A file has the columns timestamp (UTC, open time of the minute), open, high, low, close and
volume (float64).

exit status: 0 every file may be used; 1 a file breaks a rule; 2 no such folder.""",
    )
    check.add_argument(
        "folder", type=Path, metavar="DIR", help="folder with one <SYMBOL>.parquet or one archive a symbol"
    )
    _add_json(check, "the findings")


def _add_diagnose(commands: _Commands) -> None:
    command = _add(
        commands,
        "diagnose",
        module="diagnose",
        summary="what is wrong with a model file or a bundle, and what to do about it",
        text="""\
Holds a model against candles of its symbol: the range of its logits, its confidence, the shares
of its classes, its scaler and temperature, what its first layer makes of each feature, and every
gate with value and limit. Names the likely cause in words, and the remedy. A file is read without
executing anything in it; what is not a plain model is refused. Nothing is changed.

Old files (.pt) name no features: V6 and V7 are taken to expect raw72, V8 the current ones.
Without --candles the model is held against the configured source, by default the symbol's
simulated market, which says nothing about real prices.

examples:
  crpbot diagnose V6_BTC-USD.pt --candles CANDLES/perp-50d
  crpbot diagnose old.pt --symbol ETH-USD --features my-features.txt --scaler scaler.npz --json

exit status: 0 every blocking gate passed; 1 one failed; 2 refused, or nothing was measured.""",
    )
    command.add_argument("model", metavar="FILE", help="legacy .pt file, bundle folder, or the start of a kept hash")
    command.add_argument("--symbol", metavar="S", help="whose candles (default: what the file or its name says)")
    command.add_argument("--candles", type=Path, metavar="DIR", help="folder with <SYMBOL>.parquet")
    command.add_argument("--features", metavar="SET", help="raw72, current, or a file that lists them (legacy files)")
    command.add_argument(
        "--scaler", type=Path, metavar="FILE", help="mean and scale as .npz or .json, kept beside a legacy file"
    )
    _add_config(command)
    command.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for table and page (default: below CRPBOT_HOME/diagnoses)"
    )
    _add_json(command, "the diagnosis")


def _add_repair(commands: _Commands) -> None:
    command = _add(
        commands,
        "repair",
        module="repair",
        summary="mend a V6 or V7 file without training: scaler, clamp, temperature",
        text="""\
Wraps a V6 or V7 file in a scaler, a clamp of its raw logits at +-15 and a temperature, and writes
a bundle of its own (family v6-repaired or v7-repaired); the file stays as it is. The scaler is
fitted on the training rows of the candles, the temperature on their validation rows. Scaling the
inputs changes what a network computes that learned on raw ones, so the variant with raw inputs is
tried too, and the file's own scaler where it has one: the lowest NLL on the validation rows wins.

A repair makes confidence honest. It trains nothing, and gives its numbers from before and after.
The bundle is judged by every gate on the test rows, and lies with its verdict and page in --out.

example:
  crpbot repair V6_BTC-USD.pt --symbol BTC-USD --candles CANDLES/perp-50d --out v6-btc
  crpbot promote BTC-USD v6-btc

exit status: 0 written, also when a gate holds it; 2 the file is refused, or nothing was written.""",
    )
    command.add_argument("file", type=Path, metavar="FILE", help="legacy .pt file of a V6 or V7")
    command.add_argument("--symbol", required=True, metavar="S", help="whose candles, such as BTC-USD")
    command.add_argument("--candles", type=Path, required=True, metavar="DIR", help="folder with <SYMBOL>.parquet")
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the bundle; not there yet")
    command.add_argument(
        "--features",
        metavar="SET",
        help="raw72, current, or a file that lists what the network takes (default: what the file names, else raw72)",
    )
    command.add_argument(
        "--scaler", type=Path, metavar="FILE", help="mean and scale as .npz or .json, kept beside a legacy file"
    )
    _add_config(command)
    _add_json(command, "the repair")


def _add_compare(commands: _Commands) -> None:
    command = _add(
        commands,
        "compare",
        module="compare",
        summary="a repaired model, V8 and their ensemble on the same rows, and which to use",
        text="""\
Judges a repaired model, V8 and their weighted ensemble by every gate on rows after both
validations' end, and compares them there: the test part, 1,000 rows of it, its newest 7 days
and its rows of high volatility, with paired intervals. The ensemble is fitted on validation rows
and written as a bundle. Names the one to use, and why: the repaired model if it alone passes,
the ensemble if all pass and it is shown to be better than both, else V8 if it passes.

The candles must reach back to what both models were trained on, and on to rows after both.

examples:
  crpbot compare BTC-USD --repaired REPAIRED --candles CANDLES/perp-50d
  crpbot compare BTC-USD --repaired REPAIRED --v8 3f2a9c01 --candles CANDLES/perp-50d --promote

--promote makes the winner the champion by the rules of `crpbot promote`, judged by what was
measured here. It is no deployment: `crpbot deploy S` is.
exit status: 0 done; 1 --promote, and none may be used or the registry refused; 2 nothing was measured.""",
    )
    command.add_argument("symbol", metavar="S", help="symbol, such as BTC-USD")
    command.add_argument(
        "--repaired", required=True, metavar="BUNDLE", help="repaired model: bundle folder, or the start of a kept hash"
    )
    command.add_argument("--v8", metavar="BUNDLE", help="the other model (default: the champion of S)")
    command.add_argument(
        "--candles", type=Path, metavar="DIR", help="folder with <SYMBOL>.parquet (default: the configured source)"
    )
    _add_config(command)
    command.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder for page, JSON and ensemble (default: below CRPBOT_HOME/comparisons)",
    )
    command.add_argument("--promote", action="store_true", help="make the winner the champion of S")
    _add_json(command, "the comparison")


def _add_temperature(commands: _Commands) -> None:
    command = _add(
        commands,
        "temperature",
        module="temperature",
        summary="what other temperatures would do to a bundle's confidence",
        text="""\
A table over temperatures of confidence, calibration error (ECE) and NLL, measured on labelled
candles, with plots of the confidence distribution and the reliability diagram. Names the
temperature that meets the target band of the mean confidence, or says that none does.
The bundle is not changed: it keeps the temperature that was fitted on its validation rows.

Rows after the bundle's validation end are out of sample. They are used alone where there are
enough of them; the rows before are counted, and used only with --rows all.

example:
  crpbot temperature .crpbot/store/bundles/<hash> --candles CANDLES/perp-50d --values 1,1.5,2

exit status: 0 done; 2 nothing was measured.""",
    )
    command.add_argument("bundle", metavar="BUNDLE", help="bundle folder, or the start of a kept hash")
    command.add_argument("--candles", type=Path, required=True, metavar="DIR", help="folder with <SYMBOL>.parquet")
    command.add_argument("--values", metavar="1,2,3", help="temperatures of the table (default: 13 from 0.3 to 10)")
    command.add_argument(
        "--rows", choices=("unseen", "all"), default="unseen", help="rows to measure on (default: unseen)"
    )
    command.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for table and plots (default: below CRPBOT_HOME/temperature)"
    )
    _add_config(command)
    _add_json(command, "the study")


def _add_verify(commands: _Commands) -> None:
    command = _add(
        commands,
        "verify",
        module="verify",
        summary="check a bundle: files, hashes, tensors, features, golden vectors",
        text="""\
Every check that stands between a bundle folder and its use, in order: plain files and nothing
else, hashes, manifest, features and their order, tensors (finite, scaler, temperature), golden
vectors replayed, gate report. Nothing is written, and nothing in the bundle is executed.

exit status: 0 sound; 1 damaged, or not what it says; 2 no such bundle.""",
    )
    command.add_argument("bundle", metavar="BUNDLE", help="bundle folder, or the start of a kept hash")
    _add_config(command)
    _add_json(command, "the findings")


def _add_promote(commands: _Commands) -> None:
    command = _add(
        commands,
        "promote",
        module="promote",
        summary="make a bundle the champion of its symbol",
        text="""\
Makes a judged bundle the champion of its symbol and records it in the ledger. Refused when a
blocking gate failed or was not measured, when the champion is no longer the one that the
bundle was judged against, and while the symbol is on hold; nothing forces it.

exit status: 0 promoted, or champion already; 1 refused; 2 no such bundle, or it is damaged.""",
    )
    command.add_argument("symbol", metavar="S", help="symbol, such as BTC-USD")
    command.add_argument("bundle", metavar="BUNDLE", help="bundle folder, or the start of a kept hash")
    command.add_argument("--why", default="promoted by hand", metavar="TEXT", help="reason, for the ledger")
    _add_config(command)


def _add_rollback(commands: _Commands) -> None:
    command = _add(
        commands,
        "rollback",
        module="rollback",
        summary="make the previous champion of a symbol the champion again",
        text="""\
Makes the previous champion of a symbol the champion again, in under a second, and records it
in the ledger. Only its hashes are verified. Repeated, it goes further back, as far as bundles
are kept (`crpbot clean`).

It is no hold: the next nightly run may promote a new model. `crpbot hold` stops that.

exit status: 0 done; 1 there is no earlier champion; 2 the earlier one is gone or damaged.""",
    )
    command.add_argument("symbol", metavar="S", help="symbol, such as BTC-USD")
    command.add_argument("--why", default="rolled back by hand", metavar="TEXT", help="reason, for the ledger")
    _add_config(command)


def _add_deploy(commands: _Commands) -> None:
    command = _add(
        commands,
        "deploy",
        module="deploy",
        summary="put champions to use on a trading host, now",
        text="""\
Brings the champions of these symbols (default: all that have one) to a target, where the host
verifies them, replays their golden vectors, has them answer its newest day, switches, restarts
its runtime once, waits for its health and watches the first bars. What goes wrong goes back.

examples:
  crpbot deploy
  crpbot deploy BTC-USD --target tokyo
  crpbot deploy BTC-USD --target tokyo --shadow 3f2a9c01

exit status: 0 all deployed; 1 one is not, and the host runs what it ran before; 2 nothing was
started; 3 the host does not answer now, or another deployment is at work there.""",
    )
    command.add_argument("symbols", nargs="*", metavar="S", help="symbols, such as BTC-USD")
    command.add_argument("--target", metavar="NAME", help="of deployment.targets (default: deployment.target)")
    command.add_argument(
        "--shadow",
        metavar="BUNDLE",
        help="have this bundle (folder, or start of a kept hash) predict beside the symbol's release without speaking; "
        "`none` ends that",
    )
    _add_json(command, "what each came to")
    _add_config(command)


def _add_signals(commands: _Commands) -> None:
    command = _add(
        commands,
        "signals",
        module="signals",
        summary="run the trading host's runtime here: signals, and why there are none",
        text="""\
The runtime of the trading host, `crpbot-runtime`, on this machine. Each closed bar of each
symbol ends in a signal or in a reason for silence. It places no orders.

A replay is of the champions of CRPBOT_HOME, or of --bundle, over --candles, or over those that
the last deployment to this machine brought: it remembers nothing, and says the same each time.
With --folder it serves that host's folder, and --mode live serves CRPBOT_HOME/host without it:
then what was said is remembered, and nothing is said twice. Such a folder has a configuration of
its own, runtime.yaml: --config, --set and --bundle are for replays of champions alone.

examples:
  crpbot signals --mode replay --newest-minutes 1440
  crpbot signals --mode replay --candles CANDLES --bundle 3f2a9c01 --json
  crpbot signals --mode live --folder ~/crpbot-runtime

exit status: 0 done, also by Ctrl-C; 1 no release can be used, or another runtime works in the
folder; 2 nothing was started.""",
    )
    command.add_argument("--folder", type=Path, metavar="F", help="a host's folder")
    command.add_argument("--bundle", metavar="BUNDLE", help="bundle folder, or the start of a kept hash, to replay")
    add_options(command)
    _add_config(command)
    command.set_defaults(config=None)  # what was not typed is no mistake beside a host's folder


def _add_export(commands: _Commands) -> None:
    command = _add(
        commands,
        "export",
        module="export",
        summary="write a champion's model as files for programs of others",
        text="""\
Writes the champion of a symbol, or another bundle of it, into a folder:

lstm_<SYMBOL>_v8_enhanced.pt  for torch: model_state_dict, scaler {mean, scale}, scaler_mean,
                              scaler_scale, temperature, feature_names; tensors and plain
                              values only, so torch.load(weights_only=True) takes it
<SYMBOL>.onnx                 features in, calibrated probabilities out; scaler and
                              temperature inside

Each file appears whole or not at all, after it gave the bundle's golden probabilities within
1e-5. Files of an earlier export are replaced. Only models of the v8 family are exported.

exit status: 0 written; 2 no champion, no such bundle, or it is damaged or of another family.""",
    )
    command.add_argument("symbol", metavar="S", help="symbol, such as BTC-USD")
    command.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for the files; made when missing"
    )
    command.add_argument(
        "--bundle", metavar="BUNDLE", help="bundle folder, or the start of a kept hash (default: the champion)"
    )
    _add_config(command)
    _add_json(command, "bundle and files")


def _add_history(commands: _Commands) -> None:
    command = _add(
        commands,
        "history",
        module="history",
        summary="who promoted what, when and why; verifies the ledger",
        text="""\
The ledger of promotions and rollbacks, oldest first. Every line carries the hash of the one
before it: the whole chain and every champion's pointer are verified, also for one symbol.

exit status: 0 the chain is sound; 1 it is damaged, and the message names the line.""",
    )
    command.add_argument("symbol", nargs="?", metavar="S", help="one symbol (default: all)")
    _add_config(command)
    _add_json(command, "the entries")


def _add_notify(commands: _Commands) -> None:
    notify = commands.add_parser(
        "notify",
        help="try the channels on which people are told",
        description="Looks after notifications.",
        formatter_class=_AsWritten,
        allow_abbrev=False,
    )
    actions = notify.add_subparsers(dest="action", required=True, metavar="ACTION", title="actions")
    test = _add(
        actions,
        "test",
        module="notify_test",
        summary="send one message through every configured channel, now",
        text="""\
Sends one message through every configured channel and prints one line a channel: ok, or what
must be mended.

Slack:   CRPBOT_SLACK_WEBHOOK_URL in the environment
e-mail:  notifications.email in the configuration, CRPBOT_SMTP_PASSWORD in the environment
others:  CRPBOT_APPRISE_URLS in the environment, addresses as apprise writes them

exit status: 0 every channel took it; 1 one did not; 2 no channel is configured.""",
    )
    _add_config(test)
    _add_json(test, "the answers")


def _add_status(commands: _Commands) -> None:
    command = _add(
        commands,
        "status",
        module="status",
        summary="where each symbol stands: champion, expiry, last verdict, hold",
        text="""\
One line a symbol: the champion, since when, its age and the days until it expires, what the
last run came to, nights on which a candidate was held since the last promotion, the release
on each target, and whether the symbol is on hold. Below, what needs a look. Nothing is written.

A champion is valid for bundle.valid_days, counted from the newest verdict that no blocking
gate opposed. Runs are read from the newest 60 run folders.

exit status: 0 told, also when something is damaged, which is told too; 2 unknown symbol.""",
    )
    command.add_argument("symbols", nargs="*", metavar="S", help="symbols (default: every known one)")
    _add_config(command)
    _add_json(command, "the status")


def _add_hold(commands: _Commands) -> None:
    command = _add(
        commands,
        "hold",
        module="hold",
        summary="silence a symbol at once: no signals, no new champion",
        text="""\
Puts a symbol on hold at once: the runtime issues no signals for it, and nothing of it is
promoted or deployed until `crpbot release-hold`. Training goes on, and its candidates are held.
Every hold and release is recorded in CRPBOT_HOME/holds.jsonl. A symbol that is on hold already
stays so, with the first reason.

example:
  crpbot hold BTC-USD --reason "exchange halted trading"

It reaches every configured target, where the runtime obeys from its next bar on.

exit status: 0 on hold; 1 a host does not answer, and may speak on; 2 unknown symbol, or no
reason.""",
    )
    command.add_argument("symbol", metavar="S", help="symbol, such as BTC-USD")
    command.add_argument("--reason", required=True, metavar="TEXT", help="why, for whoever finds it silent")
    _add_config(command)


def _add_release_hold(commands: _Commands) -> None:
    command = _add(
        commands,
        "release-hold",
        module="release_hold",
        summary="end the hold of a symbol",
        text="""\
Ends the hold of a symbol, whoever placed it: a person, or the system after a fault.
A symbol that is not on hold stays as it is.

exit status: 0 not on hold any more; 1 a host does not answer, and stays silent; 2 unknown symbol.""",
    )
    command.add_argument("symbol", metavar="S", help="symbol, such as BTC-USD")
    _add_config(command)


def _add_clean(commands: _Commands) -> None:
    command = _add(
        commands,
        "clean",
        module="clean",
        summary="remove old runs, caches and held bundles",
        text="""\
Removes what is older than its days in the section `retention` of the configuration: run
folders, results of finished steps, other caches, bundles that are neither champion, nor the
one before, nor deployed; and what killed processes left behind, in S3, too, where the
configuration uses it. Safe beside a running run, which keeps its folder and everything that it
uses. Each nightly run does the same at its end.

While the record of champions is damaged, no bundle is removed.

exit status: 0 done; 1 something could not be removed; 2 nothing was started.""",
    )
    command.add_argument("--dry-run", action="store_true", help="only show what would be removed")
    command.add_argument(
        "--older-than",
        type=_whole_days,
        metavar="DAYS",
        help="remove what was not used for so many days, whatever its kind (at least 1)",
    )
    _add_config(command)
    _add_json(command, "what was removed and what was kept, and why,")


def _whole_days(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"must be a whole number of days above 0, was {text!r}")
    return int(text)


def _add_approve(commands: _Commands) -> None:
    command = _add(
        commands,
        "approve",
        module="approve",
        summary="answer a run that waits for a person before it pays or promotes",
        text="""\
Answers a run that waits, as the form in Prefect's UI would: the named symbols, or all that
wait, become champions and are deployed; the rest is held. A run that waits before it pays for
rented machines submits its jobs, or with --hold ends. Without RUN it lists what waits.
Asks the server that PREFECT_API_URL names, or the one of `make server`.

examples:
  crpbot approve
  crpbot approve train-all-every-symbol-2026-11-21 BTC-USD --note "looked at the report"
  crpbot approve train-all-every-symbol-2026-11-21 --hold

exit status: 0 done; 1 the run waits no longer, or no server answers; 2 no such run or symbol.""",
    )
    command.add_argument("run", nargs="?", metavar="RUN", help="name or id of the flow run (default: list them)")
    command.add_argument("symbols", nargs="*", metavar="S", help="symbols to promote (default: all that wait)")
    command.add_argument("--hold", action="store_true", help="promote none of them, or do not pay")
    command.add_argument("--by", metavar="NAME", help="for the ledger (default: user@host)")
    command.add_argument("--note", default="", metavar="TEXT", help="a remark, for the ledger")


def _add_costs(commands: _Commands) -> None:
    command = _add(
        commands,
        "costs",
        module="costs",
        summary="what paid trainings cost, by run, symbol, month or promoted model",
        text="""\
What trainings on rented machines cost, from the ledger of costs in CRPBOT_HOME/costs.jsonl:
billable time at the price of the day of submission, which stands beside it. A job without an
end counts with its ceiling. A month is a UTC month, and a job belongs to that of its end.

With --by model: every bundle that became champion in the configured store, and what its training
was billed.

exit status: 0 told, also when a line of the ledger is damaged, which is told too.""",
    )
    command.add_argument(
        "--by", choices=("run", "symbol", "month", "model"), default="run", help="one line for each (default: run)"
    )
    _add_config(command)
    _add_json(command, "the figures and every job")


class _Version(argparse.Action):
    """Prints version and commit, and exits; nothing is asked of git before."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:  # noqa: A002 - argparse's name
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from flows.version import version_line  # noqa: PLC0415 - only who asks waits for it

        print(version_line())
        parser.exit()
