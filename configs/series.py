"""The next values of time series of your own: columns of numbers, by time.

--config.task.path=power.csv --config.task.time_column=date --config.task.columns=load,price --config.task.horizon=24

CSV, TSV, JSONL, Parquet or Arrow (.gz and .zst too), with one series or many (`series_column`). The last part of each
series is the test split; values are scaled by training alone, and empty ones are gaps.
`python -m data describe power.csv --task=series` shows what comes of a file, and what simple rules score on it.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import base


def get_config(mixer: str = "attention") -> ConfigDict:
    config: Any = base(mixer, attention_positions="sinusoidal")
    config.task = {
        "name": "series",
        "path": "",  # a file, a folder or a pattern such as data/*.parquet
        # Files of these splits; else a column says train, validation or test, or the shares below.
        "validation_path": "",
        "test_path": "",
        "split_column": "",
        "validation_share": 0.1,  # of each series, before its test part
        "test_share": 0.2,  # of each series, at its end
        "columns": "",  # the columns of values, as load,price; empty: all that hold numbers
        "target_columns": "",  # those that are forecast; empty: all of them
        "time_column": "",  # numbers or ISO 8601 dates; empty: rows are steps in the order of the file
        "series_column": "",  # names the series that a row is of; empty: all rows are of one
        "frequency": "auto",  # the step of time, such as 15min, by which a missing row is noticed; none: not at all
        "scale_by": "column",  # column, or series: each series by a mean and a deviation of its own
        "max_length": 96,  # steps that a forecast sees
        "relative": False,  # True: what is forecast is the change from the last value
        "horizon": 1,  # steps that are forecast at once
        "season": 0,  # steps of the season of the seasonal rule that models are held against; 0: by autocorrelation
        "stream": "auto",  # series are kept in memory
    }
    config.model.width = 32
    config.training.update(steps=1000, eval_every=100)
    return config
