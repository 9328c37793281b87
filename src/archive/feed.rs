//! The change feed: every store and delete, once, in order.

use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};

use super::{Archive, ArchiveError, Result};
use crate::index::{Change, FeedRange, WithMetadata};
use crate::scope::Scope;

/// Entries with metadata read at a time.
const PAGE: u32 = 10;

impl Archive {
    /// Entries of a range, the first of which were read; with metadata few at a time, for it can be large.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn changes(
        &self,
        scope: &Scope,
        range: &FeedRange,
        metadata: WithMetadata,
    ) -> Result<BoxStream<'static, Result<Change>>> {
        let size = match metadata {
            WithMetadata::Yes => PAGE,
            WithMetadata::No => u32::MAX,
        };
        let (index, scope) = (self.index.clone(), scope.clone());
        let (page, rest) = cut(range, size);
        let first = index.changes(&scope, &page, metadata).await?;
        let pages = stream::try_unfold(rest, move |rest| {
            let (index, scope) = (index.clone(), scope.clone());
            async move {
                let Some(range) = rest else {
                    return Ok(None);
                };
                let (page, rest) = cut(&range, size);
                let changes = index.changes(&scope, &page, metadata).await?;
                Ok::<_, ArchiveError>(Some((stream::iter(changes.into_iter().map(Ok)), rest)))
            }
        });
        let first = stream::iter(first.into_iter().map(Ok));
        Ok(first.chain(pages.try_flatten()).boxed())
    }

    /// The newest entry, if there is any.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn latest_change(
        &self,
        scope: &Scope,
        metadata: WithMetadata,
    ) -> Result<Option<Change>> {
        Ok(self.index.latest_change(scope, metadata).await?)
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
}
