"""Flume agents as feed blocks: what is read from files or Kafka is written, every other component and property is said.

An agent's file does not say what its events hold. Columns are inferred from sample lines of each log (`--sample`); without
them there is no block, because one with invented columns would lie.
"""

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from ingestion.flume_agent import Component, find_entry, read_agents, resolved
from ingestion.guess import snake
from ingestion.infer import feed_name, propose
from ingestion.lines import ask_lines, read_sample
from ingestion.proposal import EQUIVALENT, NONE, NOT_NEEDED, REVIEW, Entry, Proposal, checked, moving_in
from warehouse.company import company
from warehouse.errors import PlatformError

CHARSETS = {"utf-8": "utf-8", "utf8": "utf-8", "us-ascii": "utf-8", "iso-8859-1": "latin-1", "latin1": "latin-1"}
DAY = r"\\d\{4\}-\\d\{2\}-\\d\{2\}|\[0-9\]\{4\}-\[0-9\]\{2\}-\[0-9\]\{2\}"
DEFAULTS = ("false", "PLAINTEXT")  # of properties without an equivalent: what is done anyway
ENVELOPE = "its records are Flume's Avro envelopes, which have no reader: let the producer write the body alone"


@dataclass
class Plan:
    """A feed to be: of which component, its label (for --sample), its name, the keys that the file tells, how lines are cut."""

    component: Component
    label: str
    name: str
    pairs: list[tuple[str, object, str | None]]
    cut: dict = field(default_factory=dict)


def convert(path: Path, samples: list[str]) -> Proposal:
    """The blocks of all agents of a file; `samples` are FILE or <label>=FILE.

    Faults come back in the proposal, then without text; a file that is no agent's raises PlatformError.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PlatformError(f"the agent file {path} cannot be read: {error}") from None
    components, notes = read_agents(text, path.name)
    plans = _distinct([*_file_plans(components, notes), *_kafka_plans(components, notes)])
    notes += [note for component in components for note in _notes(component)]
    if not plans:
        fault = f"{path.name}: nothing in it reads files or Kafka: no feed can be made of it (the lines above say what to do)"
        return Proposal(notes=notes, faults=[fault])
    chosen = _samples(plans, samples)
    missing = [plan for plan in plans if plan.label not in chosen]
    if missing:
        faults = [
            f"{path.name}: what {plan.label} holds does not stand in an agent's file: give some lines of it with "
            f"--sample {plan.label}=FILE"
            for plan in missing
        ]
        return Proposal(notes=notes, faults=faults)
    texts = []
    for plan in plans:
        proposal = propose(plan.name, plan.pairs, ask_lines(read_sample(chosen[plan.label]), **plan.cut))
        texts.append(proposal.text)
        notes += proposal.notes
    return Proposal(checked("\n".join(texts)), notes)


def _distinct(plans: list[Plan]) -> list[Plan]:
    """The plans with labels and names of which none comes twice."""
    labels, names = Counter(plan.label for plan in plans), Counter(plan.name for plan in plans)
    for plan in plans:
        owner = plan.component
        if labels[plan.label] > 1:
            plan.label = ".".join(dict.fromkeys((owner.agent, owner.name, plan.label)))
        if names[plan.name] > 1:
            plan.name = feed_name(owner.agent, f"{owner.name}_{plan.name.split('__', 1)[1]}")
    return list({plan.name: plan for plan in plans}.values())


def _samples(plans: list[Plan], samples: list[str]) -> dict[str, Path]:
    """Label → sample file; a file without a label is that of the only feed."""
    found = {}
    for sample in samples:
        label, equals, name = sample.rpartition("=")
        label = label if equals else plans[0].label if len(plans) == 1 else ""
        if label not in {plan.label for plan in plans}:
            known = ", ".join(f"--sample {plan.label}=FILE" for plan in plans)
            raise PlatformError(f"--sample {sample}: whose lines these are must be named: {known}")
        found[label] = Path(name)
    return found


# -- files ------------------------------------------------------------------------------------------------------------


def _file_plans(components: list[Component], notes: list[str]) -> list[Plan]:
    """A plan for each spooling directory and each file group that is tailed."""
    wanted = []  # component, label, directory, regular expression of the file names
    for component in components:
        if component.is_("spooldir"):
            if fault := _unreadable(component):
                notes.append(fault)
                continue
            folder, regex = resolved(component, "spoolDir"), resolved(component, "includePattern", "^.*$")
            wanted.append((component, component.name, folder.rstrip("/"), regex))
        elif component.is_("taildir"):
            for group in component.properties.get("filegroups", "").split():
                folder, _, regex = resolved(component, f"filegroups.{group}").rpartition("/")
                wanted.append((component, group, folder, regex))
    if not wanted:
        return []
    parent = _parent([folder for _, _, folder, _ in wanted])
    if parent:
        notes.append(f"set: MDP_SPOOL_URI={parent}")
    plans = []
    for component, label, folder, regex in wanted:
        directory = os.path.relpath(folder, parent) if parent else ""
        name = feed_name(
            component.agent, f"{component.name}_{label}" if label != component.name else folder.split("/")[-1]
        )
        if not re.fullmatch(r"[\w-]+(/[\w-]+)*", directory):
            directory = name
            notes.append(f"review: {component.path}: link {folder} to {name} in the directory MDP_SPOOL_URI")
        pattern, note = _pattern(regex, tail=component.is_("taildir"))
        notes.append(f"review: {component.path}: {label}: {note}")
        pairs = [("kind", "files", None), ("directory", directory, None), ("pattern", pattern, REVIEW)]
        charset = CHARSETS[component.properties.get("inputCharset", "utf-8").lower()]
        plans.append(
            Plan(
                component,
                label,
                name,
                pairs + ([("encoding", charset, None)] if charset != "utf-8" else []),
                _cut(component, components),
            )
        )
    return plans


def _unreadable(component: Component) -> str | None:
    """Why the files of a spooling directory cannot be read as lines of text, None if they can."""
    deserializer = component.properties.get("deserializer", "LINE")
    if not re.fullmatch(r"LINE|.*LineDeserializer(\$Builder)?", deserializer, re.IGNORECASE):
        return f"{NONE}: {component.path} (spooldir): its files are no lines of text (deserializer {deserializer}): deliver lines"
    charset = component.properties.get("inputCharset", "utf-8")
    if charset.lower() not in CHARSETS:
        return f"{NONE}: {component.path} (spooldir): files in {charset} have no reader: deliver them in UTF-8"
    return None


def _parent(folders: list[str]) -> str | None:
    """The directory that can be the spool: above all folders, or the one that is set; None if only / is."""
    spool = os.environ.get("MDP_SPOOL_URI", "").rstrip("/")
    if spool and all(folder.startswith(spool + "/") for folder in folders):
        return spool
    if not all(folder.startswith("/") for folder in folders):
        return None
    parent = os.path.commonpath([os.path.dirname(folder) for folder in folders])
    return parent if parent != "/" else None


def _pattern(regex: str, tail: bool) -> tuple[str, str]:
    """(file name pattern with {date}, what to review about it) for Flume's regular expression of file names."""
    text = re.sub(DAY, "{date}", regex.removeprefix("^").removesuffix("$"))
    pieces = re.split(r"(\{date\}|\.[*+]|\\d[*+]?|\\w[*+]?|\[[^]]*\][*+]?|\\.)", text)
    globbed = [
        piece if piece == "{date}" else piece[1] if re.fullmatch(r"\\\W", piece) else "*" for piece in pieces[1::2]
    ]
    plain = "".join(a + b for a, b in zip(pieces[::2], [*globbed, ""], strict=True))
    glob = re.sub(r"\*+", "*", plain)
    if not re.fullmatch(r"(\{date\}|[\w.*-])*", glob) or glob.count("{date}") > 1:
        return (
            "*{date}*",
            f"no pattern says {regex}: files are taken whose name holds the day they arrived, like 2026-01-31",
        )
    if "{date}" in glob:
        return glob, "files are taken once they are complete: write them under another name, then rename them"
    if "*" in glob:
        before, _, after = glob.rpartition("*")
        glob = f"{before}*{{date}}*{after}"
    else:
        glob += "-{date}*"  # as logrotate's dateext with dateformat -%Y-%m-%d names them
    how = (
        "let the log rotate daily to such names (logrotate: dateext, dateformat -%Y-%m-%d)" if tail else "name them so"
    )
    return (
        glob,
        f"files are taken whose name holds the day they arrived, as in {glob.replace('{date}', '2026-01-31')}: {how}",
    )


# -- topics -----------------------------------------------------------------------------------------------------------


def _kafka_plans(components: list[Component], notes: list[str]) -> list[Plan]:
    """A plan for each topic of a Kafka source, and of a Kafka channel that nothing else in the file fills."""
    read = []  # component, servers, topic
    for source in components:
        if not source.is_("kafka") or source.kind != "sources":
            continue
        if source.properties.get("useFlumeEventFormat", "false").lower() == "true":
            notes.append(f"{NONE}: {source.path} (kafka): {ENVELOPE}")
        elif "kafka.topics.regex" not in source.properties:  # which is said with the other properties
            key = "topic" if source.properties.keys() & {"kafka.topics", "topic"} == {"topic"} else "kafka.topics"
            topics = [topic.strip() for topic in resolved(source, key).split(",") if topic.strip()]
            read += [(source, resolved(source, "kafka.bootstrap.servers"), topic) for topic in topics]
    filled = {
        (source.agent, channel)
        for source in components
        if source.kind == "sources" and (entry := source.entry()) and entry.verdict == EQUIVALENT
        for channel in source.properties.get("channels", "").split()
    }
    for channel in components:
        if channel.kind != "channels" or not channel.is_("org.apache.flume.channel.kafka.KafkaChannel"):
            continue
        if (channel.agent, channel.name) in filled:
            notes.append(f"{NOT_NEEDED}: {channel.path} (kafka): what fills it is read itself")
        elif channel.properties.get("parseAsFlumeEvent", "true").lower() == "true":
            notes.append(f"{NONE}: {channel.path} (kafka): {ENVELOPE} (parseAsFlumeEvent = false)")
        else:
            servers = "kafka.bootstrap.servers" if "kafka.bootstrap.servers" in channel.properties else "brokerList"
            topic = next((key for key in ("kafka.topic", "topic") if key in channel.properties), None)
            read.append((channel, resolved(channel, servers), resolved(channel, topic) if topic else "flume-channel"))
    brokers, plans = {}, []
    for component, servers, topic in read:
        name = brokers.setdefault(servers, "kafka" if not brokers else snake(f"{component.agent}_{component.name}"))
        wanted = {"SERVERS": f"={servers}"} | _login(component)
        for variable, value in ((f"MDP_{name.upper()}_{part}", value) for part, value in wanted.items()):
            if f"={os.environ.get(variable)}" != value and f"set: {variable}{value}" not in notes:
                notes.append(f"set: {variable}{value}")
        pairs = [("kind", "kafka", None), ("connection", name, None), ("topic", topic, None)]
        plans.append(Plan(component, topic, feed_name(component.agent, topic), pairs, _cut(component, components)))
    return plans


def _login(component: Component) -> dict[str, str]:
    """What the connection's variables (MDP_<NAME>_…) are to be set to for a listener with TLS or a login."""
    at = "kafka.consumer."
    found = {
        part: "=" + resolved(component, at + key)
        for part, key in (("PROTOCOL", "security.protocol"), ("MECHANISM", "sasl.mechanism"))
        if at + key in component.properties
    }
    if at + "sasl.jaas.config" in component.properties:
        named = re.search(r'username="?([^"\s;]+)', resolved(component, at + "sasl.jaas.config"))
        found["USER"] = f"={named[1]}" if named else " (who logs in)"
        found["PASSWORD_FILE"] = " (a file that holds the password, for you only to read)"
    if at + "ssl.truststore.location" in component.properties:
        found["CA_FILE"] = f" (the certificates of {resolved(component, at + 'ssl.truststore.location')} as PEM)"
    return found


def _cut(component: Component, components: list[Component]) -> dict:
    """How lines are cut into fields, if a Hive sink of the component's channels says so: arguments of ask_lines."""
    channels = (
        {component.name} if component.kind == "channels" else set(component.properties.get("channels", "").split())
    )
    for sink in components:
        if sink.agent == component.agent and sink.is_("hive") and sink.properties.get("channel") in channels:
            serializer = sink.properties.get("serializer", "").upper()
            if serializer == "JSON":
                return {"format_": "json"}
            if serializer == "DELIMITED":
                given = sink.properties.get("serializer.delimiter", ",").strip('"')
                names = [name.strip() for name in sink.properties.get("serializer.fieldnames", "").split(",")]
                return {
                    "format_": "csv",
                    "delimiter": {"\\t": "\t"}.get(given, given),
                    "names": names if any(names) else None,
                }
    return {}


# -- what is said -----------------------------------------------------------------------------------------------------


def _notes(component: Component) -> list[str]:
    """What becomes of the component, its properties, interceptors and selector, unless they are simply equivalent."""
    if component.kind == "sinkgroups" and not component.type:
        component.properties["processor.type"] = "default"
    entry = component.entry()
    label = f"{component.path} ({component.type or 'no type'})"
    if entry is None:
        notes = [
            f"{NONE}: {label}: a class of your own: what it does must be done before the topic or the spool, or in SQL"
        ]
    else:
        notes = [] if entry.verdict == EQUIVALENT else [f"{entry.verdict}: {label}: {entry.how}"]
        notes += _property_notes(component, entry)
    return notes + (_interceptors(component) + _selector(component) if component.kind == "sources" else [])


def _property_notes(component: Component, entry: Entry) -> list[str]:
    """One line for each property without an equivalent, one for those that are not needed for the same reason."""
    if not entry.properties:
        return []
    notes, unneeded = [], {}
    own = ("type", "channels", "channel")
    for key, value in component.properties.items():
        if key in own or re.match(r"(interceptors|selector)(\.|$)", key):
            continue
        found = find_entry(entry.properties, key)
        if found is None:
            notes.append(
                f"{NONE}: {component.path}.{key}: it is no property that Flume's manual knows for {component.type}"
            )
        elif found.verdict == NONE and value not in DEFAULTS:
            notes.append(f"{NONE}: {component.path}.{key}: {found.how}")
        elif found.verdict == EQUIVALENT and "company.yml" in found.how and value != company().timezone:
            notes.append(f"set in company.yml: timezone: {value}")
        elif found.verdict == NOT_NEEDED:
            unneeded.setdefault(found.how, []).append(key)
    return notes + [f"{NOT_NEEDED}: {component.path}.{', '.join(keys)}: {how}" for how, keys in unneeded.items()]


def _interceptors(component: Component) -> list[str]:
    notes = []
    for name in component.properties.get("interceptors", "").split():
        type_ = component.properties.get(f"interceptors.{name}.type", "")
        entry = find_entry(moving_in("flume_interceptor"), type_.lower(), str.lower)
        label = f"{component.path}.interceptors.{name} ({type_ or 'no type'})"
        verdict, how = (
            (entry.verdict, entry.how)
            if entry
            else (NONE, "a class of your own: write what it does as SQL, in staging")
        )
        notes.append(f"{verdict}: {label}: {how}")
    return notes


def _selector(component: Component) -> list[str]:
    keys = [key for key in component.properties if key.startswith("selector.")]
    if not keys:
        return []
    type_ = component.properties.get("selector.type", "replicating")
    entry = find_entry(moving_in("flume_selector"), type_.lower(), str.lower)
    verdict, how = (
        (entry.verdict, entry.how) if entry else (NONE, "a class of your own: choose events by SQL, in staging")
    )
    header = component.properties.get("selector.header")
    return [f"{verdict}: {component.path}.selector ({type_}{f' on {header}' if header else ''}): {how}"]
