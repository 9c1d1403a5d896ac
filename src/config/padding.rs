//! How an image is continued past its border.

/// How far an image is continued past each side. Default: [`Padding::Valid`].
///
/// Whole numbers convert: `1` pads every side by one, `[1, 2]` pads one row above and below and
/// two columns left and right, `[[top, bottom], [left, right]]` pads each side on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Padding {
    /// No padding.
    #[default]
    Valid,
    /// As much as makes the output as large as the input: `dilation · (kernel − 1)` an axis, of
    /// which the far side gets the larger half. Needs stride 1.
    Same,
    /// `[[top, bottom], [left, right]]`.
    Explicit([[usize; 2]; 2]),
}

impl From<usize> for Padding {
    fn from(every_side: usize) -> Self {
        Self::Explicit([[every_side; 2]; 2])
    }
}

impl From<[usize; 2]> for Padding {
    fn from([rows, cols]: [usize; 2]) -> Self {
        Self::Explicit([[rows; 2], [cols; 2]])
    }
}

impl From<[[usize; 2]; 2]> for Padding {
    fn from(sides: [[usize; 2]; 2]) -> Self {
        Self::Explicit(sides)
    }
}

/// What stands in the padding. Default: [`PaddingMode::Zeros`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum PaddingMode {
    /// Zeros.
    #[default]
    Zeros,
    /// The image mirrored at its border pixel: `c b | a b c | b a`. Each side's padding must be
    /// smaller than the image.
    Reflect,
    /// The border pixel repeated: `a a | a b c | c c`.
    Replicate,
    /// The image repeated: `b c | a b c | a b`. Each side's padding may be at most the image.
    Circular,
}

impl PaddingMode {
    /// The pixel that stands at `position` of an axis of `len` pixels; none for a zero.
    #[inline]
    pub(crate) fn source(self, position: isize, len: usize) -> Option<usize> {
        let signed = len as isize;
        if (0..signed).contains(&position) {
            return Some(position as usize);
        }
        let source = match self {
            Self::Zeros => return None,
            Self::Reflect if position < 0 => -position,
            Self::Reflect => 2 * (signed - 1) - position,
            Self::Replicate => position.clamp(0, signed - 1),
            Self::Circular if position < 0 => position + signed,
            Self::Circular => position - signed,
        };
        Some(source as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands from `from` on around the image `a b c d`; `.` for a zero.
    fn around(mode: PaddingMode, from: isize, len: isize) -> String {
        let pixel = |position| mode.source(position, 4).map_or('.', |at| ['a', 'b', 'c', 'd'][at]);
        (from..from + len).map(pixel).collect()
    }

    #[test]
    fn images_go_on_past_their_border_as_their_mode_says() {
        assert_eq!(around(PaddingMode::Zeros, -3, 10), "...abcd...");
        assert_eq!(around(PaddingMode::Reflect, -3, 10), "dcbabcdcba");
        assert_eq!(around(PaddingMode::Replicate, -3, 10), "aaaabcdddd");
        assert_eq!(around(PaddingMode::Circular, -4, 12), "abcdabcdabcd");
    }
}
