"""Runs suites in an in-memory Great Expectations context, with nothing sent anywhere.

One row of facts gets the result format COMPLETE, a table BASIC with its first offending rows:
COMPLETE would build a Python list of every offending index, and with a wrong timestamp unit that
is every row there is.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import great_expectations as gx
from great_expectations.core import ExpectationSuite
from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResult
from great_expectations.data_context.data_context.ephemeral_data_context import (
    EphemeralDataContext,
)
from great_expectations.data_context.types.base import ProgressBarsConfig

from data_contracts.tables import Table
from data_contracts.vocabulary import Suite

MAX_ROWS = 20
_OF_FACTS: dict[str, Any] = {"result_format": "COMPLETE", "return_unexpected_index_query": False}
_OF_ROWS: dict[str, Any] = {
    "result_format": "BASIC",
    "partial_unexpected_count": MAX_ROWS,
    "include_unexpected_rows": True,
}


@dataclass(frozen=True)
class Checked:
    """What a table's suite found."""

    table: Table
    result: ExpectationSuiteValidationResult


class Runner:
    """One context for the suites of a stage."""

    def __init__(self) -> None:
        self.context = _quiet_context()
        self._source = self.context.data_sources.add_pandas("pinsage")

    def check(self, name: str, suite: Suite, table: Table) -> Checked:
        """Validate one frame; at most MAX_ROWS offending rows an expectation are kept."""
        asset = self._source.add_dataframe_asset(name)
        definition = asset.add_batch_definition_whole_dataframe("all")
        batch = definition.get_batch({"dataframe": table.frame})
        result = batch.validate(
            ExpectationSuite(name=name, expectations=suite),
            result_format=_OF_FACTS if table.facts else _OF_ROWS,
        )
        return Checked(table, result)


def _quiet_context() -> EphemeralDataContext:
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return context
