//! What plugins have had drawn for one request, against what they may: those of them that were granted figures of their own
//! are counted by themselves, the others together. Draws nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gesso_plugin_host::{DrawingBudget, InferenceError};

use crate::settings::LimitSettings;

/// What plugins have had drawn for one request, scripts and picture hooks together.
#[derive(Debug, Default)]
pub(crate) struct Account(Mutex<Books>);

#[derive(Debug, Default)]
struct Books {
    /// Drawings that were begun, whoever asked.
    begun: u32,
    /// Of plugins without figures of their own.
    shared: Spent,
    own: HashMap<Arc<str>, Spent>,
}

#[derive(Debug, Default)]
struct Spent {
    jobs: u32,
    megapixel_steps: f64,
}

/// On whose account a drawing is.
#[derive(Debug, Clone)]
pub(crate) struct Payer {
    plugin: Arc<str>,
    most: DrawingBudget,
}

impl Payer {
    pub(crate) fn new(plugin: &str, most: DrawingBudget) -> Self {
        Self { plugin: plugin.into(), most }
    }
}

impl Books {
    fn own(&mut self, payer: &Payer) -> &mut Spent {
        self.own.entry(payer.plugin.clone()).or_default()
    }
}

impl Account {
    fn lock(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a drawing's place among those that a request's plugins may have, from 1 in the order they are asked for.
    ///
    /// # Errors
    /// `Limit` where there are no more to be had.
    pub(crate) fn enter(&self, payer: &Payer, limits: &LimitSettings) -> Result<u32, InferenceError> {
        let mut books = self.lock();
        let (spent, most, of_its_own) = match payer.most.jobs_max {
            Some(most) => (books.own(payer), most, true),
            None => (&mut books.shared, limits.script_jobs_max, false),
        };
        if spent.jobs >= most {
            return Err(InferenceError::Limit(if of_its_own {
                format!(
                    "the plugin {} may ask for {most} drawings in a request (budgets.script_jobs_max of its grant); ask for \
                     fewer",
                    payer.plugin
                )
            } else {
                format!(
                    "the plugins of a request may ask for {most} drawings (limits.script_jobs_max); ask for fewer"
                )
            }));
        }
        spent.jobs += 1;
        books.begun += 1;
        Ok(books.begun)
    }

    /// Takes the cost of a drawing off what a request's plugins may have drawn, in megapixels times steps.
    ///
    /// # Errors
    /// `Limit` where it is more than there is left.
    pub(crate) fn spend(
        &self,
        payer: &Payer,
        cost: f64,
        limits: &LimitSettings,
    ) -> Result<(), InferenceError> {
        let mut books = self.lock();
        let (spent, most, of_its_own) = match payer.most.megapixel_steps_max {
            Some(most) => (books.own(payer), most, true),
            None => (&mut books.shared, limits.script_megapixel_steps_max, false),
        };
        if spent.megapixel_steps + cost > f64::from(most) {
            return Err(InferenceError::Limit(if of_its_own {
                format!(
                    "the plugin {} may take {most} megapixels times steps in a request (budgets.script_megapixel_steps_max of \
                     its grant); ask for fewer or smaller pictures",
                    payer.plugin
                )
            } else {
                format!(
                    "the plugins of a request may take {most} megapixels times steps (limits.script_megapixel_steps_max); ask \
                     for fewer or smaller pictures"
                )
            }));
        }
        spent.megapixel_steps += cost;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(script_jobs_max: u32, script_megapixel_steps_max: u32) -> LimitSettings {
        LimitSettings { script_jobs_max, script_megapixel_steps_max, ..LimitSettings::default() }
    }

    fn says<T>(result: Result<T, InferenceError>) -> String {
        match result {
            Err(InferenceError::Limit(text)) => text,
            _ => "it was let through".into(),
        }
    }

    #[test]
    fn a_plugin_with_figures_of_its_own_is_counted_by_itself() {
        let (account, limits) = (Account::default(), limits(1, 10));
        let own = DrawingBudget { jobs_max: Some(2), megapixel_steps_max: None };
        let (trusted, one, another) = (
            Payer::new("trusted", own),
            Payer::new("one", DrawingBudget::default()),
            Payer::new("another", DrawingBudget::default()),
        );
        let places = [&trusted, &one, &trusted].map(|payer| account.enter(payer, &limits));
        assert_eq!(places, [Ok(1), Ok(2), Ok(3)]);
        assert!(
            says(account.enter(&trusted, &limits)).starts_with("the plugin trusted may ask for 2 drawings")
        );
        assert!(says(account.enter(&another, &limits)).contains("(limits.script_jobs_max)"));

        // The figure that was not granted is shared.
        assert_eq!(account.spend(&trusted, 6.0, &limits), Ok(()));
        assert!(says(account.spend(&one, 6.0, &limits)).contains("(limits.script_megapixel_steps_max)"));
        let own = DrawingBudget { jobs_max: None, megapixel_steps_max: Some(6) };
        let large = Payer::new("large", own);
        assert_eq!(account.spend(&large, 6.0, &limits), Ok(()));
        assert!(says(account.spend(&large, 0.5, &limits)).contains("budgets.script_megapixel_steps_max"));
    }

    #[test]
    fn a_plugin_may_be_kept_from_drawing() {
        let none = DrawingBudget { jobs_max: Some(0), megapixel_steps_max: None };
        let payer = Payer::new("quiet", none);
        assert!(says(Account::default().enter(&payer, &limits(9, 9))).contains("may ask for 0 drawings"));
    }
}
