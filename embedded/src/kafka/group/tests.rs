//! The protocol, request by request, on a clock of its own.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use tokio::sync::oneshot::Receiver;
use tokio::time::Instant;

use super::{Committed, Group, Identity, Join, JoinAnswer, JoinRefusal, Joined, State, Sync, SyncAnswer};

const SESSION: Duration = Duration::from_secs(10);
const REBALANCE: Duration = Duration::from_secs(60);

struct Test {
    group: Group,
    now: Instant,
}

impl Test {
    fn new() -> Self {
        Test { group: Group::default(), now: Instant::now() }
    }

    fn after(&mut self, duration: Duration) {
        self.now += duration;
        self.group.tick(self.now);
    }

    fn join(&mut self, join: Join) -> Receiver<JoinAnswer> {
        self.group.join(join, self.now)
    }

    fn sync(&mut self, joined: &Joined, assignments: &[(&str, &'static str)]) -> Receiver<SyncAnswer> {
        let to_all = assignments.iter().map(|(id, data)| ((*id).to_owned(), Bytes::from_static(data.as_bytes())));
        let sync = Sync {
            who: who(joined),
            protocol_type: Some("consumer"),
            protocol: Some(&joined.protocol),
            assignments: to_all.collect(),
        };
        self.group.sync(sync, self.now)
    }

    fn beat(&mut self, joined: &Joined) -> Result<(), ResponseError> {
        self.group.heartbeat(who(joined), self.now)
    }

    /// A stable group of members "a", "b", ...; the first leads.
    fn stable(names: &[&str]) -> (Self, Vec<Joined>) {
        let mut test = Test::new();
        let mut joined: Vec<Joined> = Vec::new();
        for name in names {
            let waiting = test.join(member(name));
            let again: Vec<_> =
                joined.iter().map(|j| test.join(Join { member_id: j.member_id.clone(), ..member("") })).collect();
            joined = again.into_iter().chain([waiting]).map(|mut answer| now(&mut answer).unwrap()).collect();
        }
        let data: Vec<_> = names.iter().map(|name| (*name, "work")).collect();
        let mut answers: Vec<_> = joined.iter().map(|j| test.sync(j, &data)).collect();
        assert!(answers.iter_mut().all(|answer| now(answer).unwrap() == "work"));
        assert_eq!(test.group.state(), State::Stable);
        (test, joined)
    }
}

fn who(joined: &Joined) -> Identity<'_> {
    Identity { member_id: &joined.member_id, instance_id: None, generation: joined.generation }
}

/// A new member that gets its name as its id.
fn member(name: &str) -> Join {
    Join {
        member_id: String::new(),
        fresh_member_id: name.to_owned(),
        instance_id: None,
        client_id: "client".to_owned(),
        client_host: "127.0.0.1".to_owned(),
        session_timeout: SESSION,
        rebalance_timeout: REBALANCE,
        protocol_type: "consumer".to_owned(),
        protocols: protocols(&["range"]),
        id_required_first: false,
        may_skip_assignment: false,
        max_members: 100,
    }
}

fn static_member(name: &str, instance: &str) -> Join {
    Join { instance_id: Some(instance.to_owned()), ..member(name) }
}

fn protocols(names: &[&str]) -> Vec<(String, Bytes)> {
    names.iter().map(|name| ((*name).to_owned(), Bytes::from_static(b"topics"))).collect()
}

fn now<T>(answer: &mut Receiver<T>) -> T {
    answer.try_recv().expect("an answer")
}

fn waits<T>(answer: &mut Receiver<T>) -> bool {
    answer.try_recv().is_err()
}

fn refused(answer: &mut Receiver<JoinAnswer>) -> ResponseError {
    now(answer).unwrap_err().error
}

#[test]
fn a_lone_member_leads_and_gets_what_it_assigns() {
    let mut test = Test::new();
    let joined = now(&mut test.join(member("a"))).unwrap();
    assert_eq!((joined.generation, &*joined.leader, &*joined.protocol), (1, "a", "range"));
    assert_eq!(joined.members, [("a".to_owned(), None, Bytes::from_static(b"topics"))]);
    assert_eq!(now(&mut test.sync(&joined, &[("a", "all")])).unwrap(), "all");
    assert_eq!(test.beat(&joined), Ok(()));
}

#[test]
fn a_dynamic_member_must_come_back_with_its_id() {
    let mut test = Test::new();
    let asked = Join { id_required_first: true, ..member("a") };
    let JoinRefusal { error, member_id } = now(&mut test.join(asked.clone())).unwrap_err();
    assert_eq!((error, &*member_id), (ResponseError::MemberIdRequired, "a"));
    assert_eq!(test.group.state(), State::Empty);
    assert_eq!(now(&mut test.join(Join { member_id, ..asked.clone() })).unwrap().member_id, "a");
    let stranger = Join { member_id: "stranger".to_owned(), ..asked.clone() };
    assert_eq!(refused(&mut test.join(stranger)), ResponseError::UnknownMemberId);
    let lapsed = Join { fresh_member_id: "b".to_owned(), ..asked };
    assert_eq!(refused(&mut test.join(lapsed.clone())), ResponseError::MemberIdRequired);
    test.after(SESSION);
    assert_eq!(refused(&mut test.join(Join { member_id: "b".to_owned(), ..lapsed })), ResponseError::UnknownMemberId);
}

#[test]
fn a_second_member_makes_the_first_join_again() {
    let (mut test, first) = Test::stable(&["a"]);
    let mut second = test.join(member("b"));
    assert!(waits(&mut second));
    assert_eq!(test.beat(&first[0]), Err(ResponseError::RebalanceInProgress));
    assert_eq!(now(&mut test.sync(&first[0], &[])), Err(ResponseError::RebalanceInProgress));
    let mut again = test.join(Join { member_id: "a".to_owned(), ..member("") });
    let (again, second) = (now(&mut again).unwrap(), now(&mut second).unwrap());
    assert_eq!((again.generation, again.members.len()), (2, 2));
    assert_eq!((&*second.leader, second.members.len()), ("a", 0), "only the leader is told of the others");
    let mut waiting = test.sync(&second, &[]);
    assert!(waits(&mut waiting));
    assert_eq!(test.beat(&second), Ok(()), "heartbeats are fine while the leader assigns");
    now(&mut test.sync(&again, &[("a", "0"), ("b", "1")])).unwrap();
    assert_eq!(now(&mut waiting).unwrap(), "1");
    assert_eq!(test.beat(&first[0]), Err(ResponseError::IllegalGeneration));
}

#[test]
fn a_member_that_was_not_mentioned_gets_nothing() {
    let (mut test, _) = Test::stable(&["a"]);
    let mut second = test.join(member("b"));
    let leader = now(&mut test.join(Join { member_id: "a".to_owned(), ..member("") })).unwrap();
    let second = now(&mut second).unwrap();
    now(&mut test.sync(&leader, &[("a", "all")])).unwrap();
    assert_eq!(now(&mut test.sync(&second, &[])).unwrap(), "");
}

#[test]
fn a_session_ends_when_heartbeats_stop() {
    let (mut test, joined) = Test::stable(&["a", "b"]);
    test.after(SESSION / 2);
    assert_eq!(test.beat(&joined[1]), Ok(()));
    assert_eq!(test.group.next_deadline(), Some(test.now + SESSION / 2));
    test.after(SESSION / 2);
    assert_eq!(test.beat(&joined[0]), Err(ResponseError::UnknownMemberId));
    assert_eq!(test.beat(&joined[1]), Err(ResponseError::RebalanceInProgress));
    let again = now(&mut test.join(Join { member_id: "b".to_owned(), ..member("") })).unwrap();
    assert_eq!((&*again.leader, again.members.len()), ("b", 1));
}

#[test]
fn a_member_that_waits_for_others_is_alive() {
    let (mut test, _) = Test::stable(&["a", "b"]);
    let mut again = test.join(Join { member_id: "a".to_owned(), protocols: protocols(&["range", "x"]), ..member("") });
    test.after(SESSION * 2);
    let again = now(&mut again).unwrap();
    assert_eq!(again.members.len(), 1, "the other one's session ended, this one's did not");
}

#[test]
fn who_does_not_join_in_time_is_out() {
    let (mut test, joined) = Test::stable(&["a", "b"]);
    let mut third = test.join(member("c"));
    let mut again = test.join(Join { member_id: "a".to_owned(), ..member("") });
    for _ in 0..59 {
        test.after(Duration::from_secs(1));
        assert_eq!(test.beat(&joined[1]), Err(ResponseError::RebalanceInProgress));
    }
    assert!(waits(&mut again));
    test.after(Duration::from_secs(1));
    assert_eq!(now(&mut again).unwrap().members.len(), 2);
    now(&mut third).unwrap();
    assert_eq!(test.beat(&joined[1]), Err(ResponseError::UnknownMemberId));
}

#[test]
fn who_does_not_sync_in_time_is_out() {
    let (mut test, _) = Test::stable(&["a"]);
    let mut second = test.join(member("b"));
    let leader = now(&mut test.join(Join { member_id: "a".to_owned(), ..member("") })).unwrap();
    let second = now(&mut second).unwrap();
    now(&mut test.sync(&leader, &[])).unwrap();
    for _ in 0..60 {
        let _ = (test.beat(&leader), test.beat(&second));
        test.after(Duration::from_secs(1));
    }
    assert_eq!(test.beat(&second), Err(ResponseError::UnknownMemberId));
    assert_eq!(test.beat(&leader), Err(ResponseError::RebalanceInProgress));
}

#[test]
fn a_leader_that_dies_before_it_assigns_is_replaced() {
    let (mut test, _) = Test::stable(&["a"]);
    let mut second = test.join(member("b"));
    let leader = now(&mut test.join(Join { member_id: "a".to_owned(), ..member("") })).unwrap();
    let second = now(&mut second).unwrap();
    let mut waiting = test.sync(&second, &[]);
    test.after(SESSION);
    assert_eq!(now(&mut waiting), Err(ResponseError::RebalanceInProgress));
    let again = now(&mut test.join(Join { member_id: "b".to_owned(), ..member("") })).unwrap();
    assert_eq!((&*again.leader, again.generation), ("b", leader.generation + 1));
}

#[test]
fn a_member_that_lost_its_answer_gets_it_again() {
    let (mut test, joined) = Test::stable(&["a", "b"]);
    let follower = test.join(Join { member_id: "b".to_owned(), ..member("") });
    assert_eq!(now(&mut { follower }).unwrap().generation, joined[1].generation);
    assert_eq!(test.group.state(), State::Stable);
    let mut leader = test.join(Join { member_id: "a".to_owned(), ..member("") });
    assert!(waits(&mut leader), "a leader that joins again wants a rebalance");
    assert_eq!(test.group.state(), State::Preparing);
}

#[test]
fn leaving_hands_the_work_on_at_once() {
    let (mut test, joined) = Test::stable(&["a", "b"]);
    assert_eq!(test.group.leave("a", None, test.now), Ok(()));
    assert_eq!(test.group.leave("a", None, test.now), Err(ResponseError::UnknownMemberId));
    assert_eq!(test.beat(&joined[1]), Err(ResponseError::RebalanceInProgress));
    assert_eq!(test.group.leave("b", None, test.now), Ok(()));
    assert_eq!(test.group.state(), State::Empty);
    assert!(test.group.is_void() && test.group.next_deadline().is_none());
}

#[test]
fn a_static_member_takes_its_place_back_without_a_rebalance() {
    let mut test = Test::new();
    let leader = now(&mut test.join(static_member("a1", "a"))).unwrap();
    let mut second = test.join(static_member("b1", "b"));
    let leader = now(&mut test.join(Join { member_id: leader.member_id, ..static_member("", "a") })).unwrap();
    let second = now(&mut second).unwrap();
    now(&mut test.sync(&leader, &[("a1", "0"), ("b1", "1")])).unwrap();
    now(&mut test.sync(&second, &[])).unwrap();

    let back = now(&mut test.join(static_member("b2", "b"))).unwrap();
    assert_eq!((&*back.member_id, back.generation), ("b2", second.generation));
    assert_eq!(now(&mut test.sync(&back, &[])).unwrap(), "1");
    assert_eq!(test.beat(&leader), Ok(()));
    let fenced = Identity { instance_id: Some("b"), ..who(&second) };
    assert_eq!(test.group.heartbeat(fenced, test.now), Err(ResponseError::FencedInstanceId));
    let old = Join { member_id: "b1".to_owned(), ..static_member("", "b") };
    assert_eq!(refused(&mut test.join(old)), ResponseError::FencedInstanceId);
    assert_eq!(test.group.leave("b1", Some("b"), test.now), Err(ResponseError::FencedInstanceId));
}

#[test]
fn a_static_leader_that_comes_back_does_not_assign_anew() {
    for may_skip in [false, true] {
        let mut test = Test::new();
        let joined = now(&mut test.join(static_member("a1", "a"))).unwrap();
        now(&mut test.sync(&joined, &[("a1", "all")])).unwrap();
        let back = Join { may_skip_assignment: may_skip, ..static_member("a2", "a") };
        let back = now(&mut test.join(back)).unwrap();
        assert_eq!(back.generation, joined.generation);
        assert_eq!(
            (back.skip_assignment, back.leader == "a2", back.members.len() == 1),
            (may_skip, may_skip, may_skip)
        );
        assert_eq!(now(&mut test.sync(&back, &[])).unwrap(), "all");
    }
}

#[test]
fn a_static_member_keeps_its_place_through_a_rebalance_and_loses_it_with_its_session() {
    let mut test = Test::new();
    let joined = now(&mut test.join(static_member("a", "a"))).unwrap();
    now(&mut test.sync(&joined, &[("a", "all")])).unwrap();
    let slow = Join { session_timeout: REBALANCE * 2, ..static_member("b", "b") };
    let mut second = test.join(slow);
    let _beat = test.beat(&joined);
    test.after(SESSION);
    let second = now(&mut second).unwrap();
    assert_eq!(second.members.len(), 1, "the silent one is out when its session ends");
}

#[test]
fn an_administrator_can_remove_a_static_member_by_its_instance() {
    let mut test = Test::new();
    now(&mut test.join(static_member("a", "a"))).unwrap();
    assert_eq!(test.group.leave("", Some("other"), test.now), Err(ResponseError::UnknownMemberId));
    assert_eq!(test.group.leave("", Some("a"), test.now), Ok(()));
    assert_eq!(test.group.state(), State::Empty);
}

#[test]
fn the_protocol_is_one_that_all_know_and_most_prefer() {
    let mut test = Test::new();
    let joined = now(&mut test.join(Join { protocols: protocols(&["x", "y", "z"]), ..member("a") })).unwrap();
    assert_eq!(joined.protocol, "x");
    let none = Join { protocols: protocols(&["other"]), ..member("n") };
    assert_eq!(refused(&mut test.join(none)), ResponseError::InconsistentGroupProtocol);
    let other_type = Join { protocol_type: "connect".to_owned(), ..member("n") };
    assert_eq!(refused(&mut test.join(other_type)), ResponseError::InconsistentGroupProtocol);
    let mut others: Vec<_> =
        ["b", "c"].map(|name| test.join(Join { protocols: protocols(&["z", "y"]), ..member(name) })).into();
    let mut first = test.join(Join { member_id: "a".to_owned(), protocols: protocols(&["x", "y", "z"]), ..member("") });
    assert_eq!(now(&mut first).unwrap().protocol, "z");
    assert!(others.iter_mut().all(|answer| now(answer).unwrap().protocol == "z"));
}

#[test]
fn a_full_group_takes_nobody_more() {
    let (mut test, _) = Test::stable(&["a", "b"]);
    let third = Join { max_members: 2, ..member("c") };
    assert_eq!(refused(&mut test.join(third)), ResponseError::GroupMaxSizeReached);
    let known = Join { max_members: 2, member_id: "b".to_owned(), ..member("") };
    now(&mut test.join(known)).unwrap();
}

#[test]
fn only_members_of_this_generation_commit() {
    let (mut test, joined) = Test::stable(&["a"]);
    let now_ = test.now;
    let committed = || Committed { offset: 5, leader_epoch: 0, metadata: String::new() };
    assert_eq!(test.group.may_commit(who(&joined[0]), now_), Ok(()));
    let late = Identity { generation: 0, ..who(&joined[0]) };
    assert_eq!(test.group.may_commit(late, now_), Err(ResponseError::IllegalGeneration));
    let stranger = Identity { member_id: "x", ..who(&joined[0]) };
    assert_eq!(test.group.may_commit(stranger, now_), Err(ResponseError::UnknownMemberId));
    let outside = Identity { member_id: "", instance_id: None, generation: -1 };
    assert_eq!(test.group.may_commit(outside, now_), Err(ResponseError::UnknownMemberId));
    test.group.leave("a", None, now_).unwrap();
    assert_eq!(test.group.may_commit(outside, now_), Ok(()));
    test.group.commit("t", 0, committed());
    assert!(!test.group.is_void(), "a group with offsets is remembered");
    assert!(test.group.forget("t", 0) && !test.group.forget("t", 0));
    assert!(test.group.is_void());
}

#[test]
fn a_commit_waits_out_the_assignment_but_not_the_joining() {
    let (mut test, joined) = Test::stable(&["a"]);
    let _second = test.join(member("b"));
    assert_eq!(test.group.may_commit(who(&joined[0]), test.now), Ok(()), "work done may still be committed");
    let again = now(&mut test.join(Join { member_id: "a".to_owned(), ..member("") })).unwrap();
    assert_eq!(test.group.may_commit(who(&again), test.now), Err(ResponseError::RebalanceInProgress));
}

#[test]
fn a_client_that_believes_in_another_protocol_is_told() {
    let (mut test, joined) = Test::stable(&["a"]);
    let sync =
        |protocol_type, protocol| Sync { who: who(&joined[0]), protocol_type, protocol, assignments: HashMap::new() };
    let inconsistent = Err(ResponseError::InconsistentGroupProtocol);
    assert_eq!(now(&mut test.group.sync(sync(Some("connect"), None), test.now)), inconsistent);
    assert_eq!(now(&mut test.group.sync(sync(None, Some("roundrobin")), test.now)), inconsistent);
    assert_eq!(now(&mut test.group.sync(sync(None, None), test.now)).unwrap(), "work");
}
