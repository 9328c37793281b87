//! Retrieve: stored bytes come back exactly, or converted without changing what they say.

mod bulk;
mod caching;
mod frames;
mod metadata;
mod objects;
mod pictures;
mod pixels;
mod ranges;
mod same_frame;
