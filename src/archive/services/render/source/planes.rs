//! Overlay planes in the unused bits of native pixel data, as they were stored long ago.

use std::sync::Arc;

use super::{MOST_TABLES, RenderSource, TABLE_COPIES};
use crate::archive::Archive;
use crate::archive::content::collect;
use crate::archive::error::Result;
use crate::dicom::codec::transfer_syntax;
use crate::dicom::render::plane_of_cells;
use crate::memory::Purpose;

impl Archive {
    /// Reads an overlay plane out of the cells of a native frame; whether there is one.
    pub(super) async fn fetch_plane(
        &self,
        subject: &RenderSource,
        path: String,
        frame: u32,
        bit: u8,
    ) -> Result<bool> {
        let instance = &subject.instance;
        let row = &instance.row;
        let width = row.pixel.as_ref().map_or(0, |pixel| {
            let single = pixel.samples_per_pixel == 1;
            usize::from(if single { pixel.bits_allocated / 8 } else { 0 })
        });
        let native = transfer_syntax::is_native(&row.layout.transfer_syntax) && width > 0;
        let Some(slices) = instance.frame(frame).filter(|_| native) else {
            subject.tables().held.insert(path, None);
            return Ok(false);
        };
        let cells = self.native_slices(instance, &slices);
        let size = usize::try_from(cells.length()).unwrap_or(usize::MAX);
        let bytes = subject.tables().bytes;
        let length = (size / width).div_ceil(8) as u64;
        if size > self.limits.max_frame_bytes || bytes + length > MOST_TABLES {
            subject.tables().held.insert(path, None);
            return Ok(false);
        }
        let mut more = self.reserve(Purpose::Pixels, size).await?;
        let cells = collect(cells.all().await?).await?;
        let plane = plane_of_cells(&cells, width, bit);
        drop(cells);
        let kept = usize::try_from(length).unwrap_or(usize::MAX);
        more.shrink_to(kept.saturating_mul(TABLE_COPIES).min(size));
        let mut tables = subject.tables();
        tables.bytes += length;
        tables.held.insert(path, plane.map(Arc::from));
        match &mut tables.memory {
            Some(memory) => memory.merge(more),
            memory => *memory = Some(more),
        }
        Ok(true)
    }
}
