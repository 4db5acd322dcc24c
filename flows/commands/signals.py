"""`crpbot signals`: the runtime, over a host's folder on this machine, or a replay of the champions of this home."""

import argparse
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from flows import runtime_cli
from flows.home import config_file, crpbot_home

if TYPE_CHECKING:
    from models_lib.config import RunConfig


def execute(arguments: argparse.Namespace) -> int:
    """Serves until the candles end or Ctrl-C; the runtime's own exit status."""
    from models_lib.config import load_config
    from models_lib.deployment.target import EMBEDDED_HOST

    home = crpbot_home()
    if arguments.folder is not None or arguments.mode == "live":
        arguments.folder = arguments.folder or home / EMBEDDED_HOST
        _refuse_what_the_folder_says(arguments)
        return runtime_cli.serve(arguments)
    config = load_config(config_file(arguments.config), arguments.settings)
    bundles = _bundles(arguments.bundle, home, config)
    arguments.candles = arguments.candles or _candles_beside(home / EMBEDDED_HOST, bundles)
    with tempfile.TemporaryDirectory(prefix="crpbot-signals-") as scratch:
        arguments.folder = Path(scratch)
        _lay_out(arguments, home, config, bundles)
        return runtime_cli.serve(arguments)


def _refuse_what_the_folder_says(arguments: argparse.Namespace) -> None:
    from models_lib.errors import ConfigError
    from models_lib.runtime.configuration import CONFIG_FILE

    given = {"--config": arguments.config, "--set": arguments.settings, "--bundle": arguments.bundle}
    named = [option for option, value in given.items() if value]
    if named:
        raise ConfigError(
            f"{', '.join(named)}: not for a host's folder, where {arguments.folder / CONFIG_FILE} says what signals may risk, "
            f"and deployments bring the bundles. Write it there, or replay without --folder."
        )


def _candles_beside(host: Path, bundles: Mapping[str, Path]) -> Path | None:
    """Those that the last deployment to this machine brought."""
    from models_lib.bundle.layout import MANIFEST_FILE
    from models_lib.bundle.manifest import parse_manifest
    from models_lib.deployment.local_runtime import candles_brought

    manifests = {symbol: parse_manifest((bundle / MANIFEST_FILE).read_bytes()) for symbol, bundle in bundles.items()}
    return candles_brought(host, {symbol: manifest.simulated_market for symbol, manifest in manifests.items()})


def _bundles(reference: str | None, home: Path, config: "RunConfig") -> Mapping[str, Path]:
    """The named bundle, or every champion, by symbol."""
    from models_lib.bundle.layout import MANIFEST_FILE
    from models_lib.bundle.manifest import parse_manifest
    from models_lib.errors import ConfigError
    from models_lib.registry.commands import champion_folder, find_bundle
    from tasks.adapters.stores import configured_registry

    if reference is not None:
        folder = find_bundle(reference, registry=partial(configured_registry, home, config)).absolute()
        return {parse_manifest((folder / MANIFEST_FILE).read_bytes()).symbol: folder}
    registry = configured_registry(home, config)
    symbols = registry.store.pointed_symbols()
    if not symbols:
        raise ConfigError(f"{home}: there is no champion and no deployed runtime. Train one with `crpbot run` first.")
    return {symbol: champion_folder(home, symbol, registry=registry) for symbol in symbols}


def _lay_out(arguments: argparse.Namespace, home: Path, config: "RunConfig", bundles: Mapping[str, Path]) -> None:
    """A host folder for this once: it remembers nothing, so every replay says the same."""
    from models_lib.bundle import verify_hashes
    from models_lib.bundle.layout import SHA256_HEX
    from models_lib.errors import ConfigError
    from models_lib.runtime.configuration import CONFIG_FILE, signals_as_yaml

    if arguments.candles is None:
        raise ConfigError(
            "champions that are not deployed are replayed: --mode replay --candles DIR. To serve live, deploy them, or "
            "name a host's folder with --folder."
        )
    folder: Path = arguments.folder
    for symbol, bundle in bundles.items():
        # A release is known by its folder's name; a bundle that a repair or a comparison wrote has the name that was asked for.
        name = bundle.name if SHA256_HEX.fullmatch(bundle.name) else verify_hashes(bundle)
        release, link = folder / "releases" / name, folder / "current" / symbol
        for each, target in ((release, bundle), (link, release)):
            each.parent.mkdir(exist_ok=True)
            each.symlink_to(target, target_is_directory=True)
    (folder / "holds").symlink_to(home / "holds", target_is_directory=True)
    (folder / CONFIG_FILE).write_text(signals_as_yaml(config.signals), encoding="utf-8")
