"""API keys as they are handed over: by variables, mounted files, prompts and arguments."""

from __future__ import annotations

from modelyard.contract import errors


def stripped(text: str) -> str:
    """The key without what editors, shells and mounted secrets put around it."""
    return text.strip("\ufeff \t\r\n\f\v\0")


def checked(text: str) -> str:
    """The key, stripped. KeyInvalid, which does not repeat it, for one that cannot be sent."""
    key = stripped(text)
    for place, char in enumerate(key, 1):
        if not " " <= char <= "~":
            kind = "no ASCII" if char > "~" else "a line break" if char in "\r\n" else "a control character"
            raise errors.KeyInvalid(
                f"the API key cannot be sent: character {place} of {len(key)} is {kind}. Copy the key again "
                "as it was shown, one line of letters, digits, - and _"
            )
    return key
