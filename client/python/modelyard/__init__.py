"""modelyard keeps machine-learning models: where each came from, which are worth using, and the bytes.

import modelyard

run = modelyard.init(project="digits")
run.log({"acc": 0.93})
run.log_model("model.npz", name="digits")
run.finish()
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from modelyard import env, util
from modelyard.artifacts.artifact import Artifact, ArtifactTTL
from modelyard.compatibility import (
    agent,
    attach,
    controller,
    ensure_configured,
    require,
    setup,
    sweep,
    teardown,
)
from modelyard.configuration.settings import Settings
from modelyard.contract import errors
from modelyard.contract.errors import CommError, Error, UsageError
from modelyard.host.terminal import termerror, termlog, termwarn
from modelyard.runs.config import Config
from modelyard.runs.run import AlertLevel, Run
from modelyard.session import BeforeInit, attach_from, finish, init, observe, of_active_run
from modelyard.version import __version__

if TYPE_CHECKING:
    from modelyard import apis, data_types, integration, plot, sdk
    from modelyard.api import Api, restore
    from modelyard.data_types import (
        Audio,
        Classes,
        Histogram,
        Html,
        Image,
        JoinedTable,
        Molecule,
        Object3D,
        Plotly,
        Table,
        Video,
        box3d,
    )
    from modelyard.plot import plot_table
    from modelyard.rpc.login import login

__all__ = [
    "AlertLevel",
    "Api",
    "Artifact",
    "ArtifactTTL",
    "Audio",
    "Classes",
    "CommError",
    "Config",
    "Error",
    "Histogram",
    "Html",
    "Image",
    "JoinedTable",
    "Molecule",
    "Object3D",
    "Plotly",
    "Run",
    "Settings",
    "Table",
    "UsageError",
    "Video",
    "__version__",
    "agent",
    "alert",
    "apis",
    "attach",
    "box3d",
    "config",
    "controller",
    "data_types",
    "define_metric",
    "ensure_configured",
    "env",
    "errors",
    "finish",
    "init",
    "integration",
    "join",
    "link_artifact",
    "link_model",
    "log",
    "log_artifact",
    "log_model",
    "login",
    "mark_preempting",
    "pin_config_keys",
    "plot",
    "plot_table",
    "require",
    "restore",
    "run",
    "save",
    "sdk",
    "setup",
    "summary",
    "sweep",
    "teardown",
    "termerror",
    "termlog",
    "termwarn",
    "unwatch",
    "use_artifact",
    "use_model",
    "util",
    "watch",
]

log = of_active_run(Run.log)
log_model = of_active_run(Run.log_model)
use_model = of_active_run(Run.use_model)
link_model = of_active_run(Run.link_model)
log_artifact = of_active_run(Run.log_artifact)
use_artifact = of_active_run(Run.use_artifact)
link_artifact = of_active_run(Run.link_artifact)
define_metric = of_active_run(Run.define_metric)
save = of_active_run(Run.save)
alert = of_active_run(Run.alert)
watch = of_active_run(Run.watch)
unwatch = of_active_run(Run.unwatch)
mark_preempting = of_active_run(Run.mark_preempting)
pin_config_keys = of_active_run(Run.pin_config_keys)
join = finish
_attach = attach_from

# The active run under the names that scripts use.
run: Run | None = None
config: Any = BeforeInit("config")
summary: Any = BeforeInit("summary")


def _follow(active: Run | None) -> None:
    names = globals()
    names["run"] = active
    names["config"] = active.config if active else BeforeInit("config")
    names["summary"] = active.summary if active else BeforeInit("summary")


observe(_follow)


_INTEGRATIONS = {"keras", "lightgbm", "xgboost"}
"""Those that W&B has at its top, too."""
_MEDIA = {
    "Audio",
    "Classes",
    "Histogram",
    "Html",
    "Image",
    "JoinedTable",
    "Molecule",
    "Object3D",
    "Plotly",
    "Table",
    "Video",
    "box3d",
}


def __getattr__(name: str) -> Any:
    # On first use: their modules need gRPC, which `import modelyard` leaves out.
    if name in {"Api", "restore"}:
        from modelyard import api

        return getattr(api, name)
    if name in {"api", "apis", "integration", "sdk"}:
        return importlib.import_module(f"modelyard.{name}")
    if name in _INTEGRATIONS:
        return importlib.import_module(f"modelyard.integration.{name}")
    if name == "login":
        from modelyard.rpc.login import login

        return login
    if name in {"data_types", "plot"}:
        return importlib.import_module(f"modelyard.{name}")
    if name in _MEDIA:
        return getattr(importlib.import_module("modelyard.data_types"), name)
    if name == "plot_table":
        return importlib.import_module("modelyard.plot").plot_table
    from modelyard.wandb_names import missing  # not `from modelyard`, which looks here first

    raise missing("module", "modelyard", name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
