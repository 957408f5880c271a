//! Whose turn it is, told by a key that only one process can set.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::super::super::clock::random_bits;
use super::super::super::task::spawn;
use super::super::lease::Lease;
use super::store::State;

/// Takes the lease, and keeps it until it is dropped. If Redis does not say that another has it,
/// nobody has.
pub(super) async fn take(state: &Arc<State>, name: String, time: Duration) -> Lease {
    let token = format!("{:016x}{:016x}", random_bits(), random_bits());
    let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let (held, mut dropped) = oneshot::channel::<()>();
    let (answer, answered) = oneshot::channel();
    let state = Arc::clone(state);
    // Whoever stops waiting for the answer gives back what it may have got.
    spawn(async move {
        let taken = state.heard(state.client.set_if_free(&name, &token, millis).await);
        let is_taken = matches!(taken, Ok(false));
        let _ = answer.send(is_taken);
        let tell = async |millis: i64| {
            let arguments = [token.clone(), millis.to_string()];
            let told: Result<i64, _> = state.client.script(SCRIPT, &[&name], arguments).await;
            matches!(state.heard(told), Ok(1))
        };
        let mut is_held = !is_taken;
        while is_held && timeout(time / 3, &mut dropped).await.is_err() {
            is_held = tell(millis).await;
        }
        if is_held {
            tell(0).await;
        }
    });
    match answered.await {
        Ok(true) => Lease::taken(),
        _ => Lease::held(held),
    }
}

/// For as long as it is still this one's: renews it, or gives it back. Whether it was.
const SCRIPT: &str = "\
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then redis.call('DEL', KEYS[1]) else redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 1";
