//! All replicas come to the same state (`replication.md`, *Converge*).

use super::Copy;
use crate::history::Seen;

/// Nodes that show something else than the first does.
#[must_use]
pub fn broken(_: &Seen, copies: &[Copy]) -> Vec<String> {
    let Some((first, others)) = copies.split_first() else { return Vec::new() };
    let differ = |other: &&Copy| (&other.digest, &other.artifacts) != (&first.digest, &first.artifacts);
    others.iter().filter(differ).map(|other| format!("n{} and n{} differ", first.node, other.node)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::sound;
    use super::*;

    #[test]
    fn another_digest_or_another_token_is_found() {
        let (seen, mut copies) = sound();
        copies[1].digest = "e".into();
        assert_eq!(broken(&seen, &copies), ["n1 and n2 differ"]);
        let (seen, mut copies) = sound();
        copies[1].artifacts.get_mut("a").unwrap().token = "1/1/y".into();
        assert_eq!(broken(&seen, &copies), ["n1 and n2 differ"]);
    }
}
