//! How many event streams are open, and how many one caller may have: each keeps a place in the server's memory for as long
//! as a task takes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::AppError;

/// How many streams each caller has open.
#[derive(Debug, Default)]
pub(crate) struct Listeners(Arc<Mutex<HashMap<String, usize>>>);

/// Of one caller. Browsers open six to one host at most.
const STREAMS_OF_ONE_MAX: usize = 1_000;

impl Listeners {
    /// Counts a stream until what is given back is dropped.
    ///
    /// # Errors
    /// `Overloaded` where the caller has enough open.
    pub(crate) fn enter(&self, name: &str) -> Result<Listening, AppError> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = open.entry(name.to_owned()).or_default();
        if *mine >= STREAMS_OF_ONE_MAX {
            let message = format!("{STREAMS_OF_ONE_MAX} of your streams are open already; close some");
            return Err(AppError::Overloaded(message));
        }
        *mine += 1;
        Ok(Listening { open: self.0.clone(), name: name.to_owned() })
    }
}

/// One open stream.
#[derive(Debug)]
pub(crate) struct Listening {
    open: Arc<Mutex<HashMap<String, usize>>>,
    name: String,
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mine) = open.get_mut(&self.name) {
            *mine -= 1;
            if *mine == 0 {
                open.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_streams_are_bounded_and_closing_one_makes_room() {
        let listeners = Listeners::default();
        let mut open: Vec<_> = (0..STREAMS_OF_ONE_MAX).map(|_| listeners.enter("ann").unwrap()).collect();
        assert!(listeners.enter("ann").is_err());
        assert!(listeners.enter("bob").is_ok());
        open.pop();
        assert!(listeners.enter("ann").is_ok());
        drop(open);
        assert!(listeners.0.lock().unwrap().is_empty());
    }
}
