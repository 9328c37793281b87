//! Non-patient instances (PS3.18 chapter 12): stored, retrieved, removed; searches are those of workitems.
//!
//! Invariants: the file comes back byte for byte, with the digest it was stored with; what names patients is for those who may
//! see all of them; memory is reserved for a file before it is read.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::archive::Archive;
use crate::archive::buffer::granting;
use crate::archive::error::{ArchiveError, Result};
use crate::archive::ingest::{Outcome, reason};
use crate::archive::lanes::Lane;
use crate::archive::rules::Rules;
use crate::archive::texts::unpacked_text;
use crate::dicom::error::ParseError;
use crate::dicom::metadata::pack;
use crate::dicom::nonpatient::NonPatientKind;
use crate::dicom::parse::{ParseOptions, parse};
use crate::dicom::uid::{InstanceName, InstanceUid, SeriesUid, StudyUid};
use crate::index::{NewNonPatient, NonPatientInserted, NonPatientRow};
use crate::memory::{Purpose, Reservation};
use crate::scope::Scope;

/// Longest file, in bytes: it lies in the index.
pub const LONGEST: usize = 32 << 20;

/// A file that arrived, with the memory it takes.
#[derive(Debug)]
pub struct NonPatientFile {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its memory.
    pub held: Reservation,
}

impl Archive {
    /// Stores a file under a resource; `named` is the UID of the URL.
    ///
    /// # Errors
    /// When the index fails; what cannot be stored is told in the outcome.
    pub async fn store_nonpatient(
        &self,
        scope: &Scope,
        kind: NonPatientKind,
        named: Option<&InstanceUid>,
        file: NonPatientFile,
    ) -> Result<Outcome> {
        let archive = self.clone();
        let named = named.cloned();
        let NonPatientFile { bytes, held } = file;
        let read = move || Ok(archive.read_nonpatient(kind, named.as_ref(), bytes, held));
        let (new, _held) = match self.lanes().run(Lane::Ingest, read).await? {
            Ok(read) => read,
            Err(outcome) => return Ok(*outcome),
        };
        let failed = |reason, comment: &str| Outcome::Failed {
            sop_class: Some(new.sop_class.clone()),
            instance: Some(new.instance.clone()),
            reason,
            comments: vec![comment.to_owned()],
        };
        Ok(match self.index.insert_nonpatient(scope, &new).await? {
            NonPatientInserted::Stored | NonPatientInserted::Same => match name_of(&new.instance) {
                Some(name) => Outcome::Stored {
                    name,
                    sop_class: new.sop_class,
                    warning: None,
                    findings: Vec::new(),
                },
                None => failed(reason::PROCESSING, "The UID was lost."),
            },
            NonPatientInserted::Other => failed(
                reason::DUPLICATE,
                "Another object is stored under this SOP Instance UID; delete it first.",
            ),
        })
    }

    /// What a file is, or why it cannot be stored; runs in the lane.
    fn read_nonpatient(
        &self,
        kind: NonPatientKind,
        named: Option<&InstanceUid>,
        bytes: Vec<u8>,
        held: Reservation,
    ) -> std::result::Result<(NewNonPatient, Reservation), Box<Outcome>> {
        let held = Mutex::new(held);
        let granted = granting(&held);
        let options = ParseOptions {
            stands_alone: true,
            // Nothing of it can be had by a URI of its own.
            inline_threshold: u32::MAX,
            text_threshold: u32::MAX,
            number_threshold: u32::MAX,
            room: Some(&granted),
            ..self.parse_options(Rules::Standard)
        };
        let refused =
            |reason, error: &dyn std::fmt::Display, class: Option<&str>, uid: Option<&str>| {
                Box::new(Outcome::Failed {
                    sop_class: class.map(str::to_owned),
                    instance: uid.map(str::to_owned),
                    reason,
                    comments: vec![format!("{error}.")],
                })
            };
        let instance = parse(&bytes, &options).map_err(|error| {
            let read = error.identifiers();
            let class = read.and_then(|read| read.sop_class.as_deref());
            let uid = read.and_then(|read| read.instance.as_deref());
            let reason = match &error {
                ParseError::NotDicom => reason::CANNOT_UNDERSTAND,
                ParseError::Read(_) => reason::OUT_OF_RESOURCES,
                _ => reason::INVALID,
            };
            refused(reason, &error, class, uid)
        })?;
        let (class, uid) = (&*instance.sop_class, instance.name.instance.as_str());
        let wrong = |text: &str| Err(refused(reason::INVALID, &text, Some(class), Some(uid)));
        if NonPatientKind::of_class(class) != Some(kind) {
            return wrong("the SOP class does not belong to this resource");
        }
        if named.is_some_and(|named| named.as_str() != uid) {
            return wrong("the SOP Instance UID is another one than that of the URL");
        }
        let metadata = pack(&instance.metadata, Some(&granted));
        let metadata = metadata.map_err(|_| {
            let busy = "the memory of the server is in use";
            refused(reason::OUT_OF_RESOURCES, &busy, Some(class), Some(uid))
        })?;
        let new = NewNonPatient {
            kind,
            sop_class: instance.sop_class.clone(),
            instance: uid.to_owned(),
            transfer_syntax: instance.layout.transfer_syntax.clone(),
            digest: *blake3::hash(&bytes).as_bytes(),
            weight: instance.metadata.text.len(),
            metadata,
            file: bytes,
        };
        drop(granted);
        let held = held.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok((new, held))
    }

    /// A stored non-patient instance, without its contents.
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`] when there is none for the caller.
    pub async fn nonpatient(
        &self,
        scope: &Scope,
        kind: NonPatientKind,
        uid: &InstanceUid,
    ) -> Result<NonPatientRow> {
        let row = self.index.nonpatient(scope, kind, uid.as_str()).await?;
        row.ok_or_else(|| not_found(kind, uid.as_str()))
    }

    /// The file of one, as it was received, with its memory.
    ///
    /// # Errors
    /// When it is gone by now, or damaged.
    pub async fn nonpatient_file(&self, row: &NonPatientRow) -> Result<(Bytes, Reservation)> {
        let gone = || ArchiveError::not_found("the object");
        let held = self.budget.reserve(Purpose::Answers, row.length).await?;
        let file = self.index.nonpatient_file(row.id).await?;
        let file = file.ok_or_else(gone)?;
        if *blake3::hash(&file).as_bytes() != row.digest {
            return Err(ArchiveError::Lost {
                what: "the bytes of a non-patient instance are others than were stored",
            });
        }
        Ok((Bytes::from(file), held))
    }

    /// The metadata of one as DICOM JSON, with its memory.
    ///
    /// # Errors
    /// When it is gone by now, or damaged.
    pub async fn nonpatient_text(&self, row: &NonPatientRow) -> Result<(String, Reservation)> {
        let bytes = row.packed.saturating_add(row.weight.saturating_mul(2));
        let held = self.budget.reserve(Purpose::Text, bytes).await?;
        let packed = self.index.nonpatient_metadata(&[row.id]).await?;
        let packed = packed.into_iter().next();
        let (_, packed) = packed.ok_or_else(|| ArchiveError::not_found("the object"))?;
        let text = self
            .lanes()
            .run(Lane::Text, move || unpacked_text(&packed))
            .await?;
        Ok((text, held))
    }

    /// Removes one, for good.
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`] when there is none for the caller.
    pub async fn delete_nonpatient(
        &self,
        scope: &Scope,
        kind: NonPatientKind,
        uid: &InstanceUid,
    ) -> Result<()> {
        let uid = uid.as_str();
        match self.index.delete_nonpatient(scope, kind, uid).await? {
            true => Ok(()),
            false => Err(not_found(kind, uid)),
        }
    }
}

fn not_found(kind: NonPatientKind, uid: &str) -> ArchiveError {
    ArchiveError::not_found(format!("{uid} in {}", kind.as_str()))
}

/// The name of what has neither study nor series.
fn name_of(instance: &str) -> Option<InstanceName> {
    Some(InstanceName {
        study: StudyUid::parse("0").ok()?,
        series: SeriesUid::parse("0").ok()?,
        instance: InstanceUid::parse(instance).ok()?,
    })
}
