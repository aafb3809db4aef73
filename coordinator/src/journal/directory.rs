//! The directory: one hash over the strands of all jobs, such that one strand is shown to be in it by a dozen others.
//!
//! A binary tree of hashes. Leaf `n` stands for the strand of the `n`th job of the journal; a node is the hash of the two below it, and one
//! without a neighbour is carried up as it is (as RFC 6962 has it). A record changes one leaf, and the nodes on the way from it to the root:
//! with `n` jobs both the change and the proof take log₂ n steps.

use std::{collections::BTreeMap, convert::Infallible};

use super::{ChainHash, Position};

/// A hash in the tree.
pub(super) type Node = [u8; 32];

/// Level (0: leaves) and number within it.
pub(super) type Place = (u8, u64);

/// Where the nodes are kept.
pub(super) trait Nodes {
    type Error;

    fn node(&self, place: Place) -> Result<Option<Node>, Self::Error>;
}

/// Where they are kept and changed.
pub(super) trait NodesMut: Nodes {
    fn set(&mut self, place: Place, node: Node) -> Result<(), Self::Error>;
}

impl Nodes for BTreeMap<Place, Node> {
    type Error = Infallible;

    fn node(&self, place: Place) -> Result<Option<Node>, Infallible> {
        Ok(self.get(&place).copied())
    }
}

impl NodesMut for BTreeMap<Place, Node> {
    fn set(&mut self, place: Place, node: Node) -> Result<(), Infallible> {
        self.insert(place, node);
        Ok(())
    }
}

/// What stands for all strands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Root {
    /// Strands there are.
    pub(super) leaves: u64,
    /// Hash over them; zeros if there are none.
    pub(super) node: Node,
}

impl Root {
    pub(super) const EMPTY: Self = Self {
        leaves: 0,
        node: [0; 32],
    };

    /// The hash that stands for the chain up to a place and for the strands at it.
    pub(super) fn seal(&self, place: Position) -> ChainHash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"firn journal head");
        hasher.update(&place.sequence.to_le_bytes());
        hasher.update(place.hash.as_bytes());
        hasher.update(&self.leaves.to_le_bytes());
        hasher.update(&self.node);
        ChainHash::from_bytes(*hasher.finalize().as_bytes())
    }
}

/// Puts a leaf into a tree of so many, and renews the nodes above it. Returns the root.
pub(super) fn plant<N: NodesMut>(nodes: &mut N, leaves: u64, number: u64, leaf: Node) -> Result<Root, N::Error> {
    nodes.set((0, number), leaf)?;
    let mut way = Vec::new();
    let root = climb(&*nodes, leaves, number, leaf, |place, node| way.push((place, node)))?;
    for (place, node) in way {
        nodes.set(place, node)?;
    }
    Ok(root)
}

/// The root that the tree has if it holds this leaf. `pass` is given every node on the way.
pub(super) fn climb<N: Nodes>(
    nodes: &N,
    leaves: u64,
    number: u64,
    leaf: Node,
    mut pass: impl FnMut(Place, Node),
) -> Result<Root, N::Error> {
    let (mut level, mut index, mut width, mut node) = (0, number, leaves, leaf);
    while width > 1 {
        let neighbour = match index ^ 1 {
            other if other < width => nodes.node((level, other))?,
            _ => None,
        };
        node = match neighbour {
            None => node,
            Some(right) if index % 2 == 0 => join(&node, &right),
            Some(left) => join(&left, &node),
        };
        (level, index, width) = (level + 1, index / 2, width.div_ceil(2));
        pass((level, index), node);
    }
    Ok(Root { leaves, node })
}

fn join(left: &Node, right: &Node) -> Node {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"firn journal node");
    hasher.update(left);
    hasher.update(right);
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(number: u64) -> Node {
        *blake3::hash(&number.to_le_bytes()).as_bytes()
    }

    /// The root by its definition, without a tree that is kept.
    fn expected(leaves: &[Node]) -> Node {
        match leaves {
            [one] => *one,
            _ => {
                let above: Vec<Node> = leaves
                    .chunks(2)
                    .map(|pair| pair.get(1).map_or(pair[0], |right| join(&pair[0], right)))
                    .collect();
                expected(&above)
            }
        }
    }

    #[test]
    fn the_root_is_that_of_all_leaves_however_they_came() {
        let mut nodes = BTreeMap::new();
        let mut leaves = Vec::new();
        for number in 0..70 {
            leaves.push(leaf(number));
            let root = plant(&mut nodes, number + 1, number, leaf(number)).unwrap();
            assert_eq!(root.node, expected(&leaves), "{number}");
            let changed = (number * 7 % (number + 1)) as usize;
            leaves[changed] = leaf(1_000 + number);
            let root = plant(&mut nodes, number + 1, changed as u64, leaves[changed]).unwrap();
            assert_eq!(root.node, expected(&leaves), "{number}, after a change of {changed}");
        }
    }

    #[test]
    fn a_leaf_is_in_the_tree_and_another_in_its_place_is_not() {
        let mut nodes = BTreeMap::new();
        let mut root = Root::EMPTY;
        for number in 0..37 {
            root = plant(&mut nodes, number + 1, number, leaf(number)).unwrap();
        }
        for number in 0..37 {
            assert_eq!(climb(&nodes, 37, number, leaf(number), |_, _| {}).unwrap(), root);
            assert_ne!(climb(&nodes, 37, number, leaf(number + 1), |_, _| {}).unwrap(), root);
        }
        assert_ne!(climb(&nodes, 36, 3, leaf(3), |_, _| {}).unwrap(), root);
    }
}
