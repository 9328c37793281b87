//! Counts for `/metrics`.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::meter::{Counter, Exposition, Histogram, MetricKind};

/// Counts of all associations.
#[derive(Debug)]
pub(super) struct DimseMeters {
    /// Associations now.
    pub(super) open: Counter,
    /// Bytes received.
    pub(super) received: Counter,
    /// Bytes sent.
    pub(super) sent: Counter,
    /// Associations by how they ended.
    ended: Mutex<BTreeMap<&'static str, u64>>,
    /// Messages by service and kind of status.
    messages: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
    /// From the first byte of a message to the last one of its answer.
    seconds: Histogram,
}

impl Default for DimseMeters {
    fn default() -> Self {
        Self {
            open: Counter::default(),
            received: Counter::default(),
            sent: Counter::default(),
            ended: Mutex::default(),
            messages: Mutex::default(),
            seconds: Histogram::seconds(),
        }
    }
}

impl DimseMeters {
    /// Counts an association that ended.
    pub(super) fn ended(&self, how: &'static str) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        *ended.entry(how).or_default() += 1;
    }

    /// Counts a message that was answered.
    pub(super) fn answered(&self, service: &'static str, status: u16, took: Duration) {
        let outcome = match status {
            0 => "success",
            0xFE00 => "cancelled",
            1 | 0x0107 | 0x0116 | 0xB000..=0xBFFF => "warning",
            _ => "failure",
        };
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        *messages.entry((service, outcome)).or_default() += 1;
        drop(messages);
        self.seconds.took(took);
    }

    /// Writes them.
    pub(super) fn write(&self, out: &mut Exposition) {
        out.single(
            "stowage_dimse_associations",
            MetricKind::Gauge,
            "DIMSE associations now.",
            self.open.get(),
        );
        out.family(
            "stowage_dimse_associations_total",
            MetricKind::Counter,
            "DIMSE associations by how they ended.",
        );
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        for (how, count) in &*ended {
            out.sample(&[("end", how)], *count);
        }
        drop(ended);
        out.family(
            "stowage_dimse_messages_total",
            MetricKind::Counter,
            "DIMSE requests answered, by service and outcome.",
        );
        let messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        for ((service, outcome), count) in &*messages {
            out.sample(&[("service", service), ("outcome", outcome)], *count);
        }
        drop(messages);
        for (name, help, counter) in [
            (
                "stowage_dimse_received_bytes_total",
                "Bytes received on DIMSE associations.",
                &self.received,
            ),
            (
                "stowage_dimse_sent_bytes_total",
                "Bytes sent on DIMSE associations.",
                &self.sent,
            ),
        ] {
            out.single(name, MetricKind::Counter, help, counter.get());
        }
        out.family(
            "stowage_dimse_message_seconds",
            MetricKind::Histogram,
            "Time from a DIMSE request to its last answer.",
        );
        out.histogram(&[], &self.seconds);
    }
}
