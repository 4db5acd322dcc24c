"""What an old file is taken to expect: which features, in which order, and whose candles.

A person's word comes first, then the file's, then its family and its name. Only for what may be promoted the file's symbol
stands against the person's.

What does not belong here: reading the file (models_lib.legacy).
"""

import re
from collections.abc import Sequence

from models_lib.config import RunConfig, select_symbols
from models_lib.errors import ConfigError
from models_lib.features import CURRENT, FEATURE_SETS, RAW72, FeatureSet, read_feature_list, selected
from models_lib.legacy import LegacyModel


def features_of(model: LegacyModel, requested: str | None) -> FeatureSet:
    """The requested set; else the features that the file names; else its family's.

    Raises:
        ConfigError: unknown names, or not those that the network can have learned on.
    """
    if requested is not None:
        features = read_feature_list(requested)
    elif model.feature_names is not None:
        features = _named(model, model.feature_names)
    else:
        features = CURRENT if model.family == "v8" else RAW72
    model.check_features(features)
    return features


def _named(model: LegacyModel, names: tuple[str, ...]) -> FeatureSet:
    known = [features for features in FEATURE_SETS.values() if features.names == names]
    try:
        return known[0] if known else selected(names)
    except ValueError as error:
        raise ConfigError(
            f"{model.path}: its {len(names)} features are those of no known set ({', '.join(FEATURE_SETS)}), {error}. "
            f"Name the set, or a file that lists known features, with --features."
        ) from error


def symbol_of(model: LegacyModel, requested: str | None, config: RunConfig) -> str:
    """The requested symbol; else the file's own; else the one that its name holds.

    Raises:
        ConfigError: none or several of them, or one that is not configured.
    """
    said = requested or model.symbol
    found = [said] if said else symbols_in(model.path.name, config.symbols)
    if len(found) != 1:
        which = f"names {' and '.join(found)}" if found else "names no symbol"
        raise ConfigError(f"{model.path}: the file {which}. Say whose candles it is for with --symbol, as in BTC-USD.")
    return select_symbols(config, found)[0]


def check_symbol(model: LegacyModel, symbol: str) -> None:
    """Refuses a symbol that is not the file's own: a bundle of the wrong one could be promoted.

    Raises:
        ConfigError: naming both.
    """
    if model.symbol not in (None, symbol):
        raise ConfigError(
            f"{model.path}: the file says that it is for {model.symbol}, --symbol says {symbol}. Name the file's own."
        )


def symbols_in(name: str, symbols: Sequence[str]) -> list[str]:
    """The symbols that a file's name holds: BTC-USD, BTC_USD and btcusd are the same, BTCUSDT is another."""
    return [symbol for symbol in symbols if re.search(_spelt(symbol), name, re.IGNORECASE)]


def _spelt(symbol: str) -> str:
    base, _, quote = symbol.partition("-")
    return rf"(?<![a-z0-9]){re.escape(base)}[-_. ]?{re.escape(quote)}(?![a-z0-9])"
