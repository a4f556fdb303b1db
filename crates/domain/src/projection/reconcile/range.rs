//! Ranges of keys: the nodes of the tree that reconciliation walks down.

use crate::projection::FactKey;

/// The facts whose keys begin with the same nibbles.
///
/// The tree is the same on all replicas and holds nothing: of sixteen children to a range, and four levels below the
/// whole. Of a million facts sixteen share a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Range {
    depth: u8,
    index: u16,
}

impl Range {
    /// All keys.
    pub const WHOLE: Self = Self { depth: 0, index: 0 };

    /// How many nibbles the keys of a leaf share: a leaf has no children.
    pub const DEPTH_MAX: u8 = 4;

    /// Into how many ranges a range is split.
    pub const CHILDREN: usize = 16;

    /// How many leaves there are.
    pub const LEAVES: usize = 1 << (4 * Self::DEPTH_MAX);

    /// The range of the keys that begin with the `depth` nibbles of `index`; `None` where there is none.
    #[must_use]
    pub const fn new(depth: u8, index: u16) -> Option<Self> {
        let fits = depth == Self::DEPTH_MAX || (depth < Self::DEPTH_MAX && index >> (4 * depth) == 0);
        if fits { Some(Self { depth, index }) } else { None }
    }

    /// The leaf a key is in.
    #[must_use]
    pub const fn leaf_of(key: FactKey) -> Self {
        let [first, second, ..] = key.bytes();
        Self { depth: Self::DEPTH_MAX, index: u16::from_be_bytes([first, second]) }
    }

    /// How many nibbles the keys share.
    #[must_use]
    pub const fn depth(self) -> u8 {
        self.depth
    }

    /// Those nibbles, as a number: which of the ranges of its depth it is, in the order of keys.
    #[must_use]
    pub const fn index(self) -> u16 {
        self.index
    }

    /// The sixteen ranges it consists of, in the order of keys; `None` for a leaf.
    #[must_use]
    pub fn children(self) -> Option<[Self; Self::CHILDREN]> {
        let child = |nibble| Self { depth: self.depth + 1, index: (self.index << 4) | nibble };
        let nibbles: [u16; Self::CHILDREN] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
        (self.depth < Self::DEPTH_MAX).then(|| nibbles.map(child))
    }

    /// Whether a key is in it.
    #[must_use]
    pub fn contains(self, key: FactKey) -> bool {
        self.leaves().contains(&usize::from(Self::leaf_of(key).index))
    }

    /// Its smallest key.
    #[must_use]
    pub fn first_key(self) -> FactKey {
        self.edge(self.leaves().start, 0)
    }

    /// Its greatest key.
    #[must_use]
    pub fn last_key(self) -> FactKey {
        self.edge(self.leaves().end - 1, u8::MAX)
    }

    /// The numbers of its leaves.
    #[must_use]
    pub fn leaves(self) -> std::ops::Range<usize> {
        let below = 4 * (Self::DEPTH_MAX - self.depth);
        let first = usize::from(self.index) << below;
        first..first + (1 << below)
    }

    fn edge(self, leaf: usize, rest: u8) -> FactKey {
        let mut bytes = [rest; FactKey::BYTES];
        let leaf = u16::try_from(leaf).expect("a leaf has a number below 65,536");
        bytes[..2].copy_from_slice(&leaf.to_be_bytes());
        FactKey::new(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_children_of_a_range_are_its_keys_and_no_others() {
        let range = Range::new(2, 0xab).unwrap();
        let children = range.children().unwrap();
        assert_eq!(children[0].first_key(), range.first_key());
        assert_eq!(children[15].last_key(), range.last_key());
        for pair in children.windows(2) {
            assert_eq!(pair[0].leaves().end, pair[1].leaves().start);
        }
        assert!(range.contains(range.first_key()) && range.contains(range.last_key()));
        let (before, after) = (Range::new(2, 0xaa).unwrap(), Range::new(2, 0xac).unwrap());
        assert!(!range.contains(before.last_key()) && !range.contains(after.first_key()));
        assert_eq!(range.first_key().bytes()[..3], [0xab, 0, 0]);
        assert_eq!(range.last_key().bytes()[..3], [0xab, 0xff, 0xff]);
    }

    #[test]
    fn a_range_has_no_more_nibbles_than_its_depth() {
        assert_eq!(Range::new(0, 0), Some(Range::WHOLE));
        assert_eq!(Range::new(0, 1), None);
        assert_eq!(Range::new(1, 16), None);
        assert_eq!(Range::new(4, u16::MAX).and_then(Range::children), None);
        assert_eq!(Range::new(5, 0), None);
        assert_eq!(Range::WHOLE.leaves(), 0..Range::LEAVES);
    }
}
