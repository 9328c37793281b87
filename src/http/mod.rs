//! The HTTP edge: what a request says and how an answer is written; no decision about DICOM content is made here.

pub mod accept;
pub mod access;
pub mod content_type;
pub mod error;
pub mod layers;
pub mod links;
pub mod multipart;
mod parameters;
