//! The marker segments around the packets (T.800 annex A, T.814 annex A).

/// Guard bits (T.800 equation E-2): with two, no 5/3 coefficient of any picture is too large.
const GUARD_BITS: u8 = 2;

/// What the main header says.
pub(super) struct MainHeader {
    pub(super) columns: u32,
    pub(super) rows: u32,
    /// Bits of a sample, 1 to 16.
    pub(super) precision: u8,
    pub(super) signed: bool,
    /// 1 or 3.
    pub(super) components: u8,
    /// Three components are transformed by RCT, which makes two of them a bit wider.
    pub(super) transform: bool,
    pub(super) levels: u8,
}

impl MainHeader {
    /// The exponent of a subband, whose high-pass halves number `gain` (T.800 equation E-5).
    fn exponent(&self, gain: u8) -> u8 {
        self.precision + u8::from(self.transform) + gain
    }

    /// Bits that hold each magnitude of a subband.
    pub(super) fn magnitude_bits(&self, gain: u8) -> u32 {
        u32::from(self.exponent(gain) + GUARD_BITS - 1)
    }

    /// Writes the main header; the lengths of tile-parts go into TLM, which is left out without them.
    pub(super) fn append(&self, part_lengths: Option<&[u32]>, bytes: &mut Vec<u8>) {
        bytes.extend([0xff, 0x4f]);
        self.append_size(bytes);
        // CAP: part 15; only HT blocks, one set, any region, homogeneous, reversible, and the bound of magnitudes.
        let bound = self.magnitude_bits(if self.levels == 0 { 0 } else { 2 });
        let bound = u16::try_from(bound.saturating_sub(8)).unwrap_or(u16::MAX);
        let mut capabilities = 0x0002_0000_u32.to_be_bytes().to_vec();
        capabilities.extend(bound.to_be_bytes());
        segment(0x50, &capabilities, bytes);
        // COD: no precincts, RPCL, one layer; blocks of 64×64, HT, 5/3.
        let transform = u8::from(self.transform);
        segment(
            0x52,
            &[0, 2, 0, 1, transform, self.levels, 4, 4, 0x40, 1],
            bytes,
        );
        // QCD: no quantization.
        let mut exponents = vec![GUARD_BITS << 5, self.exponent(0) << 3];
        for _ in 0..self.levels {
            exponents.extend([1, 1, 2].map(|gain| self.exponent(gain) << 3));
        }
        segment(0x5c, &exponents, bytes);
        if let Some(part_lengths) = part_lengths {
            // TLM: one byte for the tile, four for the length.
            let mut lengths = vec![0, 0x50];
            for length in part_lengths {
                lengths.push(0);
                lengths.extend(length.to_be_bytes());
            }
            segment(0x55, &lengths, bytes);
        }
    }

    fn append_size(&self, bytes: &mut Vec<u8>) {
        // A codestream that needs CAP.
        let mut size = vec![0x40, 0];
        let (columns, rows) = (self.columns, self.rows);
        // Picture and origin, tile and origin.
        for value in [columns, rows, 0, 0, columns, rows, 0, 0] {
            size.extend(value.to_be_bytes());
        }
        size.extend([0, self.components]);
        let depth = (self.precision - 1) | u8::from(self.signed) << 7;
        (0..self.components).for_each(|_| size.extend([depth, 1, 1]));
        segment(0x51, &size, bytes);
    }
}

/// Bytes in front of the packets of a tile-part.
pub(super) const PART_HEADER: u32 = 14;

/// Starts a tile-part; `length` counts its header.
pub(super) fn append_part_header(number: u8, parts: u8, length: u32, bytes: &mut Vec<u8>) {
    let mut start = vec![0, 0];
    start.extend(length.to_be_bytes());
    start.extend([number, parts]);
    segment(0x90, &start, bytes);
    bytes.extend([0xff, 0x93]);
}

/// Ends the codestream.
pub(super) const END: [u8; 2] = [0xff, 0xd9];

/// A marker with its parameters, which are far below 64 KiB.
fn segment(marker: u8, parameters: &[u8], bytes: &mut Vec<u8>) {
    let length = u16::try_from(parameters.len() + 2).unwrap_or(u16::MAX);
    bytes.extend([0xff, marker]);
    bytes.extend(length.to_be_bytes());
    bytes.extend_from_slice(parameters);
}
