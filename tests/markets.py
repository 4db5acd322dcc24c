"""Short markets and the settings with which a training on them takes seconds, for the tests of steps, tasks and flows."""

from pathlib import Path

from models_lib.candles.simulated import simulate_candles

DAYS = 14

NO_HOME = Path("/no/home")
"""For sources that keep nothing: all but an exchange."""

QUICK = (
    "training.max_epochs=2",
    "training.batch_size=512",
    "training.device=cpu",
    # 14 days leave 2,800 test rows: 46 blocks of an hour, where the default blocks of four hours would be too few.
    "evaluation.block_bars=60",
    "evaluation.bootstrap_samples=200",
    "deployment.target=null",
)
"""A small training whose intervals can be measured."""

LENIENT = tuple(
    f"gates.{name}.severity=advisory"
    for name in ("accuracy", "beats_mechanical_rule", "calibration_error", "class_balance", "not_worse_than_champion")
)
"""Two epochs on two weeks make no good model; what is tested is what happens to one that passes."""


def write_market(folder: Path, *symbols: str, days: int = DAYS) -> Path:
    """A folder with the simulated candles of each symbol; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for symbol in symbols:
        frame = simulate_candles(symbol, market="default", seed=7, days=days)
        frame.to_parquet(folder / f"{symbol}.parquet", index=False)
    return folder
