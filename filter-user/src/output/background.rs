//! Writes in a thread of its own. A write to a pipe or a terminal takes as long as whoever
//! reads there likes, and what is being written cannot be called off: a command that has
//! signals to heed must not wait for it. Making stdout itself non-blocking would do the same to
//! everybody who shares it, such as the shell.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use anyhow::{Context as _, Result};
use tokio::sync::{mpsc, oneshot};

/// A thread that writes items, in their order.
#[derive(Debug)]
pub struct Background<T> {
    queue: mpsc::Sender<T>,
    ended: oneshot::Receiver<Result<()>>,
    written: Arc<AtomicU64>,
}

impl<T: Send + 'static> Background<T> {
    /// Starts it. Up to `room` items wait; `write` is done with each, and its first error ends
    /// the thread.
    ///
    /// # Errors
    ///
    /// There can be no more threads.
    pub fn start(
        room: usize,
        mut write: impl FnMut(T) -> Result<()> + Send + 'static,
    ) -> Result<Self> {
        let (queue, mut items) = mpsc::channel(room);
        let (end, ended) = oneshot::channel();
        let written = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&written);
        let run = move || {
            let mut run = || -> Result<()> {
                while let Some(item) = items.blocking_recv() {
                    write(item)?;
                    count.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            };
            // Nobody may be left who wants to know.
            drop(end.send(run()));
        };
        thread::Builder::new()
            .name("writer".to_owned())
            .spawn(run)
            .context("cannot start a thread that writes")?;
        Ok(Self {
            queue,
            ended,
            written,
        })
    }

    /// Puts an item in the queue; `false` if there is no room, and the item is lost.
    #[must_use]
    pub fn offer(&self, item: T) -> bool {
        self.queue.try_send(item).is_ok()
    }

    /// How many items were written.
    pub fn written(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.written)
    }

    /// Waits until a write fails. To be dropped and called anew as often as one likes, until it
    /// returns.
    ///
    /// # Errors
    ///
    /// That of the write; this is the only end.
    pub async fn failed(&mut self) -> Result<()> {
        (&mut self.ended).await.context("the writer is gone")?
    }

    /// Puts a last item in the queue, if there is one, and waits until all is written, however
    /// long that takes.
    ///
    /// # Errors
    ///
    /// A write fails.
    pub async fn finish(self, last: Option<T>) -> Result<()> {
        let Self { queue, ended, .. } = self;
        if let Some(last) = last {
            // If it does not get there, the reason is what the writer returns.
            drop(queue.send(last).await);
        }
        drop(queue);
        ended.await.context("the writer is gone")?
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc as blocking, time::Duration};

    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn what_finds_no_room_is_lost_and_all_else_is_written_in_order() {
        let (go, gate) = blocking::channel::<()>();
        let (show, shown) = blocking::channel();
        let writer = Background::start(2, move |item: u32| {
            let _ = gate.recv();
            Ok(show.send(item)?)
        })
        .unwrap();
        assert!(writer.offer(1));
        // The first is being written, or about to be: there is room for two or one beside it.
        let taken: Vec<u32> = (2..10).filter(|&item| writer.offer(item)).collect();
        assert!(!taken.contains(&9), "{taken:?}");
        let written = writer.written();
        drop(go);
        block_on(writer.finish(Some(10))).unwrap();
        let all: Vec<u32> = shown.iter().collect();
        assert_eq!(all, [&[1][..], &taken, &[10]].concat());
        assert_eq!(written.load(Ordering::Relaxed), all.len() as u64);
    }

    #[test]
    fn a_writer_that_is_stuck_can_be_left() {
        let (_never, gate) = blocking::channel::<()>();
        let mut writer = Background::start(1, move |()| Ok(gate.recv()?)).unwrap();
        assert!(writer.offer(()));
        block_on(async {
            let short = Duration::from_millis(20);
            let failed = tokio::time::timeout(short, writer.failed()).await;
            assert!(failed.is_err());
            let finished = tokio::time::timeout(short, writer.finish(None)).await;
            assert!(finished.is_err());
        });
    }

    #[test]
    fn the_first_error_ends_it() {
        let write = |item: u32| {
            anyhow::ensure!(item < 2, "{item}");
            Ok(())
        };
        let mut writer = Background::start(4, write).unwrap();
        // Both find room, however far the thread has come.
        assert!(writer.offer(1) && writer.offer(2));
        let error = block_on(writer.failed()).unwrap_err();
        assert_eq!(error.to_string(), "2");
        assert_eq!(writer.written().load(Ordering::Relaxed), 1);
    }
}
