//! Tasks in some states, page by page: for those who look at all of somebody's tasks, or do something to each. Tasks that
//! change meanwhile are the caller's to think of.

use gesso_store::{Task, TaskFilter, TaskState};

use crate::app::App;
use crate::error::AppError;

/// Records that are in memory at a time, at most 16 KiB each.
const PAGE: usize = 100;

/// Newest first. Nothing is locked from one page to the next: whoever submits or ends tasks waits for none of this.
pub(crate) struct TaskPages {
    /// Of the next page; `None` behind the last.
    filter: Option<TaskFilter>,
}

impl TaskPages {
    /// Of one owner, or everybody's; without any state, in all.
    pub(crate) fn of(owner: Option<&str>, states: &[TaskState]) -> Self {
        let (owner, states) = (owner.map(str::to_owned), states.to_vec());
        Self { filter: Some(TaskFilter { states, owner, limit: PAGE, ..TaskFilter::default() }) }
    }

    /// A page, which may be empty; `None` behind the last. It goes on behind the last one's oldest task, so that a task that is
    /// tried again, or comes in, meanwhile is not met twice.
    pub(crate) async fn next(&mut self, app: &App) -> Result<Option<Vec<Task>>, AppError> {
        let Some(filter) = self.filter.take() else { return Ok(None) };
        let page = app.tasks.list(filter.clone()).await?;
        self.filter = page.next.map(|after| TaskFilter { after: Some(after), ..filter });
        Ok(Some(page.tasks))
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
