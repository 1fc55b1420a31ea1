//! The tasks of one server: all of its work but what the disk does on a thread of its own runs in them. Owns no task.
//!
//! The machine decides when a process runs. Where that is not the operating system's to do, as in a simulation, a [`Gate`]
//! stands for it: while it is shut none of the server's tasks is polled, whatever has become ready, as nothing of a process
//! runs between `SIGSTOP` and `SIGCONT`.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::task::JoinHandle;

/// What keeps a server's tasks from running.
pub trait Gate: Send + Sync + 'static {
    /// Ready while the tasks may run; otherwise whoever asks is woken when they may.
    fn poll(&self, cx: &mut Context<'_>) -> Poll<()>;
}

/// Starts tasks. Cheap to clone.
#[derive(Clone, Default)]
pub struct Tasks {
    gate: Option<Arc<dyn Gate>>,
}

impl Tasks {
    /// Tasks that run only while this gate is open. Without one, [`Tasks::default`], they always do.
    pub fn behind(gate: Arc<dyn Gate>) -> Self {
        Self { gate: Some(gate) }
    }

    /// Starts a task on the runtime that this is called in.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        match &self.gate {
            None => tokio::spawn(task),
            Some(gate) => tokio::spawn(through(Arc::clone(gate), task)),
        }
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").field("gated", &self.gate.is_some()).finish()
    }
}

/// Runs `task` only while the gate is open.
pub async fn through<F: Future>(gate: Arc<dyn Gate>, task: F) -> F::Output {
    let mut task = pin!(task);
    poll_fn(|cx| {
        ready!(gate.poll(cx));
        task.as_mut().poll(cx)
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::task::Waker;

    use super::*;

    #[derive(Default)]
    struct Door {
        open: Mutex<bool>,
        waiting: Mutex<Vec<Waker>>,
    }

    impl Gate for Door {
        fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
            if *self.open.lock().unwrap() {
                return Poll::Ready(());
            }
            self.waiting.lock().unwrap().push(cx.waker().clone());
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn nothing_runs_behind_a_gate_that_is_shut_whatever_is_ready() {
        let door = Arc::<Door>::default();
        let task = Tasks::behind(Arc::<Door>::clone(&door)).spawn(async { 7 });
        tokio::task::yield_now().await;
        assert!(!task.is_finished());
        *door.open.lock().unwrap() = true;
        door.waiting.lock().unwrap().drain(..).for_each(Waker::wake);
        assert_eq!(task.await.unwrap(), 7);
    }
}
