//! What became of connections, handshakes and transfers, counted for the whole process.

use std::sync::LazyLock;

use crate::meter::{Counter, Exposition, MetricKind};

/// The counts.
pub(super) static METERS: LazyLock<ConnectionMeters> = LazyLock::new(ConnectionMeters::default);

#[derive(Debug, Default)]
pub(super) struct ConnectionMeters {
    /// Connections that are open.
    pub(super) open: Counter,
    /// Connections that were accepted.
    pub(super) accepted: Counter,
    /// Connections ended because nothing was asked for too long.
    pub(super) idle: Counter,
    /// Idle connections ended for new ones.
    pub(super) evicted: Counter,
    /// New connections closed because there was no room.
    pub(super) refused: Counter,
    /// Handshakes that ended well.
    pub(super) handshaken: Counter,
    /// Handshakes that did not.
    pub(super) unshaken: Counter,
    /// Handshakes that took too long.
    pub(super) silent: Counter,
    /// Transfers let go because their client was too slow.
    pub(super) slow: Counter,
    /// Transfers let go because others waited.
    pub(super) crowded: Counter,
}

/// Writes the counts.
pub(in crate::http) fn write_meters(out: &mut Exposition) {
    let meters = &*METERS;
    out.single(
        "stowage_connections",
        MetricKind::Gauge,
        "Connections that are open.",
        meters.open.get(),
    );
    out.single(
        "stowage_connections_total",
        MetricKind::Counter,
        "Connections that were accepted.",
        meters.accepted.get(),
    );
    out.family(
        "stowage_connections_ended_total",
        MetricKind::Counter,
        "Connections that the server ended: idle for too long, idle when others wanted room, or new without room.",
    );
    out.sample(&[("reason", "idle")], meters.idle.get());
    out.sample(&[("reason", "crowded")], meters.evicted.get());
    out.sample(&[("reason", "refused")], meters.refused.get());
    out.family(
        "stowage_tls_handshakes_total",
        MetricKind::Counter,
        "TLS handshakes by how they ended.",
    );
    out.sample(&[("outcome", "done")], meters.handshaken.get());
    out.sample(&[("outcome", "failed")], meters.unshaken.get());
    out.sample(&[("outcome", "late")], meters.silent.get());
    out.family(
        "stowage_transfers_ended_total",
        MetricKind::Counter,
        "Bodies let go: their client was too slow, or let others wait who needed the room or memory.",
    );
    out.sample(&[("reason", "slow")], meters.slow.get());
    out.sample(&[("reason", "crowded")], meters.crowded.get());
}
