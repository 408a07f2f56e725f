//! Takes back the steps of a change that were made before one failed.

use anyhow::Result;

/// Steps to take back, the last one first.
#[derive(Default)]
pub(super) struct Undo<'a>(Vec<Box<dyn FnOnce() -> Result<()> + 'a>>);

impl<'a> Undo<'a> {
    /// Remembers how to take back a step that was just made.
    pub(super) fn push(&mut self, step: impl FnOnce() -> Result<()> + 'a) {
        self.0.push(Box::new(step));
    }

    /// Takes everything back because of `error`, and returns that; or what it could not
    /// take back together with it. One step that cannot be taken back keeps no other one.
    pub(super) fn run(mut self, error: anyhow::Error) -> anyhow::Error {
        std::mem::take(&mut self.0)
            .into_iter()
            .rev()
            .filter_map(|step| step().err())
            .fold(error, |error, failed| {
                error.context(format!("not everything was taken back ({failed:#})"))
            })
    }
}

impl Drop for Undo<'_> {
    /// A panic is no reason to leave half of a change.
    fn drop(&mut self) {
        if std::thread::panicking() {
            for step in std::mem::take(&mut self.0).into_iter().rev() {
                drop(step());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use anyhow::anyhow;

    use super::*;

    #[test]
    fn steps_are_taken_back_from_last_to_first_though_one_fails() {
        let taken = RefCell::new(Vec::new());
        let mut undo = Undo::default();
        for step in 1..=3 {
            let taken = &taken;
            undo.push(move || {
                taken.borrow_mut().push(step);
                if step == 2 {
                    Err(anyhow!("step 2"))
                } else {
                    Ok(())
                }
            });
        }
        let error = undo.run(anyhow!("the cause"));
        assert_eq!(*taken.borrow(), [3, 2, 1]);
        let shown = format!("{error:#}");
        assert_eq!(shown, "not everything was taken back (step 2): the cause");
    }

    #[test]
    fn a_panic_takes_all_steps_back() {
        let taken = RefCell::new(Vec::new());
        let change = std::panic::AssertUnwindSafe(|| {
            let mut undo = Undo::default();
            for step in 1..=2 {
                let taken = &taken;
                undo.push(move || {
                    taken.borrow_mut().push(step);
                    Ok(())
                });
            }
            std::panic::resume_unwind(Box::new(()));
        });
        assert!(std::panic::catch_unwind(change).is_err());
        assert_eq!(*taken.borrow(), [2, 1]);
    }

    #[test]
    fn a_change_that_is_made_stays() {
        let mut undo = Undo::default();
        undo.push(|| panic!("nothing failed"));
    }
}
