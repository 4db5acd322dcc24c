"""`make bench`: every speed claim of the README in one run, as ratios: `python -m tests.benchmarks [--json] [--quick]`.

Seconds depend on the machine and on its neighbours; a ratio of two things that took turns in one run does not. Options
go through make as `make bench BENCH='--json'`.

Not here: what is compared and how it is timed (bench_features.py, bench_archive.py, bench_training.py, bench_orchestration.py).
"""

import argparse
import json
import sys

import torch

from models_lib.candles.simulated import simulate_candles
from tests.benchmarks import bench_archive, bench_features, bench_orchestration, bench_training

MINUTES_A_DAY = 1_440


def main() -> int:
    """Prints a table or JSON; 1 when a goal was missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print JSON, and nothing else, on stdout")
    parser.add_argument(
        "--quick", action="store_true", help="few rows and rounds: shows that it runs, measures nothing"
    )
    chosen = parser.parse_args()
    days, rounds, rows = (20, 1, 6_000) if chosen.quick else (730, 3, 50_000)
    candles = simulate_candles("BTC-USD", market="default", seed=7, days=days)
    print(f"features of {days * MINUTES_A_DAY:,} rows ...", file=sys.stderr, flush=True)
    features = bench_features.bench(candles, rounds)
    print(f"reading {days:,} days of three symbols ...", file=sys.stderr, flush=True)
    archive = bench_archive.bench(days, 5 * rounds)  # a read is short, and easily disturbed
    print(f"epochs of {rows:,} rows ...", file=sys.stderr, flush=True)
    bench_training.as_the_worker_trains()
    training = [bench_training.measure(rows=rows, batch=batch, rounds=rounds) for batch in (256, 1_024)]
    print("three symbols with and without Prefect ...", file=sys.stderr, flush=True)
    orchestration = bench_orchestration.measure(1 if chosen.quick else 3, 1)
    goals = {
        "features: pandas / ours, one thread": (features["ratios"]["pandas / ours_1_thread"]["wall"], 5.0),
        **{f"epoch, batch {run['batch']:,.0f}: naive loop / ours": (run["ratio"], 2.0) for run in training},
    }
    if chosen.json:
        told = {name: {"ratio": ratio, "goal": goal} for name, (ratio, goal) in goals.items()}
        measured = {"features": features, "archive": archive, "training": training, "orchestration": orchestration}
        print(json.dumps({"torch": torch.__version__, **measured, "goals": told}))
    else:
        bench_features.tell(features, rounds)
        bench_archive.tell(archive, 5 * rounds)
        bench_training.tell(training)
        bench_orchestration.tell(orchestration)
        for name, (ratio, goal) in goals.items():
            print(f"{'reached' if ratio >= goal else 'MISSED '}  {name}: {ratio:.1f}x (goal {goal:.0f}x)")
        share, most = orchestration["share_of_the_run"], bench_orchestration.GOAL_SHARE
        print(f"{'reached' if share <= most else 'MISSED '}  not library work: {share:.1%} of a run (goal {most:.0%})")
        within = "reached" if archive["ratio"] <= bench_archive.GOAL else "MISSED "
        print(f"{within}  candles: archive / plain read: {archive['ratio']:.2f}x (goal at most {bench_archive.GOAL}x)")
    reached = all(ratio >= goal for ratio, goal in goals.values())
    reached = reached and orchestration["share_of_the_run"] <= bench_orchestration.GOAL_SHARE
    return 0 if chosen.quick or (reached and archive["ratio"] <= bench_archive.GOAL) else 1


if __name__ == "__main__":
    sys.exit(main())
