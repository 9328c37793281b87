//! What a service test begins with: `use crate::support::prelude::*;`.

pub(crate) use insta::assert_json_snapshot;
pub(crate) use serde_json::{Value, json};

pub(crate) use super::app::{TestApp, on_each_index, on_each_index_with};
pub(crate) use super::deployment::Deployment;
pub(crate) use super::dicom::Name;
pub(crate) use super::http::{Request, Response};
pub(crate) use super::multipart;
pub(crate) use super::server::{Server, wait_until};
