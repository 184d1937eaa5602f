"""How a training fails that had good input."""

from __future__ import annotations

from collections.abc import Sequence


class TrainingDiverged(RuntimeError):
    """Loss or gradient is no finite number any more. Another attempt would meet it again.

    The weights are those before the step, and the checkpoints are left as they were.
    """

    def __init__(
        self, step: int, dataset: str, row_ids: Sequence[int], loss: float, grad_norm: float
    ) -> None:
        super().__init__(
            f"training stopped at step {step}: loss {loss}, gradient norm {grad_norm} on dataset "
            f"{dataset!r}, row_id {list(row_ids)}; try a lower learning_rate, or look at these rows"
        )
        self.step = step
        self.dataset = dataset
        self.row_ids = list(row_ids)


class CheckpointFailed(RuntimeError):
    """A checkpoint cannot be written, on a full disk say. Those before it are whole."""
