"""TensorBoard, trackio, MLflow and Weights & Biases, each through Accelerate's tracker (``accelerate.tracking``).

All of them are offline unless the environment says otherwise, so that a training needs neither network nor key:

    tensorboard  event files in the run folder
    trackio      its local database
    mlflow       a database in the run folder, unless MLFLOW_TRACKING_URI is set
    wandb        files in the run folder for ``wandb sync``, unless WANDB_MODE is set
"""

import os
import uuid
from collections.abc import Mapping
from typing import Any

from response_tuning.training.trackers.contract import Place, Started, TrackerKind

__all__ = ["MLFLOW", "TENSORBOARD", "TRACKIO", "WANDB"]


def _start_tensorboard(place: Place) -> Started:
    from accelerate.tracking import TensorBoardTracker

    # The run's id is its folder. TensorBoard drops what was logged of steps that will be repeated.
    tracker = TensorBoardTracker(place.folder.name, place.folder.parent, purge_step=place.steps + 1)
    tracker.start()
    if not place.run_id:
        # Its own table of hyperparameters would be a second run beside this one.
        rows = "\n".join(f"| {name} | {value} |" for name, value in place.configuration.items())
        tracker.log({"configuration": f"| option | value |\n|---|---|\n{rows}"}, step=0)
    return Started(tracker, place.folder.name)


def _start_trackio(place: Place) -> Started:
    from accelerate.tracking import TrackioTracker

    # Trackio knows a run by its name.
    run_id = place.run_id or f"{place.name}-{_new_id()}"
    tracker = TrackioTracker(
        place.project, name=run_id, resume="allow", config=_without_none(place.configuration), embed=False
    )
    tracker.start()
    return Started(tracker, run_id)


def _start_mlflow(place: Place) -> Started:
    import mlflow
    from accelerate.tracking import MLflowTracker

    if "MLFLOW_TRACKING_URI" not in os.environ:
        place.folder.mkdir(parents=True, exist_ok=True)
        mlflow.set_tracking_uri(f"sqlite:///{place.folder.absolute() / 'mlflow.db'}")
    tracker = MLflowTracker(place.project, run_id=place.run_id or None, run_name=place.name)
    tracker.start()
    if not place.run_id:
        tracker.store_init_configuration(_without_none(place.configuration))
    return Started(tracker, tracker.tracker.info.run_id)


def _start_wandb(place: Place) -> Started:
    from accelerate.tracking import WandBTracker

    place.folder.mkdir(parents=True, exist_ok=True)
    run_id = place.run_id or _new_id()
    tracker = WandBTracker(
        place.project,
        id=run_id,
        name=place.name,
        resume="allow",
        dir=str(place.folder),
        mode=os.environ.get("WANDB_MODE", "offline"),
    )
    tracker.start()
    tracker.store_init_configuration(_without_none(place.configuration))
    return Started(tracker, run_id)


def _new_id() -> str:
    return uuid.uuid4().hex[:8]


def _without_none(configuration: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in configuration.items() if value is not None}


TENSORBOARD = TrackerKind("tensorboard", _start_tensorboard)
TRACKIO = TrackerKind("trackio", _start_trackio)
MLFLOW = TrackerKind("mlflow", _start_mlflow)
WANDB = TrackerKind("wandb", _start_wandb)
