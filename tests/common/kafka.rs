//! A real Apache Kafka: one node that is broker and controller, of jars that Maven fetches once.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use tempfile::TempDir;

use super::process::{Process, Signal, run};
use super::{free_port, skip, until};

/// Kafka's own command-line tools.
pub(crate) const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
pub(crate) const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
pub(crate) const PRODUCER: &str = "org.apache.kafka.tools.ConsoleProducer";
pub(crate) const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";

/// Short starts matter more than speed.
const JVM: [&str; 6] = [
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Xshare:auto",
    "-XX:-UsePerfData",
    "-Djava.awt.headless=true",
];

/// The jars of Kafka, fetched when they are not there yet; `None`: skipped.
pub(crate) struct Jars(PathBuf);

impl Jars {
    pub(crate) fn resolve() -> Option<Self> {
        // Tests of one program run at the same time; programs run one after another.
        static FETCHING: Mutex<()> = Mutex::new(());
        let _one = FETCHING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if !skip::has("java", "-version") || !skip::has("mvn", "--version") {
            return None;
        }
        let pom = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka/pom.xml");
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a target folder");
        let (jars, fetched_for) = (target.join("kafka-jars"), target.join("kafka-jars/pom.xml"));
        let wanted = fs::read(&pom).expect("the pom");
        if fs::read(&fetched_for).ok().as_ref() != Some(&wanted) {
            let partly = target.join("kafka-jars.partly");
            let fetched = run(Command::new("mvn")
                .args(["--batch-mode", "--quiet", "--file"])
                .arg(&pom)
                .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
                .arg(format!("-DoutputDirectory={}", partly.display())));
            fetched.expect(0);
            fs::write(partly.join("pom.xml"), &wanted).expect("remember what was fetched");
            let _ = fs::remove_dir_all(&jars);
            fs::rename(&partly, &jars).expect("keep the jars");
        }
        Some(Self(jars))
    }

    /// A Java program of Kafka's.
    pub(crate) fn java(&self, class: &str) -> Command {
        let mut command = Command::new("java");
        command
            .args(JVM)
            .args(["-Dlog4j2.level=ERROR", "-Dlog4j2.StatusLogger.level=OFF", "-cp"])
            .arg(self.0.join("*"))
            .arg(class);
        command
    }

    /// One of Kafka's tools on the broker at `brokers`.
    pub(crate) fn tool(&self, class: &str, brokers: &str, arguments: &[&str]) -> Command {
        let mut command = self.java(class);
        command.args(["--bootstrap-server", brokers]).args(arguments);
        command
    }
}

/// A running node with a folder and ports of its own. Dropped, it is killed.
pub(crate) struct Kafka {
    pub(crate) jars: Jars,
    folder: TempDir,
    port: u16,
    doors: Vec<u16>,
    process: Option<Process>,
}

impl Kafka {
    /// A new node; `None`: skipped, for want of Java or Maven.
    pub(crate) fn start() -> Option<Self> {
        Self::start_behind(&[])
    }

    /// A new node with a listener more for each of the proxies that listen on `advertised`: who comes in there is told
    /// to come back by the proxy.
    pub(crate) fn start_behind(advertised: &[u16]) -> Option<Self> {
        let jars = Jars::resolve()?;
        let folder = tempfile::tempdir().expect("a folder");
        let (port, controller) = (free_port(), free_port());
        let data = folder.path().join("data");
        let mut properties = fs::File::create(folder.path().join("server.properties")).expect("a properties file");
        write!(properties, "{}", properties_of(controller, &data)).expect("write properties");
        let doors: Vec<_> = advertised.iter().map(|_| free_port()).collect();
        write!(properties, "{}", listeners_of(port, controller, &doors, advertised)).expect("write properties");
        let mut kafka = Self { jars, folder, port, doors, process: None };
        run(kafka
            .jars
            .java("kafka.tools.StorageTool")
            .args(["format", "--cluster-id", "a2Fma2EtdGFvcy10ZXN0cw", "--config"])
            .arg(kafka.properties()))
        .expect(0);
        kafka.restart();
        Some(kafka)
    }

    pub(crate) fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where the proxy of this number finds the node.
    pub(crate) fn door(&self, number: usize) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.doors[number]))
    }

    /// Starts the node again on its old port, with its data.
    pub(crate) fn restart(&mut self) {
        assert!(self.process.is_none(), "stop or kill it first");
        let mut process = Process::start(self.jars.java("kafka.Kafka").arg(self.properties()));
        until("Kafka accepts connections", || {
            assert!(process.status().is_none(), "Kafka ended: {}", process.said());
            // It opens this port only once the controller has let it in.
            TcpStream::connect(("127.0.0.1", self.port)).ok()
        });
        self.process = Some(process);
    }

    /// Asks the node to end, and waits until it has.
    pub(crate) fn stop(&mut self) {
        let process = self.process.take().expect("a running node");
        process.signal(Signal::TERM);
        process.wait();
    }

    /// Ends the node at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        self.process.take().expect("a running node").kill();
    }

    fn properties(&self) -> PathBuf {
        self.folder.path().join("server.properties")
    }

    pub(crate) fn tool(&self, class: &str, arguments: &[&str]) -> Command {
        self.jars.tool(class, &self.brokers(), arguments)
    }
}

fn properties_of(controller: u16, data: &Path) -> String {
    let data = data.display();
    format!(
        "\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
# One node can keep one replica of each internal topic.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
# At their defaults a crashed node is let in again only after 9 s.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
# Groups in tests come and go.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
# Those of KIP-848, which the broker decides.
group.consumer.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=3000
group.consumer.min.heartbeat.interval.ms=100
group.consumer.heartbeat.interval.ms=500
# A small node.
num.network.threads=2
num.io.threads=2
background.threads=2
num.recovery.threads.per.data.dir=1
log.cleaner.dedupe.buffer.size=4194304
log.segment.bytes=67108864
"
    )
}

fn listeners_of(port: u16, controller: u16, doors: &[u16], advertised: &[u16]) -> String {
    let mut listeners = format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}");
    let mut known = format!("PLAINTEXT://127.0.0.1:{port}");
    let mut protocols = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned();
    for (number, (door, proxy)) in doors.iter().zip(advertised).enumerate() {
        listeners += &format!(",PROXY{number}://127.0.0.1:{door}");
        known += &format!(",PROXY{number}://127.0.0.1:{proxy}");
        protocols += &format!(",PROXY{number}:PLAINTEXT");
    }
    format!("listeners={listeners}\nadvertised.listeners={known}\nlistener.security.protocol.map={protocols}\n")
}
