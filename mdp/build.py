"""`mdp build`: one dbt layer for a day or a range, between the stage it needs and the stage it publishes.

The work is a plain `dbt build`, printed as it is run, so that an analyst can type it again inside `dbt_project/`.
"""

import itertools
import json
import os
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path

from ingestion import late
from mdp import entity_keys, warm
from ml.score import make_missing_tables
from warehouse import leases, ops, outdated, parts, stages, state
from warehouse.company import company, folder, staged
from warehouse.errors import BrokenOff, PlatformError, unknown
from warehouse.login import thrift_password
from warehouse.session import require_engine, require_sql_door
from warehouse.settings import PROJECT, settings
from warehouse.tables import CLEANED, FEATURES, LABELS, MARTS

# Layer, a stage of warehouse/stages.py → what `dbt build` selects.
LAYERS = {
    "cleaned": ("package:company", "path:models/input", "path:models/cleaned"),
    "features": ("path:models/features", "path:models/labels"),
    "marts": ("path:models/marts",),
}
# … and the layers of the warehouse that it writes.
WRITTEN = {"cleaned": (CLEANED,), "features": (FEATURES, LABELS), "marts": (MARTS,)}

LINES = 8  # of what dbt says of one failure


def build(name: str, ds: str, from_ds: str | None = None) -> str:
    """Build layer `name` for `ds` (or from_ds … ds) and publish its days; returns a sentence.

    Late days before the range are rebuilt with it. Redoing an old day redoes every later one too, because running
    totals follow from it; what follows from the layer is taken back. Raises PlatformError if the stage before is missing
    or dbt fails.
    """
    if name not in LAYERS:
        raise unknown("layer", name, LAYERS)
    stages.require(name, ds, from_ds)
    require_engine()
    outdated.require_current(WRITTEN[name])
    with leases.lock(f"build {name}"):
        if name == "cleaned":
            late.note_reach(ds, from_ds)
        if name == "marts":
            make_missing_tables(ds)
        taken_back = state.published_days("marts", from_ds or ds) if name != "marts" else []
        with stages.rewriting(name, ds, from_ds) as (first, last):
            left_out = parts.excluded() + (entity_keys.idle() if name == "cleaned" else [])
            exclude = ["--exclude", *left_out] if left_out else []
            run_dbt(["build", "--exclude-resource-type", "unit_test", "--select", *LAYERS[name], *exclude], first, last)
        if name == "cleaned":
            late.note_released(ds)
        for day in {*taken_back, last}:
            ops.refresh(["published_days"], day)
    return f"{name} of {first} … {last} built" if first != last else f"{name} of {last} built"


def dbt_environment() -> dict[str, str]:
    """What dbt_project/profiles.yml reads; `mdp env` prints the same for a shell."""
    conf, declared = settings(), company()
    state_dir = conf.home / "dbt" / "state"
    password = thrift_password(conf)  # by this name dbt keeps it out of its logs and its manifest
    return ({"DBT_ENV_SECRET_THRIFT_PASSWORD": password} if password else {}) | {
        "DBT_PROJECT_DIR": str(PROJECT / "dbt_project"),
        "DBT_PROFILES_DIR": str(PROJECT / "dbt_project"),
        "DBT_TARGET_PATH": str(conf.home / "dbt" / "target"),
        "DBT_LOG_PATH": str(conf.home / "dbt" / "logs"),
        "DBT_STATE": str(state_dir),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "MDP_THRIFT_HOST": conf.thrift_host,
        "MDP_THRIFT_PORT": str(conf.thrift_port),
        "MDP_THRIFT_USER": conf.thrift_user,
        "MDP_DBT_PACKAGES": str(_lay_out_company(conf.home / "dbt" / "packages")),
        "MDP_INPUT": json.dumps({entity: [asdict(each) for each in fed] for entity, fed in staged().items()}),
        "MDP_TZ": declared.timezone,
        "MDP_CURRENCY": declared.currency,
        "MDP_LATE_DAYS": str(declared.late_days),
        "MDP_DENSE_DAYS": str(parts.dense_days() or 0),
        "MDP_REACH_DAYS": str(declared.reach_days),
        "MDP_LOGGED_ATTRIBUTES": json.dumps(declared.logged_attributes),
        "MDP_PAID_CHANNELS": json.dumps(declared.paid_channels),
    }


def _lay_out_company(packages: Path) -> Path:
    """Make the company's staging models a dbt package in `packages`, by a link: what is edited there is what is built."""
    package = packages / "company"
    package.mkdir(parents=True, exist_ok=True)
    described, staging = package / "dbt_project.yml", package / "staging"
    text = "name: company\nversion: '1.0.0'\nmodel-paths: [staging]\n"
    if not described.exists() or described.read_text() != text:
        described.write_text(text)
    if not staging.is_symlink() or staging.readlink() != folder() / "staging":
        staging.unlink(missing_ok=True)
        staging.symlink_to(folder() / "staging")
    return packages


def run_dbt(arguments: list[str], from_ds: str, ds: str, more: dict[str, str] | None = None) -> None:
    """Run dbt for the days from_ds … ds within the deadline, its output passed through; PlatformError if it fails.

    `more` goes into its environment.

    BrokenOff if the engine was away, or dbt was ended by somebody: that says nothing of the models.

    The days go in by the environment, not by --vars: changed vars would make dbt parse the whole project each time.
    """
    days = {"MDP_FROM_DS": from_ds, "MDP_DS": ds, "MDP_FIRST_DAY": state.fact("first_day") or from_ds}
    print(" ".join([*(f"{k}={v}" for k, v in days.items()), "dbt", *arguments]), flush=True)
    seconds, results = settings().deadline_seconds, Path(dbt_environment()["DBT_TARGET_PATH"]) / "run_results.json"
    results.unlink(missing_ok=True)  # those of an earlier run say nothing of this one
    try:
        code = warm.call(
            settings().home,
            ["dbt", *arguments],
            os.environ | dbt_environment() | days | (more or {}),
            PROJECT / "dbt_project",
            seconds,
        )
    except subprocess.TimeoutExpired:
        raise PlatformError(
            f"dbt did not finish within {seconds} s (MDP_DEADLINE_SECONDS): is the engine alive?"
        ) from None
    if not code:  # what analysts defer to: `dbt build --defer --state "$DBT_STATE"`
        kept = Path(dbt_environment()["DBT_STATE"])
        kept.mkdir(parents=True, exist_ok=True)
        shutil.copy2(Path(dbt_environment()["DBT_TARGET_PATH"]) / "manifest.json", kept)
        return
    require_sql_door()  # else its message says only that no answer came
    if code not in (1, 2):  # dbt's own: a node failed, it could not begin
        raise BrokenOff(f"dbt was ended half-way for {from_ds} … {ds} (exit code {code}): run the command again")
    ended = json.loads(results.read_text())["results"] if results.exists() else []
    if doubled := list(filter(None, map(entity_keys.sentence, ended))):
        raise PlatformError("; ".join(doubled))
    named = "\n".join(_failed(ended)) or "  it could not begin: its message is above"
    raise PlatformError(f"dbt failed for {from_ds} … {ds}; mend what it names, then run again:\n{named}")


def _failed(results: list[dict]) -> list[str]:
    """A paragraph for each model and test that failed: its name and what dbt, or the engine, says of it."""
    said = []
    for result in results:
        if result["status"] in ("error", "fail", "runtime error"):
            kind, _, name = result["unique_id"].split(".")[:3]
            lines = [line.strip() for line in (result["message"] or "it gives no reason").splitlines() if line.strip()]
            own = list(itertools.takewhile(lambda line: not line.startswith("at "), lines))  # the stack of the JVM
            said.append("\n    ".join([f"  {kind} {name}: {own[0]}", *own[1:LINES]]))
    return said
