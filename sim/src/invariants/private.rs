//! Nobody sees anything of a tenant without its token (`replication.md`, *Private*).

use super::Run;

/// What strangers saw.
#[must_use]
pub fn broken(run: &Run) -> Vec<String> {
    let told = run.seen.glimpses.iter();
    told.map(|glimpse| {
        format!("n{} answered a stranger {} with {}: {}", glimpse.node, glimpse.path, glimpse.status, glimpse.text)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::sound;
    use super::*;
    use crate::history::Glimpse;

    #[test]
    fn what_a_stranger_sees_is_found() {
        let mut run = sound();
        let glimpse = Glimpse { node: 2, path: "/projections".into(), status: 200, text: "[…]".into() };
        run.seen.glimpses.push(glimpse);
        assert_eq!(broken(&run), ["n2 answered a stranger /projections with 200: […]"]);
    }
}
