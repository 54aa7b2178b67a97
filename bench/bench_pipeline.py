"""The pipeline's own time beside the bare engine's: the same prompts generated alone, then as a whole audit.

Prints, for interleaved runs, the seconds of the bare engine, of the whole audit, and the share that the pipeline adds
(items, journal, grading, statistics, tables, report). The share falls as the model grows; an organism is the hardest case.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from evenhand.audits.engines import open_configurations
from evenhand.audits.respond import requests_for
from evenhand.audits.runner import run_audits
from evenhand.audits.service import sampling_of
from evenhand.config import AuditConfig, make_config
from evenhand.datasets.shipped import NamesAndStems
from evenhand.report.build import build_report


def bare(config: AuditConfig) -> float:
    """Seconds to open the model and generate every response, and nothing else."""
    began = time.perf_counter()
    (configuration,) = open_configurations(config, None)
    requests = requests_for(configuration, NamesAndStems().items(), config.draws_per_item)
    sampling = sampling_of(config)
    count = 0
    for _, rows in configuration.engine.generate(
        configuration.engine.plan(requests, sampling), sampling, config=configuration.label
    ):
        count += len(rows)
    assert count == len(requests)
    configuration.engine.close()
    return time.perf_counter() - began


def whole(config: AuditConfig) -> float:
    """Seconds of the audit and its report."""
    with tempfile.TemporaryDirectory() as scratch:
        began = time.perf_counter()
        run_audits(config, Path(scratch) / "run")
        build_report(Path(scratch) / "run")
        return time.perf_counter() - began


def main() -> None:
    """Interleave bare engine and whole audit; print each pair and the median share."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", default="organism/aligned")
    options.add_argument("--runs", type=int, default=5)
    options.add_argument("--quick", action="store_true", help="one run")
    given = options.parse_args()
    config = make_config(models=(given.model,))
    bare(config.model_copy(update={"repetitions": 1}))  # imports and caches, once
    shares = []
    print("| run | bare engine, s | whole audit, s | added by the pipeline |")
    print("| --- | --- | --- | --- |")
    for run in range(1 if given.quick else given.runs):
        alone, together = bare(config), whole(config)
        shares.append((together - alone) / alone)
        print(f"| {run + 1} | {alone:.2f} | {together:.2f} | {shares[-1]:+.1%} |", flush=True)
    print(f"median: {statistics.median(shares):+.1%} (target under 10 %)")


if __name__ == "__main__":
    main()
