//! Finds the name that a typo was meant to be.

/// The candidate with the fewest edits from `name`, the first one of those that tie, or
/// `None` when all would need more edits than a typo has.
pub(crate) fn nearest(
    name: &str,
    candidates: impl IntoIterator<Item = &'static str>,
) -> Option<&'static str> {
    // One slip in three letters, and never more than two.
    let limit = (name.len() / 3).min(2);
    candidates
        .into_iter()
        // The distance is at least the difference in length: skip what cannot be near.
        .filter(|candidate| candidate.len().abs_diff(name.len()) <= limit)
        .map(|candidate| (strsim::osa_distance(name, candidate), candidate))
        .filter(|&(distance, _)| distance <= limit)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}
