//! Where each frame of an instance lies: built once by the walk, looked up per request in constant time.

/// Place of every frame.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FrameTable {
    // replaced by the walk helper
    _private: (),
}
