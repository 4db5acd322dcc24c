"""Compares training recipes by validation NLL on the candles of a folder; the test part is printed, never chosen by.

    python -m studies.recipes --candles DIR [--recipes FILE] [--symbols BTC-USD,ETH-USD,SOL-USD] [--seeds 3]

FILE is YAML (studies/recipes.yaml by default): a name a recipe, each with `network:` and `training:` values over the
defaults. One line a recipe: averages over symbols and seeds of the validation and test NLL after the temperature fitted
on validation, and how far the validation NLL lies from the first recipe's, paired by symbol and seed, with its standard
error.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from models_lib.calibration import negative_log_likelihood, softmax
from models_lib.candles.sources import ParquetSource, load_candles
from models_lib.config import DataSection, RunConfig
from models_lib.evaluation.metrics import classification_metrics
from models_lib.features import FEATURE_NAMES, compute_features
from models_lib.networks import network_from_tensors
from models_lib.scaling import fit_scaler
from models_lib.steps.labels import label_frame
from models_lib.training.data import TrainingData
from models_lib.training.seeds import symbol_seed
from models_lib.training.trainer import train_network


def prepare(symbol: str, folder: Path, config: RunConfig) -> tuple[TrainingData, np.ndarray]:
    """The training arrays of one symbol, and its test rows."""
    data = DataSection(source="parquet", path=folder)
    frame, _ = load_candles(ParquetSource(folder), symbol, data, now=None)
    features = compute_features(frame)
    labelled = label_frame(frame, config.label, config.splits, symbol=symbol)
    parts, classes = labelled.splits, labelled.classes
    scaler = fit_scaler(features, parts.train, names=FEATURE_NAMES)
    return TrainingData(features, classes, parts.train, parts.validation, scaler), parts.test


def measure(data: TrainingData, test: np.ndarray, config: RunConfig, *, symbol: str, seed: int) -> dict[str, float]:
    """NLL on validation and test of one training."""
    began = time.monotonic()
    outcome = train_network(
        data, network=config.network, training=config.training, gates=config.gates, seed=symbol_seed(seed, symbol)
    )
    best = outcome.history.best
    network = network_from_tensors(config.network, outcome.tensors).eval()
    with torch.no_grad():
        rows = torch.from_numpy(data.features[test])
        logits = torch.cat([network.raw_logits(part) for part in rows.split(4096)]).numpy()
    classes = data.classes[test]
    assert best.validation_nll is not None  # a finite epoch was kept
    assert best.temperature is not None
    measured = classification_metrics(
        logits / best.temperature, softmax(logits / best.temperature), classes, bins=config.evaluation.ece_bins
    )
    return {
        "validation": best.validation_nll,
        "test": float(negative_log_likelihood(logits, classes, best.temperature)),
        "accuracy": measured.accuracy,
        "ece": measured.ece,
        "temperature": best.temperature,
        "best_epoch": best.epoch,
        "epochs": len(outcome.history.epochs),
        "largest_logit": float(np.abs(logits).max() / best.temperature),
        "seconds": time.monotonic() - began,
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--candles", type=Path, required=True)
    parser.add_argument("--recipes", type=Path, default=Path(__file__).with_name("recipes.yaml"))
    parser.add_argument("--symbols", default="BTC-USD,ETH-USD,SOL-USD")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="one JSON line a training is appended here")
    return parser


def main() -> None:
    """Reads the recipes, measures each and prints the table."""
    arguments = _parser().parse_args()
    torch.set_num_threads(1)
    recipes: dict[str, dict[str, Any]] = yaml.safe_load(arguments.recipes.read_text())
    symbols = arguments.symbols.split(",")
    prepared = {symbol: prepare(symbol, arguments.candles, RunConfig()) for symbol in symbols}
    print(
        f"{'recipe':24} validation  against the first  test     by symbol (test)      epoch  T     logit  seconds",
        flush=True,
    )
    first: list[dict[str, Any]] = []
    for name, values in recipes.items():
        config = RunConfig.model_validate(values or {})
        results = []
        for symbol, (data, test) in prepared.items():
            for seed in range(arguments.seeds):
                result = measure(data, test, config, symbol=symbol, seed=config.training.seed + seed)
                results.append({"recipe": name, "symbol": symbol, "seed": seed, **result})
        first = first or results
        print_row(name, results, symbols, first)
        if arguments.out:
            with arguments.out.open("a") as stream:
                stream.writelines(json.dumps(result) + "\n" for result in results)


def print_row(name: str, results: list[dict[str, Any]], symbols: list[str], first: list[dict[str, Any]]) -> None:
    """One line of the table."""
    apart = [mine["validation"] - theirs["validation"] for mine, theirs in zip(results, first, strict=True)]
    error = statistics.stdev(apart) / len(apart) ** 0.5 if len(apart) > 1 else float("nan")

    def mean(key: str, symbol: str | None = None) -> float:
        return statistics.mean(r[key] for r in results if symbol in (None, r["symbol"]))

    by_symbol = " ".join(f"{mean('test', symbol):.4f}" for symbol in symbols)
    print(
        f"{name:24} {mean('validation'):.5f}     {statistics.mean(apart):+.5f} +- {error:.5f}  {mean('test'):.5f}  "
        f"{by_symbol}  {mean('best_epoch'):4.1f}   "
        f"{mean('temperature'):.2f}  {mean('largest_logit'):5.1f}  {mean('seconds'):6.1f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
