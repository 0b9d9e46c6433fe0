"""Cleans and checks API keys from variables, files, prompts and arguments."""

from __future__ import annotations

from modelyard.contract import errors


def stripped(text: str) -> str:
    """The key without the white space and byte order mark that editors and shells add."""
    return text.strip("\ufeff \t\r\n\f\v\0")


def checked(text: str) -> str:
    """The key, stripped. KeyInvalid, without the key in the message, for one that cannot be sent."""
    key = stripped(text)
    for place, char in enumerate(key, 1):
        if not " " <= char <= "~":
            problem = (
                "not ASCII" if char > "~" else "a line break" if char in "\r\n" else "a control character"
            )
            raise errors.KeyInvalid(
                f"the API key cannot be sent: character {place} of {len(key)} is {problem}. Copy the key "
                "again as it was shown, one line of letters, digits, - and _"
            )
    return key
