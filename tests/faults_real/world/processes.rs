//! The members and the endpoint: how they are started, and what they said.

use super::{Member, World};
use crate::common::pair::Pair;
use crate::common::process::{Process, Signal, kafka_taos};
use crate::common::proxy::Weather;
use crate::plan::{Event, Protocol, SESSION, Trouble};

impl World<'_> {
    pub(super) fn join(&mut self, slot: Option<usize>) {
        let slot = slot.unwrap_or_else(|| {
            self.slots += 1;
            self.slots
        });
        let session = format!("{}ms", SESSION.as_millis());
        let dead = format!("file:{}", self.folder.path().join("dead").display());
        let brokers = self.doors[(slot + 1) % 2].address.to_string();
        let url = format!("ws://root:taosdata@{}/test", self.tdengine.address);
        let mut arguments =
            vec!["consume", "--json", "--topic", &self.topic, "--brokers", &brokers, "--tdengine", &url];
        arguments.extend(["--dead-letter", &dead, "--timeout", "2s", "--answer-timeout", "2s"]);
        arguments.extend(["--kafka", "topic.metadata.refresh.interval.ms=1000"]);
        arguments.extend(self.plan.flags.iter().map(String::as_str));
        let instance = format!("group.instance.id={}-{slot}", self.topic);
        match self.plan.protocol {
            Protocol::Consumer => arguments.extend(["--kafka", "group.protocol=consumer"]),
            protocol => {
                arguments.extend(["--session-timeout", &session]);
                match protocol {
                    Protocol::Range => arguments.extend(["--kafka", "partition.assignment.strategy=range"]),
                    Protocol::RoundRobin => arguments.extend(["--kafka", "partition.assignment.strategy=roundrobin"]),
                    Protocol::Static => arguments.extend(["--kafka", &instance]),
                    _ => {}
                }
            }
        }
        let process = Process::start(&mut kafka_taos(&arguments));
        self.members.push(Member { slot, process, was_frozen: false });
    }

    pub(super) fn expect_members_alive(&mut self) {
        if let Some(at) = self.members.iter_mut().position(|member| member.process.status().is_some()) {
            let member = self.members.remove(at);
            let (slot, ended) = (member.slot, member.process.wait());
            self.ended(slot, member.was_frozen, &ended.stderr);
            panic!(
                "member {slot} ended by itself with {:?}: {}",
                ended.code,
                ended.stderr.lines().last().unwrap_or_default()
            );
        }
    }

    /// Takes in what a member said. What it had lost while it was stopped, or its writes were, it may have written late.
    pub(super) fn ended(&mut self, member: usize, was_frozen: bool, stderr: &str) {
        let stalls = |(_, event): &(_, _)| {
            matches!(event, Event::KillStalled | Event::Tdengine(Trouble::During(Weather::Stalled, _)))
        };
        let was_paused = was_frozen || self.plan.events.iter().any(stalls);
        for line in stderr
            .lines()
            .filter(|line| was_paused && line.contains("partitions revoked") && line.contains("lost=true"))
        {
            let numbers =
                line.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map_or("", |(inside, _)| inside);
            self.overtaken.extend(numbers.split(' ').filter_map(|number| number.parse::<i32>().ok()));
        }
        self.story.push(format!("--- member {member}\n{stderr}"));
    }

    pub(super) fn start_endpoint(&mut self) {
        let data = self.folder.path().join("data").display().to_string();
        let faults = &self.plan.faults[self.life % self.plan.faults.len()];
        let mut arguments = vec!["--data-dir", data.as_str()];
        faults.iter().for_each(|fault| arguments.extend(["--fault", fault]));
        let endpoint = Pair::start_with(&arguments);
        self.tdengine.lead_to(endpoint.tdengine.parse().expect("an address"));
        self.endpoint = Some(endpoint);
    }

    pub(super) fn stop_endpoint(&mut self, signal: Signal) {
        let endpoint = self.endpoint.take().expect("an endpoint");
        endpoint.process.signal(signal);
        let ended = endpoint.process.wait();
        for line in ended.stderr.lines().filter(|line| line.contains("a fault strikes")) {
            let action = line.split("action=").nth(1).unwrap_or_default();
            let kind = action.split([' ', '(', '{']).next().unwrap_or_default();
            let kind = match kind {
                "Answer" => "answer of the endpoint: an error",
                "Delay" => "answer of the endpoint: late",
                "Stall" => "answer of the endpoint: never",
                "DropBefore" => "connection dropped before an operation",
                _ => "connection dropped after an operation",
            };
            *self.faults.entry(kind.to_owned()).or_default() += 1;
        }
        self.story.push(format!("--- endpoint, life {}\n{}", self.life, ended.stderr));
    }
}
