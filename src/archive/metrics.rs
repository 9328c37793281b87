//! What the archive says when it is asked how it does: its counts, and how full everything is that has a limit.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::Archive;
use super::lanes::Lane;
use super::statistics::write_statistics;
use crate::memory::Purpose;
use crate::meter::{Exposition, MetricKind};

impl Archive {
    /// Writes all counts, and how full everything is that has a limit.
    pub fn write_meters(&self, out: &mut Exposition) {
        let meters = &*self.meters;
        out.family(
            "stowage_store_stage_seconds",
            MetricKind::Histogram,
            "Time the stages of a store take: spool, walk and write for a part, settle and commit for a batch.",
        );
        for (stage, histogram) in [
            ("spool", &meters.spool.seconds),
            ("walk", &meters.parse.seconds),
            ("write", &meters.write.seconds),
            ("settle", &meters.settle.seconds),
            ("commit", &meters.commit.seconds),
        ] {
            out.histogram(&[("stage", stage)], histogram);
        }
        out.family(
            "stowage_store_batch_instances",
            MetricKind::Histogram,
            "Instances a store request hands over to be committed at a time.",
        );
        out.histogram(&[], &meters.batch);
        out.family(
            "stowage_store_instances_total",
            MetricKind::Counter,
            "Parts of store requests by what became of them.",
        );
        out.sample(&[("outcome", "stored")], meters.stored.get());
        out.sample(&[("outcome", "stored_with_warning")], meters.warned.get());
        out.sample(&[("outcome", "failed")], meters.failed.get());
        out.single(
            "stowage_replaced_instances_total",
            MetricKind::Counter,
            "Instances whose place others took that were stored with PUT or by a replacing policy.",
            meters.replaced.get(),
        );
        out.single(
            "stowage_updated_instances_total",
            MetricKind::Counter,
            "Instances that bulk updates changed.",
            meters.updated.get(),
        );
        out.family(
            "stowage_exported_instances_total",
            MetricKind::Counter,
            "What operations were to export, by what became of it on this node.",
        );
        out.sample(&[("outcome", "exported")], meters.exported.get());
        out.sample(&[("outcome", "skipped")], meters.unexported.get());
        out.single(
            "stowage_search_scanned_rows_total",
            MetricKind::Counter,
            "Rows whose metadata searches looked at, because an attribute has no index.",
            meters.scanned.get(),
        );
        out.single(
            "stowage_unreadable_metadata_total",
            MetricKind::Counter,
            "Results and instances left out of answers because their metadata cannot be read.",
            meters.unreadable.left_out.get(),
        );
        let stored = meters.stored_now.lock();
        let stored = stored.unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(stored) = stored {
            write_statistics(&stored, out);
        }
        self.write_limits(out);
        self.write_cache(out);
        self.write_sources(out);
        self.write_pools(out);
        self.tasks.write_meters(out);
        out.single(
            "stowage_damaged_instances",
            MetricKind::Gauge,
            "Stored instances whose bytes are missing or are other ones than were stored.",
            meters.damaged.load(Ordering::Relaxed),
        );
        out.single(
            "stowage_healed_instances_total",
            MetricKind::Counter,
            "Damaged instances that this node gave their bytes back, because they were stored again.",
            meters.healed.get(),
        );
        out.single(
            "stowage_arrival_workitems_total",
            MetricKind::Counter,
            "Workitems that this node made of what arrived.",
            meters.arrivals.get(),
        );
        out.single(
            "stowage_expired_studies_total",
            MetricKind::Counter,
            "Studies that this node deleted because the time was over for which they were stored.",
            meters.expired.get(),
        );
        out.single(
            "stowage_restored_instances_total",
            MetricKind::Counter,
            "Deleted instances that this node brought back from the trash.",
            meters.restored.get(),
        );
        out.family(
            "stowage_sweeper_runs_total",
            MetricKind::Counter,
            "Runs of the sweeper on this node.",
        );
        out.sample(&[], meters.sweeps.get());
        out.family(
            "stowage_sweeper_blobs_total",
            MetricKind::Counter,
            "Blobs of deleted instances by what the sweeper made of them.",
        );
        out.sample(&[("outcome", "removed")], meters.swept.get());
        out.sample(&[("outcome", "failed")], meters.unswept.get());
    }

    fn write_limits(&self, out: &mut Exposition) {
        let (waiting, room) = self.committer.queue();
        let spool = self.blobs.spooled();
        let (spooled, spool_room) = self.spool.used();
        let rows = [
            ("commit_queue", waiting as u64, room as u64),
            (
                "parts_memory_bytes",
                self.budget.reserved(Purpose::Parts) as u64,
                self.parts_share() as u64,
            ),
            ("store_requests", self.stores.taken(), self.stores.whole()),
            (
                "event_channels",
                self.channels.used().0,
                self.channels.used().1,
            ),
            ("spool_bytes", spooled, spool_room),
            (
                "codec_workers",
                self.maker.busy() as u64,
                self.maker.slots() as u64,
            ),
        ];
        out.family(
            "stowage_in_use",
            MetricKind::Gauge,
            "How much of something limited is in use now.",
        );
        for (what, used, _) in &rows {
            out.sample(&[("what", what)], *used);
        }
        out.family(
            "stowage_limit",
            MetricKind::Gauge,
            "How much of it there is.",
        );
        for (what, _, limit) in &rows {
            out.sample(&[("what", what)], *limit);
        }
        out.family(
            "stowage_lane_busy",
            MetricKind::Gauge,
            "Work under way on the blocking pool, by lane.",
        );
        for lane in Lane::ALL {
            out.sample(&[("lane", lane.as_str())], self.lanes.busy(lane) as u64);
        }
        out.family(
            "stowage_lane_places",
            MetricKind::Gauge,
            "How much work of a lane can be under way at a time.",
        );
        for lane in Lane::ALL {
            out.sample(&[("lane", lane.as_str())], self.lanes.width(lane) as u64);
        }
        out.family(
            "stowage_memory_reserved_bytes",
            MetricKind::Gauge,
            "Bytes reserved from the memory budget now, by purpose.",
        );
        for purpose in Purpose::ALL {
            let reserved = self.budget.reserved(purpose) as u64;
            out.sample(&[("purpose", purpose.as_str())], reserved);
        }
        out.single(
            "stowage_memory_budget_bytes",
            MetricKind::Gauge,
            "Bytes that requests and caches may use together.",
            self.budget.bytes() as u64,
        );
        out.single(
            "stowage_memory_refused_total",
            MetricKind::Counter,
            "Reservations of memory that were refused.",
            self.budget.refused() as u64,
        );
        out.single(
            "stowage_spool_files",
            MetricKind::Gauge,
            "Files in the spool of this process.",
            spool.files,
        );
        out.single(
            "stowage_spool_bytes",
            MetricKind::Gauge,
            "Bytes in the spool of this process.",
            spool.bytes,
        );
    }

    fn write_cache(&self, out: &mut Exposition) {
        let cache = self.maker.cached();
        out.family(
            "stowage_frame_cache_lookups_total",
            MetricKind::Counter,
            "Frames and pictures asked for, by whether they were there or being made.",
        );
        out.sample(
            &[("result", "hit")],
            cache.lookups.saturating_sub(cache.made),
        );
        out.sample(&[("result", "miss")], cache.made);
        out.family(
            "stowage_instance_cache_lookups_total",
            MetricKind::Counter,
            "Rows of instances asked for by frames and bulk data: the index was not asked, was asked for the version, or for all.",
        );
        let meters = &self.meters;
        for (result, counter) in [
            ("hit", &meters.opened_hits),
            ("revalidated", &meters.opened_revalidated),
            ("miss", &meters.opened_misses),
        ] {
            out.sample(&[("result", result)], counter.get());
        }
        out.single(
            "stowage_frame_cache_bytes",
            MetricKind::Gauge,
            "Bytes of frames and pictures that are kept.",
            cache.bytes,
        );
        out.single(
            "stowage_frame_cache_entries",
            MetricKind::Gauge,
            "Frames and pictures that are kept.",
            cache.entries,
        );
    }

    fn write_sources(&self, out: &mut Exposition) {
        out.single(
            "stowage_inflated_total",
            MetricKind::Counter,
            "How often a deflated data set was inflated in order to be read.",
            self.sources.inflated(),
        );
    }

    fn write_pools(&self, out: &mut Exposition) {
        let pools = self.index.pools();
        out.family(
            "stowage_index_connections",
            MetricKind::Gauge,
            "Connections to the index, by pool and state.",
        );
        for pool in &pools {
            let idle = pool.idle.min(pool.open);
            let sample = |state, count: u32| ([("pool", pool.name), ("state", state)], count);
            for (labels, count) in [
                sample("busy", pool.open - idle),
                sample("idle", idle),
                sample("limit", pool.limit),
            ] {
                out.sample(&labels, u64::from(count));
            }
        }
    }
}
