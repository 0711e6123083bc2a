//! `[dead_letter]`, `[policy]` and their flags.

use std::fmt;
use std::str::FromStr;

use kafka_taos::config::file;
use kafka_taos::dead_letter::{DeadLetterSetting, Limit};
use kafka_taos::mapping::{Policies, Policy};

use super::Failure;
use super::layers::Layers;
use super::units::bytes;

/// What becomes of messages that cannot be written.
#[derive(Clone, Debug)]
pub(crate) struct Aside {
    pub(crate) to: DeadLetterSetting,
    pub(crate) limit: Option<Limit>,
    pub(crate) policies: Policies,
}

/// A limit, or `none`.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeadLetterLimit(Option<Limit>);

impl FromStr for DeadLetterLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" { Ok(Self(None)) } else { text.parse().map(|limit| Self(Some(limit))) }
    }
}

impl fmt::Display for DeadLetterLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(limit) => write!(f, "{limit}"),
            None => f.write_str("none"),
        }
    }
}

/// Which messages a policy is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PolicyKind {
    Undecodable,
    TooLarge,
    Tombstone,
    NoTimestamp,
}

impl PolicyKind {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Undecodable, "undecodable"),
        (Self::TooLarge, "too_large"),
        (Self::Tombstone, "tombstone"),
        (Self::NoTimestamp, "no_timestamp"),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    fn of(self, policies: &mut Policies) -> &mut Policy {
        match self {
            Self::Undecodable => &mut policies.undecodable,
            Self::TooLarge => &mut policies.too_large,
            Self::Tombstone => &mut policies.tombstone,
            Self::NoTimestamp => &mut policies.no_timestamp,
        }
    }
}

/// `tombstone=drop`.
pub(super) fn policy(text: &str) -> Result<(PolicyKind, Policy), String> {
    let Some((name, what)) = text.split_once('=') else {
        return Err(format!("{text:?} is not KIND=WHAT, as in tombstone=drop"));
    };
    let kind = PolicyKind::ALL.iter().find(|(_, known)| *known == name.replace('-', "_"));
    let (kind, _) =
        kind.ok_or_else(|| format!("{name:?} is none of undecodable, too_large, tombstone, no_timestamp"))?;
    Ok((*kind, what.parse()?))
}

impl Layers<'_> {
    /// Where messages go that cannot be written, and which.
    pub(super) fn aside(&mut self, file: file::DeadLetter, policy: file::PolicyConfig) -> Result<Aside, Failure> {
        let to_in_file = self.parsed("dead_letter.to", file.to)?;
        let to = self.pick("dead-letter", "dead_letter", to_in_file, DeadLetterSetting::None);
        let limit_in_file = self.parsed("dead_letter.limit", file.limit)?;
        let default = DeadLetterLimit(Some(Limit::default()));
        let DeadLetterLimit(limit) = self.pick("dead-letter-limit", "dead_letter_limit", limit_in_file, default);

        let in_file = [policy.undecodable, policy.too_large, policy.tombstone, policy.no_timestamp];
        let mut chosen = Vec::new();
        for ((kind, name), text) in PolicyKind::ALL.into_iter().zip(in_file) {
            let policy = self.parsed(&format!("policy.{name}"), text)?;
            chosen.extend(policy.map(|policy| (kind, policy)));
        }
        let show = |(kind, policy): &(PolicyKind, Policy)| format!("{}={policy}", kind.name());
        let flags = self.pick_many("policy", "policy", Some(chosen.clone()), Vec::new(), show);
        let bytes_in_file =
            self.parsed_by("policy.max_message_bytes", policy.max_message_bytes.map(|b| b.to_string()), bytes)?;
        // None is no limit; as a number it is one that no message reaches.
        let show = |most: &usize| if *most == usize::MAX { "none".to_owned() } else { most.to_string() };
        let most = self.pick_shown("max-message-bytes", "max_message_bytes", bytes_in_file, usize::MAX, show);

        let mut policies = Policies { max_message_bytes: (most < usize::MAX).then_some(most), ..Policies::default() };
        // Flags win per kind, not as a whole.
        for (kind, policy) in chosen.into_iter().chain(flags) {
            *kind.of(&mut policies) = policy;
        }
        Ok(Aside { to, limit, policies })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_read_with_what_it_is_for() {
        assert_eq!(policy("tombstone=drop"), Ok((PolicyKind::Tombstone, Policy::Drop)));
        assert_eq!(policy("too-large=stop"), Ok((PolicyKind::TooLarge, Policy::Stop)));
        for text in ["tombstone", "tombstones=drop", "tombstone=ignore"] {
            assert!(policy(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_limit_may_be_none() {
        for text in ["none", "1000/1m"] {
            assert_eq!(text.parse::<DeadLetterLimit>().unwrap().to_string(), text);
        }
    }
}
