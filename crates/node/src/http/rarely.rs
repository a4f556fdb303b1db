//! A future beside a busy one.
//!
//! A task that waits for two things polls both whichever of them woke it. Where one is a connection that is woken for
//! each request, and the other a deadline that almost never is, that costs the deadline's lock each time. [`Rarely`] has
//! a waker of its own, and passes a poll on only if that one was called.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// See the module.
pub(crate) struct Rarely<F> {
    future: Pin<Box<F>>,
    bell: Arc<Bell>,
    waker: Waker,
}

struct Bell {
    rung: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl<F> Rarely<F> {
    pub(crate) fn new(future: F) -> Self {
        let bell = Arc::new(Bell { rung: AtomicBool::new(true), task: AtomicWaker::new() });
        let waker = Waker::from(Arc::clone(&bell));
        Self { future: Box::pin(future), bell, waker }
    }
}

impl<F: Future> Future for Rarely<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // First the task, then the bell: whoever rings in between is seen, or wakes the task.
        self.bell.task.register(context.waker());
        if !self.bell.rung.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        self.bell.rung.store(false, Ordering::Release);
        let this = &mut *self;
        this.future.as_mut().poll(&mut Context::from_waker(&this.waker))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use tokio::time;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_polled_when_it_is_woken_and_not_otherwise() {
        let polls = AtomicUsize::new(0);
        let mut sleep = Box::pin(time::sleep(Duration::from_secs(1)));
        let mut rarely = Rarely::new(poll_fn(|context| {
            polls.fetch_add(1, Ordering::Relaxed);
            sleep.as_mut().poll(context)
        }));
        for _ in 0..10 {
            let busy = time::sleep(Duration::from_millis(50));
            tokio::select! {
                biased;
                () = &mut rarely => unreachable!("its second has not passed"),
                () = busy => {}
            }
        }
        assert_eq!(polls.load(Ordering::Relaxed), 1);
        rarely.await;
        assert_eq!(polls.load(Ordering::Relaxed), 2);
    }
}
