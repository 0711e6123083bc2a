//! A small page for people: the state, the counters, and what holds which partition.

use std::fmt::Write as _;

use crate::pipeline::Watch;

const HEAD: &str = "<!doctype html><meta charset=\"utf-8\"><meta http-equiv=\"refresh\" content=\"2\"><title>kafka-taos</title>\
<style>body{font:14px/1.5 system-ui;margin:2em;max-width:70em}td,th{padding:.1em 1.2em .1em 0;text-align:left;vertical-align:top}\
.bad{color:#b00}</style><h1>kafka-taos</h1>";

pub(super) fn page(watch: Option<&Watch>, not_ready: Option<&str>) -> String {
    let mut page = HEAD.to_owned();
    // Writing to a string does not fail.
    let _ = match not_ready {
        None => write!(page, "<p>ready"),
        Some(reason) => write!(page, "<p class=\"bad\">not ready: {}", escape(reason)),
    };
    if let Some(watch) = watch {
        let (snapshot, health) = (watch.snapshot(), watch.health());
        page.push_str("<table>");
        for (name, value) in [
            ("partitions", health.assigned as u64),
            ("messages read", snapshot.consumed),
            ("rows written", snapshot.rows_written),
            ("rows merged", snapshot.merged),
            ("messages filtered", snapshot.filtered),
            ("dead letters", snapshot.dead_lettered),
            ("messages read again", snapshot.redelivered),
            ("writes tried again", snapshot.retries),
            ("messages in queues", health.queued.0 as u64),
            ("messages not done with", health.unresolved),
        ] {
            let _ = write!(page, "<tr><th>{name}<td>{value}");
        }
        page.push_str("</table><h2>What holds partitions</h2>");
        let mut gaps = watch.gaps();
        gaps.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        for gap in gaps.iter().take(100) {
            let _ = write!(page, "<p>{}", escape(&gap.to_string()));
        }
        if gaps.is_empty() {
            page.push_str("<p>nothing");
        }
    }
    page.push_str("<p><a href=\"/metrics\">metrics</a> <a href=\"/gaps\">gaps</a> <a href=\"/readyz\">readyz</a> <a href=\"/healthz\">healthz</a>");
    page
}

/// A reason may hold anything that a server, or a message, said.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
