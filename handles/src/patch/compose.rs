//! Several patches as one, without knowing the type (objects.md, section 5): what a replica that fell behind is sent.

use super::tree::{Tree, Writer};
use crate::references::Reference;

/// One patch that does what all of `patches` do one after another, each with the references that it names; and the
/// references that are left.
///
/// A value that is overwritten vanishes, nodes for one field, key or item merge, additions add up, operations on
/// sequences and texts follow one another; where nothing else works a Then is made. Costs what the patches are large.
/// Of no patches: `[1]`, which changes nothing.
///
/// `None`: one is malformed, the result would nest deeper than 64 nodes or hold more than 4,096 references. Whoever
/// asked sends the patches one by one, or the whole value.
pub fn compose(patches: &[(&[u8], &[Reference])]) -> Option<(Vec<u8>, Vec<Reference>)> {
    let mut all = Tree::nothing();
    for (source, (patch, _)) in (0..).zip(patches) {
        all.then(Tree::read(patch, source).ok()?);
    }
    let sources: Vec<_> = patches.iter().map(|(_, refs)| *refs).collect();
    let mut writer = Writer::new(&sources);
    writer.tree(&all, 0)?;
    Some((writer.bytes, writer.refs))
}
