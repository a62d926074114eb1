"""Every error this project raises on purpose, in one tree.

PinSageError
├── ConfigError       a configuration file or parameter is wrong
├── SourceError       a user's data cannot be read as declared
├── ContractError     data was read, and breaks its contract
├── ArtifactError     something on disk is missing, truncated or altered
├── PublishError      a publication or a rollback was refused, and nothing has moved
├── RefusedError      the gate refused a version, and such a run is wanted to fail
├── GraphError        a graph or neighbourhood table is inconsistent
├── TrainingError     training cannot go on (a NaN loss, a refused resume)
├── MissingExtraError an optional package is not installed
├── UnknownItemError  an item id or title is not in the catalog
├── ClusterError      a cluster does not answer, or cannot finish the work
└── AbandonedError    work was given up on purpose, and is not to be resumed

The command line prints the message alone and exits with `exit_code`; each message says what was
found and where, what was expected, and what to do.
"""


class PinSageError(Exception):
    """Base of all expected failures."""

    exit_code = 2


class ConfigError(PinSageError):
    """A configuration file or parameter is wrong."""


class SourceError(PinSageError):
    """A user's data cannot be read as the configuration declares it."""


class ContractError(PinSageError):
    """Data was read, and breaks its contract."""


class ArtifactError(PinSageError):
    """Something on disk is missing, truncated or altered."""


class PublishError(PinSageError):
    """A publication or a rollback was refused; readers stay where they are."""


class RefusedError(PinSageError):
    """A version was refused, where the configuration wants such a run to fail."""


class GraphError(PinSageError):
    """A graph or neighbourhood table is inconsistent."""


class TrainingError(PinSageError):
    """Training cannot go on."""


class MissingExtraError(PinSageError):
    """An optional package is not installed."""


class UnknownItemError(PinSageError):
    """An item id or title is not in the catalog."""


class ClusterError(PinSageError):
    """A cluster does not answer, or cannot finish the work."""


class AbandonedError(PinSageError):
    """Work was given up on purpose: a stage that raises it keeps nothing to resume from."""
