//! De-identification by the Basic Application Level Confidentiality Profile and some of its options (PS3.15 Annex E).
//!
//! Invariants: what an element becomes is decided by its tag and VR alone, wherever it stands; what is not known to be harmless
//! does not stay; nothing here claims that pixels show nobody. The same key makes the same UIDs, identifiers and dates of the
//! same ones, so that what belongs together still does, and nobody without the key can tell what they were.

mod actions;
mod blank;
mod dummy;
mod error;
mod facts;
mod options;
mod output;
mod pixels;
mod plan;
mod profile;
mod pseudonym;
mod record;
mod table;
#[cfg(test)]
mod tests;

pub use blank::BlankLayout;
pub use error::{DeidentifyError, DeidentifyRefusal};
pub use facts::InstanceFacts;
pub use options::{DeidentifyOptions, DeidentifyOptionsError, RequestableOptions, RetainedDates};
pub use pixels::{Blanks, PixelRules, PixelRulesError, Rectangle};
pub use plan::{Deidentified, DeidentifySubject, PixelData, plan};
pub use profile::DeidentifyProfile;
pub use pseudonym::{PseudonymKey, PseudonymKeyError};
pub use table::EDITION;
