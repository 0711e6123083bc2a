//! What a measured piece of work cost this process.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

#[cfg(feature = "count-allocations")]
#[global_allocator]
static ALLOCATOR: &stats_alloc::StatsAlloc<std::alloc::System> = &stats_alloc::INSTRUMENTED_SYSTEM;

/// Time, CPU time of all threads, and allocations of our own code, up to a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meter {
    at: Instant,
    cpu: Duration,
    allocations: Option<u64>,
}

/// What lies between two moments.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Cost {
    pub(super) seconds: f64,
    pub(super) cpu_seconds: f64,
    /// `None` without the feature `count-allocations`.
    pub(super) allocations: Option<u64>,
}

impl Meter {
    pub(super) fn now() -> Self {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let cpu = Duration::try_from(cpu).unwrap_or_default();
        Self { at: Instant::now(), cpu, allocations: allocations() }
    }

    pub(super) fn until(self, end: Self) -> Cost {
        Cost {
            seconds: (end.at - self.at).as_secs_f64(),
            cpu_seconds: end.cpu.saturating_sub(self.cpu).as_secs_f64(),
            allocations: end.allocations.zip(self.allocations).map(|(end, begin)| end - begin),
        }
    }
}

#[cfg(feature = "count-allocations")]
fn allocations() -> Option<u64> {
    let stats = ALLOCATOR.stats();
    Some((stats.allocations + stats.reallocations) as u64)
}

#[cfg(not(feature = "count-allocations"))]
fn allocations() -> Option<u64> {
    None
}

/// The most memory that this process ever had resident; `None` where the system does not say.
pub(super) fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(peak.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}
