//! All replicas come to the same state (`replication.md`, *Converge*). That their digests are the same is *live*: until they are, the
//! judge waits.

use super::Run;

/// Nodes that show something else than the first does.
#[must_use]
pub fn broken(run: &Run) -> Vec<String> {
    let Some((first, others)) = run.copies.split_first() else { return Vec::new() };
    let mut broken = Vec::new();
    for other in others {
        if other.artifacts != first.artifacts {
            let differs = |id: &&String| other.artifacts.get(*id) != first.artifacts.get(*id);
            let ids = first.artifacts.keys().chain(other.artifacts.keys());
            let id = ids.filter(differs).min().map_or("", String::as_str);
            broken.push(format!("n{} and n{} show {id} differently", first.node, other.node));
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::super::tests::sound;
    use super::*;

    #[test]
    fn another_token_is_found() {
        let mut run = sound();
        run.copies[1].artifacts.get_mut("a").unwrap().token = "1/1/y".into();
        assert_eq!(broken(&run), ["n1 and n2 show a differently"]);
    }
}
