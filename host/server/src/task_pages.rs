//! Tasks in some states, page by page: for those who look at all of somebody's tasks, or do something to each. Tasks that
//! change meanwhile are the caller's to think of.

use gesso_store::tasks::LIST_LIMIT;
use gesso_store::{Task, TaskFilter, TaskState};

use crate::app::App;
use crate::error::AppError;

/// Newest first, as many at a time as the store gives.
pub(crate) struct TaskPages {
    states: &'static [TaskState],
    /// Of the next page; `None` behind the last.
    filter: Option<TaskFilter>,
}

impl TaskPages {
    /// Of one owner, or everybody's.
    pub(crate) fn of(owner: Option<&str>, states: &'static [TaskState]) -> Self {
        // The store looks for one state or for any.
        let state = if let [one] = states { Some(*one) } else { None };
        let owner = owner.map(str::to_owned);
        Self { states, filter: Some(TaskFilter { state, owner, limit: LIST_LIMIT, ..TaskFilter::default() }) }
    }

    /// A page, which may be empty; `None` behind the last.
    pub(crate) async fn next(&mut self, app: &App) -> Result<Option<Vec<Task>>, AppError> {
        let Some(filter) = self.filter.take() else { return Ok(None) };
        let page = app.tasks.list(filter.clone()).await?;
        self.filter = page.next.map(|after| TaskFilter { after: Some(after), ..filter });
        let states = self.states;
        Ok(Some(page.tasks.into_iter().filter(|task| states.contains(&task.state)).collect()))
    }

    /// All of them at once, where they are few.
    pub(crate) async fn all(mut self, app: &App) -> Result<Vec<Task>, AppError> {
        let mut all = Vec::new();
        while let Some(page) = self.next(app).await? {
            all.extend(page);
        }
        Ok(all)
    }
}
