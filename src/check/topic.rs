//! Topics, their durability, and how far a group has read them.

use std::collections::BTreeMap;

use super::Findings;
use crate::message::Offset;
use crate::mq::kafka::{StartOffset, TopicInfo};

/// A topic as its brokers describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicFacts {
    /// The topic.
    pub info: TopicInfo,
    /// All its settings, defaults among them; empty where they may not be read.
    pub config: BTreeMap<String, String>,
}

/// What a group has to do with a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupFacts {
    /// The group.
    pub group: String,
    /// Its state in the broker's words, and how many members it has; `None` where there is no such group.
    pub state: Option<(String, usize)>,
    /// What it has committed, a partition each.
    pub committed: Vec<Option<Offset>>,
    /// Where it begins where it has committed nothing.
    pub start: StartOffset,
}

const DAY_MS: i64 = 86_400_000;

/// Judges a topic.
pub fn judge_topic(facts: &TopicFacts, workers: usize, findings: &mut Findings) {
    let TopicFacts { info, config } = facts;
    let name = &info.topic;
    let messages: i64 = info.partitions.iter().map(|partition| partition.end - partition.first).sum();
    findings
        .info("topic", format!("topic {name} has {} partitions, {messages} offsets in them", info.partitions.len()));

    let leaderless: Vec<_> = info.partitions.iter().filter(|partition| partition.leader < 0).collect();
    if let Some(first) = leaderless.first() {
        findings.error(
            "topic-no-leader",
            format!("{} partitions of {name} have no leader, the first is {}", leaderless.len(), first.partition),
            "start the brokers that have them: nothing of these partitions can be read",
        );
    }
    let lagging = info.partitions.iter().filter(|partition| partition.in_sync.len() < partition.replicas.len()).count();
    if lagging > 0 {
        findings.warning(
            "topic-under-replicated",
            format!("{lagging} partitions of {name} have replicas that are not up to date"),
            "look at the brokers: another failure may lose messages before they are read",
        );
    }
    let replicas = info.partitions.iter().map(|partition| partition.replicas.len()).min().unwrap_or(0);
    let number = |key: &str| config.get(key).and_then(|text| text.parse::<i64>().ok());
    if replicas == 1 {
        findings.warning(
            "topic-one-replica",
            format!("topic {name} is kept on one broker: it is lost with its disk"),
            "in production create topics with --replication-factor 3 and min.insync.replicas=2",
        );
    } else if number("min.insync.replicas") == Some(1) {
        findings.warning(
            "topic-min-insync",
            format!("topic {name} acknowledges messages that one broker alone has (min.insync.replicas=1)"),
            format!("topic alter --topic {name} --topic-config min.insync.replicas=2"),
        );
    }
    if let Some(retention) = number("retention.ms").filter(|ms| (0..DAY_MS).contains(ms)) {
        findings.warning(
            "topic-retention",
            format!(
                "topic {name} drops messages after {} minutes: an outage longer than that loses them",
                retention / 60_000
            ),
            format!("topic alter --topic {name} --topic-config retention.ms=604800000"),
        );
    }
    if config.get("cleanup.policy").is_some_and(|policy| policy.contains("compact")) {
        findings.warning(
            "topic-compacted",
            format!("topic {name} is compacted: of each key only the last message stays, and messages without a payload come"),
            "a series of values needs cleanup.policy=delete; say what becomes of tombstones with --policy tombstone=drop",
        );
    }
    if info.partitions.len() < workers {
        findings.info(
            "workers-idle",
            format!(
                "{workers} workers share {} partitions of {name}: a partition is one worker's, so some have nothing to do",
                info.partitions.len()
            ),
        );
    }
}

/// Judges how far a group has read a topic.
pub fn judge_group(topic: &TopicFacts, facts: &GroupFacts, findings: &mut Findings) {
    let GroupFacts { group, state, committed, start } = facts;
    let name = &topic.info.topic;
    let partitions = || topic.info.partitions.iter().zip(committed);
    if committed.iter().all(Option::is_none) {
        findings.info("group-new", format!("group {group} has committed nothing of {name}: it begins at {start}"));
        let gone: i64 = topic.info.partitions.iter().map(|partition| partition.end - partition.first).sum();
        if *start == StartOffset::Latest && gone > 0 {
            findings.warning(
                "group-skips",
                format!("what {name} holds now, {gone} offsets, will not be read: the group begins at its end"),
                "--offset earliest reads it",
            );
        }
    } else {
        let lag: i64 = partitions().map(|(of, at)| of.end - at.unwrap_or(of.first).clamp(of.first, of.end)).sum();
        findings.info("group-lag", format!("group {group} is {lag} offsets behind in {name}"));
    }
    if let Some((state, members)) = state {
        findings.info("group-state", format!("group {group} is in state {state:?} with {members} members"));
    }
    for (partition, committed) in partitions() {
        let Some(committed) = *committed else { continue };
        let source = format!("{name}/{}", partition.partition);
        if committed < partition.first {
            findings.error(
                "group-lost",
                format!(
                    "{source}: offsets {committed} to {} were dropped by retention before group {group} read them",
                    partition.first - 1
                ),
                "they are lost to it; consume continues at what is left. Raise retention.ms, and look at what held the group up",
            );
        } else if committed > partition.end {
            findings.error(
                "group-beyond",
                format!(
                    "{source}: group {group} has committed {committed}, and the partition ends at {}",
                    partition.end
                ),
                "the topic was made anew: use a new group, or set this one's offsets back",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Severity::{Error, Info, Warning};
    use super::*;
    use crate::mq::kafka::PartitionInfo;

    fn topic(replicas: usize, config: &[(&str, &str)]) -> TopicFacts {
        let partition = |partition| PartitionInfo {
            partition,
            leader: 1,
            replicas: (1..=replicas as i32).collect(),
            in_sync: (1..=replicas as i32).collect(),
            first: 10,
            end: 20,
        };
        let config = config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let info =
            TopicInfo { topic: "t".into(), partitions: vec![partition(0), partition(1)], config: BTreeMap::new() };
        TopicFacts { info, config }
    }

    fn judged(facts: &TopicFacts, workers: usize) -> Vec<(&'static str, super::super::Severity)> {
        let mut findings = Findings::default();
        judge_topic(facts, workers, &mut findings);
        findings.codes()
    }

    #[test]
    fn a_topic_that_keeps_its_messages_is_only_named() {
        let safe =
            topic(3, &[("min.insync.replicas", "2"), ("retention.ms", "604800000"), ("cleanup.policy", "delete")]);
        assert_eq!(judged(&safe, 2), [("topic", Info)]);
        assert_eq!(judged(&topic(3, &[("retention.ms", "-1")]), 2), [("topic", Info)]);
    }

    #[test]
    fn what_may_lose_messages_is_told() {
        let weak = topic(2, &[("min.insync.replicas", "1"), ("retention.ms", "60000"), ("cleanup.policy", "compact")]);
        assert_eq!(
            judged(&weak, 4),
            [
                ("topic", Info),
                ("topic-min-insync", Warning),
                ("topic-retention", Warning),
                ("topic-compacted", Warning),
                ("workers-idle", Info)
            ]
        );
        let mut broken = topic(1, &[]);
        broken.info.partitions[1].leader = -1;
        broken.info.partitions[0].in_sync.clear();
        assert_eq!(
            judged(&broken, 1),
            [
                ("topic", Info),
                ("topic-no-leader", Error),
                ("topic-under-replicated", Warning),
                ("topic-one-replica", Warning)
            ]
        );
    }

    #[test]
    fn a_group_is_held_against_what_is_there() {
        let judged = |committed: &[Option<Offset>], start| {
            let facts = GroupFacts { group: "g".into(), state: None, committed: committed.to_vec(), start };
            let mut findings = Findings::default();
            judge_group(&topic(3, &[]), &facts, &mut findings);
            findings
        };
        assert_eq!(judged(&[None, None], StartOffset::Earliest).codes(), [("group-new", Info)]);
        let skips = judged(&[None, None], StartOffset::Latest).codes();
        assert_eq!(skips, [("group-new", Info), ("group-skips", Warning)]);
        let behind = judged(&[Some(15), None], StartOffset::Earliest);
        assert!(behind.0[0].message.contains("15 offsets behind"), "{behind:?}");
        let lost = judged(&[Some(5), Some(25)], StartOffset::Earliest);
        assert_eq!(lost.codes(), [("group-lag", Info), ("group-lost", Error), ("group-beyond", Error)]);
        assert!(lost.0[1].message.contains("t/0: offsets 5 to 9"), "{lost:?}");
    }
}
