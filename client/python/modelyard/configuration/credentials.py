"""The address and key that `login` saves, in a file that only its owner can read."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from modelyard.configuration.api_keys import stripped


@dataclass(frozen=True)
class Credentials:
    """The address of a server and the API key for it; empty where not known."""

    host: str = ""
    key: str = ""


def config_file() -> Path:
    """The file of this user, in the folder of MODELYARD_CONFIG_DIR or the user's configuration."""
    folder = os.environ.get("MODELYARD_CONFIG_DIR")
    if not folder:
        import platformdirs  # imported when first needed: `import modelyard` stays fast

        folder = platformdirs.user_config_dir("modelyard")
    return Path(folder) / "credentials.json"


def load() -> Credentials:
    """The saved credentials; empty without any. ValueError when the file is damaged."""
    path = config_file()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Credentials(str(content.get("host", "")).strip(), stripped(str(content.get("key", ""))))
    except (FileNotFoundError, NotADirectoryError):
        return Credentials()
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path} is damaged ({error}); log in again or delete it") from error


def save(credentials: Credentials) -> Path:
    """Saves credentials in a file with mode 0600."""
    path = config_file()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # mkstemp creates the file with mode 0600.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".credentials-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"host": credentials.host, "key": credentials.key}, file)
        os.replace(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
    return path


def forget() -> bool:
    """Deletes the file; False when there was none."""
    try:
        config_file().unlink()
    except FileNotFoundError:
        return False
    return True
