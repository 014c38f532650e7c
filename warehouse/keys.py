"""The privacy key: where it lies, and the proof that it is still the same one.

Keyed hashes join only under one key, so a changed key would split every customer in two without a sound. The first use
records the key's fingerprint in the state database; another fingerprint is refused. The key itself never leaves its file.
"""

import contextlib
import hashlib
import os
import secrets
from pathlib import Path

from warehouse import state
from warehouse.errors import PlatformError
from warehouse.settings import settings

KEY_BYTES = 64  # AES-256-SIV takes two 256-bit keys; subkeys are derived from it by purpose


def key_path() -> Path:
    """Path of the checked key file; creates one (mode 0600) only if no key was ever used with this state database."""
    path = settings().key_file
    known = state.fact("privacy_key_id")
    if not path.exists():
        if known:
            raise PlatformError(
                f"the privacy key {known} is missing: restore it to {path} (MDP_KEY_FILE); a new key could not be "
                "joined with what is stored"
            )
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _create(path)
    found = _fingerprint(path)
    state.set_fact_once("privacy_key_id", found)
    known = state.fact("privacy_key_id")
    if found != known:
        raise PlatformError(
            f"the key in {path} is {found}, but the warehouse was written with {known}: restore that key, or start "
            "anew with `make reset`"
        )
    return path


def _create(path: Path) -> None:
    """Write a new key under a name of its own, then link it: of two first users one wins, and nobody reads half a key."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secrets.token_bytes(KEY_BYTES))
    with contextlib.suppress(FileExistsError):
        os.link(fresh, path)
    fresh.unlink()


def key_id() -> str:
    """Short public identifier of the key in use (a one-way fingerprint)."""
    return _fingerprint(key_path())


def _fingerprint(path: Path) -> str:
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise PlatformError(f"{path} holds {len(key)} bytes instead of {KEY_BYTES}: it is not a key of this platform")
    return "k" + hashlib.sha256(b"mdp key id" + key).hexdigest()[:12]
