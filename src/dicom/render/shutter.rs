//! Display shutters: what lies outside them is painted over (PS3.3 §C.7.6.11).

/// Most vertices of a polygonal shutter that are looked at.
pub(super) const MAX_VERTICES: usize = 4096;

/// The part of an image that stays visible, in pixels counted from 1.
#[derive(Debug, Clone, PartialEq)]
pub enum ShutterShape {
    /// Edges, inclusive.
    Rectangle {
        /// First visible column.
        left: f64,
        /// Last visible column.
        right: f64,
        /// First visible row.
        upper: f64,
        /// Last visible row.
        lower: f64,
    },
    /// A disk.
    Circle {
        /// Column of the center.
        column: f64,
        /// Row of the center.
        row: f64,
        /// Radius in pixels.
        radius: f64,
    },
    /// A polygon of (column, row) vertices, even-odd filled.
    Polygon(Vec<(f64, f64)>),
}

/// Shapes whose common part stays visible, and the gray level around it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Shutter {
    /// The shapes.
    pub shapes: Vec<ShutterShape>,
    /// Shutter Presentation Value (0018,1622), reduced to 8 bit.
    pub level: u8,
}

impl Shutter {
    /// Paints over the hidden pixels of row `row`, whose first column is `first`.
    ///
    /// `row` and `first` count from 0; `pixels` has `channels` bytes to the pixel.
    pub(super) fn apply(&self, row: u32, first: u32, pixels: &mut [u8], channels: usize) {
        let y = f64::from(row) + 1.0;
        for shape in &self.shapes {
            // Intervals come in order, so one pass over them serves the whole row.
            let mut visible = shape.crossings(y).into_iter().peekable();
            for (pixel, column) in pixels.chunks_exact_mut(channels).zip(first..) {
                let x = f64::from(column) + 1.0;
                while visible.next_if(|&(_, to)| to < x).is_some() {}
                if !visible
                    .peek()
                    .is_some_and(|&(from, to)| x >= from && x <= to)
                {
                    pixel.fill(self.level);
                }
            }
        }
    }
}

impl ShutterShape {
    /// The visible intervals of one row, left to right.
    fn crossings(&self, y: f64) -> Vec<(f64, f64)> {
        match self {
            Self::Rectangle {
                left,
                right,
                upper,
                lower,
            } => {
                if y >= *upper && y <= *lower {
                    vec![(*left, *right)]
                } else {
                    Vec::new()
                }
            }
            Self::Circle {
                column,
                row,
                radius,
            } => {
                let half = (radius * radius - (y - row) * (y - row)).sqrt();
                if half.is_nan() {
                    Vec::new()
                } else {
                    vec![(column - half, column + half)]
                }
            }
            Self::Polygon(vertices) => polygon_crossings(vertices, y),
        }
    }
}

fn polygon_crossings(vertices: &[(f64, f64)], y: f64) -> Vec<(f64, f64)> {
    let next = vertices.iter().cycle().skip(1);
    let mut columns: Vec<f64> = vertices
        .iter()
        .zip(next)
        .filter(|((_, y0), (_, y1))| (*y0 <= y) != (*y1 <= y))
        .map(|((x0, y0), (x1, y1))| x0 + (y - y0) / (y1 - y0) * (x1 - x0))
        .collect();
    columns.sort_by(f64::total_cmp);
    columns
        .as_chunks::<2>()
        .0
        .iter()
        .map(|&[from, to]| (from, to))
        .collect()
}
