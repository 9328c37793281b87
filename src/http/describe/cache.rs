//! Descriptions as they were last made, sent from memory.
//!
//! Invariant: whoever asks without a token, under however many names of the server, takes no more than a few megabytes and
//! one core, and no room of those who have one.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::archive::ArchiveError;
use crate::http::error::HttpError;
use crate::memory::{MemoryBudget, Purpose, holding};
use crate::shares::{ShareHolder, Shares};

/// Most descriptions that are kept; there are two for each root and base.
const KEPT: usize = 24;
/// Bytes of all that were made and are not sent yet, those that are kept included.
const MOST: u64 = 16 << 20;

/// Descriptions by name.
#[derive(Debug)]
pub(in crate::http) struct Descriptions {
    budget: MemoryBudget,
    room: Shares,
    making: tokio::sync::Mutex<()>,
    kept: Mutex<VecDeque<(String, Bytes)>>,
}

impl Descriptions {
    pub(in crate::http) fn new(budget: MemoryBudget) -> Self {
        Self {
            budget,
            room: Shares::new(MOST),
            making: tokio::sync::Mutex::default(),
            kept: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(String, Bytes)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, name: &str) -> Option<Bytes> {
        let mut kept = self.lock();
        let at = kept.iter().position(|(known, _)| known == name)?;
        let found = kept.remove(at)?;
        let text = found.1.clone();
        kept.push_front(found);
        Some(text)
    }

    /// The description of a name, made when it is not kept.
    ///
    /// # Errors
    /// 503 when too many that were made are not sent yet.
    pub(super) async fn get(
        &self,
        name: &str,
        make: impl FnOnce() -> String,
    ) -> Result<Bytes, HttpError> {
        if let Some(text) = self.find(name) {
            return Ok(text);
        }
        let _turn = self.making.lock().await;
        if let Some(text) = self.find(name) {
            return Ok(text);
        }
        let text = make();
        let busy = ArchiveError::Busy {
            what: "other descriptions",
        };
        let subject = ShareHolder::named("descriptions");
        let share = self.room.try_take(&subject, None, text.capacity() as u64);
        let share = share.map_err(|_| HttpError::from(busy))?;
        let reserved = self.budget.try_reserve(Purpose::Answers, text.capacity());
        let reserved = reserved.map_err(|error| HttpError::from(ArchiveError::from(error)))?;
        let text = holding(text, (share, reserved));
        let mut kept = self.lock();
        kept.push_front((name.to_owned(), text.clone()));
        kept.truncate(KEPT);
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_description_is_made_once_and_strangers_cannot_fill_the_memory() {
        let descriptions = Descriptions::new(MemoryBudget::new(256 << 20));
        let first = descriptions.get("a", || "text".to_owned()).await.unwrap();
        let again = descriptions.get("a", || "other".to_owned()).await.unwrap();
        assert_eq!(first, again);
        // Many that nobody takes.
        let mut unsent = Vec::new();
        for number in 0..100 {
            let text = || "x".repeat(1 << 20);
            match descriptions.get(&number.to_string(), text).await {
                Ok(text) => unsent.push(text),
                Err(error) => assert_eq!(error.status(), 503),
            }
        }
        assert!((1..=16).contains(&unsent.len()), "{}", unsent.len());
        drop(unsent);
        descriptions.lock().clear();
        assert_eq!(descriptions.budget.reserved(Purpose::Answers), 4);
        drop((first, again));
        assert_eq!(descriptions.room.taken(), 0);
    }
}
