"""The flows, their profiles and the command line."""

import os

# Libraries read these when they are imported. None of them reports to its makers unless asked to.
_SILENT = {
    "DO_NOT_TRACK": "1",  # Prefect's client, the Hub's client, MLflow
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",  # datasets would count the loading of local files, too
    "RAY_USAGE_STATS_ENABLED": "0",
}
for _name, _value in _SILENT.items():
    os.environ.setdefault(_name, _value)
