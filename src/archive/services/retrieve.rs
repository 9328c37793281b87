//! Retrieve: rows in pages, bytes in chunks; nothing whole.
//!
//! Invariant: every call here has read the first row and, where bytes are returned, the first byte before it returns,
//! so that what does not exist is an error and not a broken stream.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};

use crate::archive::assembled::Base;
use crate::archive::content::Representation;
use crate::archive::error::{ArchiveError, Result};
use crate::archive::lanes::Lane;
use crate::archive::{Archive, describe};
use crate::blob::BlobError;
use crate::dicom::attributes::QueryLevel;
use crate::dicom::codec::transfer_syntax::EXPLICIT_LE;
use crate::dicom::parse::ParseLimits as WalkLimits;
use crate::dicom::query::{Case, Condition, Include, Matching, Query, TagPath};
use crate::dicom::rewrite::{self, Edits, FileSegment};
use crate::dicom::source::Source;
use crate::dicom::uid::{InstanceName, InstanceUid, SeriesUid, StudyUid, Target};
use crate::index::{BlobPlace, Index, InstanceRow};
use crate::memory::{Purpose, Reservation};
use crate::scope::{Scope, Visible};
use crate::trace::Stage;

pub use crate::archive::content::Content;
use dicom_core::VR;
use dicom_dictionary_std::tags;

/// Rows read from the index at a time, at most.
const PAGE: u32 = 500;
/// Bytes of metadata read from the index at a time, about: rows differ by a factor of ten thousand.
const PAGE_BYTES: usize = 4 << 20;
/// Bytes of the attributes of the two instances that are looked for by one UID.
const LOCATED: usize = 64 << 10;
/// Bytes up to which a piece is read at once instead of streamed.
pub(super) const WHOLE: u64 = 1 << 20;
/// Bytes up to which a piece that waits for its reader is not counted: a connection itself may hold more.
const UNCOUNTED: usize = 64 << 10;

/// Rows of a target, the first of which was read.
pub type InstanceRows<T> = BoxStream<'static, Result<T>>;

/// Holds each chunk back until the next one is there, and the last one until the digest is right.
fn verified(
    chunks: BoxStream<'static, Result<Bytes>>,
    row: &InstanceRow,
) -> BoxStream<'static, Result<Bytes>> {
    let (key, digest) = (row.place.key.clone(), row.digest);
    let begun = (chunks, blake3::Hasher::new(), None::<Bytes>, key);
    stream::try_unfold(
        begun,
        move |(mut chunks, mut hasher, mut held, key)| async move {
            while let Some(chunk) = chunks.try_next().await? {
                hasher.update(&chunk);
                if let Some(ready) = held.replace(chunk) {
                    return Ok(Some((ready, (chunks, hasher, held, key))));
                }
            }
            match held.take() {
                Some(last) if *hasher.finalize().as_bytes() == digest => {
                    Ok(Some((last, (chunks, hasher, None, key))))
                }
                Some(_) => Err(ArchiveError::Blob(BlobError::Damaged { key })),
                None => Ok(None),
            }
        },
    )
    .boxed()
}

impl Archive {
    /// Finds an instance by its own UID, within a study or series when they are named.
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`] when there is none, [`ArchiveError::Invalid`] when there are several.
    pub async fn locate(
        &self,
        scope: &Scope,
        study: Option<&StudyUid>,
        series: Option<&SeriesUid>,
        instance: &InstanceUid,
    ) -> Result<InstanceName> {
        let uid = |tag, value: &str| Condition {
            path: TagPath::from(tag),
            vr: VR::UI,
            matching: Matching::Single(value.to_owned()),
            case: Case::Sensitive,
        };
        let mut conditions = vec![uid(tags::SOP_INSTANCE_UID, instance.as_str())];
        conditions.extend(study.map(|s| uid(tags::STUDY_INSTANCE_UID, s.as_str())));
        conditions.extend(series.map(|s| uid(tags::SERIES_INSTANCE_UID, s.as_str())));
        let query = Query {
            level: QueryLevel::Instance,
            study: None,
            series: None,
            conditions,
            include: Include::Fields(Vec::new()),
            limit: Some(2),
            offset: 0,
            order: None,
        };
        let search = self.index.search(scope, &query, &[], None, LOCATED);
        let page = Stage::Search.of(search).await?;
        let unknown = || ArchiveError::not_found(format!("the instance {instance}"));
        match page.rows.as_slice() {
            [found] => {
                let study = StudyUid::parse(&found.study_uid).ok();
                let series = found
                    .series_uid
                    .as_deref()
                    .and_then(|s| SeriesUid::parse(s).ok());
                let name = study.zip(series).map(|(study, series)| InstanceName {
                    study,
                    series,
                    instance: instance.clone(),
                });
                name.ok_or_else(unknown)
            }
            [] => Err(unknown()),
            _ => Err(ArchiveError::invalid(
                "several studies hold an instance with this UID: name the study and series too",
            )),
        }
    }

    /// Rows of all instances of a target, oldest first.
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`] when it does not exist in the scope.
    pub async fn instances(
        &self,
        scope: &Scope,
        target: &Target,
    ) -> Result<InstanceRows<InstanceRow>> {
        if let (Target::Instance(name), Visible::All) = (target, &scope.visible) {
            let row = self.instance_row(scope, name).await?;
            return Ok(stream::iter([Ok(InstanceRow::clone(&row))]).boxed());
        }
        let index = self.index.clone();
        let (at_scope, at) = (scope.clone(), target.clone());
        let seen = Arc::new(OnceLock::new());
        let page = move |after: i64, limit: u32| {
            let (index, scope, target) = (index.clone(), at_scope.clone(), at.clone());
            let seen = seen.clone();
            async move {
                if after == 0 {
                    let rows = index.instances(&scope, &target, after, limit);
                    return Ok(Stage::Rows.of(rows).await?);
                }
                let page = PageOf {
                    index: &*index,
                    scope: &scope,
                    target: &target,
                };
                page.behind(after, limit, &seen).await
            }
        };
        paged(page, |row| (row.watermark, 0), PAGE, target).await
    }

    /// The row of an instance; one that was read lately is not read again.
    async fn instance_row(&self, scope: &Scope, name: &InstanceName) -> Result<Arc<InstanceRow>> {
        let reads = &self.reads;
        let key = reads.rows.key(scope.partition, name);
        if let Some((row, read)) = reads.rows.get(&key).await
            && reads.coherence.counts(read)
        {
            return Ok(row);
        }
        let read = reads.coherence.now();
        let target = Target::Instance(name.clone());
        let rows = self.index.instances(scope, &target, 0, 1);
        let row = Stage::Rows.of(rows).await?.pop();
        let row = Arc::new(row.ok_or_else(|| ArchiveError::not_found(describe(&target)))?);
        reads.rows.insert(key, (row.clone(), read)).await;
        Ok(row)
    }

    /// Rows of the first versions of all instances of a target: of those that bulk updates changed, what was stored.
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`] when it does not exist in the scope.
    pub async fn first_versions(
        &self,
        scope: &Scope,
        target: &Target,
    ) -> Result<InstanceRows<InstanceRow>> {
        let index = self.index.clone();
        let (at_scope, at) = (scope.clone(), target.clone());
        let page = move |after: i64, limit: u32| {
            let (index, scope, target) = (index.clone(), at_scope.clone(), at.clone());
            async move {
                let rows = index.first_versions(&scope, &target, after, limit);
                Ok(Stage::Rows.of(rows).await?)
            }
        };
        let rows = paged(page, |(after, _)| (*after, 0), PAGE, target).await?;
        Ok(rows.map_ok(|(_, row)| row).boxed())
    }

    /// The stored bytes of an instance, exactly: they are compared with what was taken of them when they were stored, as often
    /// as configured. A block of other bytes is an error, so they never make a complete answer.
    ///
    /// # Errors
    /// [`ArchiveError::Blob`] when they are not there.
    pub async fn stored(&self, row: &InstanceRow) -> Result<Content> {
        let (place, length) = (&row.place, row.place.length);
        if place.blocks.is_some() || !self.verifies() {
            return self.range(place, 0, length).await;
        }
        // An old row: the blocks of its blob have no checksums yet.
        if length > WHOLE {
            let content = self.range(place, 0, length).await?;
            let blobs = self.blobs.clone();
            let report = move |error: &ArchiveError| {
                if let ArchiveError::Blob(error) = error {
                    blobs.report(error);
                }
            };
            let chunks = verified(content.chunks, row).inspect_err(report).boxed();
            return Ok(Content { length, chunks });
        }
        // Nothing of a damaged one is sent: the answer is an error.
        let (chunks, memory) = self.read_whole(place, 0, length).await?;
        let mut hasher = blake3::Hasher::new();
        for chunk in &chunks {
            hasher.update(chunk);
        }
        if *hasher.finalize().as_bytes() != row.digest {
            let key = place.key.clone();
            let error = BlobError::Damaged { key };
            self.blobs.report(&error);
            return Err(error.into());
        }
        Ok(Content::pieces(length, chunks, memory))
    }

    /// A range of the stored bytes of an instance, compared with the checksums of its blocks as often as configured.
    ///
    /// # Errors
    /// [`ArchiveError::Blob`] when they are not there.
    pub async fn range(&self, place: &BlobPlace, offset: u64, length: u64) -> Result<Content> {
        if let Some(blocks) = self.blocks_to_check(place) {
            let range = offset..offset.saturating_add(length);
            return self.checked_range(place, blocks, range).await;
        }
        if length <= WHOLE {
            let (chunks, memory) = self.read_whole(place, offset, length).await?;
            return Ok(Content::pieces(length, chunks, memory));
        }
        let chunks = self.read_stream(place, offset, length).await?;
        Ok(Content { length, chunks })
    }

    /// Opens a range as a stream.
    pub(super) async fn read_stream(
        &self,
        place: &BlobPlace,
        offset: u64,
        length: u64,
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        let at = place.offset.saturating_add(offset);
        let chunks = self.blobs.stream(&place.key, at, length);
        let chunks = Stage::Read.of(chunks).await?;
        Ok(chunks.map_err(ArchiveError::from).boxed())
    }

    /// Reads a small range at once; what is not quite small is counted, as it waits until its reader takes it.
    pub(super) async fn read_whole(
        &self,
        place: &BlobPlace,
        offset: u64,
        length: u64,
    ) -> Result<(Vec<Bytes>, Option<Reservation>)> {
        let length = usize::try_from(length).unwrap_or(0);
        let memory = match length {
            ..=UNCOUNTED => None,
            _ => Some(self.reserve(Purpose::Answers, length).await?),
        };
        let read = self.blobs.read(&place.key, place.offset + offset, length);
        Ok((Stage::Read.of(read).await?, memory))
    }

    /// A range of the data set as the parser counted it: of the file, or of the inflated data set.
    ///
    /// # Errors
    /// [`ArchiveError::Blob`] when the bytes are not there.
    pub async fn dataset_range(
        &self,
        row: &InstanceRow,
        offset: u64,
        length: u64,
    ) -> Result<Content> {
        if !row.layout.deflated {
            return self.range(&row.place, offset, length).await;
        }
        let source = self.inflated(row).await?;
        Ok(self.read_open_source(source, offset, length))
    }

    /// The stored bytes of an instance.
    pub(in crate::archive) fn stored_file(&self, row: &InstanceRow) -> Representation {
        let (archive, row) = (self.clone(), row.clone());
        let length = row.place.length;
        Representation::new(length, move |range| async move {
            if range == (0..length) {
                return archive.stored(&row).await;
            }
            archive
                .range(&row.place, range.start, range.end - range.start)
                .await
        })
    }

    /// The instance as Explicit VR Little Endian, for anything stored uncompressed.
    ///
    /// # Errors
    /// When the stored file cannot be read.
    pub(in crate::archive) async fn explicit(&self, row: &InstanceRow) -> Result<Representation> {
        let (segments, base) = self.planned(row, Edits::none(EXPLICIT_LE)).await?;
        Ok(self.rewritten(base, segments, None))
    }

    /// Plans a rewritten file, and opens what it takes its bytes from.
    pub(in crate::archive) async fn planned(
        &self,
        row: &InstanceRow,
        edits: Edits,
    ) -> Result<(Vec<FileSegment>, Base)> {
        let layout = row.layout.clone();
        let plan = move |source: &(dyn Source + Send + Sync)| {
            let limits = WalkLimits::of_stored();
            Ok(rewrite::plan(source, &layout, &edits, limits)?)
        };
        let (planned, base) = self.looked_through(row, plan).await?;
        if let Some(note) = planned.notes {
            self.maker.reported.note(row.watermark, note).await;
        }
        Ok((planned.segments, base))
    }

    /// Looks through the structure of a data set, and opens what its bytes are taken from.
    pub(in crate::archive) async fn looked_through<T: Send + 'static>(
        &self,
        row: &InstanceRow,
        look: impl FnOnce(&(dyn Source + Send + Sync)) -> Result<T> + Send + 'static,
    ) -> Result<(T, Base)> {
        if row.layout.deflated {
            let source = self.inflated(row).await?;
            let read = source.clone();
            let seen = self.lanes().run(Lane::Retrieve, move || look(&*read));
            return Ok((seen.await?, Base::Open(source)));
        }
        let place = &row.place;
        let stored = self.open_checked(place).await?;
        let seen = if self.blobs.is_remote() {
            // It waits for the network now and then, so it takes no place in a lane.
            self.remote_look(move || look(&*stored)).await?
        } else {
            let seen = self.lanes().run(Lane::Retrieve, move || look(&*stored));
            seen.await?
        };
        Ok((seen, Base::Stored(Arc::new(place.clone()))))
    }

    pub(in crate::archive) async fn remote_look<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let lost = ArchiveError::Lost { what: "a look" };
        let place = self.remote.clone().acquire_owned().await;
        let Ok(place) = place else { return Err(lost) };
        let done = tokio::task::spawn_blocking(move || {
            let _place = place;
            work()
        });
        done.await.map_err(|_| lost)?
    }
}

/// Pages of a target behind the first one.
struct PageOf<'a> {
    index: &'a dyn Index,
    scope: &'a Scope,
    target: &'a Target,
}

impl PageOf<'_> {
    /// A page that belongs together with the one before it: a study that is updated at once between two pages is not shown as
    /// half of each. `seen` is when it was updated last, as the first of these pages found it.
    async fn behind(
        &self,
        after: i64,
        limit: u32,
        seen: &OnceLock<i64>,
    ) -> Result<Vec<InstanceRow>> {
        let changed = || self.index.changed_at(self.scope, self.target);
        let busy = ArchiveError::Busy {
            what: "an update of what is being read",
        };
        let before = match seen.get() {
            Some(before) => *before,
            None => {
                let before = changed().await?;
                let last = self.index.instances(self.scope, self.target, after - 1, 1);
                let stays = last
                    .await?
                    .first()
                    .is_some_and(|row| row.watermark == after);
                if before != 0 && !stays {
                    return Err(busy);
                }
                *seen.get_or_init(|| before)
            }
        };
        let rows = self.index.instances(self.scope, self.target, after, limit);
        let rows = Stage::Rows.of(rows).await?;
        if changed().await? == before {
            Ok(rows)
        } else {
            Err(busy)
        }
    }
}

/// Turns a page function into a stream whose first page was read; an empty one means the target is unknown.
async fn paged<T, F, Fut>(
    page: F,
    measure: fn(&T) -> (i64, usize),
    first_page: u32,
    target: &Target,
) -> Result<InstanceRows<T>>
where
    T: Send + 'static,
    F: Fn(i64, u32) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Vec<T>>> + Send + 'static,
{
    let first = page(0, first_page).await?;
    if first.is_empty() {
        return Err(ArchiveError::not_found(describe(target)));
    }
    // Behind which watermark the next page begins, and how many rows it has; none after the last one.
    let next = move |rows: &[T], asked: u32| {
        let last = rows.last().filter(|_| rows.len() >= asked as usize)?;
        let bytes: usize = rows.iter().map(|row| measure(row).1).sum();
        let fitting = PAGE_BYTES / (bytes / rows.len()).max(1);
        let size = u32::try_from(fitting).map_or(PAGE, |size| size.clamp(1, PAGE));
        Some((measure(last).0, size))
    };
    let start = next(&first, first_page);
    let rest = stream::try_unfold((start, page), move |(place, page)| async move {
        let Some((after, limit)) = place else {
            return Ok::<_, ArchiveError>(None);
        };
        let rows = page(after, limit).await?;
        let following = next(&rows, limit);
        Ok(Some((
            stream::iter(rows.into_iter().map(Ok)),
            (following, page),
        )))
    });
    Ok(stream::iter(first.into_iter().map(Ok))
        .chain(rest.try_flatten())
        .boxed())
}
