//! What the answers made of instances have to say beside their bytes, by watermark.

use std::sync::Arc;

use moka::future::Cache;

/// Instances remembered; one takes about 200 bytes.
const MOST: u64 = 10_000;

/// By watermark: what the answers made of an instance have to say.
#[derive(Debug, Clone)]
pub(in crate::archive) struct InstanceNotices(Cache<i64, Arc<str>>);

impl InstanceNotices {
    pub(in crate::archive) fn new() -> Self {
        Self(Cache::new(MOST))
    }

    /// What there is to say of an instance.
    pub(in crate::archive) async fn of(&self, watermark: i64) -> Option<Arc<str>> {
        self.0.get(&watermark).await
    }

    /// Remembers a text without patient data.
    pub(in crate::archive) async fn note(&self, watermark: i64, text: String) {
        self.0.insert(watermark, text.into()).await;
    }
}
