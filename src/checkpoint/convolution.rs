//! Plain convolutions, by the keys and shapes of their kernels.

use super::float::Float;
use super::tensor::Tensor;

/// The plain kernel of a convolution.
#[derive(Debug, Clone, Copy)]
pub struct Convolution<'a> {
    pub key: Key<'a>,
    pub tensor: &'a Tensor,
    pub float: Float,
    /// `[O, n, M, N]`.
    pub shape: [usize; 4],
}

impl<'a> Convolution<'a> {
    /// The convolution with that kernel, whose axes `axes` are `[O, n, M, N]`; none if it has another
    /// rank, no elements, or other than floating-point ones.
    pub fn of(key: Key<'a>, tensor: &'a Tensor, axes: [usize; 4]) -> Option<Self> {
        let stored: [usize; 4] = tensor.shape().try_into().ok()?;
        let float = Float::of(tensor.dtype())?;
        let shape = axes.map(|axis| stored[axis]);
        (!stored.contains(&0)).then_some(Self { key, tensor, float, shape })
    }

    /// `MN`.
    pub fn taps(&self) -> usize {
        // Of a tensor, whose size is checked.
        self.shape[2] * self.shape[3]
    }
}

/// A key, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key<'a> {
    pub whole: &'a str,
    /// The layer's name.
    pub name: &'a str,
    /// The layer's name and the separator.
    pub prefix: &'a str,
    /// `:0` or nothing.
    pub end: &'a str,
}

impl<'a> Key<'a> {
    /// The key if its last part is `part`.
    pub fn of(whole: &'a str, part: &str, separators: &[char]) -> Option<Self> {
        let start = whole.strip_suffix(":0").unwrap_or(whole);
        let prefix = start.strip_suffix(part)?;
        let name = match prefix.strip_suffix(separators) {
            Some(name) => name,
            None if prefix.is_empty() => prefix,
            None => return None,
        };
        Some(Self { whole, name, prefix, end: &whole[start.len()..] })
    }

    /// The key of another tensor of the layer.
    pub fn beside(&self, part: &str) -> String {
        format!("{}{part}{}", self.prefix, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_taken_apart() {
        let key = |whole, separators: &[char]| {
            Key::of(whole, "weight", separators).map(|key| (key.name, key.prefix, key.end))
        };
        assert_eq!(key("a.b.weight", &['.', '/']), Some(("a.b", "a.b.", "")));
        assert_eq!(key("a/weight:0", &['.', '/']), Some(("a", "a/", ":0")));
        assert_eq!(key("weight", &['.']), Some(("", "", "")));
        assert_eq!(key("a_weight", &['.', '/']), None);
        assert_eq!(key("a_weight", &['.', '_']), Some(("a", "a_", "")));
        assert_eq!(key("a.bias", &['.']), None);
        assert_eq!(key("a.weight.b", &['.']), None);
    }
}
