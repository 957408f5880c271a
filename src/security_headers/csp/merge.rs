//! The union of two policies.

use super::directive::{Directive, Syntax};
use super::source::Source;

/// The directives of a policy and their values, in order.
pub(in crate::security_headers) type List = Vec<(Directive, Vec<Source>)>;

/// Adds the sources of `theirs` to these directives of `mine`.
///
/// A directive that is missing in either policy has the sources of its fallback (CSP3 §6.8.3). So
/// the addition to one directive neither reaches another one nor takes a source away.
pub(super) fn merge(
    mine: &List,
    theirs: &List,
    directives: impl IntoIterator<Item = Directive>,
) -> List {
    let mut merged = mine.clone();
    for directive in directives.into_iter().chain(workers(mine, theirs)) {
        let (ours, more) = (allowed(mine, directive), allowed(theirs, directive));
        let mut sources = match directive.syntax() {
            // Two values would be an error, so the other policy's value replaces this one.
            Syntax::Endpoint | Syntax::Keyword(_) if !more.is_empty() => Vec::new(),
            _ => ours.to_vec(),
        };
        for source in more {
            if !sources.contains(source) {
                sources.push(source.clone());
            }
        }
        // `'none'` beside a source is an error; alone it stays.
        if sources.len() > 1 {
            sources.retain(|source| *source != Source::NONE);
        }
        *entry(&mut merged, directive) = sources;
    }
    merged
}

/// Returns the value of a directive, if the policy has it.
pub(super) fn find(list: &List, directive: Directive) -> Option<&[Source]> {
    let found = list.iter().find(|(found, _)| *found == directive);
    found.map(|(_, sources)| sources.as_slice())
}

/// Returns the value of a directive, which is added to the end if it is missing.
pub(super) fn entry(list: &mut List, directive: Directive) -> &mut Vec<Source> {
    let at = list.iter().position(|(found, _)| *found == directive).unwrap_or_else(|| {
        list.push((directive, Vec::new()));
        list.len() - 1
    });
    &mut list[at].1
}

/// Returns `worker-src` if it must be written out.
///
/// Workers fall back to `child-src` before `script-src`. If only one of the policies has
/// `child-src`, the merged policy would apply it to the workers of the other policy too.
fn workers(mine: &List, theirs: &List) -> Option<Directive> {
    let both = [mine, theirs];
    let have = |wanted| both.map(|list| find(list, wanted).is_some());
    let [here, there] = have(Directive::CHILD_SRC);
    let own = have(Directive::WORKER_SRC).contains(&true);
    let allowed = both.map(|list| allowed(list, Directive::WORKER_SRC));
    let taken_over = here != there && !own && allowed.iter().all(|sources| !sources.is_empty());
    taken_over.then_some(Directive::WORKER_SRC)
}

fn allowed(list: &List, directive: Directive) -> &[Source] {
    let mut holding = [directive].into_iter().chain(directive.fallbacks().iter().copied());
    holding.find_map(|holds| find(list, holds)).unwrap_or_default()
}
