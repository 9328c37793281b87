//! The change feed: every store and delete, once, in order.

use std::sync::Arc;

use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};

use crate::archive::left_out::LeftOut;
use crate::archive::texts::{StoredText, TextPart, corrupt};
use crate::archive::{Archive, ArchiveError, Result};
use crate::dicom::instance::Metadata;
use crate::dicom::members::Malformed;
use crate::dicom::pieces::Pieces;
use crate::index::{Change, ChangeState, FeedRange};
use crate::memory::Reservation;
use crate::scope::ScopeSet;
use crate::trace::Stage;

/// Entries read at a time.
const PAGE: u32 = 200;
/// A watermark that no instance has.
const NOTHING: i64 = -1;

/// Writes an entry, with the metadata of what is stored when it is asked for and can be had; called where it keeps no request
/// waiting.
pub type WriteChange = Arc<
    dyn Fn(&Change, Option<Metadata>) -> std::result::Result<Box<dyn Pieces>, Malformed>
        + Send
        + Sync,
>;

/// Whether entries of the feed bring the metadata of what is stored along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithMetadata {
    /// They tell what happened only.
    No,
    /// They do.
    Yes,
}

impl Archive {
    /// Entries of a range, the first of which were read.
    ///
    /// An entry whose metadata cannot be read comes without, and is counted.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn changes(
        &self,
        scopes: &ScopeSet,
        range: &FeedRange,
        metadata: WithMetadata,
        write: WriteChange,
    ) -> Result<(BoxStream<'static, Result<TextPart>>, LeftOut)> {
        let (index, at) = (self.index.clone(), scopes.clone());
        let (page, rest) = cut(&seen_by(scopes, range), PAGE);
        let first = Stage::Changes.of(index.changes(scopes, &page)).await?;
        let rest = behind(rest, &first);
        let pages = stream::try_unfold(rest, move |rest| {
            let (index, scopes) = (index.clone(), at.clone());
            async move {
                let Some(range) = rest else {
                    return Ok(None);
                };
                let (page, rest) = cut(&range, PAGE);
                let changes = Stage::Changes.of(index.changes(&scopes, &page)).await?;
                let rest = behind(rest, &changes);
                Ok::<_, ArchiveError>(Some((stream::iter(changes.into_iter().map(Ok)), rest)))
            }
        });
        let first = stream::iter(first.into_iter().map(Ok));
        let changes = first.chain(pages.try_flatten()).boxed();
        Ok(self.entries(scopes, changes, metadata, write))
    }

    /// The newest entry, if there is any, in a stream of its own.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn latest_change(
        &self,
        scopes: &ScopeSet,
        metadata: WithMetadata,
        write: WriteChange,
    ) -> Result<Option<(BoxStream<'static, Result<TextPart>>, LeftOut)>> {
        let latest = Stage::Changes.of(self.index.latest_change(scopes)).await?;
        let alone = |change| stream::once(async move { Ok(change) }).boxed();
        Ok(latest.map(|change| self.entries(scopes, alone(change), metadata, write)))
    }

    fn entries(
        &self,
        scopes: &ScopeSet,
        changes: BoxStream<'static, Result<Change>>,
        metadata: WithMetadata,
        write: WriteChange,
    ) -> (BoxStream<'static, Result<TextPart>>, LeftOut) {
        let left_out = LeftOut::default();
        if metadata == WithMetadata::No {
            let budget = self.budget.clone();
            let parts = changes.and_then(move |change| {
                let held = budget.nothing(crate::memory::Purpose::Text);
                let part = write(&change, None)
                    .and_then(|pieces| Self::begin_part(String::new(), pieces, held));
                std::future::ready(part.map_err(corrupt))
            });
            return (parts.boxed(), left_out);
        }
        let asked = changes.map_ok(|change| {
            let there = change
                .stored
                .filter(|_| change.state != ChangeState::Deleted);
            (there.unwrap_or(NOTHING), change)
        });
        let (archive, counted) = (self.clone(), left_out.clone());
        let work = move |change: Change, stored, held: &mut Reservation| {
            let metadata = match stored {
                StoredText::There(metadata) => Some(metadata),
                StoredText::Gone => None,
                StoredText::Damaged | StoredText::TooLarge(_) => {
                    let watermark = change.stored.unwrap_or(NOTHING);
                    archive.meters.unreadable.note(watermark, &counted);
                    None
                }
            };
            let whole = held.bytes();
            let held = held.split(whole);
            let part = write(&change, metadata)
                .and_then(|pieces| Self::begin_part(String::new(), pieces, held));
            part.map_err(corrupt)
        };
        let parts = self.with_metadata(scopes, asked.boxed(), Arc::new(|_| 0), Arc::new(work));
        (parts, left_out)
    }
}

/// The range as it means to this caller.
///
/// To one who sees a part of the feed a range of sequences would be full of holes, and an empty one would look like the
/// end; so as many entries are counted as there are sequences in the range.
fn seen_by(scopes: &ScopeSet, range: &FeedRange) -> FeedRange {
    match range {
        FeedRange::Sequence { after, through } if !scopes.is_everything() => FeedRange::Following {
            after: *after,
            limit: u32::try_from(through.saturating_sub(*after)).unwrap_or(u32::MAX),
        },
        range => range.clone(),
    }
}

/// The rest, which may begin only where the page ended.
fn behind(rest: Option<FeedRange>, page: &[Change]) -> Option<FeedRange> {
    match rest {
        Some(FeedRange::Following { limit, .. }) => page.last().map(|last| FeedRange::Following {
            after: last.sequence,
            limit,
        }),
        rest => rest,
    }
}

/// The first `size` entries of a range, and what follows them.
fn cut(range: &FeedRange, size: u32) -> (FeedRange, Option<FeedRange>) {
    match range {
        FeedRange::Sequence { after, through } => {
            let middle = after.saturating_add(i64::from(size)).min(*through);
            let rest = FeedRange::Sequence {
                after: middle,
                through: *through,
            };
            let page = FeedRange::Sequence {
                after: *after,
                through: middle,
            };
            (page, (middle < *through).then_some(rest))
        }
        FeedRange::Following { after, limit } => {
            let following = |limit| FeedRange::Following {
                after: *after,
                limit,
            };
            let taken = size.min(*limit);
            let rest = following(limit - taken);
            (following(taken), (taken < *limit).then_some(rest))
        }
        FeedRange::Window {
            from,
            to,
            skip,
            limit,
        } => {
            let window = |skip, limit| FeedRange::Window {
                from: *from,
                to: *to,
                skip,
                limit,
            };
            let taken = size.min(*limit);
            let rest = window(skip.saturating_add(u64::from(taken)), limit - taken);
            (window(*skip, taken), (taken < *limit).then_some(rest))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::{Scope, Visible};

    /// All pages of a range.
    fn pages(range: FeedRange, size: u32) -> Vec<FeedRange> {
        let mut pages = Vec::new();
        let mut rest = Some(range);
        while let Some(range) = rest {
            let (page, following) = cut(&range, size);
            pages.push(page);
            rest = following;
        }
        pages
    }

    #[test]
    fn pages_cover_a_range_once() {
        let sequence = |after, through| FeedRange::Sequence { after, through };
        assert_eq!(pages(sequence(5, 10), 100), [sequence(5, 10)]);
        assert_eq!(
            pages(sequence(5, 28), 10),
            [sequence(5, 15), sequence(15, 25), sequence(25, 28)]
        );
        let window = |skip, limit| FeedRange::Window {
            from: None,
            to: None,
            skip,
            limit,
        };
        assert_eq!(
            pages(window(3, 25), 10),
            [window(3, 10), window(13, 10), window(23, 5)]
        );
        assert_eq!(pages(window(0, 10), 10), [window(0, 10)]);
    }

    #[test]
    fn a_limited_reader_counts_entries_and_not_sequences() {
        let range = FeedRange::Sequence {
            after: 5,
            through: 30,
        };
        assert_eq!(seen_by(&ScopeSet::everything(), &range), range);
        let limited = ScopeSet::from(&Scope {
            visible: Visible::Only {
                patients: vec!["P".to_owned()],
                studies: Vec::new(),
            },
            ..Scope::everything()
        });
        let following = |after, limit| FeedRange::Following { after, limit };
        let (page, rest) = cut(&seen_by(&limited, &range), 10);
        assert_eq!(
            (page, rest.clone()),
            (following(5, 10), Some(following(5, 15)))
        );
        assert_eq!(behind(rest, &[]), None, "an empty page is the end");
        assert_eq!(cut(&following(5, 10), 10), (following(5, 10), None));
    }
}
