"""Flume agents as feeds: each component and property has its place, topics and directories become blocks that load."""

import pytest

from ingestion import flume
from ingestion.flume_agent import SECTIONS, read_properties
from ingestion.proposal import NONE, NOT_NEEDED, moving_in
from tests.proposals import feeds_of, sample
from warehouse.errors import PlatformError

SECRET = "hunter2-s3cret"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    for name in ("MDP_SPOOL_URI", "MDP_KAFKA_SERVERS", "MDP_COMPANY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MDP_HOME", str(tmp_path))
    return tmp_path


COMPONENTS = {  # every alias and class of Flume 1.9's user guide
    "sources": """
        avro thrift exec jms spooldir taildir org.apache.flume.source.twitter.TwitterSource
        org.apache.flume.source.kafka.KafkaSource netcat netcatudp seq syslogtcp multiport_syslogtcp syslogudp http
        org.apache.flume.source.StressSource org.apache.flume.source.avroLegacy.AvroLegacySource
        org.apache.flume.source.thriftLegacy.ThriftLegacySource org.apache.flume.source.scribe.ScribeSource""",
    "channels": """
        memory jdbc org.apache.flume.channel.kafka.KafkaChannel file SPILLABLEMEMORY
        org.apache.flume.channel.PseudoTxnMemoryChannel""",
    "sinks": """
        hdfs hive logger avro thrift irc file_roll null hbase hbase2 asynchbase
        org.apache.flume.sink.solr.morphline.MorphlineSolrSink elasticsearch org.apache.flume.sink.kite.DatasetSink
        org.apache.flume.sink.kafka.KafkaSink http""",
    "sinkgroups": "default failover load_balance",
    "configfilters": "env external hadoop",
}
INTERCEPTORS = """
    timestamp host static remove_header org.apache.flume.sink.solr.morphline.UUIDInterceptor$Builder
    org.apache.flume.sink.solr.morphline.MorphlineInterceptor$Builder search_replace regex_filter regex_extractor"""
PROPERTIES = {  # of the components of which single properties matter, as the guide lists them, and Kafka's own login
    "spooldir": """
        spoolDir fileSuffix deletePolicy fileHeader fileHeaderKey basenameHeader basenameHeaderKey includePattern ignorePattern
        trackerDir trackingPolicy consumeOrder pollDelay recursiveDirectorySearch maxBackoff batchSize inputCharset
        decodeErrorPolicy deserializer deserializer.maxLineLength deserializer.outputCharset deserializer.schemaType
        deserializer.maxBlobLength bufferMaxLines bufferMaxLineLength""",
    "taildir": """
        filegroups filegroups.f1 positionFile headers.f1.k byteOffsetHeader skipToEnd idleTimeout writePosInterval batchSize
        maxBatchCount backoffSleepIncrement maxBackoffSleep cachePatternMatching fileHeader fileHeaderKey""",
    "org.apache.flume.source.kafka.KafkaSource": """
        kafka.bootstrap.servers kafka.consumer.group.id kafka.topics kafka.topics.regex batchSize batchDurationMillis
        backoffSleepIncrement maxBackoffSleep useFlumeEventFormat setTopicHeader topicHeader
        kafka.consumer.security.protocol kafka.consumer.sasl.mechanism kafka.consumer.ssl.truststore.location
        kafka.consumer.sasl.jaas.config kafka.consumer.auto.offset.reset topic groupId zookeeperConnect
        migrateZookeeperOffsets""",
    "org.apache.flume.channel.kafka.KafkaChannel": """
        kafka.bootstrap.servers kafka.topic kafka.consumer.group.id parseAsFlumeEvent pollTimeout defaultPartitionId
        partitionIdHeader kafka.consumer.auto.offset.reset kafka.producer.security.protocol
        kafka.consumer.sasl.mechanism kafka.consumer.sasl.jaas.config kafka.consumer.ssl.truststore.location
        kafka.consumer.security.protocol brokerList topic groupId readSmallestOffset migrateZookeeperOffsets""",
    "hdfs": """
        hdfs.path hdfs.filePrefix hdfs.fileSuffix hdfs.inUsePrefix hdfs.inUseSuffix hdfs.emptyInUseSuffix hdfs.rollInterval
        hdfs.rollSize hdfs.rollCount hdfs.idleTimeout hdfs.batchSize hdfs.codeC hdfs.fileType hdfs.maxOpenFiles
        hdfs.minBlockReplicas hdfs.writeFormat hdfs.threadsPoolSize hdfs.rollTimerPoolSize hdfs.kerberosPrincipal
        hdfs.kerberosKeytab hdfs.proxyUser hdfs.round hdfs.roundValue hdfs.roundUnit hdfs.timeZone hdfs.useLocalTimeStamp
        hdfs.closeTries hdfs.retryInterval serializer serializer.x hdfs.callTimeout""",
    "hive": """
        hive.metastore hive.database hive.table hive.partition hive.txnsPerBatchAsk heartBeatInterval autoCreatePartitions
        batchSize maxOpenConnections callTimeout serializer serializer.delimiter serializer.fieldnames
        serializer.serdeSeparator roundUnit roundValue timeZone useLocalTimeStamp""",
}


def agent(tmp_path, *lines: str) -> object:
    path = tmp_path / "agent.properties"
    path.write_text("\n".join(("# an agent", *lines)) + "\n")
    return path


@pytest.mark.parametrize("kind", COMPONENTS)
def test_no_component_is_dropped_in_silence(tmp_path, kind):
    names = COMPONENTS[kind].split()
    known = {name.lower() for entry in moving_in(SECTIONS[kind]) for name in entry.names}
    assert {name.lower() for name in names} <= known
    key = "processor.type" if kind == "sinkgroups" else "type"
    for name in names:
        lines = ["a1.sources = s", "a1.sources.s.type = exec", f"a1.{kind} = x", f"a1.{kind}.x.{key} = {name}"]
        if kind == "sources":
            lines = lines[2:]
        extra = {"spooldir": "spoolDir = /a/b", "taildir": "filegroups = f\na1.sources.x.filegroups.f = /a/b/c.log"}
        if name in extra:
            lines.append(f"a1.sources.x.{extra[name]}")
        if "KafkaSource" in name:
            lines += ["a1.sources.x.kafka.topics = t", "a1.sources.x.kafka.bootstrap.servers = b:1"]
        made = flume.convert(agent(tmp_path, *lines), [])
        said = [line for line in made.notes + made.faults if f"a1.{kind}.x" in line or "--sample" in line]
        assert said and made.text == "", name


@pytest.mark.parametrize("type_", PROPERTIES)
def test_no_property_is_dropped_in_silence(type_):
    section = next(s for s in SECTIONS.values() for e in moving_in(s) if type_ in e.names)
    entry = next(e for e in moving_in(section) if type_ in e.names)
    names = PROPERTIES[type_].split()
    assert len(names) > 10
    covered = [known for inner in entry.properties for known in inner.names]
    for name in names:
        assert name in covered or any(k.endswith(".*") and name.startswith(k[:-1]) for k in covered), name
    plain = [known for known in covered if not known.endswith(".*")]
    assert set(plain) <= set(names), "the table has a property that the manual has not"


def test_every_interceptor_and_selector_is_said(tmp_path):
    names = INTERCEPTORS.split()
    lines = [
        "a1.sources = s",
        "a1.sources.s.type = exec",
        "a1.sources.s.interceptors = " + " ".join(f"i{n}" for n in range(10)),
    ]
    lines += [
        f"a1.sources.s.interceptors.i{n}.type = {name}" for n, name in enumerate([*names, "org.example.Mine$Builder"])
    ]
    lines += ["a1.sources.s.selector.type = multiplexing", "a1.sources.s.selector.header = state"]
    made = flume.convert(agent(tmp_path, *lines), [])
    said = [note for note in made.notes if ".interceptors.i" in note]
    assert len(said) == 10 and {note.split(":")[0] for note in said} == {NONE, NOT_NEEDED}
    assert f"{NONE}: a1.sources.s.selector (multiplexing on state): one feed takes all events" in "\n".join(made.notes)
    assert {name.lower() for e in moving_in("flume_interceptor") for name in e.names} >= set(map(str.lower, names))


def test_a_spooling_directory_is_a_feed(tmp_path):
    path = agent(
        tmp_path,
        "a1.channels = ch-1", "a1.sources = src-1", "a1.sources.src-1.type = spooldir", "a1.sources.src-1.channels = ch-1",
        "a1.sources.src-1.spoolDir = /var/log/apache/flumeSpool", "a1.sources.src-1.fileHeader = true",
        "a1.sources.src-1.inputCharset = ISO-8859-1", r"a1.sources.src-1.includePattern = ^app-\\d{4}-\\d{2}-\\d{2}.*\\.log$",
        "a1.channels.ch-1.type = memory", "a1.sources.typo.batchSize = 3",
    )  # fmt: skip
    refused = flume.convert(path, [])
    assert refused.text == "" and "give some lines of it with --sample src-1=FILE" in refused.faults[0]
    made = flume.convert(path, [sample(tmp_path)])
    feed = feeds_of(made.text, tmp_path)["a1__flume_spool"]
    assert (feed.directory, feed.pattern, feed.encoding) == (
        "apache/flumeSpool".split("/")[1],
        "app-{date}*.log",
        "latin-1",
    )
    assert (feed.timestamp_column, feed.key, feed.subject) == ("occurred_at", ("event_id",), "user_id")
    assert feed.columns["phone"].action == "hash_and_mask" and feed.columns["amount"].type == "double"
    notes = "\n".join(made.notes)
    assert "set: MDP_SPOOL_URI=/var/log/apache" in notes and "a1.sources.typo.batchSize: it belongs to nothing" in notes
    assert "left out: field @timestamp" in notes and "not needed: a1.channels.ch-1 (memory)" in notes


def test_file_groups_are_feeds_and_samples_have_names(tmp_path):
    path = agent(
        tmp_path,
        "a1.sources = r1", "a1.sources.r1.type = TAILDIR", "a1.sources.r1.filegroups = f1 f2",
        "a1.sources.r1.filegroups.f1 = /var/log/test1/example.log", "a1.sources.r1.headers.f1.headerKey1 = value1",
        "a1.sources.r1.filegroups.f2 = /var/log/test2/.*log.*", "a1.sources.r1.skipToEnd = false",
    )  # fmt: skip
    with pytest.raises(PlatformError, match="whose lines these are must be named: --sample f1=FILE, --sample f2=FILE"):
        flume.convert(path, [sample(tmp_path)])
    made = flume.convert(path, [f"f1={sample(tmp_path)}", f"f2={sample(tmp_path)}"])
    feeds = feeds_of(made.text, tmp_path)
    assert {name: (f.directory, f.pattern) for name, f in feeds.items()} == {
        "a1__r1_f1": ("test1", "example.log-{date}*"), "a1__r1_f2": ("test2", "*log*{date}*"),
    }  # fmt: skip
    assert f"{NONE}: a1.sources.r1.headers.f1.headerKey1" in "\n".join(made.notes)
    assert "skipToEnd" not in "\n".join(made.notes)  # false is what we do


@pytest.mark.parametrize(
    ("regex", "pattern"),
    [
        ("^.*$", "*{date}*"), (r"^.*\.csv$", "*{date}*.csv"), (r"app-\d{4}-\d{2}-\d{2}\.log", "app-{date}.log"),
        (r"app-[0-9]{4}-[0-9]{2}-[0-9]{2}_[0-9]+\.log", "app-{date}_*.log"),
        ("(a|b).log", "*{date}*"), ("example.log", "example.log-{date}*"),
    ],
)  # fmt: skip
def test_an_expression_of_file_names_becomes_a_pattern(regex, pattern):
    assert flume._pattern(regex, tail=True)[0] == pattern


KAFKA = ("a1.sources = k", "a1.sources.k.type = org.apache.flume.source.kafka.KafkaSource", "a1.sources.k.channels = c")


def test_topics_are_feeds(tmp_path, monkeypatch):
    monkeypatch.setenv("BROKERS", "b1:9092,b2:9092")
    path = agent(
        tmp_path, *KAFKA, "a1.sources.k.kafka.bootstrap.servers = ${BROKERS}", "a1.sources.k.kafka.topics = test1, test2",
        "a1.sources.k.kafka.consumer.group.id = custom.g.id", "a1.channels = c",
        "a1.sources.k.kafka.consumer.security.protocol = SASL_SSL", "a1.sources.k.kafka.consumer.sasl.mechanism = PLAIN",
        f"a1.sources.k.kafka.consumer.sasl.jaas.config = PlainLoginModule username=\"me\" password=\"{SECRET}\";",
        "a1.sources.k.kafka.consumer.ssl.truststore.location = /etc/trust.jks",
        f"a1.sources.k.kafka.consumer.ssl.truststore.password = {SECRET}",
        f"a1.sources.k.kafka.consumer.ssl.keystore.password = {SECRET}",
        "a1.channels.c.type = org.apache.flume.channel.kafka.KafkaChannel", "a1.channels.c.kafka.bootstrap.servers = b1:9092",
        "a1.sinks = h", "a1.sinks.h.type = hdfs", "a1.sinks.h.channel = c", "a1.sinks.h.hdfs.path = /flume/%Y-%m-%d/%H",
        "a1.sinks.h.hdfs.timeZone = Europe/Berlin", "a1.sinks.h.hdfs.round = true",
    )  # fmt: skip
    made = flume.convert(path, [f"test1={sample(tmp_path)}", f"test2={sample(tmp_path)}"])
    feeds = feeds_of(made.text, tmp_path)
    assert {name: (f.connection, f.topic) for name, f in feeds.items()} == {
        "a1__test1": ("kafka", "test1"), "a1__test2": ("kafka", "test2"),
    }  # fmt: skip
    notes = "\n".join(made.notes)
    assert (
        notes.count("set: MDP_KAFKA_SERVERS=b1:9092,b2:9092") == 1
        and "set in company.yml: timezone: Europe/Berlin" in notes
    )
    assert f"{NOT_NEEDED}: a1.channels.c (kafka): what fills it is read itself" in notes
    assert f"{NONE}: a1.sinks.h.hdfs.round" in notes
    assert f"{NONE}: a1.sources.k.kafka.consumer.ssl.keystore.password" in notes
    for wanted in (
        "PROTOCOL=SASL_SSL",
        "MECHANISM=PLAIN",
        "USER=me",
        "PASSWORD_FILE (a file",
        "CA_FILE (the certificates of /etc/",
    ):
        assert notes.count(f"set: MDP_KAFKA_{wanted}") == 1, wanted
    assert SECRET not in made.text + notes
    monkeypatch.delenv("BROKERS")
    with pytest.raises(PlatformError, match="a1.sources.k.kafka.bootstrap.servers: the variable BROKERS is not set"):
        flume.convert(path, [])


def test_flumes_own_envelope_is_no_feed(tmp_path):
    path = agent(
        tmp_path, *KAFKA, "a1.sources.k.kafka.bootstrap.servers = b:1", "a1.sources.k.kafka.topics = t",
        "a1.sources.k.useFlumeEventFormat = true", "a1.channels = c d",
        "a1.channels.c.type = org.apache.flume.channel.kafka.KafkaChannel", "a1.channels.c.kafka.bootstrap.servers = b:1",
        "a1.channels.d.type = org.apache.flume.channel.kafka.KafkaChannel", "a1.channels.d.kafka.bootstrap.servers = c:1",
        "a1.channels.d.parseAsFlumeEvent = false", "a1.channels.d.kafka.topic = raw.events",
    )  # fmt: skip
    made = flume.convert(path, [sample(tmp_path)])
    assert list(feeds_of(made.text, tmp_path)) == ["a1__raw_events"]
    assert sum("Avro envelopes" in note for note in made.notes) == 1  # the channel is filled by a source, which says it


def test_a_hive_sink_tells_how_lines_are_cut(tmp_path):
    path = agent(
        tmp_path, "a1.sources = s", "a1.channels = c", "a1.sinks = h", "a1.channels.c.type = memory",
        "a1.sources.s.type = spooldir", "a1.sources.s.spoolDir = /data/in/tweets", "a1.sources.s.channels = c",
        "a1.sinks.h.type = hive", "a1.sinks.h.channel = c", "a1.sinks.h.serializer = DELIMITED",
        r'a1.sinks.h.serializer.delimiter = "\\t"', "a1.sinks.h.serializer.fieldnames = id,,at,msg",
    )  # fmt: skip
    lines = tmp_path / "lines.txt"
    lines.write_text("".join(f"{n}\tx\t2026-01-31 10:00:0{n}\thello\n" for n in range(5)))
    made = flume.convert(path, [f"s={lines}"])
    feed = feeds_of(made.text, tmp_path)["a1__tweets"]
    assert (feed.format, feed.delimiter, feed.header, list(feed.columns)) == (
        "csv",
        "\t",
        False,
        ["id", "column_2", "at", "msg"],
    )
    assert feed.timestamp_zone == "Asia/Shanghai" and feed.columns["id"].type == "bigint"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ((), "no agent is declared"),
        (("a1.sources = s", "a1.sources.s.type = spooldir"), "a1.sources.s.spoolDir is missing"),
        (("a1.sources = s", "a1.sources.s.type = netcat"), "nothing in it reads files or Kafka"),
        (("a1.sources = s", "a1.sources.s.type = spooldir", "a1.sources.s.spoolDir = /a/b", "a1.sources.s.deserializer = AVRO"),
         "nothing in it reads files or Kafka"),
    ],
)  # fmt: skip
def test_an_agent_without_a_feed_is_an_error(tmp_path, lines, said):
    try:
        faults = flume.convert(agent(tmp_path, *lines), []).faults
    except PlatformError as error:
        faults = [str(error)]
    assert said in faults[0]


def test_equal_names_of_several_agents_are_told_apart(tmp_path):
    lines = []
    for name in ("a1", "a2"):
        lines += [
            f"{name}.sources = s",
            f"{name}.sources.s.type = spooldir",
            f"{name}.sources.s.spoolDir = /data/{name}/logs",
        ]
    made = flume.convert(agent(tmp_path, *lines), [f"a1.s={sample(tmp_path)}", f"a2.s={sample(tmp_path)}"])
    feeds = feeds_of(made.text, tmp_path)
    assert {name: f.directory for name, f in feeds.items()} == {"a1__logs": "a1/logs", "a2__logs": "a2/logs"}


def test_properties_are_read_as_java_reads_them():
    text = "# c\n! c\na = 1\nb:2\nc 3\nd = x \\\n    y\ne = \\u00e4\\\\\\t|\nf\\=g = h = i\n\nj\n"
    assert read_properties(text) == {
        "a": "1", "b": "2", "c": "3", "d": "x y", "e": "ä\\\t|", "f=g": "h = i", "j": "",
    }  # fmt: skip
