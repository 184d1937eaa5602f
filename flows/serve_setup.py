"""What `medi up` registers at its server besides the deployments, over Prefect's REST API."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flows.server import client

POOL = "medi"
FLOWS = ("build-medi", "train-instructor", "evaluate-embedder", "retrain", "ablate")
DEPLOYMENTS = tuple(f"{flow}/default" for flow in FLOWS[:-1])
LOST_RUNS = "crash-without-heartbeat"
_ENGINE = " -m prefect.engine"
_HEARTBEATS_S = 90  # three of prefect.toml's
# State names, not types: a build that ends as "CompletedWithFailures" has ended, too.
_ENDED = [f"prefect.flow-run.{name}*" for name in ("Completed", "Failed", "Crashed", "Cancelled")]
_MOVING = ["RUNNING", "PENDING", "CANCELLING"]


@dataclass(frozen=True)
class Switches:
    """What a person has switched on: a deploy would switch it off again."""

    schedules: frozenset[tuple[str, str]]  # deployment's id, slug
    automations: frozenset[str]


class Server:
    """A Prefect server's REST API."""

    def __init__(self, url: str) -> None:
        self._http = client(url)

    def has_pool(self) -> bool:
        return self._http.get(f"/work_pools/{POOL}").status_code == 200

    def has_worker(self, since: datetime) -> bool:
        """Whether a worker of the pool has said since then that it is there."""
        workers = self._post(f"/work_pools/{POOL}/workers/filter", {})
        heard = [one["last_heartbeat_time"] for one in workers]
        return any(datetime.fromisoformat(at) >= since for at in heard if at)

    def limit_pool(self, runs: int) -> None:
        """How many flow runs go at once, where nobody has said so yet."""
        if self._get(f"/work_pools/{POOL}")["concurrency_limit"] is None:
            self._patch(f"/work_pools/{POOL}", {"concurrency_limit": runs})

    def run_in_one_process(self, python: str) -> None:
        """The pool's runs start as Prefect's engine, at once: left to itself a worker starts two
        processes before that one, each of which imports Prefect, to install what a flow needs.
        """
        template = self._get(f"/work_pools/{POOL}")["base_job_template"]
        command = template["variables"]["properties"]["command"]
        if command.get("default") in (None, "") or command["default"].endswith(_ENGINE):
            command["default"] = shlex.quote(python) + _ENGINE
            self._patch(f"/work_pools/{POOL}", {"base_job_template": template})

    def missing_deployments(self) -> list[str]:
        known = {
            name
            for name in DEPLOYMENTS
            if self._http.get(f"/deployments/name/{name}").status_code == 200
        }
        return [name for name in DEPLOYMENTS if name not in known]

    def switches(self) -> Switches:
        schedules = {
            (deployment["id"], schedule["slug"])
            for deployment in self._post("/deployments/filter", {})
            for schedule in deployment["schedules"]
            if schedule["active"] and schedule["slug"]
        }
        automations = {one["name"] for one in self._automations() if one["enabled"]}
        return Switches(frozenset(schedules), frozenset(automations))

    def switch_on(self, before: Switches) -> None:
        """Switch on again what was on."""
        for deployment in self._post("/deployments/filter", {}):
            for schedule in deployment["schedules"]:
                if (deployment["id"], schedule["slug"]) in before.schedules:
                    at = f"/deployments/{deployment['id']}/schedules/{schedule['id']}"
                    self._patch(at, {"active": True})
        for one in self._automations():
            if one["name"] in before.automations and not one["enabled"]:
                self._patch(f"/automations/{one['id']}", {"enabled": True})

    def watch_heartbeats(self) -> None:
        """Flow runs of ours that send no heartbeat any more become Crashed."""
        if any(one["name"] == LOST_RUNS for one in self._automations()):
            return
        trigger = {
            "type": "event",
            "posture": "Proactive",
            "match": {"prefect.resource.id": "prefect.flow-run.*"},
            "match_related": {
                "prefect.resource.role": "flow",
                "prefect.resource.name": list(FLOWS),
            },
            "for_each": ["prefect.resource.id"],
            "after": ["prefect.flow-run.heartbeat"],
            "expect": ["prefect.flow-run.heartbeat", *_ENDED],
            "threshold": 1,
            "within": _HEARTBEATS_S,
        }
        message = f"no heartbeat for {_HEARTBEATS_S} s: its process is gone. Run it again."
        crash = {"type": "change-flow-run-state", "state": "CRASHED", "message": message}
        automation = {"name": LOST_RUNS, "trigger": trigger, "actions": [crash]}
        self._post("/automations/", automation)

    def crash_running(self, message: str) -> int:
        """End the runs of the pool, and their subflows, whose processes are no more; how many."""
        moving = {"type": {"any_": _MOVING}}
        of_pool = {"work_pools": {"name": {"any_": [POOL]}}, "flow_runs": {"state": moving}}
        found, ended = self._post("/flow_runs/filter", of_pool), 0
        while found:
            ids = [run["id"] for run in found]
            for run in ids:
                state = {"type": "CRASHED", "message": message}
                self._post(f"/flow_runs/{run}/set_state", {"state": state})
            ended += len(ids)
            below = {"flow_runs": {"parent_flow_run_id": {"any_": ids}, "state": moving}}
            found = self._post("/flow_runs/filter", below)
        return ended

    def _automations(self) -> list[dict[str, Any]]:
        return list(self._post("/automations/filter", {}))

    def _get(self, path: str) -> Any:
        return self._http.get(path).raise_for_status().json()

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        return self._http.post(path, json=body).raise_for_status().json()

    def _patch(self, path: str, body: dict[str, Any]) -> None:
        self._http.patch(path, json=body).raise_for_status()
