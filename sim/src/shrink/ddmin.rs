//! Delta debugging itself: of a list, a shortest sublist that still does something, in the sense that without any single one
//! of its parts it does not.

/// The sublist of `all` that is left when no part of it can be taken away any more. `all` does it, by assumption; `does` says
/// whether another sublist does, in the order of `all`.
///
/// # Errors
/// What `does` answers with.
pub(super) fn minimized<T: Clone, E>(all: Vec<T>, mut does: impl FnMut(&[T]) -> Result<bool, E>) -> Result<Vec<T>, E> {
    if all.is_empty() || does(&[])? {
        return Ok(Vec::new());
    }
    let (mut kept, mut parts) = (all, 2);
    while kept.len() >= 2 {
        match smaller(&kept, parts, &mut does)? {
            Some((less, finer)) => (kept, parts) = (less, finer),
            None if parts < kept.len() => parts = (parts * 2).min(kept.len()),
            None => break,
        }
    }
    Ok(kept)
}

/// One of so many parts that does it alone, or all but one of them; and in how many parts to cut that.
fn smaller<T: Clone, E>(
    kept: &[T],
    parts: usize,
    does: &mut impl FnMut(&[T]) -> Result<bool, E>,
) -> Result<Option<(Vec<T>, usize)>, E> {
    let bounds = |part: usize| (kept.len() * part / parts, kept.len() * (part + 1) / parts);
    for part in 0..parts {
        let (from, to) = bounds(part);
        if does(&kept[from..to])? {
            return Ok(Some((kept[from..to].to_vec(), 2)));
        }
    }
    // Of two parts, each is what the other leaves.
    for part in (0..parts).filter(|_| parts > 2) {
        let (from, to) = bounds(part);
        let rest = [&kept[..from], &kept[to..]].concat();
        if does(&rest)? {
            return Ok(Some((rest, (parts - 1).max(2))));
        }
    }
    Ok(None)
}
