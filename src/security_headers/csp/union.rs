//! What two policies allow together.

use super::directive::{Directive, Kind};
use super::policy::List;
use super::source::Source;

/// Adds what `theirs` allows to these directives of `mine`.
///
/// What is not there allows what holds in its place (CSP3 §6.8.3), in either policy, so that what
/// is added to one directive reaches no other and takes nothing away.
pub(super) fn unite(
    mine: &List,
    theirs: &List,
    directives: impl IntoIterator<Item = Directive>,
) -> List {
    let mut united = mine.clone();
    for directive in directives.into_iter().chain(workers(mine, theirs)) {
        let (ours, more) = (allowed(mine, directive), allowed(theirs, directive));
        let mut sources = match directive.kind() {
            Kind::Endpoint | Kind::Words(_) if !more.is_empty() => Vec::new(),
            _ => ours.to_vec(),
        };
        for source in more {
            if !sources.contains(source) {
                sources.push(source.clone());
            }
        }
        if sources.len() > 1 {
            sources.retain(|source| *source != Source::NONE);
        }
        *entry(&mut united, directive) = sources;
    }
    united
}

/// The value of a directive that is there.
pub(super) fn find(list: &List, directive: Directive) -> Option<&[Source]> {
    let found = list.iter().find(|(found, _)| *found == directive);
    found.map(|(_, sources)| sources.as_slice())
}

/// The value of a directive; it is added if it is not there.
pub(super) fn entry(list: &mut List, directive: Directive) -> &mut Vec<Source> {
    let at = list.iter().position(|(found, _)| *found == directive).unwrap_or_else(|| {
        list.push((directive, Vec::new()));
        list.len() - 1
    });
    &mut list[at].1
}

/// Workers fall back to `child-src` before `script-src`: one that is new would take them over.
fn workers(mine: &List, theirs: &List) -> Option<Directive> {
    let both = [mine, theirs];
    let have = |wanted| both.map(|list| find(list, wanted).is_some());
    let [here, there] = have(Directive::ChildSrc);
    let own = have(Directive::WorkerSrc).contains(&true);
    let allowed = both.map(|list| allowed(list, Directive::WorkerSrc));
    let taken_over = here != there && !own && allowed.iter().all(|sources| !sources.is_empty());
    taken_over.then_some(Directive::WorkerSrc)
}

fn allowed(list: &List, directive: Directive) -> &[Source] {
    let mut holding = [directive].into_iter().chain(directive.fallbacks().iter().copied());
    holding.find_map(|holds| find(list, holds)).unwrap_or_default()
}
