"""API keys, and the file of the address and key that `login` saves, which only its owner can read."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from modelyard.contract import errors


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
        return Credentials(str(content.get("host", "")).strip(), stripped_key(str(content.get("key", ""))))
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


def stripped_key(text: str) -> str:
    """The key without the white space and byte order mark that editors and shells add."""
    return text.strip("\ufeff \t\r\n\f\v\0")


def checked_key(text: str) -> str:
    """The key, stripped. KeyInvalid, without the key in the message, for one that cannot be sent."""
    key = stripped_key(text)
    for position, char in enumerate(key, 1):
        if not " " <= char <= "~":
            problem = (
                "not ASCII" if char > "~" else "a line break" if char in "\r\n" else "a control character"
            )
            raise errors.KeyInvalid(
                f"the API key cannot be sent: character {position} of {len(key)} is {problem}. Copy the key "
                "again as it was shown, one line of letters, digits, - and _"
            )
    return key
