//! What is de-identified: an instance that is stored, or one that has come and is not.

use std::sync::Arc;

use crate::archive::Archive;
use crate::archive::assembled::Base;
use crate::archive::caches::sources::OpenedSource;
use crate::archive::content::Representation;
use crate::archive::error::Result;
use crate::archive::lanes::Lane;
use crate::archive::open_instance::OpenInstance;
use crate::archive::services::render::output::FrameSamples;
use crate::dicom::frames::FrameSlices;
use crate::dicom::source::Source;
use crate::index::{BlobPlace, InstanceRow};
use crate::scope::Scope;

/// An instance and where its bytes are.
#[derive(Clone)]
pub(in crate::archive) struct Original {
    pub(super) row: InstanceRow,
    bytes: OriginalBytes,
}

#[derive(Clone)]
enum OriginalBytes {
    /// They are stored; who may see them.
    Stored(Scope),
    /// They are not: the file, or its inflated data set when it is deflated, and where frames are in it.
    Received(OpenedSource, Arc<OpenInstance>),
}

impl Original {
    pub(super) fn stored(scope: &Scope, row: &InstanceRow) -> Self {
        Self {
            row: row.clone(),
            bytes: OriginalBytes::Stored(scope.clone()),
        }
    }

    /// One that has come and is not stored: `row` describes it and names no blob, `source` is its file, or its inflated data
    /// set when it is deflated, `frames` its packed frame table.
    pub(in crate::archive) fn received(
        row: InstanceRow,
        frames: Vec<u8>,
        source: OpenedSource,
    ) -> Self {
        let instance = Arc::new(OpenInstance::received(row.clone(), frames));
        Self {
            row,
            bytes: OriginalBytes::Received(source, instance),
        }
    }

    /// The place of what is not stored.
    pub(in crate::archive) fn no_place(length: u64) -> BlobPlace {
        BlobPlace {
            key: String::new(),
            offset: 0,
            length,
            blocks: None,
        }
    }
}

impl Archive {
    /// Looks through the structure of a data set, and opens what its bytes are taken from.
    pub(super) async fn look_through<T: Send + 'static>(
        &self,
        original: &Original,
        look: impl FnOnce(&(dyn Source + Send + Sync)) -> Result<T> + Send + 'static,
    ) -> Result<(T, Base)> {
        match &original.bytes {
            OriginalBytes::Stored(_) => self.looked_through(&original.row, look).await,
            OriginalBytes::Received(source, _) => {
                let read = source.clone();
                let seen = self.lanes().run(Lane::Retrieve, move || look(&*read));
                Ok((seen.await?, Base::Open(source.clone())))
            }
        }
    }

    /// Opens the version that is de-identified.
    pub(super) async fn open_original(&self, original: &Original) -> Result<Arc<OpenInstance>> {
        match &original.bytes {
            OriginalBytes::Stored(scope) => self.open_version(scope, &original.row).await,
            OriginalBytes::Received(_, instance) => Ok(instance.clone()),
        }
    }

    /// The bytes of a frame as they came.
    pub(super) fn original_slices(
        &self,
        original: &Original,
        instance: &OpenInstance,
        slices: &FrameSlices,
    ) -> Representation {
        match &original.bytes {
            OriginalBytes::Stored(_) => self.slices(instance, slices),
            OriginalBytes::Received(source, _) => {
                let ranges = slices.ranges.clone().into_iter();
                self.ranges_of(source, ranges, slices.len())
            }
        }
    }

    /// A compressed frame as samples, for those whose turn it is.
    pub(super) async fn original_samples(
        &self,
        original: &Original,
        instance: &OpenInstance,
        number: u32,
    ) -> Result<Arc<FrameSamples>> {
        if let OriginalBytes::Stored(_) = &original.bytes {
            return self.samples_in_turn(instance, number).await;
        }
        let read = |slices: &FrameSlices, _| self.original_slices(original, instance, slices);
        let (samples, _) = self.decode_from(instance, number, read).await?;
        Ok(Arc::new(samples))
    }
}
