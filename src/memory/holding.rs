//! Bytes on their way to a reader, with what they take: memory, a share, the body they came from.

use bytes::Bytes;

struct Holding<T, H> {
    bytes: T,
    _held: H,
}

impl<T: AsRef<[u8]>, H> AsRef<[u8]> for Holding<T, H> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

/// Bytes that hold something until the last of them was dropped.
///
/// ```
/// let held = std::sync::Arc::new(());
/// let bytes = stowage::memory::holding(b"abc".to_vec(), held.clone());
/// let part = bytes.slice(1..2);
/// drop(bytes);
/// assert_eq!(std::sync::Arc::strong_count(&held), 2);
/// drop(part);
/// assert_eq!(std::sync::Arc::strong_count(&held), 1);
/// ```
pub fn holding<T, H>(bytes: T, held: H) -> Bytes
where
    T: AsRef<[u8]> + Send + 'static,
    H: Send + 'static,
{
    Bytes::from_owner(Holding { bytes, _held: held })
}
