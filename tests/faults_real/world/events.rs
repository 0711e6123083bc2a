//! What befalls a schedule's processes, as its plan has it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{CROWD, Member, PATIENT, Step, World, block_on};
use crate::common::process::Signal;
use crate::common::proxy::{Proxy, Weather};
use crate::common::until;
use crate::plan::{Event, Trouble};

impl World<'_> {
    pub(super) fn take(&mut self, step: Step) {
        match step {
            Step::Thaw(slot) => {
                self.tell(format!("member {slot} goes on"));
                let frozen = self.members.iter().find(|member| member.slot == slot);
                frozen.expect("nobody ends a member that is stopped").process.signal(Signal::CONT);
            }
            Step::ClearTdengine => self.tdengine.set(Weather::Clear),
            Step::ClearKafka => self.clear_kafka(),
            Step::Crash => {
                // Nobody left to kill: then the stall alone.
                let _ = self.kill_one();
                self.tdengine.cut();
                self.tdengine.set(Weather::Clear);
            }
            Step::StartEndpoint => {
                self.life += 1;
                self.start_endpoint();
                // By the door that is open.
                self.slots += 1 - self.slots % 2;
                self.join(None);
            }
            Step::Event(event) => {
                self.tell(format!("{event:?}"));
                if self.happen(event) {
                    *self.faults.entry(event.kind()).or_default() += 1;
                } else {
                    self.tell("which there was nothing left to befall");
                }
            }
        }
    }

    /// Whether there was anything for it to befall.
    pub(super) fn happen(&mut self, event: Event) -> bool {
        match event {
            Event::Join if self.members.len() < CROWD => self.join(None),
            Event::Join => return false,
            Event::Kill => return self.kill_one(),
            Event::KillStalled => {
                self.tdengine.set(Weather::Stalled);
                // Long enough for a commit.
                self.soon(Duration::from_millis(800), Step::Crash);
            }
            Event::Isolate { .. } if self.endpoint.is_none() => return false,
            Event::Isolate { away, cut_off } => {
                self.stop_endpoint(Signal::KILL);
                self.doors[0].set(Weather::Stalled);
                self.soon(away, Step::StartEndpoint);
                self.soon(cut_off, Step::ClearKafka);
            }
            Event::Dismiss => {
                let member = if self.members.len() > 1 { self.pick() } else { None };
                let Some(member) = member else { return false };
                member.process.signal(Signal::TERM);
                self.leaving.push(member.process);
            }
            Event::Freeze(time) => {
                let member = self.members.iter_mut().find(|member| !member.was_frozen);
                let Some(member) = member else { return false };
                member.was_frozen = true;
                member.process.signal(Signal::STOP);
                let slot = member.slot;
                self.soon(time, Step::Thaw(slot));
                // Somebody to take over.
                if self.members.len() < 2 {
                    self.join(None);
                }
            }
            Event::Storm => {
                for turn in 0..6 {
                    let next = if turn % 2 == 0 { Event::Join } else { Event::Dismiss };
                    self.soon(Duration::from_millis(300) * turn, Step::Event(next));
                }
            }
            // It is away already.
            Event::KillEndpoint | Event::RestartEndpoint if self.endpoint.is_none() => return false,
            Event::KillEndpoint | Event::RestartEndpoint => {
                let signal = if event == Event::KillEndpoint { Signal::KILL } else { Signal::TERM };
                self.stop_endpoint(signal);
                self.life += 1;
                self.start_endpoint();
            }
            Event::KillBroker | Event::RestartBroker => {
                let mut kafka = self.kafka.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                if event == Event::KillBroker {
                    kafka.kill()
                } else {
                    kafka.stop()
                }
                kafka.restart();
            }
            Event::Tdengine(trouble) => {
                if let Some(time) = befall(&self.tdengine, trouble) {
                    self.soon(time, Step::ClearTdengine);
                }
            }
            Event::Kafka(trouble, all) => {
                let doors = self.doors;
                for door in &doors[..if all { 2 } else { 1 }] {
                    if let Some(time) = befall(door, trouble) {
                        self.soon(time, Step::ClearKafka);
                    }
                }
            }
            Event::AddPartitions => {
                let (admin, partitions) = (self.admin(), self.plan.partitions_at_last);
                let grown = || block_on(admin.grow(&self.topic, partitions as usize, PATIENT)).ok();
                // Told by an error if it was done by an attempt that was not answered.
                until("partitions are added", || {
                    grown()
                        .or_else(|| (admin.partitions(&self.topic, PATIENT).ok()? == partitions as usize).then_some(()))
                });
                self.partitions.store(partitions, Ordering::Relaxed);
            }
        }
        true
    }

    pub(super) fn kill_one(&mut self) -> bool {
        let Some(member) = self.pick() else { return false };
        member.process.signal(Signal::KILL);
        let (slot, was_frozen, ended) = (member.slot, member.was_frozen, member.process.wait());
        self.ended(slot, was_frozen, &ended.stderr);
        self.join(Some(slot));
        true
    }

    pub(super) fn clear_kafka(&self) {
        self.doors.iter().for_each(|door| door.set(Weather::Clear));
    }

    /// A member that may be ended, taken out.
    pub(super) fn pick(&mut self) -> Option<Member> {
        // One that was stopped stays, so that it tells what it lost.
        let at = self.members.iter().position(|member| !member.was_frozen)?;
        Some(self.members.remove(at))
    }
}

/// How long it lasts, if it lasts.
fn befall(proxy: &Proxy, trouble: Trouble) -> Option<Duration> {
    match trouble {
        Trouble::Cut => proxy.cut(),
        Trouble::CutAt(way) => proxy.cut_at(way),
        Trouble::During(weather, time) => {
            proxy.set(weather);
            return Some(time);
        }
    }
    None
}
