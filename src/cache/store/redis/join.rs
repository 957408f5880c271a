use std::future::poll_fn;
use std::task::Poll;

/// Waits for all futures, and returns their outputs in the same order.
///
/// All of them are polled whenever one is woken. The futures are the commands of one batch, whose
/// replies come together, so that there are few such rounds.
pub(super) async fn join_all<F: Future + Unpin>(futures: Vec<F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.into_iter().map(Ok).collect();
    poll_fn(|cx| {
        let mut is_done = true;
        for slot in &mut futures {
            let Ok(future) = slot else { continue };
            match std::pin::Pin::new(future).poll(cx) {
                Poll::Ready(output) => *slot = Err(output),
                Poll::Pending => is_done = false,
            }
        }
        if is_done { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    futures.into_iter().filter_map(Result::err).collect()
}

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::pin::Pin;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn outputs_keep_the_order_of_futures() {
        let after = |millis| -> Pin<Box<dyn Future<Output = u64>>> {
            Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                millis
            })
        };
        assert_eq!(join_all(vec![after(3), after(1), after(2)]).await, [3, 1, 2]);
        assert_eq!(join_all(vec![ready(1), ready(2)]).await, [1, 2]);
        assert!(join_all(Vec::<std::future::Ready<u8>>::new()).await.is_empty());
    }
}
