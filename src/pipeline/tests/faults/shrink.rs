//! A schedule that fails, cut down to one that fails still.

use super::judge;
use super::schedule::{Act, Schedule};

/// Runs that the cutting down may take.
const MOST_RUNS: usize = 600;

pub(super) fn shrink(mut schedule: Schedule, mut why: String) -> (Schedule, String) {
    let mut runs = 0;
    let mut fails = |schedule: &Schedule| {
        runs += 1;
        if runs > MOST_RUNS { None } else { judge(schedule).err() }
    };
    // Steps first, in ever smaller pieces, then messages.
    loop {
        let before = size(&schedule);
        let mut piece = schedule.steps.len().div_ceil(2);
        while piece > 0 {
            let mut at = 0;
            while at < schedule.steps.len() {
                let mut smaller = schedule.clone();
                smaller.steps.drain(at..(at + piece).min(smaller.steps.len()));
                match fails(&smaller) {
                    Some(reason) => (schedule, why) = (smaller, reason),
                    None => at += piece,
                }
            }
            piece = if piece == 1 { 0 } else { piece.div_ceil(2) };
        }
        for step in 0..schedule.steps.len() {
            let count = |schedule: &Schedule| match &schedule.steps[step].act {
                Act::Publish(drafts) => drafts.len(),
                _ => 0,
            };
            let mut piece = count(&schedule).div_ceil(2);
            while piece > 0 {
                let mut at = 0;
                while at < count(&schedule) {
                    let mut smaller = schedule.clone();
                    if let Act::Publish(drafts) = &mut smaller.steps[step].act {
                        let end = (at + piece).min(drafts.len());
                        drafts.drain(at..end);
                    }
                    match fails(&smaller) {
                        Some(reason) => (schedule, why) = (smaller, reason),
                        None => at += piece,
                    }
                }
                piece = if piece == 1 { 0 } else { piece.div_ceil(2) };
            }
        }
        if size(&schedule) == before {
            return (schedule, why);
        }
    }
}

fn size(schedule: &Schedule) -> usize {
    let messages = |act: &Act| if let Act::Publish(drafts) = act { drafts.len() } else { 0 };
    schedule.steps.iter().map(|step| 1 + messages(&step.act)).sum()
}
