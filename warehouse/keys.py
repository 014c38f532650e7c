"""The privacy key ring: where it lies, the proof that it is still the same one, and how it grows.

The ring is one file of blocks of 64 random bytes. Hashes come from its first block, for ever: keyed hashes join only
under one key, and cannot be made anew without the clear values. Secrets are sealed with its last block and opened with
the one that the row names. The first use records the first block's fingerprint in the state database, a rotation that
of the block it adds; a ring that lacks one of them is refused. The keys themselves never leave their file.
"""

import contextlib
import hashlib
import os
import secrets
import tempfile
from pathlib import Path

from warehouse import state
from warehouse.errors import PlatformError
from warehouse.settings import settings

KEY_BYTES = 64  # of a block; AES-256-SIV takes two 256-bit keys; subkeys are derived from it by purpose
FIRST = "privacy_key_id"  # the fact that names the first block


def key_path() -> Path:
    """Path of the checked ring; creates one (mode 0600) only if no key was ever used with this state database."""
    key_ids()
    return settings().key_file


def key_id() -> str:
    """Short public identifier of the block that seals (a one-way fingerprint)."""
    return key_ids()[-1]


def key_ids() -> list[str]:
    """The identifiers of the checked ring's blocks: the first hashes, the last seals."""
    path = settings().key_file
    found = _whole_ring(path)
    if new := _unrecorded(found):
        raise PlatformError(
            f"the key ring {path} holds {', '.join(new)}, which no rotation has recorded: `mdp privacy rotate` takes it up"
        )
    return found


def grow() -> str:
    """Add a block to the ring and record it, or record the one that an interrupted rotation (or a person) has added.

    Returns its identifier. The file is replaced in one step: whoever reads it sees the old ring or the new one.
    """
    path = settings().key_file
    found = _whole_ring(path)
    if not _unrecorded(found):
        _replace(path, path.read_bytes() + secrets.token_bytes(KEY_BYTES))
        found = _whole_ring(path)
    for new in _unrecorded(found):
        state.record_key(new)
    return found[-1]


def is_growing() -> bool:
    """Whether the ring holds a block that is not recorded yet."""
    return bool(_unrecorded(_whole_ring(settings().key_file)))


def take_out(retired: list[str]) -> None:
    """Take blocks out of the ring; the first and the last stay whatever is asked."""
    path = settings().key_file
    blocks = _blocks(path)
    gone = {_fingerprint(block) for block in blocks[1:-1]}.intersection(retired)
    for key in gone:
        state.retire_key(
            key
        )  # first: a ring that still holds a retired block is good, one that lacks a needed block is not
    _replace(path, b"".join(block for block in blocks if _fingerprint(block) not in gone))


def _whole_ring(path: Path) -> list[str]:
    """The identifiers in the file, made if no key was ever used; PlatformError if a recorded one is missing."""
    added = state.added_keys()
    if not path.exists():
        if known := state.fact(FIRST):
            raise PlatformError(
                f"the privacy key {', '.join([known, *added])} is missing: restore it to {path} (MDP_KEY_FILE); a new key "
                "could not be joined with what is stored"
            )
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _create(path)
    found = [_fingerprint(block) for block in _blocks(path)]
    state.set_fact_once(FIRST, found[0])
    first = state.fact(FIRST)
    if found[0] != first:
        raise PlatformError(
            f"the first key in {path} is {found[0]}, but the warehouse was written with {first}: restore that key ring, or "
            "start anew with `make reset`"
        )
    if missing := [key for key in added if key not in found]:
        raise PlatformError(
            f"the key ring {path} lacks {', '.join(missing)}, with which rows are sealed: restore the newest copy of the "
            f"file, which holds {', '.join([first, *added])}"
        )
    return found


def _unrecorded(found: list[str]) -> list[str]:
    """The blocks that no rotation has recorded; a retired one may still lie in the ring, but not where it would seal."""
    known = [found[0], *state.added_keys()]
    retired = state.retired_keys()
    return [key for key in found if key not in known and (key not in retired or key == found[-1])]


def _create(path: Path) -> None:
    """Write a new key under a name of its own, then link it: of two first users one wins, and nobody reads half a key."""
    fresh = _write_beside(path, secrets.token_bytes(KEY_BYTES))
    with contextlib.suppress(FileExistsError):
        os.link(fresh, path)
    fresh.unlink()


def _replace(path: Path, ring: bytes) -> None:
    """Put the ring in the file's place in one step, the owner as before."""
    target = path.resolve()  # a link to the file stays one
    owner = target.stat()
    try:
        fresh = _write_beside(target, ring)
        try:
            os.chown(fresh, owner.st_uid, owner.st_gid)
            fresh.replace(target)
        except OSError:
            fresh.unlink()
            raise
        folder = os.open(target.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    except OSError as error:
        raise PlatformError(
            f"the key ring {target} cannot be replaced here ({error.strerror}): where it is kept, append a block by hand "
            f"(`head -c {KEY_BYTES} /dev/urandom >> FILE`), then run `mdp privacy rotate`, which takes it up"
        ) from None


def _write_beside(path: Path, content: bytes) -> Path:
    """The content on the disk in a new file (mode 0600) in the same directory; returns its path."""
    handle, fresh = tempfile.mkstemp(
        prefix=f"{path.name}.", dir=path.parent
    )  # two feeds may be the first at the same time
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return Path(fresh)


def _blocks(path: Path) -> list[bytes]:
    ring = path.read_bytes()
    if not ring or len(ring) % KEY_BYTES:
        raise PlatformError(
            f"{path} holds {len(ring)} bytes instead of blocks of {KEY_BYTES}: it is not a key ring of this platform"
        )
    return [ring[i : i + KEY_BYTES] for i in range(0, len(ring), KEY_BYTES)]


def _fingerprint(block: bytes) -> str:
    return "k" + hashlib.sha256(b"mdp key id" + block).hexdigest()[:12]
