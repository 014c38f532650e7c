"""The key ring: it grows in one step, is refused when a needed block is missing, and never shows a key."""

import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from warehouse import keys, state
from warehouse.errors import PlatformError


@pytest.fixture(autouse=True)
def ring(tmp_path, monkeypatch):
    """Path of the key ring of a state database of its own."""
    monkeypatch.setenv("MDP_STATE_URL", f"sqlite:///{tmp_path}/state.db")
    monkeypatch.setenv("MDP_KEY_FILE", str(tmp_path / "keys" / "privacy.key"))
    return tmp_path / "keys" / "privacy.key"


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_first_use_makes_a_ring_of_one_block(ring):
    first = keys.key_id()
    assert keys.key_path() == ring and keys.key_ids() == [first]
    assert (len(ring.read_bytes()), mode(ring), mode(ring.parent)) == (64, 0o600, 0o700)
    assert [path.name for path in ring.parent.iterdir()] == [ring.name]


def test_feeds_that_are_the_first_at_the_same_time_find_one_ring(ring, monkeypatch):
    together, write = threading.Barrier(4, timeout=20), keys._write_beside

    def write_beside(*given):
        together.wait()  # each of them has seen that there is none
        return write(*given)

    monkeypatch.setattr(keys, "_write_beside", write_beside)
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(lambda _: keys.key_id(), range(4)))) == 1
    assert [path.name for path in ring.parent.iterdir()] == [ring.name] and mode(ring) == 0o600


def test_a_ring_grows_at_its_end(ring):
    first, before = keys.key_id(), ring.read_bytes()
    second = keys.grow()
    third = keys.grow()
    assert keys.key_ids() == [first, second, third] and keys.key_id() == third
    assert ring.read_bytes()[:64] == before and len(ring.read_bytes()) == 192 and mode(ring) == 0o600
    assert [path.name for path in ring.parent.iterdir()] == [ring.name]


def test_a_ring_behind_a_link_stays_behind_it(ring):
    first = keys.key_id()
    real = ring.with_name("real.key")
    ring.rename(real)
    ring.symlink_to(real)
    keys.grow()
    assert ring.is_symlink() and len(real.read_bytes()) == 128 and keys.key_ids()[0] == first


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_kill_while_it_grows_leaves_a_ring_that_is_whole(ring, monkeypatch, where):
    """Killed before the file is replaced: the old ring. After it, before it is recorded: the block is taken up."""
    first = keys.key_id()

    def dies(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(keys, "_replace", dies) if where == "before" else patch.setattr(state, "record_key", dies)
        keys.grow()
    if where == "before":
        assert keys.key_ids() == [first] and not keys.is_growing()
        return
    assert keys.is_growing()
    with pytest.raises(PlatformError, match="which no rotation has recorded: `mdp privacy rotate` takes it up"):
        keys.key_id()
    second = keys.grow()
    assert keys.key_ids() == [first, second], "no third block"


def test_a_block_appended_by_hand_is_taken_up(ring):
    first = keys.key_id()
    with open(ring, "ab") as file:
        file.write(os.urandom(64))
    assert keys.is_growing()
    assert keys.grow() != first and len(keys.key_ids()) == 2


def test_a_ring_that_cannot_be_replaced_says_what_to_do(ring, monkeypatch):
    keys.key_id()

    def read_only(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(keys, "_write_beside", read_only)
    with pytest.raises(
        PlatformError, match=r"cannot be replaced here \(Read-only file system\): .* append a block by hand"
    ):
        keys.grow()


def test_a_missing_ring_is_not_made_anew(ring):
    first, second = keys.key_id(), keys.grow()
    ring.unlink()
    with pytest.raises(PlatformError, match=f"the privacy key {first}, {second} is missing: restore it to {ring}"):
        keys.key_path()
    assert not ring.exists()


def test_an_older_copy_of_the_ring_is_refused(ring):
    first, copy = keys.key_id(), ring.read_bytes()
    second = keys.grow()
    ring.write_bytes(copy)
    with pytest.raises(
        PlatformError, match=f"lacks {second}, .* restore the newest copy of the file, .* {first}, {second}"
    ):
        keys.key_path()


def test_another_first_block_is_refused(ring):
    first = keys.key_id()
    content = ring.read_bytes()
    ring.write_bytes(os.urandom(64) + content)
    with pytest.raises(PlatformError, match=f"but the warehouse was written with {first}: restore that key ring"):
        keys.key_path()


@pytest.mark.parametrize("size", [0, 63, 100])
def test_a_file_that_is_no_ring_is_refused(ring, size):
    ring.parent.mkdir()
    ring.write_bytes(b"x" * size)
    with pytest.raises(PlatformError, match=f"holds {size} bytes instead of blocks of 64"):
        keys.key_path()


def test_old_blocks_leave_the_ring_but_for_the_first_and_the_last(ring):
    first, second, third = keys.key_id(), keys.grow(), keys.grow()
    whole = ring.read_bytes()
    keys.take_out([first, second, third])
    assert keys.key_ids() == [first, third] and ring.read_bytes() == whole[:64] + whole[128:]
    ring.write_bytes(whole)  # a backup of before: a retired block does no harm
    assert keys.key_ids() == [first, second, third] and keys.key_id() == third
    ring.write_bytes(whole[:128])
    with pytest.raises(PlatformError, match=f"lacks {third}"):
        keys.key_id()


def test_a_kill_while_blocks_are_taken_out_leaves_a_good_ring(ring, monkeypatch):
    first, second, third = keys.key_id(), keys.grow(), keys.grow()

    def dies(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(keys, "_replace", dies)
        keys.take_out([second])
    assert keys.key_ids() == [first, second, third]
    keys.take_out([second])
    assert keys.key_ids() == [first, third]


def test_the_state_database_holds_names_and_no_key(ring, tmp_path):
    keys.key_id(), keys.grow()
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("state.db*"))
    content = ring.read_bytes()
    assert keys.key_id().encode() in stored
    for block in (content[:64], content[64:]):
        assert block not in stored and block.hex().encode() not in stored
