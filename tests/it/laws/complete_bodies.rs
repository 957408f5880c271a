//! No layer turns a failed body into a complete message, and the cache keeps none.

use http::Method;
use proptest::prelude::*;

use super::stacks::stack;
use super::story::Ask;
use super::strategies::{asks, failing};
use super::{Pair, Servers, check, runtime};

#[test]
fn failed_bodies_stay_failed() {
    let runtime = runtime();
    let servers = runtime.block_on(Servers::start());
    // Those with many cookies are for another law.
    let asks = asks().prop_map(|asks| asks.map(|ask| Ask { crumbs: 0, ..ask }));
    let strategy = (failing(), asks, stack());
    check(500, &strategy, |(story, asks, stack)| {
        let layered = &servers.layered[stack];
        let pairs = runtime.block_on(servers.compare(layered, &story, &asks));
        for (pair, ask) in pairs.iter().zip(&asks) {
            if let Some(fault) = fault(ask, pair) {
                return Err(format!("{:?}: {fault}: {ask:?}\n{pair:#?}", layered.stack));
            }
        }
        Ok(())
    });
}

/// Returns the fault of a response to a request whose body fails.
fn fault(ask: &Ask, pair: &Pair) -> Option<String> {
    let Pair { plain, layered, calls } = pair;
    let bodiless = ask.method == Method::HEAD || [Some(204), Some(304)].contains(&plain.status);
    if bodiless || layered.status == Some(504) && *calls == 0 {
        return None;
    }
    if *calls == 0 {
        return Some("a failed body was stored".into());
    }
    // A 304 needs no body: the cache sends it when it has the head of the service's response.
    let is_confirmed = layered.status == Some(304) && ask.is_conditional();
    if !layered.is_complete() || is_confirmed {
        return None;
    }
    // A client that cannot decode a body does not take it for a complete one.
    let decoded = layered.decoded(plain).ok()?;
    if !plain.is_complete() {
        return Some("a failed body became a complete message".into());
    }
    // Neither shows to the client: bytes behind `content-length`, and an end of the connection.
    (decoded != plain.body).then(|| "a failed body became another one".into())
}
