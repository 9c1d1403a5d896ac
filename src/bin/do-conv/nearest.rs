//! What may have been meant by a name that isn't there.

use strsim::osa_distance;

/// The most names that are proposed.
const MOST: usize = 3;

/// The names nearest to one that isn't there by the number of characters to insert, to remove, to replace
/// or to swap, if they are within a third of its length.
pub fn nearest<'n>(name: &str, names: impl IntoIterator<Item = &'n str>) -> Vec<&'n str> {
    let len = name.chars().count();
    let far = (len / 3).max(1);
    let mut near: Vec<_> = names
        .into_iter()
        // Names of other lengths are as far at least; it takes long to compare long ones.
        .filter(|other| other.chars().count().abs_diff(len) <= far)
        .map(|other| (osa_distance(name, other), other))
        .filter(|&(distance, _)| distance <= far)
        .collect();
    near.sort_unstable();
    let best = near.first().map_or(0, |&(distance, _)| distance);
    near.retain(|&(distance, _)| distance == best);
    near.truncate(MOST);
    near.into_iter().map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_are_proposed_and_far_ones_not_at_all() {
        let names = ["layer1.conv1", "layer1.conv2", "layer2.conv1", "head", "a"];
        assert_eq!(nearest("layer1.cnov1", names), ["layer1.conv1"]);
        assert_eq!(nearest("layer2.conv2", names), ["layer1.conv2", "layer2.conv1"]);
        assert_eq!(nearest("layer1.conv1.W", names)[0], "layer1.conv1");
        assert_eq!(nearest("haed", names), ["head"]);
        assert_eq!(nearest("b", names), ["a"]);
        assert!(nearest("classifier", names).is_empty());
        assert!(nearest("", [""; 0]).is_empty());
    }
}
