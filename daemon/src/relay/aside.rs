//! Tells whether it was something other than the answer that has woken a stream's task.
//!
//! A token wakes the task a hundred times for each time that the client leaves or the daemon ends. To ask the socket and
//! the token of cancellation at each of them would cost more than to read the token's event: both are elsewhere in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

/// The side on which seldom something happens.
#[derive(Debug, Default)]
pub(super) struct Aside(Option<Arc<Bell>>);

#[derive(Debug)]
struct Bell {
    rung: AtomicBool,
    task: Waker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

impl Aside {
    /// Whether what happens seldom has to be polled, and with which waker: at first, and when that waker was used.
    pub(super) fn rung(&mut self, context: &Context<'_>) -> Option<Waker> {
        if let Some(bell) = &self.0
            && bell.task.will_wake(context.waker())
        {
            let rung = bell.rung.load(Ordering::Relaxed) && bell.rung.swap(false, Ordering::Acquire);
            return rung.then(|| bell.clone().into());
        }
        let bell = Arc::new(Bell { rung: AtomicBool::new(false), task: context.waker().clone() });
        self.0 = Some(bell.clone());
        Some(bell.into())
    }

    /// Others have been asked to wake the task meanwhile.
    pub(super) fn forget(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Task;

    impl Wake for Task {
        fn wake(self: Arc<Self>) {}
    }

    #[test]
    fn it_is_polled_at_first_and_when_it_rang() {
        let task = Waker::from(Arc::new(Task));
        let context = Context::from_waker(&task);
        let mut aside = Aside::default();
        let bell = aside.rung(&context).unwrap();
        assert!(aside.rung(&context).is_none());
        bell.wake_by_ref();
        assert!(aside.rung(&context).is_some());
        assert!(aside.rung(&context).is_none());
        aside.forget();
        assert!(aside.rung(&context).is_some());
    }

    #[test]
    fn another_waker_of_the_task_needs_another_bell() {
        let (task, other) = (Waker::from(Arc::new(Task)), Waker::from(Arc::new(Task)));
        let mut aside = Aside::default();
        assert!(aside.rung(&Context::from_waker(&task)).is_some());
        assert!(aside.rung(&Context::from_waker(&other)).is_some());
        assert!(aside.rung(&Context::from_waker(&other)).is_none());
    }
}
