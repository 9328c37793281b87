//! What somebody asks to be committed, as it lies in the index until it is reported.

use serde::{Deserialize, Serialize};

use crate::dicom::commitment::InstanceReference;

/// What somebody asks for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct CommitmentRequest {
    pub(super) transaction: String,
    pub(super) references: Vec<InstanceReference>,
}
