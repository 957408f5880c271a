use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::super::super::task::spawn;
use super::super::lease::Lease;
use super::backend::Backend;
use crate::random;

/// Takes the lease of the key `name` in Redis, which expires after `time` unless it is renewed. A task
/// renews the lease until it is dropped. A Redis that does not respond has granted no lease to
/// others.
pub(super) async fn take(backend: &Arc<Backend>, name: String, time: Duration) -> Lease {
    let token = format!("{:016x}{:016x}", random::bits(), random::bits());
    let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let (held, mut dropped) = oneshot::channel::<()>();
    let (reply, replied) = oneshot::channel();
    let backend = Arc::clone(backend);
    // A task, so that a caller that stops waiting for the reply gives back the lease that it got.
    spawn(async move {
        let set = backend.client().set_if_absent(&name, &token, millis).await;
        let is_taken = matches!(backend.record_result(set), Ok(false));
        let _ = reply.send(is_taken);
        let renew = async |millis: i64| {
            let arguments = [token.clone(), millis.to_string()];
            let renewed: Result<i64, _> = backend.client().script(RENEW, &[&name], arguments).await;
            matches!(backend.record_result(renewed), Ok(1))
        };
        // A third of the time leaves two more attempts before the lease expires.
        let mut is_held = !is_taken;
        while is_held && timeout(time / 3, &mut dropped).await.is_err() {
            is_held = renew(millis).await;
        }
        if is_held {
            renew(0).await;
        }
    });
    match replied.await {
        Ok(true) => Lease::taken(),
        _ => Lease::held(held),
    }
}

/// Renews a lease if the token still holds it, or gives it back for a time of 0. Returns 1 if the
/// token held it.
const RENEW: &str = "\
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then redis.call('DEL', KEYS[1]) else redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 1";
