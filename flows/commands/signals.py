"""`crpbot signals`: the runtime, over a host's folder on this machine, or a replay of the champions of this home."""

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path

from flows import runtime_cli
from flows.home import crpbot_home


def execute(arguments: argparse.Namespace) -> int:
    """Serves until the candles end or Ctrl-C; the runtime's own exit status."""
    from models_lib.deployment.target import EMBEDDED_HOST

    home = crpbot_home()
    if arguments.folder is not None or (arguments.mode == "live" and arguments.bundle is None):
        arguments.folder = arguments.folder or home / EMBEDDED_HOST
        return runtime_cli.serve(arguments)
    arguments.candles = arguments.candles or _candles_beside(home / EMBEDDED_HOST)
    with tempfile.TemporaryDirectory(prefix="crpbot-signals-") as scratch:
        arguments.folder = Path(scratch)
        _lay_out(arguments, home, _bundles(arguments.bundle, home))
        return runtime_cli.serve(arguments)


def _candles_beside(host: Path) -> Path | None:
    """Those that the last deployment to this machine brought."""
    candles = host / "candles"
    return candles if candles.is_dir() else None


def _bundles(reference: str | None, home: Path) -> Mapping[str, Path]:
    """The named bundle, or every champion, by symbol."""
    from models_lib.bundle.layout import MANIFEST_FILE
    from models_lib.bundle.manifest import parse_manifest
    from models_lib.errors import ConfigError
    from models_lib.registry import open_registry
    from models_lib.registry.commands import champion_folder, find_bundle

    if reference is not None:
        folder = find_bundle(home, reference).absolute()
        return {parse_manifest((folder / MANIFEST_FILE).read_bytes()).symbol: folder}
    symbols = open_registry(home).store.pointed_symbols()
    if not symbols:
        raise ConfigError(f"{home}: there is no champion and no deployed runtime. Train one with `crpbot run` first.")
    return {symbol: champion_folder(home, symbol) for symbol in symbols}


def _lay_out(arguments: argparse.Namespace, home: Path, bundles: Mapping[str, Path]) -> None:
    """A host folder for this once: it remembers nothing, so every replay says the same."""
    import yaml

    from models_lib.config import load_config
    from models_lib.errors import ConfigError
    from models_lib.runtime.configuration import CONFIG_FILE

    if arguments.mode == "live" or arguments.candles is None:
        raise ConfigError(
            "champions that are not deployed are replayed: --mode replay --candles DIR. To serve live, deploy them, or "
            "name a host's folder with --folder."
        )
    folder: Path = arguments.folder
    for symbol, bundle in bundles.items():
        link = folder / "current" / symbol
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(bundle, target_is_directory=True)
    (folder / "holds").symlink_to(home / "holds", target_is_directory=True)
    signals = load_config(arguments.config, arguments.settings).signals
    (folder / CONFIG_FILE).write_text(yaml.safe_dump({"signals": signals.model_dump(mode="json")}), encoding="utf-8")
