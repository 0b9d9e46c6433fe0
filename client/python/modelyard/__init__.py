"""modelyard keeps machine-learning models: where each came from, which are worth using, and the bytes.

import modelyard

run = modelyard.init(project="digits")
run.log({"acc": 0.93})
run.log_model("model.npz", name="digits")
run.finish()
"""

from __future__ import annotations

from typing import Any

from modelyard.api import Api
from modelyard.artifacts.artifact import Artifact, ArtifactTTL
from modelyard.configuration.login import login
from modelyard.configuration.settings import Settings
from modelyard.contract import errors
from modelyard.host.terminal import termerror, termlog, termwarn
from modelyard.runs.active_run import BeforeInit, of_active_run
from modelyard.runs.run import AlertLevel, Run
from modelyard.runs.session import finish, init, observe
from modelyard.version import __version__

__all__ = [
    "AlertLevel",
    "Api",
    "Artifact",
    "ArtifactTTL",
    "Run",
    "Settings",
    "__version__",
    "alert",
    "config",
    "define_metric",
    "errors",
    "finish",
    "init",
    "link_artifact",
    "link_model",
    "log",
    "log_artifact",
    "log_model",
    "login",
    "run",
    "save",
    "summary",
    "termerror",
    "termlog",
    "termwarn",
    "unwatch",
    "use_artifact",
    "use_model",
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

# The active run under the names that scripts use. `run` stands over the module
# of that name, which nobody needs to reach as an attribute.
run: Run | None = None
config: Any = BeforeInit("config")
summary: Any = BeforeInit("summary")


def _follow(active: Run | None) -> None:
    names = globals()
    names["run"] = active
    names["config"] = active.config if active else BeforeInit("config")
    names["summary"] = active.summary if active else BeforeInit("summary")


observe(_follow)


_NOT_HERE = {"Audio", "Histogram", "Html", "Image", "Molecule", "Object3D", "Plotly", "Table", "Video"}


def __getattr__(name: str) -> Any:
    if name in _NOT_HERE:
        raise AttributeError(
            f"modelyard.{name} is not part of this release: log numbers with run.log, "
            "and pictures or tables as files of an artifact"
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
