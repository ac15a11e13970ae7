"""What a model writes: do its tunes parse, and are their bars full?"""

from typing import Any

from experiments.measures import sampling
from experiments.measures.common import NUM_SEQUENCES, Evaluate
from training import builder

TEMPERATURE = 0.7


def parsed_tunes(run: builder.Run) -> Evaluate:
    """The share of sampled tunes that parse as ABC (experiments.measures.abc_notation)."""
    return lambda params, seed: _check_sampled_tunes(run, params, seed).parsed_share


def full_bars(run: builder.Run) -> Evaluate:
    """The share of their bars that last as long as the meter says; nan where no tune parses."""
    return lambda params, seed: _check_sampled_tunes(run, params, seed).full_share


def lost_full_bars(run: builder.Run) -> Evaluate:
    """The share of full bars in as many tunes of the test set, less that in the sampled ones."""
    human = sampling.check_tunes(sampling.human_tunes(run, NUM_SEQUENCES)).full_share
    return lambda params, seed: human - _check_sampled_tunes(run, params, seed).full_share


def _check_sampled_tunes(run: builder.Run, params: Any, seed: int) -> sampling.TuneStatistics:
    return sampling.check_tunes(sampling.sample_tunes(run, params, NUM_SEQUENCES, TEMPERATURE, seed))
