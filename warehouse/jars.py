"""Jars that no wheel brings: JDBC drivers and the Kafka connector, fetched once and put on the engine's class path.

They come over HTTPS from the user's Maven repository: MDP_MAVEN_URL, else the mirror of central in ~/.m2/settings.xml,
else the one that Spark's own `--packages` would ask. Versions and checksums stand here, so it does not matter which
repository answers. Neither Maven nor Java is needed.
"""

import base64
import hashlib
import http.client
import os
import re
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit
from xml.etree import ElementTree

from warehouse.errors import PlatformError, unknown
from warehouse.runfile import service_process
from warehouse.settings import settings

RESTART = "`mdp warehouse stop && mdp warehouse start`"
IVY_DEFAULT = "ivy.ibiblio.default.artifact.root"
SETTINGS_XML = "~/.m2/settings.xml"
TIMEOUT_SECONDS = 60  # for an answer to begin, and between two pieces of it


@dataclass(frozen=True)
class Jar:
    """One artifact of a Maven repository, with the sha256 of its jar."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"

    @property
    def path(self) -> str:
        return f"{self.group.replace('.', '/')}/{self.artifact}/{self.version}/{self.name}"

    def is_other_version(self, name: str) -> bool:
        """Whether `name` is a jar of this artifact in another version."""
        return name != self.name and re.fullmatch(rf"{re.escape(self.artifact)}-\d.*\.jar", name) is not None

    def is_served_by(self, name: str) -> bool:
        """Whether a jar called `name` does: a driver of the user's own version does, a part of another Spark does not."""
        return name == self.name or (self.group != "org.apache.spark" and self.is_other_version(name))


EXTRAS = {
    "mariadb": (
        Jar("org.mariadb.jdbc", "mariadb-java-client", "4.0.0",
            "bb1211dac59ef4c54b7a8ad4755a913d36d2e81b34ca1d4cb9ffa9d5633df01f"),
    ),
    "mysql": (
        Jar("com.mysql", "mysql-connector-j", "26.10.0",
            "cef70caf532833c9ab8f41f74773ce22c08bf503fad215c9c2ee1e9db87e759e"),
    ),
    "postgresql": (
        Jar("org.postgresql", "postgresql", "42.7.14",
            "73914527305a40cce504b0d3d90b23caf565136912d607ae8ae7c5895512332c"),
    ),
    "kafka": (  # what Spark's connector needs beyond the jars of pyspark
        Jar("org.apache.spark", "spark-sql-kafka-0-10_2.13", "4.2.0",
            "64539c45e5d39f7ddb747312c239f38f5208d08c1a0ddf7d70beb2fbd9373705"),
        Jar("org.apache.spark", "spark-token-provider-kafka-0-10_2.13", "4.2.0",
            "641c7947afc8aa1189e433b7c2d305293993c8691bc1c2062d6d4f513b12518c"),
        Jar("org.apache.kafka", "kafka-clients", "3.9.2",
            "014b4ef36884478a932641818b080c36a8f8e2e92dc771e800c9d2694f4f83d8"),
        Jar("org.apache.commons", "commons-pool2", "2.13.1",
            "f77a5060d6936a9144023584232f9de3f2248f1abfe156e9d31795f18770674f"),
    ),
}  # fmt: skip


# -- where they lie ---------------------------------------------------------------------------------------------------


def folders() -> list[Path]:
    """Where the engine's jars may lie, in the order in which they count; not each need exist."""
    named = os.environ.get("MDP_JARS")
    ours = [Path(sys.prefix) / "share" / "mdp" / "jars", settings().home / "engine" / "jars"]
    return [Path(named).expanduser().resolve(), *ours] if named else ours


def class_path() -> list[Path]:
    """Every jar of the folders; of two with one name the earlier folder's, and no other version beside one of EXTRAS."""
    found = {}
    for folder in folders():
        for path in sorted(folder.glob("*.jar")):
            found.setdefault(path.name, path)
    fetched = [jar for jars in EXTRAS.values() for jar in jars if jar.name in found]
    return [path for name, path in found.items() if not any(jar.is_other_version(name) for jar in fetched)]


def _writable_folder() -> Path:
    """The folder to fetch into: MDP_JARS, or else the environment's, or where that is read-only MDP_HOME's."""
    places = folders()[:1] if os.environ.get("MDP_JARS") else folders()
    for place in places:
        try:
            place.mkdir(parents=True, exist_ok=True)
            if os.access(place, os.W_OK):
                return place
        except OSError:
            continue
    raise PlatformError(f"{' and '.join(map(str, places))} cannot be written: set MDP_JARS to a directory that can")


# -- fetching them ----------------------------------------------------------------------------------------------------


def fetch(extras: Iterable[str], progress: Callable[[str], None]) -> None:
    """Bring the jars of `extras` into the folder unless they are there; says a line for each.

    Raises PlatformError for an unknown extra, a folder that cannot be written, and all that `download` raises.
    """
    extras = list(extras)
    for name in extras:
        if name not in EXTRAS:
            raise unknown("extra", name, EXTRAS)
    folder = _writable_folder()
    for jar in [jar for name in extras for jar in EXTRAS[name]]:
        new = download(jar, folder)
        progress(f"{'fetched' if new else 'already there:'} {folder / jar.name}")


def download(jar: Jar, folder: Path) -> bool:
    """Put one jar into `folder`, whole and verified; False if it was there already (its content is compared).

    Raises PlatformError if the repository does not answer, has no such file, or gives other content.
    """
    target = folder / jar.name
    if target.exists() and hashlib.sha256(target.read_bytes()).hexdigest() == jar.sha256:
        return False
    base, credentials = repository()
    url = f"{base}/{jar.path}"
    content = _get(url, credentials)
    seen = hashlib.sha256(content).hexdigest()
    if seen != jar.sha256:
        raise PlatformError(
            f"{url} is not the jar that was asked for (sha256 {seen}, expected {jar.sha256}): nothing was kept; ask who "
            "runs that repository, or name another in MDP_MAVEN_URL"
        )
    fresh = folder / f".{jar.name}.{os.getpid()}"
    try:
        fresh.write_bytes(content)
        os.replace(fresh, target)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise PlatformError(
            f"{target} cannot be written ({error.strerror}): set MDP_JARS to another directory"
        ) from None
    return True


def repository() -> tuple[str, str | None]:
    """The Maven repository's URL without login, and the login `user:password` if the configured URL has one."""
    url = os.environ.get("MDP_MAVEN_URL") or _mirror_of_central() or _repository_of_spark()
    parts = urlsplit(url.strip())
    login, _, host = parts.netloc.rpartition("@")
    clean = urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
    if parts.scheme not in ("https", "http") or not host:
        raise PlatformError(
            f"the Maven repository's address {clean!r} is no http(s) URL: correct MDP_MAVEN_URL or {SETTINGS_XML}"
        )
    return clean, unquote(login) or None


def _mirror_of_central() -> str | None:
    path = Path(SETTINGS_XML).expanduser()
    if not path.exists():
        return None
    try:
        mirrors = ElementTree.parse(path).getroot().findall("./{*}mirrors/{*}mirror")
    except (OSError, ElementTree.ParseError) as error:
        raise PlatformError(f"{SETTINGS_XML} cannot be read ({error}): repair it, or set MDP_MAVEN_URL") from None
    for mirror in mirrors:
        serves = {name.strip() for name in (mirror.findtext("{*}mirrorOf") or "").split(",")}
        if serves & {"central", "*", "external:*"} and "!central" not in serves:
            return mirror.findtext("{*}url")
    return None


def _repository_of_spark() -> str:
    """The default of Ivy, which pyspark brings to resolve packages."""
    import pyspark

    (ivy,) = (Path(pyspark.__file__).parent / "jars").glob("ivy-*.jar")
    with zipfile.ZipFile(ivy) as jar:
        lines = jar.read("org/apache/ivy/core/settings/repository.properties").decode().splitlines()
    (url,) = (value for key, _, value in (line.partition(" = ") for line in lines) if key == IVY_DEFAULT)
    return url


def _get(url: str, credentials: str | None) -> bytes:
    request = urllib.request.Request(url, headers={"User-Agent": "marketing-data-platform"})
    if credentials:  # "unredirected": a repository that sends us on to its storage does not pass our login on
        token = base64.b64encode(credentials.encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        why = f"answers {error.code} {error.reason}"
    except urllib.error.URLError as error:
        why = f"cannot be reached ({getattr(error.reason, 'strerror', None) or error.reason})"
    except (OSError, http.client.HTTPException) as error:
        why = f"broke off ({error or type(error).__name__})"
    raise PlatformError(f"{url} {why}: check the network, or name your Maven repository in MDP_MAVEN_URL")


# -- asking for them --------------------------------------------------------------------------------------------------


def require(extra: str) -> None:
    """Raise PlatformError, with the command to type, unless the engine has the jars of `extra`.

    What the running engine has is read from its own command line. A cluster's jars are its administrator's matter and
    cannot be seen from here.
    """
    if extra not in EXTRAS:
        raise unknown("extra", extra, EXTRAS)
    if not settings().embedded:
        return
    lacking = _lacking(extra, {path.name for path in class_path()})
    if lacking:
        raise PlatformError(
            f"the engine has no {lacking}: fetch with `mdp warehouse jars {extra}`, then restart it: {RESTART}"
        )
    if is_restart_needed([extra]):
        raise PlatformError(
            f"the engine was started before it had {_lacking(extra, running_jars())}: restart it: {RESTART}"
        )


def is_restart_needed(extras: Iterable[str]) -> bool:
    """Whether an engine runs that was started without jars of `extras`."""
    names = running_jars()
    return names is not None and any(_lacking(extra, names) for extra in extras)


def running_jars() -> set[str] | None:
    """Names of the jars that the running engine was started with; None if none runs."""
    process = service_process(settings().home, "engine")
    if process is None:
        return None
    words = process.cmdline()
    return {Path(entry).name for entry in words[words.index("-cp") + 1].split(os.pathsep)}


def _lacking(extra: str, names: set[str]) -> str:
    return ", ".join(jar.artifact for jar in EXTRAS[extra] if not any(jar.is_served_by(name) for name in names))
